"""Reads the results in the folders of a run's steps.

A file that is missing is left out; one that is there must be whole and of the shape that this version of its stage
writes. One exception: a last line of `metrics.jsonl` without its end comes from a killed run, and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tilth.curation.result import LEDGER, Ledger
from tilth.errors import DataError
from tilth.evaluation.result import BASELINES, Baselines
from tilth.improve.result import LOOP_RESULT, LoopResult
from tilth.inference.result import SAMPLES, TextSample
from tilth.report.labels import Labelled, unique_labels
from tilth.report.run import Entry, RunResults, TrainingRun
from tilth.results import decode, read_result
from tilth.step_record import RECORD, StepRecord
from tilth.tokenizer.result import STATISTICS, TokenizerStatistics
from tilth.training.result import METRICS, SUMMARY, EvalPoint, Metrics, TrainingSummary, TrainPoint

T = TypeVar("T")

_FIX = "Run the step that wrote it again."


@dataclass(frozen=True)
class _Folder:
    path: Path
    record: StepRecord | None

    def labelled(self, trainings: Mapping[str, str]) -> Labelled:
        """What its label is made of; `trainings` are the labels of trainings by fingerprint, to be named after."""
        record = self.record
        if record is None:
            return Labelled(name=self.path.name)
        # An input that is a part of a step's output is `fingerprint/path`.
        inputs = [fingerprint.split("/")[0] for fingerprint in record.inputs.values()]
        origin = next((trainings[fingerprint] for fingerprint in inputs if fingerprint in trainings), None)
        name = origin or record.label or record.name
        return Labelled(name=name, config=record.config, fingerprint=record.fingerprint)


def collect(
    folders: Iterable[Path], *, name: str = "", run_command: str | None = None, chat_command: str | None = None
) -> RunResults:
    """Reads the results in the folders of steps; a folder that is named twice counts once.

    Raises: DataError naming the file and the key, where one is not what it should be.
    """
    paths = list(dict.fromkeys(folders))
    found = [_Folder(path, _read(StepRecord, path / RECORD)) for path in paths]
    trainings, labels = _trainings(found)
    return RunResults(
        name=name,
        run_command=run_command,
        chat_command=chat_command,
        ledgers=_entries(Ledger, LEDGER, found),
        tokenizers=_entries(TokenizerStatistics, STATISTICS, found),
        trainings=trainings,
        samples=_entries(tuple[TextSample, ...], SAMPLES, found, labels),
        baselines=_entries(Baselines, BASELINES, found, labels),
        loops=_entries(LoopResult, LOOP_RESULT, found),
        steps=_labelled([(folder, folder.record) for folder in found if folder.record is not None], short=False),
    )


def _entries(
    kind: type[T], file_name: str, folders: Sequence[_Folder], trainings: Mapping[str, str] | None = None
) -> tuple[Entry[T], ...]:
    results = [(folder, _read(kind, folder.path / file_name)) for folder in folders]
    return _labelled([(folder, result) for folder, result in results if result is not None], trainings)


def _labelled(
    results: Sequence[tuple[_Folder, T]], trainings: Mapping[str, str] | None = None, *, short: bool = True
) -> tuple[Entry[T], ...]:
    labels = unique_labels([folder.labelled(trainings or {}) for folder, _ in results], short=short)
    return tuple(Entry(label, result) for label, (_, result) in zip(labels, results, strict=True))


def _trainings(folders: Sequence[_Folder]) -> tuple[tuple[Entry[TrainingRun], ...], dict[str, str]]:
    """Returns the trainings, and their labels by the fingerprints of their steps."""
    runs = [
        (folder, TrainingRun(summary=_read(TrainingSummary, folder.path / SUMMARY), metrics=_metrics(folder.path)))
        for folder in folders
    ]
    runs = [(folder, run) for folder, run in runs if run != TrainingRun()]
    entries = _labelled(runs)
    records = [folder.record for folder, _ in runs]
    labels = {
        record.fingerprint: entry.label for record, entry in zip(records, entries, strict=True) if record is not None
    }
    return entries, labels


def _read(kind: type[T], path: Path) -> T | None:
    if not path.exists():
        return None
    return read_result(kind, path)


def _metrics(folder: Path) -> Metrics | None:
    path = folder / METRICS
    if not path.exists():
        return None
    train: list[TrainPoint] = []
    held_out: list[EvalPoint] = []
    for index, line in enumerate(_metric_lines(path)):
        where = f"{path}[{index}]"
        if isinstance(line, Mapping) and "held_out_bits_per_byte" in line:
            held_out.append(decode(EvalPoint, line, where))
        else:
            train.append(decode(TrainPoint, line, where))
    return Metrics(train=tuple(train), held_out=tuple(held_out))


def _metric_lines(path: Path) -> list[Any]:
    lines = path.read_bytes().split(b"\n")[:-1]
    rows: list[Any] = []
    for index, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}[{index}] is not valid JSON: {error}.", fix=_FIX) from None
    return rows
