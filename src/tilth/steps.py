"""Steps: named pieces of work whose identity is what they were asked to do, run once and kept.

The fingerprint of a step is the SHA-256 of its name, version, config and the fingerprints of its inputs. Facts of the
machine arrive in `Context` and cannot enter it. Code is not hashed: that would re-run on a changed comment and still
miss a changed helper; the author bumps `version` instead, and a cache hit whose function changed since says so in one
line.

A step works in `runs/<name>/<fingerprint>.partial/` and is renamed to `runs/<name>/<fingerprint>/` at the end, with a
`recipe.json` that says what made it. A killed step finds its partial folder again; what its function finds finished
there it does not redo.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar, cast

from filelock import FileLock, Timeout

from tilth.errors import StepError
from tilth.execute import Context
from tilth.files import clear_temporaries, write_json
from tilth.sources import Source
from tilth.version import __version__

RECORD = "recipe.json"
BEGUN = ".fingerprint"
"""In a partial folder: whose work it holds."""
FINGERPRINT_DIGITS = 16
"""Hex digits of a fingerprint in folder names: 64 bits."""

C = TypeVar("C")
Counts: TypeAlias = Mapping[str, float]
"""What a step counted (documents, tokens, `flops`, ...); goes into its record."""


@dataclass(frozen=True)
class Inputs:
    """What a step's function reads.

    `inputs["train"]` is the place of an input: a step's folder, a part of one, or a source's path; `sources` holds the
    sources themselves, for those who want their files.
    """

    folders: Mapping[str, Path]
    sources: Mapping[str, Source]

    def __getitem__(self, name: str) -> Path:
        return self.folders[name] if name in self.folders else Path(self.sources[name].path)

    def __contains__(self, name: str) -> bool:
        return name in self.folders or name in self.sources


StepFn: TypeAlias = Callable[[C, Inputs, Path, Context], Counts | None]


@dataclass(frozen=True)
class Step:
    """A function, its config and its inputs; building one runs nothing.

    `fn(config, inputs, out, context)` writes into `out` and may return counts. It must give the same files for the same
    config and inputs, and go on from what a killed run left in `out`.
    """

    name: str
    fn: StepFn[Any]
    config: Any
    inputs: Mapping[str, Input] = field(default_factory=dict[str, "Input"])
    version: int = 1

    def __post_init__(self) -> None:
        # A copy: the caller's dict may grow, a step may not.
        object.__setattr__(self, "inputs", MappingProxyType(dict(self.inputs)))

    def __truediv__(self, path: str) -> Part:
        return Part(self, path)


@dataclass(frozen=True)
class Part:
    """A file or folder in a step's output, as the input of another: `curate / "train"`."""

    step: Step
    path: str


Input: TypeAlias = Step | Part | Source


def step_of(item: Input) -> Step | None:
    """Returns the step that an input comes from; None for a source."""
    return item.step if isinstance(item, Part) else item if isinstance(item, Step) else None


# Identity


def canonical(value: object, where: str = "config") -> Any:
    """Returns `value` as plain JSON data, or raises for anything that has no single way to be written.

    Raises: StepError naming the field, for paths, sets, NaN, functions and other objects.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise StepError(f"{where} is {value}: a number that is not finite has no identity.")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: canonical(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value)
        if not all(isinstance(key, str) for key in items):
            raise StepError(f"{where} has a key that is not text; a config's mappings need text keys.")
        return {str(key): canonical(item, f"{where}.{key}") for key, item in items.items()}
    if isinstance(value, (list, tuple)):
        items_in_order = cast("Sequence[object]", value)
        return [canonical(item, f"{where}[{i}]") for i, item in enumerate(items_in_order)]
    raise StepError(
        f"{where} is a {type(value).__name__}, which cannot be part of a step's identity.",
        fix="Use numbers, text, lists, mappings or dataclasses; files come in as a `Source`.",
    )


def canonical_json(value: object) -> str:
    """Returns the one JSON text of `value`: sorted keys, no spaces."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


class Identities:
    """The identities of steps in one command: each source is looked at once, when it is first asked for."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._known: dict[int, tuple[Input, str]] = {}  # the item is kept so that its id stays its own

    def of(self, step: Step) -> dict[str, Any]:
        """Returns what a step's fingerprint is the hash of."""
        inputs = {name: self.fingerprint(item) for name, item in step.inputs.items()}
        return {"name": step.name, "version": step.version, "config": canonical(step.config), "inputs": inputs}

    def fingerprint(self, item: Input) -> str:
        """Returns the identity of a step (with the path of a part of it), or of the files of a source."""
        if id(item) not in self._known:
            self._known[id(item)] = (item, self._compute(item))
        return self._known[id(item)][1]

    def _compute(self, item: Input) -> str:
        if isinstance(item, Source):
            return item.fingerprint(self.runs)
        if isinstance(item, Part):
            return f"{self.fingerprint(item.step)}/{item.path}"
        return hashlib.sha256(canonical_json(self.of(item)).encode()).hexdigest()[:FINGERPRINT_DIGITS]


