"""What a command asked for: `runs/<name>/run.json`, beside the page of the run.

It names the run and says which steps it is made of. None of it enters the identity of a step, so the same steps may
belong to many runs. `runs/latest` is a link to the folder of the run that was begun last, and `runs/<name>/<label>` to
that of a finished step; where the filesystem has no links, there are none.

A run holds a lock while it is at work. The system frees the lock of a killed process, so a record that says `running`
without a lock is that of a stopped run.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from tilth.errors import ConfigError, DataError, StepError, TilthError
from tilth.listing import RUNS_MARK
from tilth.paths import check_local, is_url, local_path
from tilth.results import read_result, write_result

RUN = "run.json"
PAGE = "report.html"
"""The page of a run, in its folder: written when the run begins, and again as it goes."""
LIVE = "live"
"""Folder, in that of the run, of what is only looked at while a step is at work (`Context.live`)."""
LATEST = "latest"
"""Link, in `runs`, to the folder of the newest run."""
LOCK = ".run.lock"
"""In the folder of a run: held by the process that is at work on it."""

RunStatus = Literal["running", "finished", "failed", "stopped"]

_SECONDS_TO_NAME = 10.0
_SECONDS_TO_LOOK = 0.5
"""Another process holds the lock for a moment when it looks whether the run is at work."""
_LONGEST_NAME = 100
_LONGEST_SLUG = 60
_NAMED_CORPORA = 3
_SUFFIXES = re.compile(r"(\.[A-Za-z][A-Za-z0-9]{0,7}){1,2}$")
"""Of a file: `.txt`, `.jsonl.gz`."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One call of `tilth run`."""

    name: str
    """Given by `--name`, else made from the corpus or the recipe; the name of its folder."""
    recipe: str
    """`quickstart`, or `path/to/file.py:function`."""
    command: str
    """The command line, quoted for a shell."""
    fields: dict[str, str] = field(default_factory=dict[str, str])
    """Fields of the recipe that were given -> their values as text."""
    corpora: tuple[str, ...] = ()
    """Paths and URLs of the sources, as they were given."""
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str | None = None
    status: RunStatus = "running"
    error: str = ""
    """Why it failed."""
    steps: dict[str, str] = field(default_factory=dict[str, str])
    """Label of each step that is done -> its folder, relative to `runs`."""

    def step_folder(self, runs: Path, label: str) -> Path | None:
        """Returns the folder of a finished step: the link to it, where there is one; None if it is not done."""
        if label not in self.steps:
            return None
        link = runs / self.name / label
        return link if link.is_symlink() else runs / self.steps[label]


class ActiveRun:
    """A run that is at work in this process; its record is written again with each change."""

    def __init__(self, runs: Path, record: RunRecord) -> None:
        self.runs, self.record = runs, record

    @property
    def folder(self) -> Path:
        """Returns `runs/<name>`."""
        return self.runs / self.record.name

    def add_step(self, label: str, folder: Path) -> None:
        """Records a finished step, and links to its folder."""
        relative = os.path.relpath(folder, self.runs)
        self.record = replace(self.record, steps=self.record.steps | {label: relative})
        self._write()
        if is_file_name(label) and label not in (RUN, PAGE, LIVE):
            _link(self.folder / label, f"{os.pardir}/{relative}")

    def finish(self, status: RunStatus, error: str = "") -> None:
        """Records how the run ended."""
        self.record = replace(self.record, status=status, error=error, finished_at=_now())
        self._write()

    def remove_old_links(self) -> None:
        """Removes links to steps that the run had when it was run before, and no longer has."""
        for path in self.folder.iterdir():
            if path.is_symlink() and path.name not in self.record.steps:
                with suppress(OSError):
                    path.unlink()

    def _write(self) -> None:
        write_result(self.folder / RUN, self.record)


