"""The record that a step leaves beside its output: `step.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tilth.errors import DataError, StepError
from tilth.results import read_result

RECORD = "step.json"


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """A file of a step's output."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What made a step's output, and what it counted."""

    name: str
    """What kind of step it is; the first half of its folder's path."""
    fingerprint: str
    seconds: float
    outputs: dict[str, OutputFile]
    """Path within the folder -> size and hash. A record without them vouches for nothing, and is not read."""
    label: str = ""
    """What its recipe calls it; no part of its identity."""
    version: int = 1
    config: dict[str, object] = field(default_factory=dict[str, object])
    """All fields, those at their default too."""
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    """Name -> fingerprint; of a part of a step's output `fingerprint/path`."""
    input_steps: dict[str, str] = field(default_factory=dict[str, str])
    """Name of an input that is a step -> that step's name."""
    source_bases: dict[str, str] = field(default_factory=dict[str, str])
    """Name of an input from outside -> what identified its files: `content`, `ETag`, `size and time`, ..."""
    counts: dict[str, object] = field(default_factory=dict[str, object])
    resumed: bool = False
    finished_at: str = ""
    """UTC, ISO 8601."""
    tilth_version: str = ""
    git_commit: str | None = None
    """Of tilth's own source; None where that is not in a repository."""
    libraries: dict[str, str] = field(default_factory=dict[str, str])
    device: str = ""
    threads: int = 0
    function_sha256: str = ""

    @property
    def flops(self) -> float | None:
        """FLOPs that the step counted, where it did."""
        flops = self.counts.get("flops")
        return float(flops) if isinstance(flops, int | float) else None


def read_record(folder: Path) -> StepRecord | None:
    """Returns the record of a finished step, or None where there is none.

    Raises: StepError if it cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return read_result(StepRecord, path)
    except DataError as error:
        raise StepError(error.message, fix=f"Delete the folder {folder} to make it again.") from None