def fingerprint(item: Input, context: Context) -> str:
    """Returns the identity of a step, of a part of one, or of the files of a source, as hex digits."""
    return Identities(context.runs).fingerprint(item)


# Planning

State: TypeAlias = Literal["cached", "partial", "new"]


@dataclass(frozen=True)
class Planned:
    """A step with what is known of it before it runs."""

    step: Step
    fingerprint: str
    folder: Path
    state: State
    record: Mapping[str, Any] | None
    """The record of the cached run."""
    last: Mapping[str, Any] | None
    """The newest record of a step of this name with another identity."""
    reasons: list[str]
    """What made it new, as `why` says it."""


def in_order(target: Step) -> list[Step]:
    """Returns `target` and all steps it needs, each after its inputs.

    Raises: StepError if two different steps share a name.
    """
    ordered: list[Step] = []
    names: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if any(step is seen for seen in ordered):
            return
        for item in step.inputs.values():
            if (needed := step_of(item)) is not None:
                visit(needed)
        if names.setdefault(step.name, step) is not step:
            raise StepError(f"Two different steps are called {step.name!r}.", fix="Give each step its own name.")
        ordered.append(step)

    visit(target)
    return ordered


def plan(target: Step, context: Context) -> list[Planned]:
    """Says for each step of `target`, in order, whether it is cached, begun, or new. Runs nothing."""
    planned: list[Planned] = []
    identities = Identities(context.runs)
    for step in in_order(target):
        print_ = identities.fingerprint(step)
        folder = context.runs / step.name / print_
        record = read_record(folder)
        state: State = "cached" if record else "partial" if partial_folder(folder).exists() else "new"
        others = [r for r in records(context.runs, step.name) if r["fingerprint"] != print_]
        reasons = [] if record else _reasons(step, identities)
        planned.append(Planned(step, print_, folder, state, record, others[0] if others else None, reasons))
    return planned


def records(runs: Path, name: str) -> list[dict[str, Any]]:
    """Returns the records of all finished runs of a step, the newest first."""
    found = [read_record(path.parent) for path in (runs / name).glob(f"*/{RECORD}")]
    return sorted((r for r in found if r), key=lambda r: str(r["finished_at"]), reverse=True)


