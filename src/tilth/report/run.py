"""What a report is about: the results of a run's steps, several of a kind where there are several.

Each stage owns the dataclass of its result; this module only groups them. Everything is optional, so that the steps
finished so far give a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from tilth.assay.experiment import Experiment
from tilth.curation.result import Ledger
from tilth.evaluation.result import Baselines, Origins, Surprise
from tilth.improve.result import LoopResult
from tilth.inference.result import TextSample
from tilth.report.drops import Drops
from tilth.step_record import StepRecord
from tilth.tokenizer.result import TokenizerStatistics
from tilth.training.result import Metrics, TrainingSummary

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One result."""

    label: str
    """Names it in legends and tables; unique among the results of its kind."""
    result: T


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """The two files of one training."""

    summary: TrainingSummary | None = None
    metrics: Metrics | None = None


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """The results of a run."""

    name: str = ""
    """The recipe; empty: not known."""
    run_command: str | None = None
    """The command that repeats the run; None: not shown."""
    chat_command: str | None = None
    """The command to chat with the model; None: not shown."""
    unfinished: str = ""
    """How the run ended, where that was before its end."""
    ledgers: tuple[Entry[Ledger], ...] = ()
    drops: tuple[Entry[Drops], ...] = ()
    """What the curations dropped, where they left it; the label is that of the ledger."""
    tokenizers: tuple[Entry[TokenizerStatistics], ...] = ()
    trainings: tuple[Entry[TrainingRun], ...] = ()
    samples: tuple[Entry[tuple[TextSample, ...]], ...] = ()
    """The label is that of the training whose model wrote them, where that is in the run."""
    baselines: tuple[Entry[Baselines], ...] = ()
    """The label is that of the training whose model was measured, where that is in the run."""
    surprises: tuple[Entry[Surprise], ...] = ()
    """The label is that of the training whose model read the passages, where that is in the run."""
    origins: tuple[Entry[Origins], ...] = ()
    """The label is that of the training whose model wrote the samples, where that is in the run."""
    loops: tuple[Entry[LoopResult], ...] = ()
    experiments: tuple[Entry[Experiment], ...] = ()
    steps: tuple[Entry[StepRecord], ...] = ()
    """In the order of the folders."""

    def baselines_of(self, training: Entry[TrainingRun]) -> Baselines | None:
        """Returns the bits per byte that were measured with the model of `training`."""
        if len(self.baselines) == len(self.trainings) == 1:
            return self.baselines[0].result
        return next((entry.result for entry in self.baselines if entry.label == training.label), None)
