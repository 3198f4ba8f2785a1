"""Nemotron-CC: what becomes of a document depends on its quality, with the limits and post rules of each prompt.

Low quality: a paraphrase in the style of Wikipedia, whose segments are joined to one text again. High quality: of each
segment questions and answers below its own text, a distilled version, extracted knowledge, a list of knowledge. Limits
in tokens are estimated (`post.estimate_tokens`); a segment has what its prompt leaves of the limit for the input.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from tilth.errors import ConfigError, DataError
from tilth.synthesis.define import Ask, Draft, Parsed, ParseError, Parser, Rejected, recipe
from tilth.synthesis.parse import Pair, after_prefix, bullets, pairs, prose, render_bullets, render_pairs
from tilth.synthesis.passages import Passage, join_lines
from tilth.synthesis.post import estimate_tokens, keep_some
from tilth.synthesis.prompt_files import PromptFile
from tilth.teacher.request import GenerationParams
from tilth.types import Document

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Tokens of a prompt's row in the table of the method."""

    min_document: int
    min_segment: int
    max_input: int
    """Of the prompt with its segment."""
    max_answer: int
    min_result: int


LIMITS = {
    "wikipedia": Limits(min_document=5, min_segment=5, max_input=512, max_answer=512, min_result=50),
    "diverse_qa": Limits(min_document=30, min_segment=30, max_input=1000, max_answer=600, min_result=100),
    "distill": Limits(min_document=30, min_segment=10, max_input=2000, max_answer=1600, min_result=50),
    "extract_knowledge": Limits(min_document=30, min_segment=30, max_input=1400, max_answer=1400, min_result=50),
    "knowledge_list": Limits(min_document=30, min_segment=30, max_input=1000, max_answer=600, min_result=50),
}
LOW = ("wikipedia",)
HIGH = ("diverse_qa", "distill", "extract_knowledge", "knowledge_list")
MAX_PARAPHRASE = 510
"""Tokens; a longer paraphrase was most likely cut off."""


@dataclass(frozen=True, kw_only=True)
class NemotronCC:
    """Rephrase low quality, and take knowledge out of high quality."""

    prompts: tuple[str, ...] = (*LOW, *HIGH)
    """Which to use, each for documents of its own bucket."""
    score: str = "score_bucket"
    """Column (or key in `meta`) with the quality bucket, 0 to 19. A document without it is of high quality."""
    threshold: float = 11.0
    """Above it a document is of high quality. For the scores of `annotate`: `--score score_quality --threshold 2.5`."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.prompts if name not in LIMITS]:
            raise ConfigError(f"`prompts` has {unknown}.", fix=f"Choose of {', '.join(LIMITS)}.")
        if not self.prompts:
            raise ConfigError("`prompts` is empty.", fix=f"Choose of {', '.join(LIMITS)}.")


def paraphrase(answer: str) -> str:
    """Returns a paraphrase without its obligatory beginning. Raises: as `after_prefix`; `too_many_tokens`."""
    text = after_prefix("Here is a paraphrased version:")(answer)
    if estimate_tokens(text) > MAX_PARAPHRASE:
        raise ParseError("too_many_tokens", f"{estimate_tokens(text)} > {MAX_PARAPHRASE}")
    return text


def knowledge_list(answer: str) -> str:
    """Returns a list of facts, one a line. Raises: as `parse.bullets`."""
    return render_bullets(bullets(answer))


_PASSAGE_LINE = re.compile(r"^[ \t]*passages?[ \t]*\d{0,2}[ \t]*(?::[ \t]*$|$|:[ \t]*)", re.IGNORECASE | re.MULTILINE)


def passages(answer: str) -> str:
    """Returns passages of knowledge without the lines that count them (`Passage 1:`). Raises: as `parse.prose`."""
    return prose(_PASSAGE_LINE.sub("", prose(answer)))


PARSERS: dict[str, Parser[str]] = {
    "wikipedia": paraphrase,
    "distill": after_prefix("Paraphrased Text:"),
    "extract_knowledge": passages,
    "knowledge_list": knowledge_list,
}
"""How the answers are read that are texts; those to `diverse_qa` are pairs."""


def up_to_eight(answer: str) -> list[Pair]:
    """Returns questions and answers, the first eight. Raises: as `parse.pairs`."""
    return pairs(answer)[:8]


@recipe(
    "nemotron-cc",
    version=1,
    shape="text",
    prompts=tuple(LIMITS),
    options=NemotronCC,
    params=GenerationParams(temperature=0.5, top_p=0.9),
    source="Su et al. 2024, Nemotron-CC; limits and post-processing as in NVIDIA NeMo Curator",
)
async def nemotron_cc(document: Document, ask: Ask) -> list[Draft]:
    """A paraphrase of low quality; of high quality questions, a distilled text, knowledge as passages and as a list."""
    bucket = LOW if is_low(document, ask.options) else HIGH
    names = [name for name in ask.options.prompts if name in bucket]
    if not names:
        raise Rejected("no_prompt_for_bucket", "low quality" if bucket is LOW else "high quality")
    drafts: list[Draft] = []
    for name in names:
        pieces = segments(document.text, name)
        if not pieces:
            ask.reject("too_short_for_prompt", name)
        elif name == "diverse_qa":
            drafts += await with_questions(pieces, ask)
        elif name in LOW:
            drafts += await rejoined(name, pieces, ask)
        else:
            for piece, reply in await _ask_each(name, pieces, PARSERS[name], ask):
                drafts += _long_enough(name, reply.value, [piece], [reply], ask)
    return drafts


def is_low(document: Document, options: NemotronCC) -> bool:
    """Whether a document's quality is at or below the threshold. Raises: DataError for a score that is no number."""
    score = document.meta.get(options.score)
    if score is None:
        return False
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise DataError(
            f"`{options.score}` of the document {document.id} ({document.source}) is {score!r:.50}.",
            fix="Name a column of numbers with `--score`.",
        )
    return score <= options.threshold


