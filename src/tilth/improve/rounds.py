"""What a finished round leaves in its folder: the model, the pseudo-labels that it added, and its record.

The record is written last, so its presence means that the round is finished; a round that was killed before is run
again and writes the same bytes. Weights are kept of the base model, of an arm's last good round, and of rounds that
the monitor threw away.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tilth.errors import DataError
from tilth.files import write_bytes
from tilth.improve.pseudo_labels import PseudoLabel
from tilth.improve.result import Decision, MonitorReading
from tilth.model import Transformer, load_model, save_model
from tilth.results import decode, read_result, write_result

MODEL, PSEUDO_LABELS, RECORD = "model", "pseudo_labels.jsonl", "round.json"
PROPOSER = "proposer"
"""Folder of the self-play proposer, in the rounds of its arm."""


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """What happened in one round of one arm (the base model has one, too)."""

    difficulty: int
    """The newest difficulty after the round."""
    accuracy: tuple[float, ...]
    """On the test problems of each measured difficulty, in 0..1: of the model that the arm has after the round."""
    generated: int = 0
    """Problems answered for pseudo-labels."""
    accepted: int = 0
    """Answers that the labeller accepted."""
    kept: int = 0
    """Pseudo-labels added to the training data."""
    right: int = 0
    """Those among them that are right: for the record only, no arm is told."""
    bits_per_label: float = math.nan
    """Under the model before the round; nan without a pseudo-label."""
    bits_per_label_token: float = math.nan
    distinct_labels: float = math.nan
    """Share."""
    train_flops: float = 0.0
    generation_flops: float = 0.0
    """With what the controller measured to choose."""
    monitor: MonitorReading | None = None
    """None where the round ended before there was a new model."""
    decision: Decision | None = None
    """The controller's."""
    shares_before: dict[str, float] = field(default_factory=dict[str, float])
    """Difficulty -> share of its validation problems with an accepted answer, which the controller saw."""
    shares: dict[str, float] = field(default_factory=dict[str, float])
    """The same after the round."""
    exhausted: bool = False
    """Whether the pseudo-labels told the model nothing: it was sure of all of them."""
    good: bool = True
    """Whether the round's model and pseudo-labels are the arm's from here on."""
    rejected_accuracy: tuple[float, ...] = ()
    """Of the round's model where it was thrown away."""
    ended: str = ""
    """Why this is the arm's last round, where others were to follow."""
    seconds: float = 0.0


def save_round(folder: Path, model: Transformer | None, labels: Sequence[PseudoLabel], record: RoundRecord) -> None:
    """Writes a finished round; equal weights and pseudo-labels give equal bytes."""
    if model is not None:
        save_model(model, folder / MODEL)
    lines = [json.dumps(asdict(label), ensure_ascii=False, sort_keys=True) + "\n" for label in labels]
    write_bytes(folder / PSEUDO_LABELS, "".join(lines).encode())
    write_result(folder / RECORD, record)


def has_model(folder: Path) -> bool:
    """Tells whether a round's model is still there."""
    return (folder / MODEL).exists()


def remove_model(folder: Path) -> None:
    """Removes the models of a round that a later one replaced: only the newest are continued from."""
    for name in (MODEL, PROPOSER):
        shutil.rmtree(folder / name, ignore_errors=True)


def read_record(folder: Path) -> RoundRecord | None:
    """Returns the record of a finished round, or None where the round is not finished."""
    path = folder / RECORD
    return read_result(RoundRecord, path) if path.exists() else None


def read_pseudo_labels(folder: Path) -> list[PseudoLabel]:
    """Returns the pseudo-labels that a round added.

    Raises: DataError naming the line that is not one.
    """
    path = folder / PSEUDO_LABELS
    found: list[PseudoLabel] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.", fix=_fix(folder)) from None
    for number, line in enumerate(lines, 1):
        try:
            found.append(decode(PseudoLabel, json.loads(line), f"{path}:{number}"))
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number} is not JSON: {error}.", fix=_fix(folder)) from None
    return found


def read_model(folder: Path, device: str) -> Transformer:
    """Returns a round's model, in evaluation mode."""
    return load_model(folder / MODEL, device=device)


def _fix(folder: Path) -> str:
    return f"Delete {folder}, and the round is run again."
