"""The files that a step wrote: their sizes and hashes, and whether they are still what was written."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

from tilth.errors import StepError
from tilth.files import sha256_file, sync_folder, write_json
from tilth.step_record import RECORD, OutputFile, StepRecord

VERIFIED = ".verified.json"
"""In the runs folder: size, time and hash of the files that were found to be right."""
FUNCTION = ".step.function"
"""In a step's folder: the hash of the function that began it."""


def describe_outputs(folder: Path) -> dict[str, OutputFile]:
    """Returns path -> size and SHA-256 of the files that a step wrote, and flushes them and their folders to disk."""
    found: dict[str, OutputFile] = {}
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = OutputFile(bytes=file.tell(), sha256=sha256)
    for inner in (path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()):
        sync_folder(inner)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / RECORD and not is_note(path.name):
            yield path


def is_note(name: str) -> bool:
    """Whether a file is a claim or a note of the machinery, not an output."""
    return name == FUNCTION or (name.startswith(".") and name.endswith(".claim.json"))


def wrong_sizes(folder: Path, record: StepRecord) -> dict[str, str]:
    """Returns what is wrong with the files that are missing or have another size than the record says.

    Their content is not read.
    """
    wrong: dict[str, str] = {}
    for name, output in record.outputs.items():
        try:
            facts = (folder / name).stat()
        except (OSError, ValueError):  # a name that no file can have
            wrong[name] = "is missing"
            continue
        if not stat.S_ISREG(facts.st_mode):  # to open a FIFO would wait for ever
            wrong[name] = "is no regular file"
        elif facts.st_size != output.bytes:
            wrong[name] = f"has {facts.st_size:,} bytes, {output.bytes:,} were written"
    return wrong


def wrong_contents(
    folder: Path, record: StepRecord, verified: Verified | None = None, within: str = ""
) -> dict[str, str]:
    """Returns what is wrong with the files that are not what the record says, by content.

    `within` limits the check to a file or folder of the output; files in `verified` are not read again.
    """
    wrong = wrong_sizes(folder, record)
    for name, output in record.outputs.items():
        if name in wrong or not (not within or name == within or name.startswith(f"{within.rstrip('/')}/")):
            continue
        path = folder / name
        if verified is not None and verified.holds(path, output.sha256):
            continue
        if sha256_file(path) != output.sha256:
            wrong[name] = "has another content than was written"
        elif verified is not None:
            verified.add(path, output.sha256)
    return wrong


def damaged(folder: Path, wrong: Mapping[str, str]) -> StepError:
    """Returns the error for an output that is not what was written."""
    lines = [f"{name} {what}" for name, what in wrong.items()]
    more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
    return StepError(
        f"{folder} is damaged: {'; '.join(lines[:3])}{more}.",
        fix=f"Delete the folder {folder} and run the same command again.",
    )


class Verified:
    """Remembers which files were found to be right, by path, size and time: each content is read once."""

    def __init__(self, runs: Path) -> None:
        self.path = runs / VERIFIED
        self.known = _read(self.path)
        self.is_changed = False

    def holds(self, path: Path, sha256: str) -> bool:
        """Returns whether this file, as it is now, was found to have this hash."""
        return self.known.get(str(path.absolute())) == _stamp(path, sha256)

    def add(self, path: Path, sha256: str) -> None:
        """Remembers that a file has this hash."""
        self.known[str(path.absolute())] = _stamp(path, sha256)
        self.is_changed = True

    def save(self) -> None:
        """Writes what is remembered, where that can be written: it only saves time."""
        if self.is_changed:
            # What another process wrote meanwhile is kept, and files that are gone are forgotten.
            merged = _read(self.path) | self.known
            with suppress(OSError):
                write_json(self.path, {name: stamp for name, stamp in merged.items() if Path(name).exists()})


def _stamp(path: Path, sha256: str) -> str:
    facts = path.stat()
    return f"{facts.st_size}|{facts.st_mtime_ns}|{sha256}"


def _read(path: Path) -> dict[str, str]:
    try:
        value: object = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return {}
    items = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return {name: stamp for name, stamp in items.items() if isinstance(stamp, str)}
