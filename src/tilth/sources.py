"""Files from outside as the input of a step: what they hold is their identity, not their path.

The fingerprint is the SHA-256 over the files' names and content hashes. Hashing a corpus again on each command would
take as long as reading it, so content hashes are remembered by path, size and time of change (as `make` and `git` do).
The trade-off: a file changed within the clock's resolution and to the same size is missed.

A remote file is not downloaded to be hashed: its ETag or version, or else its size and time, as the listing gives them,
are its identity. `Listing.basis` says which was used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tilth.errors import ConfigError, DataError
from tilth.files import InputFile, list_files, open_binary, write_json
from tilth.listing import missing
from tilth.paths import filesystem, is_url, local_path
from tilth.reading import with_retries

HASHES = ".sources/hashes.json"
UNREADABLE = "unreadable:"
FINGERPRINT_DIGITS = 16

_VERSION_KEYS = (
    ("ETag", "ETag"),
    ("etag", "ETag"),
    ("sha256", "SHA-256"),
    ("blob_id", "content hash"),
    ("md5Hash", "content hash"),
    ("Content-MD5", "content hash"),
    ("version_id", "version"),
    ("VersionId", "version"),
    ("generation", "version"),
)
"""Keys of a listing that name a version of a file's content, and what they are called."""
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "modified", "created")


@dataclass(frozen=True)
class Listing:
    """What a source held when it was looked at."""

    fingerprint: str
    basis: str
    """What identifies the files: `content`, `ETag`, `version`, `size and time`, ..., joined where they differ."""
    stamps: Mapping[str, str]
    """File name -> what changes when the file does, without reading it: size and time, or the remote version."""


@dataclass(frozen=True)
class Source:
    """The files at or below a path or URL, less those that match an `exclude` glob."""

    path: str
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    """Whether symbolic links that lead out of the folder are followed."""
    include: str = ""
    """A glob: of the folder's files only those that match, or that are in a folder that does."""

    def __post_init__(self) -> None:
        # A `Path`, and one glob, are taken as well: both are easily given.
        path, exclude = cast("tuple[object, object]", (self.path, self.exclude))
        if not isinstance(path, str | os.PathLike):
            raise ConfigError(f"A source is {path!r:.80}.", fix='Give a path or URL: `Source("texts")`.')
        object.__setattr__(self, "path", os.fspath(cast("os.PathLike[str] | str", path)))
        object.__setattr__(self, "exclude", (exclude,) if isinstance(exclude, str) else tuple(self.exclude))

    def files(self) -> list[InputFile]:
        """Returns the files in the order of their names.

        Raises: DataError if the path does not exist, or if nothing matches `include`.
        """
        files = list_files(self.path, self.exclude, follow_links=self.follow_links, include=self.include)
        if self.include and not files:
            raise DataError(f"Nothing in {self.path} matches `{self.include}`.", fix="Mend the glob; `ls` shows names.")
        return files

    def check_exists(self) -> None:
        """Raises DataError if nothing is at a local path; of a URL that is found out when it is listed."""
        if not is_url(self.path) and not local_path(self.path).exists():
            raise missing(self.path)

    def listing(self, runs: Path) -> Listing:
        """Looks at the files: hashes local ones, asks for the version of remote ones; reads no remote content.

        What each file was is kept under `runs/.sources/`, where that can be written.
        """
        files = self.files()
        stamps = {file.name: _stamp(file) for file in files}
        hashes = _content_hashes(files, stamps, runs)
        text = json.dumps(hashes, sort_keys=True, ensure_ascii=True)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]
        path = _listing_path(runs, fingerprint)
        if not path.exists():
            _remember(path, hashes)
        bases = Counter(_basis(file, stamps[file.name]) for file in files)
        basis = ", ".join(name for name, _ in bases.most_common()) or "content"
        return Listing(fingerprint=fingerprint, basis=basis, stamps=stamps)

    def fingerprint(self, runs: Path) -> str:
        """Returns the identity of the files' names and contents."""
        return self.listing(runs).fingerprint

    def changed_since(self, listing: Listing) -> list[str]:
        """Returns the names of files that were added, removed or changed since `listing`, by size and time."""
        if is_url(self.path):
            filesystem(self.path)[0].invalidate_cache()  # what a listing said earlier is not to be believed
        try:
            now = {file.name: _stamp(file) for file in self.files()}
        except DataError:  # all is gone
            now = {}
        names = sorted(now.keys() | listing.stamps.keys())
        return [name for name in names if now.get(name) != listing.stamps.get(name)]

    def changes_since(self, fingerprint: str, runs: Path) -> list[str]:
        """Says which files were added, removed or changed since the listing with this fingerprint."""
        path = _listing_path(runs, fingerprint)
        if not path.exists():
            return []
        old = _read(path)
        files = self.files()
        new = _content_hashes(files, {file.name: _stamp(file) for file in files}, runs)
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