@contextmanager
def begin(
    runs: Path,
    *,
    name: str | None = None,
    recipe: str,
    command: str,
    fields: Mapping[str, str],
    corpora: Iterable[str] = (),
    suggestion: str = "",
    taken: Collection[str] = (),
) -> Generator[ActiveRun]:
    """Begins a run: records it, and makes it `runs/latest`. What the block raises is recorded as well.

    Without a `name` it gets one made from `suggestion`, with a number where another command's run has that; the same
    recipe with the same fields keeps its name. `taken` are names that a run cannot have: those of steps.
    Raises: ConfigError if the name cannot be one, or is that of another command's run; StepError if another process is
    at work on this run.
    """
    check_local(runs)
    runs.mkdir(parents=True, exist_ok=True)
    (runs / RUNS_MARK).touch()
    record = RunRecord(
        name=name or "", recipe=recipe, command=command, fields=dict(fields), corpora=tuple(corpora), started_at=_now()
    )
    with FileLock(runs / ".runs.lock", timeout=_SECONDS_TO_NAME):  # two that begin at once get two names
        if name is not None:
            check_name(name, runs, taken)
            _check_same_command(record, runs)
        else:
            record = replace(record, name=_free_name(record, slug(suggestion or recipe), runs, taken))
        folder = runs / record.name
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=_SECONDS_TO_LOOK)
        except Timeout:
            raise StepError(
                f"The run `{record.name}` is at work in another process.",
                fix="Wait until it ends or stop it, or give this one another name: `--name NAME`.",
            ) from None
    try:
        active = ActiveRun(runs, record)
        before = _stored(folder)
        if before is None or before.status == "finished":
            shutil.rmtree(folder / LIVE, ignore_errors=True)
        write_result(folder / RUN, record)
        _link(runs / LATEST, record.name)
        with _recorded(active):
            yield active
    finally:
        lock.release()


@contextmanager
def _recorded(active: ActiveRun) -> Generator[None]:
    try:
        yield
    except BaseException as error:
        is_stop = not isinstance(error, Exception)  # Ctrl-C, or an exit
        with suppress(OSError):  # what ended the run may be a full disk: that is the error to tell
            active.finish("stopped" if is_stop else "failed", "" if is_stop else _in_a_line(error))
        raise
    active.finish("finished")
    active.remove_old_links()


def _in_a_line(error: BaseException) -> str:
    text = error.message if isinstance(error, TilthError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


# Reading


def read_runs(runs: Path) -> list[RunRecord]:
    """Returns the records of all runs, the newest first; unreadable ones are left out.

    One that says `running` and that no process is at work on is `stopped`.
    """
    folders = [path.parent for path in runs.glob(f"*/{RUN}") if not path.parent.is_symlink()]
    found = [record for folder in folders if (record := read_run(folder)) is not None]
    return sorted(found, key=lambda record: record.started_at, reverse=True)


def read_run(folder: Path) -> RunRecord | None:
    """Returns the record in the folder of a run, as `read_runs` does; None if there is none that can be read."""
    record = _stored(folder)
    if record is not None and record.status == "running" and not _is_at_work(folder):
        return replace(record, status="stopped")
    return record


def _stored(folder: Path) -> RunRecord | None:
    path = folder / RUN
    try:
        return read_result(RunRecord, path) if path.is_file() else None
    except (DataError, OSError):
        return None


def find_run(runs: Path, recipe: str, fields: Mapping[str, str]) -> RunRecord | None:
    """Returns the newest run of a recipe with these fields."""
    return next((r for r in read_runs(runs) if (r.recipe, r.fields) == (recipe, dict(fields))), None)


def _is_at_work(folder: Path) -> bool:
    """Returns whether a process holds the lock of a run."""
    path = folder / LOCK
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):  # another user's lock cannot be opened: then what the record says is believed
        return True


# Names


