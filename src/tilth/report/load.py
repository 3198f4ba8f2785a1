"""Reads the results in the folders of a run's steps.

A file that is missing is left out; one that is there must have the shape that this version of its stage writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tilth.assay.experiment import EXPERIMENT_RESULT, Experiment
from tilth.curation.result import LEDGER, Ledger
from tilth.evaluation.result import BASELINES, NEAREST, SURPRISE, Baselines, Origins, Surprise
from tilth.improve.result import LOOP_RESULT, LoopResult
from tilth.inference.result import SAMPLES, TextSample
from tilth.report.drops import MOST_DOCUMENTS, Drops, read_drops
from tilth.report.labels import Labelled, unique_labels
from tilth.report.run import Entry, RunResults, TrainingRun
from tilth.results import read_result
from tilth.step_record import RECORD, StepRecord
from tilth.tokenizer.result import STATISTICS, TokenizerStatistics
from tilth.training.metrics import read_metrics
from tilth.training.result import METRICS, SUMMARY, Metrics, TrainingSummary

T = TypeVar("T")


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
    folders: Iterable[Path | str], *, name: str = "", run_command: str | None = None, chat_command: str | None = None
) -> RunResults:
    """Reads the results in the folders of steps; a folder that is named twice counts once.

    Raises: DataError naming the file and the key, where one is not what it should be.
    """
    paths = list(dict.fromkeys(map(Path, folders)))
    found = [_Folder(path, _read(StepRecord, path / RECORD)) for path in paths]
    trainings, labels = _trainings(found)
    ledgers = _entries(Ledger, LEDGER, found)
    return RunResults(
        name=name,
        run_command=run_command,
        chat_command=chat_command,
        ledgers=ledgers,
        drops=_drops(found, ledgers),
        tokenizers=_entries(TokenizerStatistics, STATISTICS, found),
        trainings=trainings,
        samples=_entries(tuple[TextSample, ...], SAMPLES, found, labels),
        baselines=_entries(Baselines, BASELINES, found, labels),
        surprises=_entries(Surprise, SURPRISE, found, labels),
        origins=_entries(Origins, NEAREST, found, labels),
        loops=_entries(LoopResult, LOOP_RESULT, found),
        experiments=_entries(Experiment, EXPERIMENT_RESULT, found),
        steps=_labelled([(folder, folder.record) for folder in found if folder.record is not None], short=False),
    )


def _entries(
    kind: type[T], file_name: str, folders: Sequence[_Folder], trainings: Mapping[str, str] | None = None
) -> tuple[Entry[T], ...]:
    results = [(folder, _read(kind, folder.path / file_name)) for folder in folders]
    return _labelled([(folder, result) for folder, result in results if result is not None], trainings)


def _drops(folders: Sequence[_Folder], ledgers: Sequence[Entry[Ledger]]) -> tuple[Entry[Drops], ...]:
    """The dropped documents of those curations that left a table of them, with the labels of their ledgers."""
    curations = [folder for folder in folders if (folder.path / LEDGER).exists()]
    most = MOST_DOCUMENTS // max(1, len(curations))
    read = [read_drops(folder.path, most=most) for folder in curations]
    return tuple(Entry(ledger.label, drops) for ledger, drops in zip(ledgers, read, strict=True) if drops is not None)


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
    return read_result(kind, path) if path.exists() else None


def _metrics(folder: Path) -> Metrics | None:
    return read_metrics(folder / METRICS) if (folder / METRICS).exists() else None