def read_record(folder: Path) -> dict[str, Any] | None:
    """Returns the record of a finished step, or None where there is none."""
    try:
        return json.loads((folder / RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except json.JSONDecodeError as error:
        raise StepError(
            f"{folder / RECORD} is not valid JSON: {error}.",
            fix=f"Delete the folder {folder} to make it again.",
        ) from None


def partial_folder(folder: Path) -> Path:
    """Returns where a step works before it is finished."""
    return folder.with_name(folder.name + ".partial")


# Running


@dataclass(frozen=True)
class Outcome:
    """What became of a step in a run."""

    step: Step
    folder: Path
    cached: bool
    seconds: float


def run(target: Step, context: Context) -> list[Outcome]:
    """Runs what is not cached of `target` and its inputs, and returns one outcome a step, in order.

    Raises: StepError if another process is at work on a step; whatever a step's function raises.
    """
    return list(run_each(target, context))


def run_each(target: Step, context: Context) -> Iterator[Outcome]:
    """Like `run`, but yields each outcome as it comes."""
    folders: dict[str, Path] = {}
    identities = Identities(context.runs)
    for step in in_order(target):
        folder = context.runs / step.name / identities.fingerprint(step)
        outcome = _run_in(step, folder, folders, identities, context)
        folders[step.name] = outcome.folder
        yield outcome


def run_into(step: Step, folder: Path, context: Context) -> Outcome:
    """Runs one step whose inputs are all sources into a folder of the caller's choice.

    Raises: StepError if the folder holds something else, finished or unfinished.
    """
    identities = Identities(context.runs)
    print_ = identities.fingerprint(step)
    work = partial_folder(folder)
    record = read_record(folder)
    begun = (work / BEGUN).read_text() if (work / BEGUN).exists() else print_
    if folder.exists() and (record is None or record["fingerprint"] != print_):
        changed = f": {'; '.join(_differences(step, record, identities))}" if record else ""
        raise StepError(f"{folder} holds something else already{changed}.", fix="Choose another `--out`, or delete it.")
    if begun != print_:
        raise StepError(f"{work} holds unfinished work of another call.", fix="Choose another `--out`, or delete it.")
    return _run_in(step, folder, {}, identities, context)


def _run_in(step: Step, folder: Path, folders: Mapping[str, Path], identities: Identities, context: Context) -> Outcome:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The lock belongs to the process: the system frees it when the process is killed.
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            record = read_record(folder)
            if record is None:
                return _execute(step, folder, folders, identities, context)
    except Timeout:
        raise StepError(
            f"Another process is at work on the step {step.name!r} ({folder}).",
            fix="Wait for it, or stop it first.",
        ) from None
    if record["function_sha256"] != _function_sha256(step.fn):
        context.progress.say(
            f"{step.name}: cached, but its function changed since; bump its version if results differ."
        )
    return Outcome(step, folder, cached=True, seconds=float(record["seconds"]))


def _execute(
    step: Step, folder: Path, folders: Mapping[str, Path], identities: Identities, context: Context
) -> Outcome:
    print_ = identities.fingerprint(step)
    work = partial_folder(folder)
    resumed = work.exists()
    work.mkdir(parents=True, exist_ok=True)
    (work / BEGUN).write_text(print_)
    clear_temporaries(work)
    inputs = Inputs(
        folders={name: _place(item, folders) for name, item in step.inputs.items() if not isinstance(item, Source)},
        sources={name: item for name, item in step.inputs.items() if isinstance(item, Source)},
    )
    started = time.monotonic()
    counts = step.fn(step.config, inputs, work, context)
    seconds = time.monotonic() - started
    record = identities.of(step) | {
        "fingerprint": print_,
        "input_steps": {name: s.name for name, item in step.inputs.items() if (s := step_of(item)) is not None},
        "counts": dict(counts or {}),
        "seconds": round(seconds, 3),
        "resumed": resumed,
        "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "git_commit": git_commit(),
        "tilth_version": __version__,
        "function_sha256": _function_sha256(step.fn),
    }
    write_json(work / RECORD, record)
    (work / BEGUN).unlink()
    work.rename(folder)
    return Outcome(step, folder, cached=False, seconds=seconds)


def _place(item: Step | Part, folders: Mapping[str, Path]) -> Path:
    return folders[item.step.name] / item.path if isinstance(item, Part) else folders[item.name]


def _function_sha256(fn: Callable[..., object]) -> str:
    try:
        source = inspect.getsource(fn)
    except (OSError, TypeError):  # built in an interactive session, or a callable object
        source = repr(getattr(fn, "__qualname__", type(fn)))
    return hashlib.sha256(source.encode()).hexdigest()


@cache
def git_commit() -> str | None:
    """Returns the commit of the repository around the working directory, with `+` where files are changed."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


# Why a step is new


def why(step: Step, context: Context) -> list[str]:
    """Says in plain lines what made a step new: the fields and inputs that differ from the newest finished run.

    A changed input is followed to its own cause. Empty if the step is cached.
    """
    identities = Identities(context.runs)
    done = read_record(context.runs / step.name / identities.fingerprint(step)) is not None
    return [] if done else _reasons(step, identities)


def _reasons(step: Step, identities: Identities) -> list[str]:
    others = records(identities.runs, step.name)
    return _differences(step, others[0], identities) if others else [f"{step.name} has not been run before."]


def _differences(step: Step, record: Mapping[str, Any], identities: Identities) -> list[str]:
    """Says how a step differs from a finished run of the same name, most direct causes first."""
    lines: list[str] = []
    new = identities.of(step)
    if new["version"] != record["version"]:
        lines.append(f"{step.name}: version {record['version']} -> {new['version']}")
    lines += [f"{step.name}: {change}" for change in _changes(record["config"], new["config"], "")]
    for name in sorted(new["inputs"].keys() | record["inputs"].keys()):
        old_print, new_print = record["inputs"].get(name), new["inputs"].get(name)
        if old_print == new_print:
            continue
        if old_print is None or new_print is None:
            lines.append(f"{step.name}: input {name} {'removed' if new_print is None else 'added'}")
            continue
        lines.append(f"{step.name}: input {name} {old_print} -> {new_print}")
        lines += [f"  {line}" for line in _causes(step.inputs[name], old_print, identities)]
    return lines


def _causes(item: Input, old_print: str, identities: Identities) -> list[str]:
    if isinstance(item, Source):
        return item.changes_since(old_print, identities.runs)
    made_by = item.step if isinstance(item, Part) else item
    old = read_record(identities.runs / made_by.name / old_print.split("/")[0])
    return [] if old is None else _differences(made_by, old, identities)


def _changes(old: Any, new: Any, where: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        lines: list[str] = []
        for key in sorted(before.keys() | after.keys()):
            place = f"{where}.{key}" if where else key
            if key not in before:
                lines.append(f"{place} is new: {json.dumps(after[key])}")
            elif key not in after:
                lines.append(f"{place} is gone (was {json.dumps(before[key])})")
            else:
                lines += _changes(before[key], after[key], place)
        return lines
    return [] if old == new else [f"{where} {json.dumps(old)} -> {json.dumps(new)}"]