def segments(text: str, name: str) -> list[Passage]:
    """Returns what of a document a prompt is asked about; nothing for one that is too short."""
    limits = LIMITS[name]
    if estimate_tokens(text) < limits.min_document:
        return []
    return join_lines(text, max_tokens=max_segment(name), min_tokens=limits.min_segment)


@lru_cache
def max_segment(name: str) -> int:
    """Returns the most tokens of a segment: what the prompt leaves of its limit, less two."""
    messages = PromptFile.load("nemotron-cc", name).render({"passage": ""})
    return LIMITS[name].max_input - estimate_tokens(" ".join(message.content for message in messages)) - 2


async def rejoined(name: str, passages: Sequence[Passage], ask: Ask) -> list[Draft]:
    """Asks about each segment and joins the answers to one text again."""
    replies = await _ask_each(name, passages, PARSERS[name], ask)
    if not replies:
        return []
    text = "\n\n".join(reply.value for _, reply in replies)
    return _long_enough(name, text, [passage for passage, _ in replies], [reply for _, reply in replies], ask)


async def with_questions(passages: Sequence[Passage], ask: Ask) -> list[Draft]:
    """Appends some of the questions about each segment to the segment's own text, which stays as it is."""
    rngs = {id(passage): child for passage, child in zip(passages, ask.rng.spawn(len(passages)), strict=True)}
    drafts: list[Draft] = []
    for passage, reply in await _ask_each("diverse_qa", passages, up_to_eight, ask):
        kept = keep_some(reply.value, estimate_tokens(passage.text), rngs[id(passage)])
        drafts += _long_enough("diverse_qa", f"{passage.text}\n\n{render_pairs(kept)}", [passage], [reply], ask)
    return drafts


async def _ask_each(
    name: str, passages: Sequence[Passage], parse: Parser[T], ask: Ask
) -> list[tuple[Passage, Parsed[T]]]:
    asked = [(name, {"passage": passage.text}) for passage in passages]
    replies = await ask.each(asked, parse, params=GenerationParams(max_tokens=LIMITS[name].max_answer))
    return [(passage, reply) for passage, reply in zip(passages, replies, strict=True) if reply is not None]


def _long_enough(
    name: str, text: str, passages: Sequence[Passage], replies: Sequence[Parsed[Any]], ask: Ask
) -> list[Draft]:
    tokens = estimate_tokens(text)
    if tokens < LIMITS[name].min_result:
        ask.reject("too_few_tokens", f"{name}: {tokens} < {LIMITS[name].min_result}", raw=text)
        return []
    span = (passages[0].span[0], passages[-1].span[1])
    meta = {"appends_source": True} if name == "diverse_qa" else {}
    return [Draft(text=text, replies=tuple(replies), span=span, part=name, meta=meta)]
