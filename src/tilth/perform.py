"""One step's work from claim to record: in `<folder>.partial`, under a lock, renamed when all of it is there."""

from __future__ import annotations

import hashlib
import inspect
import numbers
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from filelock import FileLock, Timeout

from tilth import environment
from tilth.errors import StepError
from tilth.execute import Context
from tilth.files import clear_temporaries, sha256_file, sync_folder, write_bytes
from tilth.identity import canonical, claim
from tilth.outputs import FUNCTION, Verified, damaged, describe_outputs, is_note, wrong_contents, wrong_sizes
from tilth.paths import is_url, local_path
from tilth.results import write_result
from tilth.sources import Listing, Source
from tilth.step_record import RECORD, StepRecord, read_record
from tilth.version import __version__

C = TypeVar("C")
_NAMED = re.compile(r"(?<=\.py):\w+$")
"""The end of `path/to/file.py:name`, which names a function in a config."""
Counts: TypeAlias = Mapping[str, float]
"""What a step counted (documents, tokens, `flops`, ...); goes into its record."""


@dataclass(frozen=True)
class Inputs:
    """What a step's function reads.

    `inputs["train"]` is the path of an input: a step's folder, a part of one, or a source's path; `sources` holds the
    sources themselves, for those who want their files.
    """

    folders: Mapping[str, Path]
    sources: Mapping[str, Source]

    def __getitem__(self, name: str) -> Path:
        return self.folders[name] if name in self.folders else Path(self.sources[name].path)

    def __contains__(self, name: str) -> bool:
        return name in self.folders or name in self.sources


StepFn: TypeAlias = Callable[[C, Inputs, Path, Context], Counts | None]


@dataclass(frozen=True, kw_only=True)
class Work:
    """A step with its identity and its inputs looked up: all that a process needs to do it."""

    name: str
    label: str
    version: int
    fn: StepFn[Any]
    config: Any
    identity: Mapping[str, Any]
    fingerprint: str
    folder: Path
    needed: Mapping[str, tuple[Path, str]] = field(default_factory=dict[str, "tuple[Path, str]"])
    """Name of an input -> folder of the step that made it, and path within that folder."""
    input_steps: Mapping[str, str] = field(default_factory=dict[str, str])
    sources: Mapping[str, Source] = field(default_factory=dict[str, Source])
    listings: Mapping[str, Listing] = field(default_factory=dict[str, Listing])
    """What each source held when its fingerprint was taken."""


@dataclass(frozen=True)
class Done:
    """How a step came to be there."""

    cached: bool
    seconds: float


def partial_folder(folder: Path) -> Path:
    """Returns where a step works before it is finished."""
    return folder.with_name(folder.name + ".partial")


def finished_record(folder: Path, fingerprint: str) -> StepRecord | None:
    """Returns the record of a finished step whose files are all there with their sizes; None where nothing is.

    Raises: StepError if the folder holds anything else: it is damaged, or another step's.
    """
    record = read_record(folder)
    if record is None:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        if not folder.is_dir():
            raise StepError(f"{folder} is a file, not a folder.", fix="Name another folder.")
        raise StepError(
            f"{folder} holds something that is no step's output: it has no {RECORD}.",
            fix="Choose another folder, or delete this one.",
        )
    if record.fingerprint != fingerprint:
        raise StepError(f"{folder} holds another step's output.", fix="Choose another folder, or delete this one.")
    if wrong := wrong_sizes(folder, record):
        raise damaged(folder, wrong)
    return record


def perform(work: Work, context: Context) -> Done:
    """Does the work unless it is done already.

    Raises: StepError if another process is at work on it, if an input or the output is damaged, or if a source changed
    under it; ConfigError if the partial folder holds other work; whatever the step's function raises.
    """
    record = finished_record(work.folder, work.fingerprint)
    if record is None:
        work.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The lock belongs to the process: the system frees it when the process is killed.
            with FileLock(work.folder.with_name(f".{work.folder.name}.lock"), timeout=0):
                record = finished_record(work.folder, work.fingerprint)
                if record is None:
                    return _execute(work, context)
        except Timeout:
            raise StepError(
                f"Another process is at work on the step {work.label!r} ({work.folder}).",
                fix="Wait for it, or stop it first.",
            ) from None
    if record.function_sha256 != _code_sha256(work):
        context.progress.say(
            f"{work.label}: cached, but its function changed since; raise its version if results differ, "
            f"or delete {work.folder}."
        )
    return Done(cached=True, seconds=record.seconds)


def _execute(work: Work, context: Context) -> Done:
    partial = partial_folder(work.folder)
    resumed = _claim(work, partial, context)
    verified = Verified(context.runs)
    _verify_inputs(work, verified)
    inputs = Inputs(folders={name: _path(*where) for name, where in work.needed.items()}, sources=work.sources)
    started = time.monotonic()
    own = context if context.live is None else replace(context, live=context.live / work.label)
    try:
        counts = _checked_counts(work.fn(work.config, inputs, partial, own), work.label)
    except BaseException:
        _remove_if_empty(partial)
        raise
    seconds = time.monotonic() - started
    _check_sources(work, partial)
    clear_temporaries(partial)
    record = StepRecord(
        name=work.name,
        label=work.label,
        fingerprint=work.fingerprint,
        version=work.version,
        config=full_config(work.config),
        inputs=dict(work.identity["inputs"]),
        input_steps=dict(work.input_steps),
        source_bases={name: listing.basis for name, listing in work.listings.items()},
        counts=counts,
        seconds=round(seconds, 3),
        outputs=describe_outputs(partial),
        resumed=resumed,
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        tilth_version=__version__,
        git_commit=environment.git_commit(),
        libraries=environment.library_versions(),
        device=environment.device_used(context.device),
        threads=environment.threads_used(),
        function_sha256=_code_sha256(work),
    )
    write_result(partial / RECORD, record)
    sync_folder(partial)
    partial.rename(work.folder)  # also onto an empty folder
    sync_folder(work.folder.parent)
    if context.runs in work.folder.parents:
        for name, output in record.outputs.items():
            verified.add(work.folder / name, output.sha256)
    verified.save()
    return Done(cached=False, seconds=seconds)


