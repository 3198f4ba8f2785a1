"""Files from outside as the input of a step: what they hold is their identity, not where they lie.

The fingerprint is the SHA-256 over names and content hashes. Hashing a corpus again on each command would take as long
as reading it, so content hashes are remembered by path, size and time of change (as `make` and `git` do); the price is
that a file changed within the clock's resolution and to the same size is missed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tilth.files import InputFile, filesystem, list_files, write_json

HASHES = ".sources/hashes.json"
UNREADABLE = "unreadable:"


@dataclass(frozen=True)
class Source:
    """The files at or below a path or URL, less those that match an `exclude` glob."""

    path: str
    exclude: tuple[str, ...] = ()

    def files(self) -> list[InputFile]:
        """Returns the files in the order of their names.

        Raises: DataError if the path does not exist.
        """
        return list_files(self.path, self.exclude)

    def fingerprint(self, runs: Path) -> str:
        """Returns the identity of the files' names and contents; the listing is kept under `runs/.sources/`."""
        hashes = _content_hashes(self.files(), runs)
        listing = json.dumps(hashes, sort_keys=True, ensure_ascii=True)
        print_ = hashlib.sha256(listing.encode()).hexdigest()[:16]
        path = _listing_path(runs, print_)
        if not path.exists():
            write_json(path, hashes)
        return print_

    def changes_since(self, print_: str, runs: Path) -> list[str]:
        """Says which files were added, removed or changed since the listing with this fingerprint."""
        path = _listing_path(runs, print_)
        if not path.exists():
            return []
        old: dict[str, str] = json.loads(path.read_text())
        new = _content_hashes(self.files(), runs)
        kinds = {
            "added": sorted(new.keys() - old.keys()),
            "removed": sorted(old.keys() - new.keys()),
            "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
        }
        return [
            f"{self.path}: {len(names)} files {kind}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            for kind, names in kinds.items()
            if names
        ]


def _listing_path(runs: Path, print_: str) -> Path:
    return runs / ".sources" / f"{print_}.json"


def _content_hashes(files: list[InputFile], runs: Path) -> dict[str, str]:
    path = runs / HASHES
    known: dict[str, str] = _read(path)
    fresh: dict[str, str] = {}
    result: dict[str, str] = {}
    for file in files:
        key = _stat_key(file)
        digest = known.get(key) or fresh.get(key) or _hash_file(file)
        if key not in known and not digest.startswith(UNREADABLE):
            fresh[key] = digest
        result[file.name] = digest
    if fresh:
        write_json(path, known | fresh)
    return result


def _read(path: Path) -> dict[str, str]:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # only a memory aid: losing it costs a second look
        return {}


def _stat_key(file: InputFile) -> str:
    if "://" in file.path:
        fs, inner = filesystem(file.path)
        return f"{file.path}|{fs.ukey(inner)}"
    try:
        facts = Path(file.path).stat()
    except OSError:  # a broken link: reported as unreadable when it is read
        return f"{file.path}|{file.bytes}"
    return f"{Path(file.path).absolute()}|{facts.st_size}|{facts.st_mtime_ns}"


def _hash_file(file: InputFile) -> str:
    fs, inner = filesystem(file.path)
    try:
        with fs.open(inner, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        # It will be reported as unreadable by whoever reads it; that it cannot be read is its content until then.
        return f"{UNREADABLE}{file.bytes}"
