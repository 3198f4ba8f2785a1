"""The gates, in the order of the documents: what is dropped where, and what is kept until a verifier has seen it.

Gates without a teacher judge as the documents come, one after another, because `near_duplicate` remembers what it let
through. The critic is asked for survivors only, for many documents side by side; its verdicts are taken in the order of
the documents again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from tilth.curation.operators import Drop
from tilth.synthesis.ask import PARSED, LostPart
from tilth.synthesis.gates.gate import ORDER, CriticGate, Gate, Pass
from tilth.synthesis.generate import Made, Stop
from tilth.synthesis.in_order import in_order
from tilth.synthesis.render import Candidate, with_verdicts
from tilth.synthesis.result import GateCount
from tilth.synthesis.source_documents import SeedDocument
from tilth.teacher.faults import BudgetSpent, DeadLetter
from tilth.teacher.request import Asker

CRITIC = "critic"
OF_NEW_TEXT = ("length", "language", "copy", "near_duplicate")
"""Gates that say nothing about a sample that is the source document itself, annotated or edited."""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A sample that a gate dropped."""

    candidate: Candidate
    gate: str
    drop: Drop


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of one document at the gates before the verifier."""

    made: Made
    kept: tuple[Candidate, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    lost: tuple[tuple[Candidate, LostPart], ...] = ()
    """Samples that no critic could judge, with why."""
    complete: bool = True

    @property
    def seed(self) -> SeedDocument:
        """The source document."""
        return self.made.seed


@dataclass
class Counts:
    """Samples in and out of each gate, and why."""

    entered: Counter[str] = field(default_factory=Counter[str])
    left: Counter[str] = field(default_factory=Counter[str])
    reasons: dict[str, Counter[str]] = field(default_factory=dict[str, "Counter[str]"])

    def passed(self, gate: str, n: int = 1) -> None:
        """Counts samples that a gate let through."""
        self.entered[gate] += n
        self.left[gate] += n

    def dropped(self, gate: str, reason: str) -> None:
        """Counts a sample that a gate dropped."""
        self.entered[gate] += 1
        self.reasons.setdefault(gate, Counter())[reason] += 1

    def add(self, other: Counts) -> None:
        """Adds what was counted elsewhere."""
        self.entered.update(other.entered)
        self.left.update(other.left)
        for gate, reasons in other.reasons.items():
            self.reasons.setdefault(gate, Counter()).update(reasons)

    def table(self) -> tuple[GateCount, ...]:
        """Returns the gates that something came to, in order, the most frequent reason first."""
        names = [*ORDER, *sorted(self.entered.keys() - set(ORDER))]
        return tuple(
            GateCount(
                gate=name,
                samples_in=self.entered[name],
                samples_out=self.left[name],
                reasons=dict(sorted(self.reasons.get(name, {}).items(), key=lambda item: (-item[1], item[0]))),
            )
            for name in names
            if self.entered[name] or name == PARSED
        )


def judge_without_teacher(made: Made, gates: Sequence[Gate]) -> Judged:
    """Returns the verdicts of the gates that ask nobody. It must be called in the order of the documents."""
    kept: list[Candidate] = []
    dropped: list[Dropped] = []
    for candidate in made.candidates:
        verdicts: list[Mapping[str, object]] = []
        for gate in gates:
            if candidate.keeps_id and gate.name in OF_NEW_TEXT:
                continue
            verdict = gate.judge(candidate.sample, made.seed.document)
            if isinstance(verdict, Drop):
                dropped.append(Dropped(candidate=_with(candidate, verdicts), gate=gate.name, drop=verdict))
                break
            verdicts.append(verdict_row(gate.name, verdict))
        else:
            kept.append(_with(candidate, verdicts))
    return Judged(made=made, kept=tuple(kept), dropped=tuple(dropped), complete=made.complete)


def verdict_row(gate: str, verdict: Pass) -> Mapping[str, object]:
    """Returns what lineage says of a gate that a sample passed."""
    row = {"gate": gate, "measure": verdict.measure, "limit": verdict.limit, "detail": verdict.detail}
    return {name: value for name, value in row.items() if value not in (None, "")}


def _with(candidate: Candidate, verdicts: Sequence[Mapping[str, object]]) -> Candidate:
    return replace(candidate, sample=with_verdicts(candidate.sample, verdicts)) if verdicts else candidate


async def criticise(judged: Judged, critic: CriticGate, asker: Asker) -> Judged:
    """Returns what a critic left of a document's samples."""
    document = judged.seed.document
    asking = [critic.judge(candidate.sample, document, asker) for candidate in judged.kept]
    verdicts = await asyncio.gather(*asking, return_exceptions=True)
    kept: list[Candidate] = []
    dropped, lost = list(judged.dropped), list(judged.lost)
    for candidate, verdict in zip(judged.kept, verdicts, strict=True):
        if isinstance(verdict, BudgetSpent):
            return replace(judged, complete=False)
        if isinstance(verdict, DeadLetter):
            part = LostPart(
                error=str(verdict), prompt=critic.name, key=verdict.key, raw=verdict.fault.raw, teacher=verdict.teacher
            )
            lost.append((candidate, part))
        elif isinstance(verdict, BaseException):
            raise verdict
        elif isinstance(verdict, Drop):
            dropped.append(Dropped(candidate=candidate, gate=critic.name, drop=verdict))
        else:
            kept.append(_with(candidate, [verdict_row(critic.name, verdict)]))
    return replace(judged, kept=tuple(kept), dropped=tuple(dropped), lost=tuple(lost))


async def judge(
    made: AsyncGenerator[Made],
    gates: Sequence[Gate],
    critic: CriticGate | None,
    asker: Asker,
    stop: Stop,
    *,
    window: int,
) -> AsyncGenerator[Judged]:
    """Yields the documents in order, through all gates but the verifier.

    Those that the budget left incomplete come too, marked so; nothing of them is to be kept.
    """

    async def judged() -> AsyncGenerator[Judged]:
        async with aclosing(made):
            async for one in made:
                yield judge_without_teacher(one, gates) if one.complete else Judged(made=one, complete=False)

    if critic is None:
        async with aclosing(judged()) as found:
            async for one in found:
                yield one
        return

    async def asked(one: Judged) -> Judged:
        if not one.complete:
            return one
        done = await criticise(one, critic, asker)
        if not done.complete and not stop:
            stop.reason = "the budget is spent"
        return done

    async with aclosing(in_order(asked, judged(), window=window)) as found:
        async for one in found:
            yield one


def count(judged: Judged, counts: Counts, gates: Sequence[str]) -> None:
    """Counts a complete document; `gates` are the names of those that judge, in order, the critic too."""
    made = judged.made
    for part in made.rejected:
        counts.dropped(PARSED, part.reason)
    counts.passed(PARSED, len(made.candidates))
    for one in judged.dropped:
        for name in _applied(one.candidate, gates):
            if name == one.gate:
                break
            counts.passed(name)
        counts.dropped(one.gate, one.drop.reason)
    for candidate in judged.kept:
        for name in _applied(candidate, gates):
            counts.passed(name)
    for candidate, _ in judged.lost:
        for name in _applied(candidate, gates):
            if name != CRITIC:
                counts.passed(name)
        counts.dropped(CRITIC, "no_answer")


def _applied(candidate: Candidate, gates: Sequence[str]) -> list[str]:
    return [name for name in gates if not (candidate.keeps_id and name in OF_NEW_TEXT)]
