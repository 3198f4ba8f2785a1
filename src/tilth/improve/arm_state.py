"""Where an arm stands between two rounds: its last good model, its data, and what it has done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from tilth.improve.controller import Spend, score
from tilth.improve.problem_pool import ProblemPool
from tilth.improve.rounds import RoundRecord, read_pseudo_labels


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """A pure function of the base model and the records of the arm's rounds."""

    folder: Path
    """Holds the last good model."""
    pool: ProblemPool
    records: tuple[RoundRecord, ...]
    """The base model's, then one for each round so far."""
    good: RoundRecord
    """The record of the last good round, or the base model's."""

    @classmethod
    def after_base(cls, folder: Path, pool: ProblemPool, record: RoundRecord) -> ArmState:
        """Returns where every arm begins."""
        return cls(folder=folder, pool=pool, records=(record,), good=record)

    @property
    def base(self) -> RoundRecord:
        """The record of the base model."""
        return self.records[0]

    @property
    def difficulty(self) -> int:
        """The newest difficulty."""
        return self.records[-1].difficulty

    @property
    def thrown_away(self) -> int:
        """How many rounds were thrown away since the last good one."""
        return sum(1 for _ in takewhile(lambda record: not record.good, reversed(self.records)))

    @property
    def exhausted(self) -> int:
        """How many of the last rounds, all at the newest difficulty, had labels that told the model nothing."""
        last = reversed(self.records)
        return sum(1 for _ in takewhile(lambda r: r.exhausted and r.difficulty == self.difficulty, last))

    @property
    def spends(self) -> Sequence[Spend]:
        """What the controller's rounds took and gave."""
        return [
            Spend(
                action=record.decision.action,
                gain=score(record.shares) - score(record.shares_before),
                flops=record.train_flops + record.generation_flops,
            )
            for record in self.records
            if record.decision is not None
        ]

    def after(self, folder: Path, record: RoundRecord) -> ArmState:
        """Returns where the arm stands after one more round, which `folder` holds."""
        records = (*self.records, record)
        if not record.good:
            return replace(self, records=records)
        pool = self.pool.plus(record.difficulty, read_pseudo_labels(folder))
        return ArmState(folder=folder, pool=pool, records=records, good=record)
