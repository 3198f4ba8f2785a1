"""One document through a recipe: what came of it, whatever happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from tilth.errors import ConfigError, TilthError
from tilth.synthesis.ask import DocumentAsk, LostPart, RejectedPart
from tilth.synthesis.define import Draft, ParseError, Recipe, Rejected
from tilth.teacher.faults import DeadLetter
from tilth.types import Document


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What a recipe made of one document."""

    drafts: tuple[Draft, ...] = ()
    rejected: tuple[RejectedPart, ...] = ()
    """Answers and parts that were dropped, sorted by content."""
    lost: tuple[LostPart, ...] = ()
    """Requests that failed after all their tries."""


async def attempt(recipe: Recipe, document: Document, ask: DocumentAsk) -> Attempt:
    """Runs a recipe on a document.

    An answer that cannot be parsed, a `Rejected`, and a request that failed after all its tries end this document
    only. Raises: BudgetSpent, and whatever else the recipe raises, with the document as a note: a bug must not pass for
    a bad answer.
    """
    drafts: Sequence[Draft] = ()
    try:
        drafts = await recipe.fn(document, ask)
    except ParseError as error:
        if not ask.is_recorded(error):
            ask.reject(error.reason, error.detail)
    except Rejected as error:
        ask.reject(error.reason, error.detail)
    except DeadLetter as error:
        ask.lose(error)
    except TilthError:
        raise
    except Exception as error:
        error.add_note(f"The recipe `{recipe.name}` raised it for the document {document.id} ({document.source}).")
        raise
    _check(recipe, drafts)
    if sum(draft.keeps_id for draft in drafts) > 1:
        raise ConfigError(
            f"The recipe `{recipe.name}` returned the document {document.id} more than once under its id.",
            fix="Return one draft with `keeps_id`.",
        )
    return Attempt(drafts=tuple(drafts), rejected=tuple(ask.rejected), lost=tuple(ask.lost))


def _check(recipe: Recipe, drafts: object) -> None:
    if not isinstance(drafts, list | tuple):
        said = f"`{type(drafts).__name__}`"
    else:
        found = cast("Sequence[object]", drafts)
        if all(isinstance(draft, Draft) for draft in found):
            return
        said = f"a list of {', '.join(sorted({f'`{type(draft).__name__}`' for draft in found}))}"
    raise ConfigError(f"The recipe `{recipe.name}` returned {said}.", fix="Return a list of `Draft`.")
