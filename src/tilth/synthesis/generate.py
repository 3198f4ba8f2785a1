"""Generation: documents through a recipe, as many at once as keep the gateway full, in one event loop.

The window runs across the borders of shards, so that no server waits while the last documents of a shard are answered.
Results come in the order of the documents. Where shards go to other machines (`make_shard`, a function for
`execute.map_shards`), each has a loop, a gateway and an equal share of the budget of its own.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tilth.execute import Context
from tilth.files import write_bytes
from tilth.synthesis.ask import DocumentAsk, LostPart, RejectedPart
from tilth.synthesis.attempt import attempt
from tilth.synthesis.config import Budget, SynthesisConfig
from tilth.synthesis.define import Recipe
from tilth.synthesis.in_order import in_order
from tilth.synthesis.prompt_files import PromptFile
from tilth.synthesis.render import Candidate, candidate_from_row, candidate_row, make_candidate
from tilth.synthesis.router import Router
from tilth.synthesis.source_documents import SeedDocument, SourceDocuments
from tilth.teacher.budget import NOTHING, Cost
from tilth.teacher.faults import BudgetSpent
from tilth.teacher.gateway import Gateway
from tilth.teacher.request import Asker

WINDOW = 4
"""Documents that are begun and not yet committed, for each request that may be in flight."""

OpenAsker = Callable[[Budget], AbstractAsyncContextManager[Asker]]
"""Opens the door to the teachers, with a budget; closed with its block. To go to other processes it must pickle."""


class Cells(Protocol):
    """A sampling design (`synthesis/design.py`)."""

    def cell(self, document_id: str, index: int) -> Mapping[str, str]:
        """Returns axis -> value for a document."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides what a recipe makes of a document."""

    recipe: Recipe
    prompts: Mapping[str, PromptFile]
    options: object
    config: SynthesisConfig
    dataset: str
    """Fingerprint of the source dataset; empty: none."""
    cells: Cells
    teacher: str | None
    """Who answers; None: the asker decides."""

    @property
    def overrides(self) -> dict[str, object]:
        """What the user sets, whatever recipe and call say."""
        set_ = {"temperature": self.config.temperature, "max_tokens": self.config.max_answer_tokens}
        return {name: value for name, value in set_.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Made:
    """What became of one document, before the gates."""

    seed: SeedDocument
    candidates: tuple[Candidate, ...] = ()
    rejected: tuple[RejectedPart, ...] = ()
    lost: tuple[LostPart, ...] = ()
    complete: bool = True
    """False: the budget was spent before it was done. Then it counts as not begun."""


async def make(plan: Plan, seed: SeedDocument, asker: Asker) -> Made:
    """Runs the recipe on a document, once for each sample. Raises: whatever the recipe raises that no answer causes."""
    cell = plan.cells.cell(seed.document.id, seed.index)
    document = replace(seed.document, meta={**seed.extra, **seed.document.meta})  # a recipe sees `score_<name>` there
    candidates: list[Candidate] = []
    rejected: list[RejectedPart] = []
    lost: list[LostPart] = []
    for sample in range(plan.config.samples):
        ask = DocumentAsk(
            plan.recipe,
            plan.prompts,
            seed.document.id,
            asker,
            options=plan.options,
            seed=plan.config.seed,
            overrides=plan.overrides,
            teacher=plan.teacher,
            sample=sample,
            cell=cell,
        )
        try:
            found = await attempt(plan.recipe, document, ask)
        except BudgetSpent:
            return Made(seed=seed, complete=False)
        candidates += [
            make_candidate(plan.recipe, seed, draft, dataset=plan.dataset, cell=cell) for draft in found.drafts
        ]
        rejected += found.rejected
        lost += found.lost
    return Made(seed=seed, candidates=tuple(candidates), rejected=tuple(rejected), lost=tuple(lost))


class Stop:
    """Set when the budget is spent: no further document is begun."""

    def __init__(self) -> None:
        self.reason = ""
        self.generated = 0
        """Documents that were done when it was not set, whatever came before the gates of them yet."""

    def __bool__(self) -> bool:
        return bool(self.reason)


def generate(
    plan: Plan,
    seeds: Iterable[SeedDocument],
    asker: Asker,
    stop: Stop,
    *,
    window: int,
    router: Router | None = None,
) -> AsyncGenerator[Made]:
    """Yields what became of each document, in order; after the budget is spent, of those that were begun."""

    async def one(seed: SeedDocument) -> Made:
        if stop:
            return Made(seed=seed, complete=False)
        if router is None:
            made = await make(plan, seed, asker)
        else:
            try:
                async with router.document(seed.document, seed.index) as routed:
                    made = await make(plan, seed, routed)
            except BudgetSpent:  # while it waited for documents before it
                made = Made(seed=seed, complete=False)
        if not made.complete and not stop:
            stop.reason = "the budget is spent"
        stop.generated += made.complete
        return made

    def while_there_is_budget() -> Iterable[SeedDocument]:
        for seed in seeds:
            if stop:
                return
            yield seed

    return in_order(one, while_there_is_budget(), window=window)


# Shards on other machines


@dataclass(frozen=True, kw_only=True)
class MadeShard:
    """What generating a shard came to; its documents are in a file."""

    shard: int
    complete: bool
    spending: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """`Spending`, as JSON."""
    paid: Cost = NOTHING
    """What counts against the budget."""


def make_shard(
    shard: int,
    *,
    work: Path,
    sources: SourceDocuments,
    plan: Callable[[], Plan],
    open_asker: OpenAsker,
    context: Context,
) -> MadeShard:
    """Generates a shard into `work/candidates`; a file's presence means that it is whole."""
    path = candidates_path(work, shard)
    if not path.exists():
        asyncio.run(_make_shard(shard, path, sources, plan(), open_asker, context))
    head = json.loads(path.read_text().split("\n", 1)[0])
    return MadeShard(
        shard=shard, complete=head["complete"], spending=head["spending"], paid=Cost(*head["paid"])
    )  # fmt: skip


async def _make_shard(
    shard: int, path: Path, sources: SourceDocuments, plan: Plan, open_asker: OpenAsker, context: Context
) -> None:
    stop = Stop()
    lines: list[str] = []
    complete = True
    async with open_asker(share_of(plan.config.budget, sources.counts[shard] / max(len(sources), 1))) as asker:
        window = WINDOW * context.max_in_flight
        async for made in generate(plan, sources.of_shard(shard), asker, stop, window=window):
            complete &= made.complete
            lines.append(json.dumps(_made_row(made), ensure_ascii=True))
        spending = spending_rows(asker)
        paid = asker.reservations.spent if isinstance(asker, Gateway) else NOTHING
    head = json.dumps({"complete": complete and not stop, "spending": spending, "paid": paid})
    write_bytes(path, "\n".join([head, *lines, ""]).encode())


def share_of(budget: Budget, share: float) -> Budget:
    """Returns a part of a budget."""
    tokens = None if budget.max_total_tokens is None else math.floor(budget.max_total_tokens * share)
    money = None if budget.max_money is None else budget.max_money * share
    flops = None if budget.max_flops is None else budget.max_flops * share
    return replace(budget, max_total_tokens=tokens, max_money=money, max_flops=flops)


def left_of(budget: Budget, paid: Cost) -> Budget:
    """Returns what is left of a budget."""
    limits = {"max_total_tokens": paid.tokens, "max_money": paid.money, "max_flops": paid.flops}
    left = {
        name: max(getattr(budget, name) - spent, 0)
        for name, spent in limits.items()
        if getattr(budget, name) is not None
    }
    return replace(budget, **left)


def spending_rows(asker: Asker) -> list[dict[str, Any]]:
    """Returns what a gateway says was spent, as JSON; nothing for an asker that does not count."""
    spending: Callable[[], Sequence[Any]] | None = getattr(asker, "spending", None)
    return [] if spending is None else [asdict(one) for one in spending()]


def candidates_path(work: Path, shard: int) -> Path:
    """Returns the file that a shard's candidates are in."""
    return work / "candidates" / f"{shard:05d}.jsonl"


async def made_before(work: Path, sources: SourceDocuments) -> AsyncGenerator[Made]:
    """Yields what `make_shard` made of all shards, in the order of the documents."""
    for shard in range(sources.n_shards):
        seeds = sources.of_shard(shard)
        with candidates_path(work, shard).open(encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                row = json.loads(line)
                seed = next(seed for seed in seeds if seed.row == row["row"])
                yield _made_from_row(row, seed)


def _made_row(made: Made) -> dict[str, Any]:
    return {
        "row": made.seed.row,
        "complete": made.complete,
        "candidates": [candidate_row(candidate) for candidate in made.candidates],
        "rejected": [asdict(part) for part in made.rejected],
        "lost": [asdict(part) for part in made.lost],
    }


def _made_from_row(row: Mapping[str, Any], seed: SeedDocument) -> Made:
    return Made(
        seed=seed,
        candidates=tuple(candidate_from_row(one) for one in row["candidates"]),
        rejected=tuple(RejectedPart(**one) for one in row["rejected"]),
        lost=tuple(LostPart(**one) for one in row["lost"]),
        complete=row["complete"],
    )
