"""Magpie: an aligned model that is given the beginning of a user's turn writes what a user would ask, then answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Parsed, ParseError, Parser, Rejected, recipe
from tilth.synthesis.recipes.turns import END_MARKS, assistant_message, last_lines, user_message
from tilth.teacher.request import GenerationParams
from tilth.types import Document, Message


@dataclass(frozen=True, kw_only=True)
class PreQuery:
    """What a chat template has before a user's turn, without the token for the beginning of a text: servers add it."""

    user: str
    stop: tuple[str, ...]
    system: str = ""
    """With `{system}`; empty: the template has no system message."""

    def render(self, system: str) -> str:
        """Returns the text to continue. Raises: ConfigError for a system message that the template cannot have."""
        if not system:
            return self.user
        if not self.system:
            raise ConfigError("This chat template has no system message.", fix="Leave `system` empty.")
        return self.system.replace("{system}", system) + self.user


JUDGE = GenerationParams(temperature=0.0)
TEMPLATES = {
    "chatml": PreQuery(
        system="<|im_start|>system\n{system}<|im_end|>\n", user="<|im_start|>user\n", stop=("<|im_end|>",)
    ),
    "llama-3": PreQuery(
        system="<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>",
        user="<|start_header_id|>user<|end_header_id|>\n\n",
        stop=("<|eot_id|>",),
    ),
    "phi-3": PreQuery(system="<|system|>\n{system}<|end|>\n", user="<|user|>\n", stop=("<|end|>",)),
    "zephyr": PreQuery(system="<|system|>\n{system}</s>\n", user="<|user|>\n", stop=("</s>",)),
    "gemma": PreQuery(user="<start_of_turn>user\n", stop=("<end_of_turn>",)),
    "mistral": PreQuery(user="[INST] ", stop=("[/INST]",)),
    "plain": PreQuery(system="{system}\n\n", user="User:", stop=("\nAssistant:", "\nUser:")),
}


@dataclass(frozen=True, kw_only=True)
class Magpie:
    """Instructions that an aligned model writes by itself."""

    template: Literal["chatml", "llama-3", "phi-3", "zephyr", "gemma", "mistral", "plain"] = "chatml"
    """The teacher's chat template: chatml (Qwen, SmolLM2 and others); plain: `User:` and `Assistant:`."""
    pre_query: str = ""
    """What comes before a user's turn, where none of the templates fits; it takes its place, with `stop`."""
    stop: tuple[str, ...] = ()
    """Texts that end a user's turn, beside those of the template; needed with most `pre_query`."""
    system: str = ""
    """A system message, part of the samples too; `You help with mathematics.` leads to such instructions."""
    min_query_words: int = 3
    """Fewest words of an instruction."""
    max_query_words: int = 300
    """Most words of an instruction."""
    tags: bool = False
    """Have the teacher rate difficulty and quality of each instruction (1 to 5), and name its category."""
    min_quality: int = 0
    """Lowest quality to keep; above 0 it asks for tags."""
    min_difficulty: int = 0
    """Lowest difficulty to keep; above 0 it asks for tags."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_query_words <= self.max_query_words:
            raise ConfigError(
                f"`min_query_words` is {self.min_query_words} and `max_query_words` {self.max_query_words}.",
                fix="Give 1 <= min <= max.",
            )
        if not (0 <= self.min_quality <= 5 and 0 <= self.min_difficulty <= 5):
            raise ConfigError(
                f"`min_quality` is {self.min_quality} and `min_difficulty` {self.min_difficulty}.",
                fix="Give 1 to 5, or 0 for no limit.",
            )
        if self.system and self.pre_query:
            raise ConfigError("`system` is set beside `pre_query`.", fix="Write the system message into `pre_query`.")
        self.text  # noqa: B018 (raises for a system message that the template cannot have)

    @property
    def text(self) -> str:
        """The text to continue."""
        return self.pre_query or TEMPLATES[self.template].render(self.system)

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end a user's turn."""
        return self.stop if self.pre_query else (*TEMPLATES[self.template].stop, *self.stop)


@recipe(
    "magpie",
    version=1,
    shape="chat",
    prompts=("answer", "tags"),
    options=Magpie,
    params=GenerationParams(max_tokens=1024, temperature=0.7, top_p=0.95),
    needs_documents=False,
    source="Xu et al. 2024, Magpie: Alignment Data Synthesis from Scratch",
)
async def magpie(document: Document, ask: Ask) -> list[Draft]:
    """Have an aligned model write a user's message after its template's first tokens, and answer it.

    The document gives the seed alone: what it says is not used. Answers differ by the request's seed, so the teacher
    must draw with a temperature, and with the seed that it is given.
    """
    options: Magpie = ask.options
    params = GenerationParams(max_tokens=4 * options.max_query_words, temperature=1.0, top_p=0.99, stop=options.stops)
    question = await ask.continue_text(options.text, query_parser(options), name="pre-query", params=params)
    replies: list[Parsed[Any]] = [question]
    meta: dict[str, object] = {}
    if options.tags or options.min_quality or options.min_difficulty:
        tags = await ask("tags", {"question": question.value}, parse_tags, params=JUDGE, is_judgement=True)
        meta = dict(tags.value)
        replies.append(tags)
        for name, least in (("quality", options.min_quality), ("difficulty", options.min_difficulty)):
            if int(str(meta[name])) < least:
                raise Rejected(f"low_{name}", f"{meta[name]} < {least}: {question.value[:200]}")
    answer = await ask("answer", {"question": question.value, "system": options.system}, assistant_message)
    system = (Message(role="system", content=options.system),) if options.system else ()
    messages = (*system, Message(role="user", content=question.value), Message(role="assistant", content=answer.value))
    return [Draft(messages=messages, replies=(*replies, answer), meta=meta)]


CATEGORIES = (
    "advice|brainstorming|coding|creative writing|data analysis|editing|information|maths|planning|reasoning"
    "|role playing|other"
)
_TAGS = last_lines({"Difficulty": "[1-5]", "Quality": "[1-5]", "Category": CATEGORIES})


def parse_tags(answer: str) -> dict[str, object]:
    """Returns difficulty, quality and category. Raises: as `last_lines`."""
    found = _TAGS(answer)
    numbers = {name.lower(): int(found[name]) for name in ("Difficulty", "Quality")}
    return {**numbers, "category": found["Category"]}


def query_parser(options: Magpie) -> Parser[str]:
    """Makes the parser of a user's turn: it ends at the first token of a template.

    Raises: ParseError `repeats_itself` where a third of its 4-word sequences come again; as `user_message`.
    """
    parse = user_message(min_words=options.min_query_words, max_words=options.max_query_words)

    def parse_query(answer: str) -> str:
        mark = END_MARKS.search(answer)
        text = parse(answer[: mark.start()] if mark else answer)
        words = text.lower().split()
        runs = [tuple(words[n : n + 4]) for n in range(len(words) - 3)]
        if len(runs) > len(set(runs)) * 1.5:
            raise ParseError("repeats_itself", text[:100])
        return text

    return parse_query
