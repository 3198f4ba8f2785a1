"""The files of a corpus: what is at or below a path or URL, with those that are not read and why."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilth.errors import DataError
from tilth.paths import filesystem, is_url, local_path, printable_name
from tilth.reading import with_retries

GLOB = re.compile(r"[*?\[]")
"""Characters that make a path a glob."""
RUNS_MARK = ".tilth-runs"
"""The file by which a folder of runs is known; in a corpus such a folder is not read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFile:
    """A file of a corpus."""

    path: str
    """Path or URL that `open_binary` takes."""
    name: str
    """Path relative to the corpus, with `/`: the same on every machine, and valid Unicode."""
    bytes: int
    corpus: str = ""
    """Name of the corpus that the file belongs to."""
    skipped: str = ""
    """Why the file must not be read (`a FIFO`, `a link that leaves the corpus`); empty if it can be."""


def list_files(
    root: str, exclude: Sequence[str] = (), *, follow_links: bool = False, include: str = ""
) -> list[InputFile]:
    """Returns the files at or below `root`, sorted by name.

    With the glob `include` (`"*.txt"`, `"*/notes"`, matched as a shell does against a name or the folders above it)
    only what matches.
    Hidden files and folders (a name that starts with a dot), `__pycache__`, folders of runs, and names that match one
    of the `exclude` globs (`"*/test/*"`, matched against `/` + name) are left out. What is no regular file is listed as
    `skipped`; so are links that lead out of `root`, unless `follow_links`.
    Raises: DataError if nothing is there.
    """
    if is_url(root):
        files = with_retries(root, lambda: list(_remote_files(root, exclude)), remote=True)
    else:
        files = list(_local_files(local_path(root), exclude, follow_links))
    if include:
        files = [file for file in files if _is_included(file.name, include)]
    return sorted(files, key=lambda file: file.name)


def split_glob(path: str) -> tuple[str, str]:
    """Divides a path with a glob into the folder before it and the glob; the glob is empty where there is none."""
    parts = path.split("/")
    first = next((index for index, part in enumerate(parts) if GLOB.search(part)), None)
    if first is None:
        return path, ""
    folder = "/".join(parts[:first]) or ("/" if first and path.startswith("/") else ".")
    return folder, "/".join(part for part in parts[first:] if part)


def _is_included(name: str, glob: str) -> bool:
    if "**" in glob:
        return fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(name, glob.replace("**/", ""))
    wanted, parts = glob.split("/"), name.split("/")
    return len(parts) >= len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _is_left_out(name: str, exclude: Sequence[str]) -> bool:
    last = name.rstrip("/").rpartition("/")[2]
    rooted = "/" + name.lstrip("/")
    return last.startswith(".") or last == "__pycache__" or any(fnmatch.fnmatchcase(rooted, glob) for glob in exclude)


def missing(root: object) -> DataError:
    """Returns the error for a corpus that is not there."""
    return DataError(f"{root} does not exist.", fix="Give the path or URL of a file or a folder.")


# Local


def _local_files(root: Path, exclude: Sequence[str], follow_links: bool) -> Iterator[InputFile]:
    try:
        facts = root.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise missing(root) from None
    if stat.S_ISREG(facts.st_mode):
        yield InputFile(path=str(root), name=printable_name(root.name), bytes=facts.st_size)
        return
    if not stat.S_ISDIR(facts.st_mode):
        raise DataError(f"{root} is {_kind(facts.st_mode)}.", fix="Give a regular file or a folder.")
    yield from _Walk(exclude, follow_links).files(str(root))