def _listing_path(runs: Path, fingerprint: str) -> Path:
    return runs / ".sources" / f"{fingerprint}.json"


def _content_hashes(files: list[InputFile], stamps: Mapping[str, str], runs: Path) -> dict[str, str]:
    """Returns file name -> content hash, or the stamp of what is remote or skipped."""
    path = runs / HASHES
    known: dict[str, str] = _read(path)
    fresh: dict[str, str] = {}
    result: dict[str, str] = {}
    for file in files:
        if file.skipped or is_url(file.path):
            result[file.name] = stamps[file.name]
            continue
        key = f"{local_path(file.path).absolute()}|{stamps[file.name]}"
        digest = known.get(key) or fresh.get(key) or content_hash(file)
        if key not in known and not digest.startswith(UNREADABLE):
            fresh[key] = digest
        result[file.name] = digest
    if fresh:
        _remember(path, known | fresh)
    return result


def _remember(path: Path, value: Mapping[str, str]) -> None:
    with suppress(OSError):  # only saves time: where it cannot be written, files are hashed again
        write_json(path, dict(value))


def _read(path: Path) -> dict[str, str]:
    """Returns a mapping of names to hashes; an unreadable file reads as an empty one: files are hashed again."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    items = cast("dict[str, object]", value)
    return {key: item for key, item in items.items() if isinstance(item, str)}


def _stamp(file: InputFile) -> str:
    """Returns what changes when a file's content does, without reading it."""
    if file.skipped:
        return f"skipped: {file.skipped}"
    if is_url(file.path):
        return _remote_version(file.path)
    try:
        facts = local_path(file.path).stat()
    except OSError:
        return f"{UNREADABLE}{file.bytes}"
    return f"{facts.st_size}|{facts.st_mtime_ns}"


def _remote_version(url: str) -> str:
    """Returns `kind=value`: the version of a remote file as its listing tells it."""
    fs, inner = filesystem(url)
    facts = cast("dict[str, Any]", with_retries(url, lambda: fs.info(inner), remote=True))
    for key, kind in _VERSION_KEYS:
        if facts.get(key):
            return f"{kind}={facts[key]}"
    size = facts.get("size")
    for key in _TIME_KEYS:
        if facts.get(key):
            return f"size and time={size} {facts[key]}"
    return f"size alone={size}" if size is not None else "name alone="


def _basis(file: InputFile, stamp: str) -> str:
    return stamp.partition("=")[0] if is_url(file.path) and not file.skipped else "content"


def content_hash(file: InputFile) -> str:
    """Returns the SHA-256 of what a local file holds, as hex."""
    try:
        with open_binary(file.path) as stream:
            return hashlib.file_digest(cast(Any, stream), "sha256").hexdigest()
    except OSError:
        # It will be reported as unreadable by whoever reads it; that it cannot be read is its content until then.
        return f"{UNREADABLE}{file.bytes}"
