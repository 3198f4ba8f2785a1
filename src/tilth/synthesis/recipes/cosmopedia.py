"""Cosmopedia: teaching texts, posts and stories from the beginning of a web page, for four audiences."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Rejected, recipe
from tilth.synthesis.parse import content
from tilth.synthesis.passages import first_characters
from tilth.synthesis.post import at_least, without_boilerplate_opening, without_title
from tilth.teacher.request import GenerationParams
from tilth.types import Document

AUDIENCES = {"children": 0.2, "high_school": 0.3, "college": 0.3, "researchers": 0.2}
FORMATS = {"narrative": 0.25, "academic": 0.25, "tutorial": 0.2, "blog": 0.15, "story": 0.15}


@dataclass(frozen=True, kw_only=True)
class Cosmopedia:
    """Teaching texts from the beginnings of documents."""

    characters: int = 1000
    """How much of a document is shown, from its beginning."""
    topic_share: float = 0.5
    """How often a document's topic is named, where it has one (`topic` in the design or in `meta`)."""
    min_tokens: int = 150
    """Shorter answers are dropped."""
    top_k: int | None = None
    """Published: 50. Servers that take no more than OpenAI's API (see the teacher's dialect) refuse it."""
    repetition_penalty: float | None = None
    """Published: 1.2. As `top_k`, not part of OpenAI's API."""

    def __post_init__(self) -> None:
        if self.characters < 1 or self.min_tokens < 0:
            raise ConfigError("`characters` and `min_tokens` cannot be negative.", fix="Show 1 character or more.")
        if not 0 <= self.topic_share <= 1:
            raise ConfigError(f"`topic_share` is {self.topic_share}.", fix="Give a share from 0 to 1.")
        GenerationParams(top_k=self.top_k, repetition_penalty=self.repetition_penalty)  # refuses what cannot work


@recipe(
    "cosmopedia",
    version=1,
    shape="text",
    prompts=tuple(FORMATS),
    options=Cosmopedia,
    params=GenerationParams(max_tokens=2500, temperature=0.6, top_p=0.95),
    axes={"audience": AUDIENCES, "format": FORMATS},
    source="Cosmopedia (Hugging Face, 2024), huggingface/cosmopedia",
)
async def cosmopedia(document: Document, ask: Ask) -> list[Draft]:
    """Textbook sections, tutorials, posts and stories for four audiences, seeded by a document and its topic."""
    extract = first_characters(document.text, ask.options.characters)
    if not extract.text:
        raise Rejected("empty_document")
    named = ask.rng.random() < ask.options.topic_share
    topic = str(ask.cell.get("topic") or document.meta.get("topic") or "") if named else ""
    reply = await ask(
        ask.cell["format"],
        {"extract": extract.text, "audience": ask.cell["audience"], "topic": " ".join(topic[:200].split())},
        at_least(ask.options.min_tokens, without_boilerplate_opening(without_title(content))),
        params=GenerationParams(top_k=ask.options.top_k, repetition_penalty=ask.options.repetition_penalty),
    )
    return [Draft(text=reply.value, replies=(reply,), span=extract.span, part=ask.cell["format"], meta=dict(ask.cell))]