def check_name(name: str, runs: Path, taken: Collection[str] = ()) -> None:
    """Raises ConfigError if a run cannot have this name."""
    if name.startswith("."):
        problem = "begins with a dot"
    elif not is_file_name(name):
        problem = "is not the name of a folder"
    elif name == LATEST:
        problem = "is that of the link to the newest run"
    elif name in taken:
        problem = "is that of a step"
    elif (runs / name).exists() and not (runs / name / RUN).is_file():
        problem = f"is that of {runs / name}, which is not the folder of a run"
    else:
        return
    raise ConfigError(
        f"A run cannot be named {name!r}: the name {problem}.",
        fix="Use letters, digits, `-` and `_`, such as `--name my-novel-2`.",
    )


def is_file_name(name: str) -> bool:
    """Returns whether a text can be the name of one file or folder, and is not hidden."""
    return (
        0 < len(name) <= _LONGEST_NAME and name.isprintable() and not re.search(r'[/\\:*?"<>|]', name)
    ) and not name.startswith(".")


def slug(text: str) -> str:
    """Returns a text in lower case with `-` for all that is no letter or digit: `My novel.v2` -> `my-novel-v2`."""
    words = re.findall(r"\w+", text.lower())
    return "-".join(words)[:_LONGEST_SLUG].strip("-_") or "run"


def name_from(corpora: Iterable[str], recipe: str) -> str:
    """Returns a readable name made from the corpora that were given, or else from the recipe: without a path or suffix.

    `texts/My novel.txt` gives `my-novel`, `mine.py:sizes` gives `sizes`.
    """
    corpora = list(corpora)
    parents = {corpus.rpartition("/")[0] for corpus in corpora}
    if len(corpora) > _NAMED_CORPORA and len(parents) == 1:  # the files of one folder
        corpora = [next(iter(parents)) or "."]
    names = list(dict.fromkeys(slug(_last_part(corpus)) for corpus in corpora))
    if not names:
        return slug(recipe.rpartition(":")[2])
    more = [f"and-{len(names) - _NAMED_CORPORA}-more"] if len(names) > _NAMED_CORPORA else []
    return slug("-".join(names[:_NAMED_CORPORA] + more))


def _last_part(corpus: str) -> str:
    if is_url(corpus):
        last = corpus.split("?")[0].rstrip("/").rpartition("/")[2]
        return re.sub(_SUFFIXES, "", last)
    path = local_path(corpus)
    last = path.absolute().resolve().name
    return last if path.is_dir() else re.sub(_SUFFIXES, "", last) or last


def _check_same_command(record: RunRecord, runs: Path) -> None:
    other = read_run(runs / record.name)
    if other is not None and not _is_replaceable(other, record):
        raise ConfigError(
            f"The name `{record.name}` is that of another run: `{other.command}`.",
            fix=f"Choose another name, or delete the folder {runs / record.name} (its steps are stored elsewhere).",
        )


def _free_name(record: RunRecord, base: str, runs: Path, taken: Collection[str]) -> str:
    number = 1
    while True:
        name = base if number == 1 else f"{base}-{number}"
        number += 1
        folder = runs / name
        if name in taken or name == LATEST:
            continue
        if not os.path.lexists(folder):
            return name
        other = read_run(folder)
        if other is not None and _is_replaceable(other, record):
            return name


def _is_replaceable(other: RunRecord, record: RunRecord) -> bool:
    """Returns whether a run may take the folder of `other`: it is the same command's, or ended before anything."""
    is_same = (other.recipe, other.fields) == (record.recipe, record.fields)
    return is_same or (not other.steps and other.status in ("failed", "stopped"))


def _link(path: Path, target: str) -> None:
    """Makes a relative link, where the filesystem has links and nothing else has the name."""
    if os.path.lexists(path) and not path.is_symlink():
        return
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.symlink_to(target, target_is_directory=True)
        temporary.replace(path)
    except (OSError, NotImplementedError):
        with suppress(OSError):
            temporary.unlink()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
