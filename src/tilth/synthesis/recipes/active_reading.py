"""Active Reading: the model proposes ways of studying a document, then carries out each of them."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, ParseError, Rejected, recipe
from tilth.synthesis.parse import bullets, content
from tilth.synthesis.passages import first_characters
from tilth.synthesis.post import at_least
from tilth.teacher.request import GenerationParams
from tilth.types import Document


@dataclass(frozen=True, kw_only=True)
class ActiveReading:
    """Study documents in ways that are made for them."""

    strategies: int = 4
    """Ways of studying that are proposed for a document; each gives one sample."""
    max_characters: int = 12_000
    """How much of a document is shown, from its beginning."""
    min_tokens: int = 50
    """Shorter results are dropped."""

    def __post_init__(self) -> None:
        if not 1 <= self.strategies <= 20:
            raise ConfigError(f"`strategies` is {self.strategies}.", fix="Give 1 to 20.")
        if self.max_characters < 1 or self.min_tokens < 0:
            raise ConfigError("`max_characters` and `min_tokens` cannot be negative.", fix="Show 1 or more.")


def distinct_items(answer: str) -> list[str]:
    """Returns the items of a list, each once. Raises: as `parse.bullets`; `too_long`: an item over 600 characters."""
    items = list(dict.fromkeys(bullets(answer)))
    if longest := next((item for item in items if len(item) > 600), None):
        raise ParseError("too_long", longest[:100])
    return items


@recipe(
    "active-reading",
    version=1,
    shape="text",
    prompts=("strategies", "apply"),
    options=ActiveReading,
    params=GenerationParams(max_tokens=1500, temperature=0.8, top_p=0.95),
    source="Lin et al. 2025, Learning Facts at Scale with Active Reading",
)
async def active_reading(document: Document, ask: Ask) -> list[Draft]:
    """Study notes on each document, in ways that the model first proposes for it (quiz, timeline, analogy, ...)."""
    shown = first_characters(document.text, ask.options.max_characters)
    if not shown.text:
        raise Rejected("empty_document")
    n: int = ask.options.strategies
    proposed = await ask("strategies", {"document": shown.text, "n": n}, distinct_items)
    asked = [("apply", {"document": shown.text, "strategy": strategy}) for strategy in proposed.value[:n]]
    replies = await ask.each(asked, at_least(ask.options.min_tokens, content))
    return [
        Draft(text=reply.value, replies=(proposed, reply), span=shown.span, meta={"strategy": strategy})
        for reply, strategy in zip(replies, proposed.value[:n], strict=True)
        if reply is not None
    ]
