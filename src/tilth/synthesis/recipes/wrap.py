"""WRAP: a document said again, passage by passage, in four styles."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Parser, Rejected, recipe
from tilth.synthesis.parse import pairs, prose, render_pairs
from tilth.synthesis.passages import split_passages
from tilth.teacher.request import GenerationParams
from tilth.types import Document

STYLES = ("easy", "medium", "hard", "qa")


@dataclass(frozen=True, kw_only=True)
class Wrap:
    """Passages of documents said again."""

    styles: tuple[str, ...] = STYLES
    """easy: for a child; medium: as an encyclopedia; hard: terse and scholarly; qa: questions and answers."""
    max_passage_tokens: int = 300
    """Most tokens of a passage, estimated; of longer ones a model leaves out more."""
    min_passage_tokens: int = 30
    """Shorter passages are left out."""

    def __post_init__(self) -> None:
        if unknown := [style for style in self.styles if style not in STYLES] or not self.styles:
            raise ConfigError(f"`styles` has {unknown or 'nothing'}.", fix=f"Choose of {', '.join(STYLES)}.")
        if not 0 <= self.min_passage_tokens <= self.max_passage_tokens or self.max_passage_tokens < 2:
            raise ConfigError(
                f"`min_passage_tokens` is {self.min_passage_tokens} and `max_passage_tokens` "
                f"{self.max_passage_tokens}.",
                fix="Give 0 <= min <= max, and a max of 2 or more.",
            )


def questions_and_answers(answer: str) -> str:
    """Returns the pairs of an answer as text. Raises: as `parse.pairs`."""
    return render_pairs(pairs(answer))


@recipe(
    "wrap",
    version=1,
    shape="text",
    prompts=STYLES,
    options=Wrap,
    params=GenerationParams(max_tokens=800, temperature=0.7, top_p=0.95),
    source="Maini et al. 2024, Rephrasing the Web (WRAP); mix 1:1 with the real text",
)
async def wrap(document: Document, ask: Ask) -> list[Draft]:
    """Each passage rewritten for children, as an encyclopedia, for scholars, and as questions and answers."""
    options: Wrap = ask.options
    passages = split_passages(
        document.text, max_tokens=options.max_passage_tokens, min_tokens=options.min_passage_tokens
    )
    if not passages:
        raise Rejected("no_passages", f"none of {options.min_passage_tokens} tokens or more")
    drafts: list[Draft] = []
    for style in options.styles:
        parse: Parser[str] = questions_and_answers if style == "qa" else prose
        replies = await ask.each([(style, {"passage": passage.text}) for passage in passages], parse)
        drafts += [
            Draft(text=reply.value, replies=(reply,), span=passage.span, part=style)
            for reply, passage in zip(replies, passages, strict=True)
            if reply is not None
        ]
    return drafts
