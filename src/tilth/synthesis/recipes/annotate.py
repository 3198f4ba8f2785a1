"""Quality annotation: a teacher gives each document an additive score from 0 to 5 for its educational value.

Additive, because a list of conditions, each worth a point, was found to work better than a scale to choose from
(FineWeb-Edu, Penedo et al. 2024). `tilth.synthesis.quality.train_classifier` learns from the scores, and the operator
`quality` of `tilth curate` applies what was learned to everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, ParseError, recipe
from tilth.synthesis.parse import clean, strip_markdown, without_thoughts
from tilth.teacher.request import GenerationParams
from tilth.types import Document

_LAST_LINE = re.compile(r"educational score: *<?([0-5])>?(?: */ *5| out of 5)?\.?", re.IGNORECASE)
_SOME_SCORE = re.compile(r"educational score: *<?([0-5])", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Score documents from 0 to 5 for their educational value."""

    characters: int = 4000
    """How much of a document the teacher reads."""
    justification_words: int = 100
    """Words of the justification, at most, that are asked for."""

    def __post_init__(self) -> None:
        for name in ("characters", "justification_words"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` is {getattr(self, name)}.", fix="Give 1 or more.")


@dataclass(frozen=True, kw_only=True)
class Rating:
    """A score and why."""

    score: int
    justification: str


def parse_rating(text: str, max_words: int) -> Rating:
    """Reads a justification and a last line `Educational score: N`.

    A justification may have twice the words that are asked for: models do not count them.
    Raises: ParseError for another last line, no justification, one that is too long, or another score in it.
    """
    text = strip_markdown(without_thoughts(clean(text))) if text.strip() else ""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    found = _LAST_LINE.fullmatch(lines[-1]) if lines else None
    if found is None:
        raise ParseError("no_score", lines[-1][:100] if lines else "")
    others = {other for line in lines[:-1] for other in _SOME_SCORE.findall(line)}
    if others - {found[1]}:
        raise ParseError("several_scores")
    words = len(" ".join(lines[:-1]).split())
    if not words:
        raise ParseError("no_justification")
    if words > 2 * max_words:
        raise ParseError("justification_too_long", f"{words} words > 2 * {max_words}")
    return Rating(score=int(found[1]), justification="\n".join(lines[:-1]))


@recipe(
    "annotate",
    version=1,
    shape="annotation",
    prompts=("educational",),
    options=Annotate,
    params=GenerationParams(max_tokens=300, temperature=0.0),
    source="FineWeb-Edu (Penedo et al. 2024)",
)
async def annotate(document: Document, ask: Ask) -> list[Draft]:
    """Educational quality from 0 to 5, with a justification: `score_quality`."""
    options: Annotate = ask.options
    variables = {
        "text": document.text[: options.characters],
        "shortened": len(document.text) > options.characters,
        "max_words": options.justification_words,
    }
    rated = await ask("educational", variables, lambda text: parse_rating(text, options.justification_words))
    return [
        Draft(
            text=document.text,
            replies=(rated,),
            scores={"quality": float(rated.value.score)},
            meta={"quality_reason": rated.value.justification},
            keeps_id=True,
        )
    ]