def _checked_counts(counts: object, label: str) -> dict[str, object]:
    """Returns what a step's function returned as plain numbers.

    Raises: StepError if it is anything but a mapping of names to numbers.
    """
    if counts is None:
        return {}
    fix = 'Return a mapping such as `{"documents": 12}`, or nothing.'
    if not isinstance(counts, Mapping):
        raise StepError(f"The function of the step {label!r} returned a {type(counts).__name__}.", fix=fix)
    plain: dict[str, object] = {}
    for name, value in cast("Mapping[object, object]", counts).items():
        if not isinstance(name, str) or not isinstance(value, numbers.Real):
            raise StepError(
                f"The function of the step {label!r} returned `{name!r:.40}: {value!r:.40}`.",
                fix=fix,
            )
        plain[name] = int(value) if isinstance(value, numbers.Integral) else float(value)
    return plain


def _remove_if_empty(partial: Path) -> None:
    """Removes a partial folder in which nothing was written, which would be taken for begun work."""
    with suppress(OSError):
        if not any(path.is_file() and not is_note(path.name) for path in partial.rglob("*")):
            shutil.rmtree(partial)


def full_config(config: object) -> dict[str, Any]:
    """Returns a config with all its fields, as a record has it; one that has no fields is its `value`."""
    full = canonical(config, defaults=True)
    return full if isinstance(full, dict) else {} if full is None else {"value": full}


def _path(folder: Path, inner: str) -> Path:
    return folder / inner if inner else folder


def _claim(work: Work, partial: Path, context: Context) -> bool:
    """Makes the partial folder this step's own; returns whether it holds some of its work already."""
    partial.mkdir(parents=True, exist_ok=True)
    clear_temporaries(partial)
    claimed = (partial / ".step.claim.json").exists()
    if not claimed and any(partial.iterdir()):
        raise StepError(
            f"{partial} holds files of unknown origin, where the step {work.label!r} would work.",
            fix="Choose another folder, or delete this one.",
        )
    resumed = claim(partial, {**work.identity, "fingerprint": work.fingerprint}, kind="step")
    (partial / RECORD).unlink(missing_ok=True)
    now, note = _code_sha256(work), partial / FUNCTION
    if resumed and note.exists() and note.read_text(errors="replace") != now:
        context.progress.say(
            f"{work.label}: continues unfinished work, but its function changed since that was begun; "
            f"delete {partial} to begin anew."
        )
    if not note.exists():
        write_bytes(note, now.encode())
    return resumed


def _verify_inputs(work: Work, verified: Verified) -> None:
    """Checks the content of all inputs that steps made, each file once.

    Raises: StepError naming the files that are not what was written.
    """
    needed = list(work.needed.values())
    needed += [owned for source in work.sources.values() if (owned := _owner(source)) is not None]
    for folder, inner in needed:
        record = read_record(folder)
        if record is not None and (wrong := wrong_contents(folder, record, verified, inner)):
            raise damaged(folder, wrong)
    verified.save()


def _owner(source: Source) -> tuple[Path, str] | None:
    """Returns the finished step that a source's path belongs to, if any, and the path within its folder."""
    if is_url(source.path):
        return None
    path = local_path(source.path).absolute()
    for folder in (path, *path.parents):
        if (folder / RECORD).is_file():
            try:
                read_record(folder)
            except StepError:  # a file of that name which is something else
                return None
            return folder, "" if folder == path else path.relative_to(folder).as_posix()
    return None


def _check_sources(work: Work, partial: Path) -> None:
    """Raises StepError if a file from outside changed since its content became part of the identity.

    What was made of it is removed: another run with this identity must not continue from it.
    """
    for name, source in work.sources.items():
        if changed := source.changed_since(work.listings[name]):
            shutil.rmtree(partial)
            more = ", ..." if len(changed) > 3 else ""
            raise StepError(
                f"Files of {source.path} changed while the step {work.label!r} read them: "
                f"{', '.join(changed[:3])}{more}. What it made was removed.",
                fix="Run the same command again when nothing writes to them.",
            )


def _code_sha256(work: Work) -> str:
    """Returns the hash of a step's function and of the files whose functions its config names (`rules.py:factory`)."""
    files = sorted({Path(file) for text in _texts(full_config(work.config)) if (file := _NAMED.sub("", text)) != text})
    found = [function_sha256(work.fn), *(sha256_file(file) for file in files if file.is_file())]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        items = cast("Mapping[str, object] | list[object]", value)
        for item in items.values() if isinstance(items, Mapping) else items:
            yield from _texts(item)


def function_sha256(fn: Callable[..., object]) -> str:
    """Returns the hash of a function's source."""
    try:
        source = inspect.getsource(fn)
    except (OSError, TypeError):  # built in an interactive session, or a callable object
        source = repr(getattr(fn, "__qualname__", type(fn)))
    return hashlib.sha256(source.encode()).hexdigest()
