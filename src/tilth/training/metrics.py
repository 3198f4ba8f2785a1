"""`metrics.jsonl`: one line for each step, and one for each evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tilth.errors import DataError
from tilth.files import write_bytes
from tilth.results import decode
from tilth.training.result import EvalPoint, Metrics, TrainPoint


class MetricsLog:
    """Appends JSON lines, each with a `step`; made anew it keeps the lines up to `last_step` only.

    So a run that was killed and continued from a checkpoint writes the file that an undisturbed one would.
    """

    def __init__(self, path: Path, *, last_step: int) -> None:
        self.path = path
        kept = [line for line in _lines(path) if line["step"] <= last_step] if last_step >= 0 else []
        write_bytes(path, b"".join(_encode(line) for line in kept))
        self._file = path.open("ab")

    def write(self, line: Mapping[str, float]) -> None:
        """Appends a line; it reaches the file at once, so that others can watch."""
        self._file.write(_encode(line))
        self._file.flush()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def read_metrics(path: Path | str) -> Metrics:
    """Reads a metrics file; a last line that a kill cut short is left out, and so are lines of other measurements.

    Raises: DataError naming the file and the key, where a line does not fit.
    """
    path = Path(path)
    train: list[TrainPoint] = []
    held_out: list[EvalPoint] = []
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}:{number}"
        if "loss" in line:
            train.append(decode(TrainPoint, line, where))
        elif "held_out_bits_per_byte" in line:
            held_out.append(decode(EvalPoint, line, where))
    return Metrics(train=tuple(train), held_out=tuple(held_out))


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            rows.append(dict(json.loads(line)))
        except (TypeError, ValueError):
            raise DataError(
                f"{path}:{number} is not JSON, or not an object.", fix="Delete the file and train again."
            ) from None
    return rows


def _encode(line: Mapping[str, float]) -> bytes:
    return json.dumps(dict(line)).encode() + b"\n"