class _Walk:
    """One walk through a folder; it keeps its own stack, since folders may be nested deeper than Python calls."""

    def __init__(self, exclude: Sequence[str], follow_links: bool) -> None:
        self.exclude, self.follow_links = exclude, follow_links
        self.top = ""
        self.linked: set[str] = set()
        """Real paths of the folders that links led to: each is entered once, or a few links make billions of files."""

    def files(self, root: str) -> Iterator[InputFile]:
        self.top = os.path.realpath(root)
        waiting: list[tuple[str, str, tuple[str, ...]]] = [(root, "", (self.top,))]
        while waiting:
            folder, prefix, above = waiting.pop()
            try:
                with os.scandir(folder) as entries:
                    # By name: which of two links to a folder is followed must not depend on the disk.
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                yield InputFile(path=folder, name=prefix or ".", bytes=0, skipped=f"cannot be listed: {error.strerror}")
                continue
            if prefix and any(entry.name == RUNS_MARK for entry in listed):
                continue  # what steps wrote is no text of the corpus, which may be the working directory
            for entry in listed:
                found = self._entry(entry, prefix + printable_name(entry.name), above)
                if isinstance(found, InputFile):
                    yield found
                elif found is not None:
                    waiting.append((entry.path, f"{prefix}{printable_name(entry.name)}/", (*above, found)))

    def _entry(self, entry: os.DirEntry[str], name: str, above: tuple[str, ...]) -> InputFile | str | None:
        """Returns a file, the real path of a folder to enter, or None for what is left out.

        `above` holds the real paths of the folders on the way here.
        """
        try:
            facts = entry.stat()
        except OSError as error:
            if _is_left_out(name, self.exclude):
                return None
            reason = "a link that leads nowhere" if entry.is_symlink() else f"cannot be read: {error.strerror}"
            return InputFile(path=entry.path, name=name, bytes=0, skipped=reason)
        is_folder = stat.S_ISDIR(facts.st_mode)
        # Folders that are left out are not entered: there may be many files below them.
        if _is_left_out(f"{name}/" if is_folder else name, self.exclude):
            return None
        real = os.path.realpath(entry.path) if entry.is_symlink() else f"{above[-1]}/{entry.name}"
        if reason := self._reason(entry, facts.st_mode, real, above):
            return InputFile(path=entry.path, name=name, bytes=0, skipped=reason)
        return real if is_folder else InputFile(path=entry.path, name=name, bytes=facts.st_size)

    def _reason(self, entry: os.DirEntry[str], mode: int, real: str, above: tuple[str, ...]) -> str:
        """Returns why an entry is skipped, or nothing."""
        is_link = entry.is_symlink()
        if is_link and not self.follow_links and os.path.commonpath([self.top, real]) != self.top:
            return "a link that leaves the corpus"
        if not stat.S_ISDIR(mode):
            return "" if stat.S_ISREG(mode) else _kind(mode)
        if real in above:
            return "a loop of links"
        if is_link and real in self.linked:
            return "a second link to a folder"
        if is_link:
            self.linked.add(real)
        return ""


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return kinds.get(stat.S_IFMT(mode), "no regular file")


# Remote


def _remote_files(root: str, exclude: Sequence[str]) -> Iterator[InputFile]:
    fs, inner = filesystem(root)
    base = str(inner).rstrip("/")
    try:
        facts: dict[str, Any] = fs.info(inner)  # of a web server it asks for the head alone
    except FileNotFoundError:
        raise missing(root) from None
    if facts["type"] != "directory":
        yield InputFile(path=root, name=base.rpartition("/")[2], bytes=_size(facts))
        return
    prefix = root.split("://", 1)[0] + "://"
    for folder, folders, entries in fs.walk(inner, detail=True):
        relative = str(folder)[len(base) :].strip("/")
        for name in [name for name in folders if _is_left_out(f"{relative}/{name}/", exclude)]:
            del folders[name]
        for name, facts in entries.items():
            path = f"{relative}/{name}".lstrip("/")
            if not _is_left_out(path, exclude):
                url = facts["name"] if "://" in facts["name"] else prefix + facts["name"]
                yield InputFile(path=url, name=path, bytes=_size(facts))


def _size(facts: dict[str, Any]) -> int:
    return int(facts.get("size") or 0)
