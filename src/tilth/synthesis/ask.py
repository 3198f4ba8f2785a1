"""What a recipe is given to ask with: it renders, sends, recognises answers that are none, parses, and keeps a record.

One `DocumentAsk` is made for each document (and sample of it). Everything random in it follows from the run's seed, the
recipe's name and the document's id. What it records is sorted by content in the end, because the order in which answers
arrive must not show.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from tilth.errors import ConfigError
from tilth.synthesis.broken_answers import broken_answer
from tilth.synthesis.define import Parsed, ParseError, Parser, Recipe
from tilth.synthesis.prompt_files import PromptFile, rendered
from tilth.teacher.faults import DeadLetter
from tilth.teacher.request import Asker, GenerationParams, Reply, Request
from tilth.types import Message

T = TypeVar("T")
PARSED = "parsed"
"""Stage of what was dropped before the gates: by a parser, a post rule, or the recipe itself."""


@dataclass(frozen=True, kw_only=True, order=True)
class RejectedPart:
    """An answer that could not be parsed, or a part of one that a post rule dropped."""

    stage: str
    reason: str
    detail: str
    prompt: str
    """Name of the prompt file; empty where no single answer is meant."""
    key: str
    """Of the answer in the request cache."""
    raw: str
    """The whole raw answer."""
    teacher: str = ""
    request: str = ""
    """The rendered prompt."""


@dataclass(frozen=True, kw_only=True, order=True)
class LostPart:
    """A request that failed after all its tries."""

    error: str
    prompt: str
    key: str
    raw: str
    """What came back at last, as far as it came."""
    teacher: str = ""


def document_seed(seed: int, recipe: str, document_id: str) -> int:
    """Returns 63 bits that run, recipe and document decide."""
    digest = hashlib.sha256(f"{seed}\0{recipe}\0{document_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def merged(*params: GenerationParams | None) -> GenerationParams:
    """Returns the parameters with those of later ones that are not at their default."""
    default, changed = GenerationParams(), dict[str, Any]()
    for one in params:
        if one is not None:
            values = {field.name: getattr(one, field.name) for field in fields(one)}
            changed |= {name: value for name, value in values.items() if value != getattr(default, name)}
    return replace(default, **changed)


class DocumentAsk:
    """An `Ask` for one document and one of its samples (`tilth.synthesis.define.Ask`).

    `overrides` are the user's; they are set whatever recipe and call say, except for a judgement. Sample `i` of a
    prompt is sample `i` in the request cache, so a run with more samples pays for the new ones only.
    """

    def __init__(
        self,
        recipe: Recipe,
        prompts: Mapping[str, PromptFile],
        document_id: str,
        asker: Asker,
        *,
        options: object,
        seed: int = 0,
        overrides: Mapping[str, object] | None = None,
        teacher: str | None = None,
        sample: int = 0,
        cell: Mapping[str, str] | None = None,
    ) -> None:
        self._recipe, self._prompts, self._asker = recipe, prompts, asker
        self._options, self._cell, self._teacher, self._sample = options, cell or {}, teacher, sample
        self._overrides: dict[str, Any] = dict(overrides or {})
        derived = document_seed(seed, recipe.name, document_id)
        self._rng = np.random.default_rng(derived)
        self._request_seed = derived % 2**31
        self._rejected: list[RejectedPart] = []
        self._lost: list[LostPart] = []
        self._recorded: list[ParseError] = []

    @property
    def options(self) -> Any:
        """The recipe's options."""
        return self._options

    @property
    def rng(self) -> np.random.Generator:
        """Fixed by the run's seed, the recipe and the document's id; the same for all samples of a document."""
        return self._rng

    @property
    def cell(self) -> Mapping[str, str]:
        """This document's cell of the sampling design."""
        return self._cell

    @property
    def rejected(self) -> list[RejectedPart]:
        """What was dropped so far, sorted by content."""
        return sorted(self._rejected)

    @property
    def lost(self) -> list[LostPart]:
        """Requests that failed after all their tries, sorted by content."""
        return sorted(self._lost)

    def is_recorded(self, error: ParseError) -> bool:
        """Whether an error came out of an answer that is among the rejected ones already."""
        return any(error is one for one in self._recorded)

    async def __call__(
        self,
        prompt: str,
        variables: Mapping[str, object],
        parse: Parser[T],
        *,
        params: GenerationParams | None = None,
        schema: Mapping[str, object] | None = None,
        history: Sequence[Message] = (),
        is_judgement: bool = False,
    ) -> Parsed[T]:
        """Renders a prompt file, asks and parses. Raises: ParseError (recorded), DeadLetter, BudgetSpent."""
        file = self._file(prompt)
        chosen = self._params(params, is_judgement=is_judgement)
        request = Request(messages=file.render(variables, history), params=chosen, schema=schema)
        (reply,) = await self._ask(request, 1)
        return self._parsed(reply, parse, file.name, file.version, variables, file.instructions)

    async def each(
        self,
        prompts: Sequence[tuple[str, Mapping[str, object]]],
        parse: Parser[T],
        *,
        params: GenerationParams | None = None,
        is_judgement: bool = False,
    ) -> list[Parsed[T] | None]:
        """Asks side by side; None where an answer could not be parsed, or none came after all tries (both recorded)."""

        async def one(prompt: str, variables: Mapping[str, object]) -> Parsed[T] | None:
            try:
                return await self(prompt, variables, parse, params=params, is_judgement=is_judgement)
            except ParseError:
                return None
            except DeadLetter as error:
                self.lose(error, self._file(prompt).name)
                return None

        return await _side_by_side([one(prompt, variables) for prompt, variables in prompts])

    async def samples(
        self,
        prompt: str,
        variables: Mapping[str, object],
        parse: Parser[T],
        *,
        n: int,
        params: GenerationParams | None = None,
    ) -> list[Parsed[T]]:
        """Draws `n` samples of one prompt; those that could not be parsed are left out."""
        file = self._file(prompt)
        request = Request(messages=file.render(variables), params=self._params(params))
        found: list[Parsed[T]] = []
        for reply in await self._ask(request, n):
            try:
                found.append(self._parsed(reply, parse, file.name, file.version, variables, file.instructions))
            except ParseError:
                continue
        return found

    async def continue_text(
        self, text: str, parse: Parser[T], *, name: str, params: GenerationParams | None = None
    ) -> Parsed[T]:
        """Has a raw text continued; `name` stands for the prompt in lineage. Raises: as a call."""
        (reply,) = await self._ask(Request(prompt=text, params=self._params(params)), 1)
        return self._parsed(reply, parse, f"{self._recipe.name}/{name}", self._recipe.version, {"text": text}, ())

    def reject(self, reason: str, detail: str = "", *, raw: str = "", stage: str = PARSED) -> None:
        """Records that a part of an answer was dropped by a post rule."""
        self._rejected.append(RejectedPart(stage=stage, reason=reason, detail=detail, prompt="", key="", raw=raw))

    def lose(self, error: DeadLetter, prompt: str = "") -> None:
        """Records a request that failed after all its tries."""
        lost = LostPart(error=str(error), prompt=prompt, key=error.key, raw=error.fault.raw, teacher=error.teacher)
        self._lost.append(lost)

    def _file(self, prompt: str) -> PromptFile:
        if prompt not in self._prompts:
            raise ConfigError(
                f"The recipe `{self._recipe.name}` asks with the prompt {prompt!r:.80}, which it does not declare.",
                fix=f"Declare it: `@recipe(..., prompts=...)` names {', '.join(self._prompts) or 'none'}.",
            )
        return self._prompts[prompt]

    def _params(self, of_call: GenerationParams | None, *, is_judgement: bool = False) -> GenerationParams:
        overrides = {} if is_judgement else self._overrides
        return replace(merged(self._recipe.params, of_call), **overrides, seed=self._request_seed)

    async def _ask(self, request: Request, n: int) -> list[Reply]:
        first: dict[str, Any] = {"first_sample": self._sample * n} if self._sample else {}
        return await self._asker.ask(request, recipe=self._recipe.name, teacher=self._teacher, n=n, **first)

    def _parsed(
        self,
        reply: Reply,
        parse: Parser[T],
        prompt: str,
        version: int,
        variables: Mapping[str, object],
        instructions: Sequence[str],
    ) -> Parsed[T]:
        try:
            if broken := broken_answer(reply, instructions, allow_cut_off=self._recipe.allow_cut_off):
                raise ParseError(broken)
            try:
                value = parse(reply.text)
            except RecursionError:
                raise ParseError("nested_too_deeply") from None
        except ParseError as error:
            self._recorded.append(error)
            part = RejectedPart(
                stage=PARSED,
                reason=error.reason,
                detail=error.detail,
                prompt=prompt,
                key=reply.key,
                raw=reply.text,
                teacher=reply.teacher,
                request=rendered(reply.request),
            )
            self._rejected.append(part)
            raise
        return Parsed(value=value, reply=reply, prompt=prompt, prompt_version=version, variables=variables)


async def _side_by_side(asking: Sequence[Any]) -> list[Any]:
    """Returns all results in order; the first error cancels the rest and is raised."""
    tasks = [asyncio.ensure_future(one) for one in asking]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
