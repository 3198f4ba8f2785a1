"""Files that grow while they are read: each call reads what was added since the last."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from tilth.errors import DataError
from tilth.inference.result import LiveSample
from tilth.report.run import Entry, RunResults, TrainingRun
from tilth.results import decode
from tilth.training.result import EvalPoint, Metrics, TrainPoint

T = TypeVar("T")


class _Lines(ABC, Generic[T]):
    """The whole lines of one file; begun anew when the file is another one, or shorter than before."""

    def __init__(self) -> None:
        self._inode, self._offset = -1, 0
        self.rows: list[T] = []

    @abstractmethod
    def row(self, line: object, where: str) -> T | None:
        """Returns a line's row; None for lines that are passed over."""

    def read_on(self, path: Path) -> None:
        """Reads the lines that were added; one that is not complete yet is left for later."""
        with path.open("rb") as file:
            facts = path.stat()
            if facts.st_ino != self._inode or facts.st_size < self._offset:
                self._inode, self._offset, self.rows = facts.st_ino, 0, []
            file.seek(self._offset)
            whole = file.read().rpartition(b"\n")[0]
        for line in whole.splitlines():
            self._take(line, str(path))
        self._offset += len(whole) + 1 if whole else 0

    def _take(self, line: bytes, where: str) -> None:
        try:
            row = self.row(json.loads(line), where)
        except ValueError:
            raise DataError(f"{where} holds a line that is not JSON.", fix="Delete the file.") from None
        if row is not None:
            self.rows.append(row)


class MetricsReader(_Lines[TrainPoint | EvalPoint]):
    """`metrics.jsonl` of a training that is at work."""

    def row(self, line: object, where: str) -> TrainPoint | EvalPoint | None:
        """Returns the point of a line; lines of other measurements are passed over."""
        if isinstance(line, dict) and "loss" in line:
            return decode(TrainPoint, line, where)
        if isinstance(line, dict) and "held_out_bits_per_byte" in line:
            return decode(EvalPoint, line, where)
        return None

    def results(self, label: str, paths: Sequence[Path]) -> RunResults | None:
        """Returns what the first of the files that exists holds so far, as results; None where there is no step yet."""
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            return None
        self.read_on(path)
        train = tuple(row for row in self.rows if isinstance(row, TrainPoint))
        if len(train) < 2:
            return None
        held_out = tuple(row for row in self.rows if isinstance(row, EvalPoint))
        return RunResults(trainings=(Entry(label, TrainingRun(metrics=Metrics(train=train, held_out=held_out))),))


class SamplesReader(_Lines[LiveSample]):
    """`samples.jsonl` of a training that is at work."""

    def row(self, line: object, where: str) -> LiveSample:
        """Returns the sample of a line."""
        return decode(LiveSample, line, where)

    def read(self, path: Path) -> Sequence[LiveSample]:
        """Returns the samples so far, the oldest first."""
        if path.exists():
            self.read_on(path)
        return self.rows
