"""The ledger of a curation that is at work: what the tasks that ended have read, and dropped for which reason."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tilth.curation.result import LEDGER, Amount, InputAmount, Ledger, RejectCount
from tilth.curation.tally import Tally, collect_rejects
from tilth.curation.task import task_records
from tilth.files import read_json
from tilth.results import write_result

SHARE = 0.02
"""Share of the time that the ledger takes at most."""
LEAST_SECONDS = 1.0
"""Between two writes."""
_EXAMPLES = 3


class LiveLedger:
    """Adds up the tasks that ended, each once, and writes the sum for whoever looks."""

    def __init__(self, work: Path, inputs: tuple[InputAmount, ...], live: Path) -> None:
        self.work, self.inputs, self.live = work, inputs, live
        self.tally, self.operators = Tally(), list[str]()
        self.rejects: dict[tuple[str, str], RejectCount] = {}
        self._seen: set[str] = set()
        self._due = 0.0

    def update(self, *, now: bool = False) -> None:
        """Writes the ledger of the tasks that ended, unless that was done a moment ago (and not `now`)."""
        if not now and time.monotonic() < self._due:
            return
        began = time.monotonic()
        for record in task_records(self.work):
            if record.stem not in self._seen:
                self._seen.add(record.stem)
                self._add(record)
        write_result(self.live / LEDGER, self.ledger())
        self._due = time.monotonic() + max(LEAST_SECONDS, (time.monotonic() - began) / SHARE)

    def ledger(self) -> Ledger:
        """Returns the sum; what passed the operators counts as kept for training, since nothing is split off yet."""
        stages = self.tally.amounts(["read", *self.operators])
        kept = Amount(documents=stages[-1].documents_out, bytes=stages[-1].bytes_out)
        return Ledger(
            inputs=self.inputs,
            stages=stages,
            rejects=tuple(self.rejects.values()),
            languages=dict(self.tally.languages),
            kinds=dict(self.tally.kinds),
            train=kept,
            held_out=Amount(documents=0, bytes=0),
        )

    def _add(self, record: Path) -> None:
        row = read_json(record)
        self.operators = list(row["stages"])
        self.tally.merge(row["tally"])
        paths = sorted((self.work / "rejects").glob(f"{record.stem}-*.parquet"))
        for found in collect_rejects(paths, ["read", *self.operators]):
            before = self.rejects.get((found.stage, found.reason))
            self.rejects[found.stage, found.reason] = found if before is None else _sum(before, found)


def _sum(a: RejectCount, b: RejectCount) -> RejectCount:
    return replace(
        a,
        documents=a.documents + b.documents,
        bytes=a.bytes + b.bytes,
        examples=(*a.examples, *b.examples)[:_EXAMPLES],
    )


def watched(results: Iterator[None], work: Path, inputs: Sequence[InputAmount], live: Path | None) -> Iterator[None]:
    """Passes the results of tasks on, and keeps `live/ledger.json` up to date meanwhile; without `live` nothing more.

    A disk that cannot take the ledger ends nothing: it is only looked at.
    """
    if live is None:
        yield from results
        return
    ledger = LiveLedger(work, tuple(inputs), live)
    for result in results:
        yield result
        with suppress(OSError):
            ledger.update()
    with suppress(OSError):
        ledger.update(now=True)
