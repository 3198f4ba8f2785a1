"""Personas: who would read or write a text, who stands in a relation to whom, and what such a person asks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Parsed, ParseError, recipe
from tilth.synthesis.parse import prose, strip_quotes
from tilth.synthesis.passages import first_characters
from tilth.teacher.request import GenerationParams
from tilth.types import Document

SOURCE = "Ge et al. 2024, Scaling Synthetic Data Creation with 1,000,000,000 Personas (PersonaHub)"
PARAMS = GenerationParams(max_tokens=160, temperature=0.8, top_p=0.95)
TO_TEXT = {
    "reads": "would choose to read this text",
    "writes": "could have written this text",
    "needs": "would need what this text says, for their work or for a decision",
    "teaches": "would teach the subject of this text, or explain it to others",
    "disputes": "would disagree with this text, or see its subject from another side",
}
TO_PERSON = {
    "work": "works with this person, for this person, or as a competitor",
    "family": "is a relative of this person",
    "service": "is a customer, a patient or a client of this person, or is hired by this person",
    "teaching": "once taught this person, or learns from this person",
    "neighbour": "lives in the same neighbourhood, but leads a very different life",
    "interest": "shares a hobby or a cause with this person, and nothing else",
    "unseen": "does work, seen by few, on which the daily life of this person depends",
}
_LABEL = re.compile(r"(?:new )?(?:persona|person|description)[ \t]*:[ \t]*", re.IGNORECASE)
_FIRST_PERSON = re.compile(r"(?:i['’]?m|i am|i|my|we|you) ", re.IGNORECASE)
_NARRATED = re.compile(r"\b(?:this|the) (?:text|passage|document|article|first person)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Personas:
    """Describe a person for each document."""

    characters: int = 2000
    """How much of a document is shown, from its beginning."""

    def __post_init__(self) -> None:
        if self.characters < 1:
            raise ConfigError(f"`characters` is {self.characters}.", fix="Show 1 or more.")


@dataclass(frozen=True, kw_only=True)
class PersonaToPersona:
    """Describe other people from people: each document is a persona, such as `personas` makes them."""

    hops: int = 3
    """Length of the chain of relations that starts at each persona; published: up to 6. No relation comes twice."""

    def __post_init__(self) -> None:
        if not 1 <= self.hops <= 6:
            raise ConfigError(f"`hops` is {self.hops}.", fix="Give 1 to 6; further ones have nothing of the first.")


def parse_persona(answer: str) -> str:
    """Returns the description of a person.

    Raises: ParseError `several_paragraphs`, `first_person`, `mentions_the_text`, `too_short`, `too_long`; as `prose`.
    """
    text = prose(answer)
    label = _LABEL.match(text)
    text = strip_quotes(text[label.end() :].strip()) if label else text
    words = len(text.split())
    if "\n" in text:
        raise ParseError("several_paragraphs", text[:100])
    if _FIRST_PERSON.match(text):
        raise ParseError("first_person", text[:100])
    if _NARRATED.search(text):
        raise ParseError("mentions_the_text", text[:100])
    if not 8 <= words <= 90:
        raise ParseError("too_short" if words < 8 else "too_long", f"{words} words")
    return text


@recipe(
    "personas",
    version=1,
    shape="text",
    prompts=("persona",),
    options=Personas,
    params=PARAMS,
    axes={"relation": {"reads": 3, "writes": 2, "needs": 2, "teaches": 1, "disputes": 1}},
    source=SOURCE,
)
async def personas(document: Document, ask: Ask) -> list[Draft]:
    """Describe a person who would read, write, need, teach or dispute a document."""
    shown = first_characters(document.text, ask.options.characters)
    relation = ask.cell["relation"]
    persona = await ask("persona", {"text": shown.text, "relation": TO_TEXT[relation]}, parse_persona)
    return [Draft(text=persona.value, replies=(persona,), span=shown.span, part=relation)]


@recipe(
    "persona-to-persona",
    version=1,
    shape="text",
    prompts=("persona",),
    options=PersonaToPersona,
    params=PARAMS,
    source=SOURCE,
)
async def persona_to_persona(document: Document, ask: Ask) -> list[Draft]:
    """Describe other people from a persona, along a chain of relations; each link is a sample."""
    chain: list[Parsed[str]] = []
    drafts: list[Draft] = []
    person = document.text.strip()
    for relation in ask.rng.choice(list(TO_PERSON), size=ask.options.hops, replace=False).tolist():
        try:
            chain.append(await ask("persona", {"persona": person, "relation": TO_PERSON[relation]}, parse_persona))
        except ParseError:  # what was described before it is kept
            break
        person = chain[-1].value
        meta = {"hop": len(chain), "relation": relation}
        drafts.append(Draft(text=person, replies=tuple(chain), part=f"hop {len(chain)}", meta=meta))
    return drafts
