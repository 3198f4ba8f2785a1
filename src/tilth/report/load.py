"""Reads the artefacts of a run into checked records.

What is absent becomes None; what is present must be whole, and a file that cannot be read as what it claims
to be is a `DataError` with its name. One exception: a last line of `metrics.jsonl` without its end is the
mark of a killed run, not of a broken file, and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from tilth.errors import DataError
from tilth.report.artefacts import (
    Baselines,
    EvalPoint,
    Improve,
    Ledger,
    Metrics,
    RunArtefacts,
    RunData,
    Source,
    StepRecord,
    TextSample,
    TokenizerStatistics,
    TrainingSummary,
    TrainPoint,
)
from tilth.report.decode import decode

T = TypeVar("T")


def load(run: RunArtefacts) -> RunData:
    """Reads and checks every artefact of `run` that is there.

    Raises: DataError naming the file and the key, where one is not what it should be.
    """
    return RunData(
        ledger=_read(Ledger, run.ledger, "ledger.json"),
        tokenizer=_read(TokenizerStatistics, run.tokenizer, "statistics.json"),
        metrics=_metrics(run.metrics),
        training=_read(TrainingSummary, run.training, "summary.json"),
        samples=_read(tuple[TextSample, ...], run.samples, "samples.json") or (),
        baselines=_read(Baselines, run.baselines, "baselines.json"),
        improve=_checked(_read(Improve, run.improve, "improve.json"), _name(run.improve, "improve.json")),
        steps=tuple(step for source in run.recipes if (step := _read(StepRecord, source, "recipe.json")) is not None),
    )


def _read(kind: type[T], source: Source | None, name: str) -> T | None:
    if source is None or (isinstance(source, Path) and not source.exists()):
        return None
    name = _name(source, name)
    return decode(kind, _parse(_text(source), name) if isinstance(source, Path) else source, name)


def _name(source: Source | None, name: str) -> str:
    return str(source) if isinstance(source, Path) else name


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"`{path}` cannot be read: {error}", fix="Run the step that wrote it again.") from error


def _parse(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"`{name}` is not JSON: {error}", fix="Run the step that wrote it again.") from error


def _metrics(source: Source | None) -> Metrics | None:
    if source is None or (isinstance(source, Path) and not source.exists()):
        return None
    name = _name(source, "metrics.jsonl")
    lines = _metric_lines(source, name) if isinstance(source, Path) else list(source)
    train: list[TrainPoint] = []
    held_out: list[EvalPoint] = []
    for index, line in enumerate(lines):
        where = f"{name}[{index}]"
        if isinstance(line, Mapping) and "held_out_bits_per_byte" in line:
            held_out.append(decode(EvalPoint, line, where))
        else:
            train.append(decode(TrainPoint, line, where))
    return Metrics(train=tuple(train), held_out=tuple(held_out))


def _metric_lines(path: Path, name: str) -> list[Any]:
    whole, _, _cut = _text(path).rpartition("\n")
    return [_parse(line, f"{name}[{index}]") for index, line in enumerate(whole.splitlines()) if line.strip()]


def _checked(improve: Improve | None, name: str) -> Improve | None:
    """Raises where an arm's accuracies are not one row a round and one column a length."""
    if improve is None:
        return None
    columns = len(improve.lengths)
    if not columns or not improve.base_lengths:
        raise DataError(f"`{name}` names no lengths.", fix="Run the step that wrote it again.")
    for arm_name, arm in improve.arms.items():
        if not arm.accuracy or any(len(row) != columns for row in arm.accuracy):
            raise DataError(
                f"`{name}.arms.{arm_name}.accuracy` must have one or more rows of {columns} lengths.",
                fix="Run the step that wrote it again, or leave it out of the report.",
            )
    return improve
