"""Tries a recipe out on a few documents with answers from a function: what its author's tests and preview use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tilth.identity import fingerprint_of
from tilth.synthesis.ask import DocumentAsk, LostPart, RejectedPart
from tilth.synthesis.attempt import Attempt, attempt
from tilth.synthesis.define import Draft, Recipe
from tilth.synthesis.design import make_design
from tilth.synthesis.prompt_files import load_prompts
from tilth.teacher.faults import DeadLetter, TeacherFault
from tilth.teacher.request import Answer, Reply, Request, Usage
from tilth.types import Document

AnswerFunction = Callable[[Request, int], "str | Answer"]
"""The answer to a request, and to which of its samples (from 0). May raise a `TeacherFault`: the request is lost."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a recipe made of a few documents."""

    attempts: tuple[Attempt, ...]
    """One for each document, in order."""
    requests: tuple[Request, ...]
    """What was asked, in the order in which it was."""

    @property
    def drafts(self) -> list[list[Draft]]:
        """The drafts of each document."""
        return [list(one.drafts) for one in self.attempts]

    @property
    def rejected(self) -> list[RejectedPart]:
        """What was dropped, of all documents in order."""
        return [part for one in self.attempts for part in one.rejected]

    @property
    def reasons(self) -> list[str]:
        """Why, of all documents in order."""
        return [part.reason for part in self.rejected]

    @property
    def lost(self) -> list[LostPart]:
        """Requests that failed, of all documents in order."""
        return [part for one in self.attempts for part in one.lost]


def try_recipe(
    recipe: Recipe,
    documents: Sequence[Document],
    answer: AnswerFunction,
    options: object | None = None,
    seed: int = 0,
    *,
    sample: int = 0,
    cells: Sequence[Mapping[str, str]] | None = None,
) -> TrialResult:
    """Runs a recipe over documents, one after another, without a network.

    `options` None: the recipe's defaults. `cells` None: drawn from the recipe's axes.
    """
    asker = FunctionAsker(answer)
    prompts = load_prompts(recipe)
    design = make_design(recipe.axes, "weighted", seed, len(documents))
    chosen = recipe.options() if options is None else options

    async def run() -> list[Attempt]:
        found: list[Attempt] = []
        for index, document in enumerate(documents):
            cell = design.cell(document.id, index) if cells is None else cells[index]
            ask = DocumentAsk(
                recipe, prompts, document.id, asker, options=chosen, seed=seed, sample=sample, cell=cell
            )  # fmt: skip
            found.append(await attempt(recipe, document, ask))
        return found

    attempts = asyncio.run(run())
    return TrialResult(attempts=tuple(attempts), requests=tuple(asker.requests))


class FunctionAsker:
    """An `Asker` without cache, budget or tries, whose answers come from a function."""

    def __init__(self, answer: AnswerFunction, teacher: str = "function") -> None:
        self.answer, self.teacher = answer, teacher
        self.requests: list[Request] = []

    async def ask(
        self, request: Request, *, recipe: str, teacher: str | None = None, n: int = 1, first_sample: int = 0
    ) -> list[Reply]:
        """Returns the function's answers as replies; lets other tasks run first, as a network would."""
        self.requests.append(request)
        await asyncio.sleep(0)
        return [self._reply(request, sample, teacher) for sample in range(first_sample, first_sample + n)]

    def _reply(self, request: Request, sample: int, teacher: str | None) -> Reply:
        key = fingerprint_of({"prompt": request.prompt_key, "seed": request.params.seed, "sample": sample})
        try:
            found = self.answer(replace(request), sample)
        except TeacherFault as fault:
            raise DeadLetter(fault, tries=1, key=key, teacher=teacher or self.teacher) from None
        if isinstance(found, str):
            asked = sum(len(message.content.split()) for message in request.messages) + len(
                (request.prompt or "").split()
            )
            usage = Usage(prompt_tokens=asked, completion_tokens=len(found.split()))
            found = Answer(text=found, finish_reason="stop", usage=usage)
        return Reply(answer=found, request=request, key=key, teacher=teacher or self.teacher, sample=sample)
