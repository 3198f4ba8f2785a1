"""Steps: functions with a config and inputs. A step is identified by these, runs once, and its output is kept.

The fingerprint of a step is the SHA-256 of its kind (`name`), its version, the fields of its config that differ from
their defaults, and the fingerprints of its inputs. Facts of the machine are in `Context` and cannot enter it; nor
does the step's label. Code is not hashed: that would re-run on a changed comment and still
miss a changed helper; the author raises `version` instead, and a cache hit whose function changed since says so in one
line.

A step works in `runs/<name>/<fingerprint>.partial/` and is renamed to `runs/<name>/<fingerprint>/` at the end, with a
`step.json` that says what made it and what each file is. A killed step finds its partial folder again; what its
function finds finished there it does not redo.
"""

from __future__ import annotations

import glob
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast

from tilth.errors import ConfigError, StepError
from tilth.execute import Context
from tilth.identity import canonical, changes, fingerprint_of
from tilth.jobs import Jobs
from tilth.paths import check_local, is_url, local_path
from tilth.perform import Counts as Counts
from tilth.perform import Done, StepFn, Work, finished_record, full_config, function_sha256, partial_folder, perform
from tilth.perform import Inputs as Inputs
from tilth.sources import Listing, Source
from tilth.step_record import RECORD as RECORD
from tilth.step_record import StepRecord, read_record

_FOLDER_NAME = re.compile(r"[^/\\\0]{1,200}")


@dataclass(frozen=True)
class Step:
    """A function, its config and its inputs; building one runs nothing.

    `fn(config, inputs, out, context)` writes into `out` and may return counts. It must give the same files for the same
    config and inputs, and continue from what a killed run left in `out`. To run beside other steps (`--jobs`) it must
    be a module-level function.
    """

    name: str
    """What kind of step it is: part of the identity, and a folder under `runs`."""
    fn: StepFn[Any]
    config: Any
    inputs: Mapping[str, Input] = field(default_factory=dict[str, "Input"])
    version: int = 1
    """To be raised when the same config and inputs give other results than before."""
    label: str = ""
    """What the recipe calls it (default: its name); steps of one kind with different configs need different labels."""

    def __post_init__(self) -> None:
        # Both are folders under `runs`: nothing is ever written, or looked for, outside of that.
        for kind, name in (("named", self.name), ("labelled", self.label or self.name)):
            if not _is_folder_name(name):
                raise ConfigError(
                    f"A step cannot be {kind} {name!r}: that is the name of a folder.",
                    fix="Use letters, digits, `-` and `_`.",
                )
        if problem := _problem_of(self.fn):
            raise ConfigError(
                f"The function of the step {self.label or self.name!r} {problem}.",
                fix="Give a function of four arguments: `fn(config, inputs, out, context)`.",
            )
        # A copy: the caller's dict may grow, a step may not.
        object.__setattr__(self, "inputs", MappingProxyType(_checked_inputs(self.label or self.name, self.inputs)))
        object.__setattr__(self, "label", self.label or self.name)

    def __truediv__(self, path: str) -> Part:
        return Part(self, str(path))


@dataclass(frozen=True)
class Part:
    """A file or folder in a step's output, as the input of another: `curate / "train"`."""

    step: Step
    path: str

    def __post_init__(self) -> None:
        if self.path.startswith("/") or ".." in self.path.split("/") or "\0" in self.path:
            raise ConfigError(
                f"{self.path!r} is no part of the step {self.step.label!r}.",
                fix='Give a path within its folder, such as `curate / "train"`.',
            )


Input: TypeAlias = Step | Part | Source


def _problem_of(fn: object) -> str:
    """Returns why a step cannot call `fn`, or nothing."""
    if not callable(fn):
        return f"is {fn!r:.80}"
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # of some functions written in C
        return ""
    try:
        signature.bind(None, None, None, None)
    except TypeError:
        return f"is {getattr(fn, '__name__', type(fn).__name__)}{signature}"
    return ""


def _is_folder_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and _FOLDER_NAME.fullmatch(name) is not None


def _checked_inputs(label: str, inputs: object) -> dict[str, Input]:
    """Returns a copy of a step's inputs; raises ConfigError for what cannot be one."""
    if not isinstance(inputs, Mapping):
        raise ConfigError(f"The inputs of the step {label!r} are a {type(inputs).__name__}.", fix=_INPUTS)
    items = cast("Mapping[object, object]", inputs)
    for name, item in items.items():
        if not isinstance(name, str) or not isinstance(item, Step | Part | Source):
            raise ConfigError(f"The input {name!r} of the step {label!r} is a {type(item).__name__}.", fix=_INPUTS)
    return dict(cast("Mapping[str, Input]", items))


_INPUTS = 'Inputs are a mapping of names to steps, parts of steps, or sources: `{"texts": Source("folder")}`.'


def step_of(item: Input) -> Step | None:
    """Returns the step that an input comes from; None for a source."""
    return item.step if isinstance(item, Part) else item if isinstance(item, Step) else None


def needed_steps(target: Step) -> list[Step]:
    """Returns `target` and all steps that it needs, each object once and after its inputs."""
    ordered: list[Step] = []
    seen: set[int] = set()
    waiting: list[tuple[Step, bool]] = [(target, False)]
    while waiting:
        step, is_ready = waiting.pop()
        if is_ready:
            ordered.append(step)
            continue
        if id(step) in seen:
            continue
        seen.add(id(step))
        waiting.append((step, True))
        needed = [made_by for item in step.inputs.values() if (made_by := step_of(item)) is not None]
        waiting += [(made_by, False) for made_by in reversed(needed)]
    return ordered


# Identity


class Identities:
    """The identities of steps in one command: each source is looked at once, when it is first asked for."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._steps: dict[int, tuple[Step, str]] = {}  # the step is kept so that its id stays its own
        self._listings: dict[Source, Listing] = {}
        self._records: dict[str, list[StepRecord]] = {}

    def of(self, step: Step) -> dict[str, Any]:
        """Returns what a step's fingerprint is the hash of."""
        inputs = {name: self.fingerprint(item) for name, item in step.inputs.items()}
        return {"name": step.name, "version": step.version, "config": canonical(step.config), "inputs": inputs}

    def fingerprint(self, item: Input) -> str:
        """Returns the identity of a step (with the path of a part of it), or of the files of a source."""
        if isinstance(item, Source):
            return self.listing(item).fingerprint
        if isinstance(item, Part):
            return f"{self.fingerprint(item.step)}/{item.path}"
        if id(item) not in self._steps:
            for step in needed_steps(item):  # each after its inputs: no chain of steps is too long
                if id(step) not in self._steps:
                    self._steps[id(step)] = step, fingerprint_of(self.of(step))
        return self._steps[id(item)][1]

    def listing(self, source: Source) -> Listing:
        """Returns what a source held when it was first asked for."""
        if source not in self._listings:
            self._listings[source] = source.listing(self.runs)
        return self._listings[source]

    def records(self, name: str) -> list[StepRecord]:
        """Returns the records of a kind of step, as they were when they were first asked for."""
        if name not in self._records:
            self._records[name] = records(self.runs, name)
        return self._records[name]

    def folder(self, step: Step) -> Path:
        """Returns the folder of a step's output."""
        return self.runs / step.name / self.fingerprint(step)

    def work(self, step: Step, folder: Path) -> Work:
        """Returns all that is needed to run a step into `folder`."""
        sources = {name: item for name, item in step.inputs.items() if isinstance(item, Source)}
        made = {name: (item, made_by) for name, item in step.inputs.items() if (made_by := step_of(item)) is not None}
        return Work(
            name=step.name,
            label=step.label,
            version=step.version,
            fn=step.fn,
            config=step.config,
            identity=self.of(step),
            fingerprint=self.fingerprint(step),
            folder=folder,
            needed={
                name: (self.folder(made_by), item.path if isinstance(item, Part) else "")
                for name, (item, made_by) in made.items()
            },
            input_steps={name: made_by.name for name, (_, made_by) in made.items()},
            sources=sources,
            listings={name: self.listing(source) for name, source in sources.items()},
        )


def fingerprint(item: Input, context: Context) -> str:
    """Returns the identity of a step, of a part of one, or of the files of a source, as hex digits."""
    return Identities(context.runs).fingerprint(item)


# Planning

State: TypeAlias = Literal["cached", "partial", "new", "damaged"]


@dataclass(frozen=True)
class Planned:
    """A step with what is known of it before it runs."""

    step: Step
    fingerprint: str
    folder: Path
    state: State
    record: StepRecord | None
    """The record of the cached run."""
    last: StepRecord | None
    """The nearest record of a step of this kind with another identity: see `_nearest`."""
    reasons: list[str]
    """What made it new, as `why` says it; what is wrong with it, if it is damaged."""
    source_bases: Mapping[str, str]
    """Path of a source -> what identifies its files (`content`, `ETag`, ...)."""


def in_order(target: Step, context: Context) -> list[Step]:
    """Returns `target` and all steps it needs, each after its inputs; steps that are built equal are one.

    Raises: StepError if two different steps have the same label, or if two that seem equal have different functions.
    """
    return _in_order(target, Identities(context.runs))


def _in_order(target: Step, identities: Identities) -> list[Step]:
    ordered: dict[str, Step] = {}
    labels: dict[str, str] = {}
    for step in needed_steps(target):
        found = identities.fingerprint(step)
        if labels.setdefault(step.label, found) != found:
            raise StepError(
                f"Two different steps are labelled {step.label!r}.",
                fix="Give each step a label of its own: `Step(..., label=...)`.",
            )
        _check_same_function(ordered.setdefault(found, step), step)
    return list(ordered.values())


def _check_same_function(step: Step, other: Step) -> None:
    """Raises StepError if only the functions tell two steps apart: these are no part of the identity."""
    if step.fn is not other.fn and function_sha256(step.fn) != function_sha256(other.fn):
        raise StepError(
            f"The steps {step.label!r} and {other.label!r} have one identity, but different functions.",
            fix=f"Give one of them another name than {step.name!r}.",
        )


def plan(target: Step, context: Context) -> list[Planned]:
    """Says for each step of `target`, in order, whether it is cached, begun, or new. Runs nothing."""
    identities = Identities(context.runs)
    return [_planned(step, identities) for step in _in_order(target, identities)]


def _planned(step: Step, identities: Identities) -> Planned:
    found, folder = identities.fingerprint(step), identities.folder(step)
    record, reasons = None, list[str]()
    try:
        record = finished_record(folder, found)
        state: State = "cached" if record else "partial" if partial_folder(folder).exists() else "new"
        reasons = [] if record else _reasons(step, identities, begun=state == "partial")
    except StepError as error:
        state, reasons = "damaged", [error.message]
    bases = {item.path: identities.listing(item).basis for item in step.inputs.values() if isinstance(item, Source)}
    return Planned(step, found, folder, state, record, _nearest(step, identities), reasons, bases)


def _nearest(step: Step, identities: Identities) -> StepRecord | None:
    """Returns the earlier run that differs in the fewest fields and inputs; of equals, the newest.

    Those with the step's label come first: a recipe may hold several steps of one kind.
    """
    new = identities.of(step)
    found = identities.fingerprint(step)
    others = [r for r in identities.records(step.name) if r.fingerprint != found]
    if not others:
        return None
    config = full_config(step.config)

    def distance(record: StepRecord) -> tuple[bool, int]:
        fields = len(changes(_with_new_defaults(record.config, config, new["config"]), config))
        names = new["inputs"].keys() | record.inputs.keys()
        inputs = sum(new["inputs"].get(name) != record.inputs.get(name) for name in names)
        return record.label != step.label, fields + inputs + (record.version != new["version"])

    return min(others, key=distance)


def records(runs: Path, name: str) -> list[StepRecord]:
    """Returns the records of all finished runs of a kind of step, the newest first; unreadable ones are left out."""
    found: list[StepRecord] = []
    for folder in finished_folders(runs, name):
        try:
            record = read_record(folder)
        except StepError:
            continue
        found += [record] if record else []
    return sorted(found, key=lambda record: record.finished_at, reverse=True)


def finished_folders(runs: Path, name: str | None = None) -> list[Path]:
    """Returns the folders of finished steps, of one kind or of all; a `.partial` is never finished.

    The links in the folders of runs are not followed: each step is listed once.
    """
    return _step_folders(runs, f"{'*' if name is None else glob.escape(name)}/*/{RECORD}")


def unrecorded_folders(runs: Path) -> list[Path]:
    """Returns the folders that were a finished step's, but lack the record that every finished step has."""
    claimed = _step_folders(runs, "*/*/.step.claim.json")
    return [folder for folder in claimed if not os.path.lexists(folder / RECORD)]


def _step_folders(runs: Path, pattern: str) -> list[Path]:
    folders = (path.parent for path in runs.glob(pattern))
    return sorted(
        folder
        for folder in folders
        if folder.suffix != ".partial" and not folder.is_symlink() and not folder.parent.is_symlink()
    )


# Running


@dataclass(frozen=True)
class StepResult:
    """What became of a step in a run."""

    step: Step
    folder: Path
    cached: bool
    seconds: float


def run(target: Step, context: Context) -> list[StepResult]:
    """Runs what is not cached of `target` and its inputs, and returns one result a step, in order.

    With `context.jobs` above 1, independent steps run side by side, each in a process of its own.
    Raises: StepError if another process is at work on a step; whatever a step's function raises.
    """
    identities = Identities(context.runs)
    ordered = _in_order(target, identities)
    results = {id(result.step): result for result in _run_each(ordered, identities, context, None)}
    return [results[id(step)] for step in ordered]


Started: TypeAlias = Callable[[Work], None] | None
"""Called with each step's work before that begins; it may turn out to be cached."""


def run_each(target: Step, context: Context, *, started: Started = None) -> Iterator[StepResult]:
    """Like `run`, but yields each result as it comes."""
    identities = Identities(context.runs)
    yield from _run_each(_in_order(target, identities), identities, context, started)


def _run_each(ordered: list[Step], identities: Identities, context: Context, started: Started) -> Iterator[StepResult]:
    if context.jobs > 1:
        yield from _run_side_by_side(ordered, identities, context, started)
        return
    for step in ordered:
        work = identities.work(step, identities.folder(step))
        if started is not None:
            started(work)
        yield _result(step, work, perform(work, context))


def _run_side_by_side(
    ordered: list[Step], identities: Identities, context: Context, started: Started
) -> Iterator[StepResult]:
    waiting = {identities.fingerprint(step): step for step in ordered}
    steps = dict(waiting)
    done: set[str] = set()
    jobs = Jobs(context)
    try:
        while len(done) < len(steps):
            for found, step in list(waiting.items()):
                if not jobs.has_room or not _needs(step, identities) <= done:
                    continue
                del waiting[found]
                work = identities.work(step, identities.folder(step))
                if started is not None:
                    started(work)
                if finished_record(work.folder, found) is None:
                    jobs.start(work)
                    continue
                done.add(found)
                yield _result(step, work, perform(work, context))
            if not jobs.running:
                continue
            for work, ended in jobs.finished():
                done.add(work.fingerprint)
                yield _result(steps[work.fingerprint], work, ended)
    finally:
        jobs.end()


def _needs(step: Step, identities: Identities) -> set[str]:
    return {identities.fingerprint(made_by) for item in step.inputs.values() if (made_by := step_of(item)) is not None}


def _result(step: Step, work: Work, done: Done) -> StepResult:
    return StepResult(step, work.folder, done.cached, done.seconds)


def run_into(step: Step, folder: Path, context: Context) -> StepResult:
    """Runs one step whose inputs are all sources into a folder of the caller's choice.

    Raises: StepError or ConfigError if the folder holds something else, finished or unfinished.
    """
    identities = Identities(context.runs)
    sources = [item for item in step.inputs.values() if isinstance(item, Source)]
    work = identities.work(step, _output_folder(folder, sources))
    try:
        return _result(step, work, perform(work, context))
    except StepError as error:
        record = read_record(folder)
        if record is None or record.fingerprint == work.fingerprint:
            raise
        differences = "; ".join(_differences(step, record, identities))
        raise StepError(
            f"{folder} holds another step's output{': ' if differences else ''}{differences}.", fix=error.fix
        ) from None


def _is_within(folder: Path, source: Source) -> bool:
    root = None if is_url(source.path) else local_path(source.path).resolve()
    # What a glob leaves out is not read.
    return root is not None and not source.include and root.is_dir() and root in folder.resolve().parents


def _output_folder(folder: Path, sources: Iterable[Source]) -> Path:
    """Returns where to work for an output folder that a user named; a link is followed.

    Raises: ConfigError for a URL, for a folder in a source, and for one without a name beside which no other can be
    made.
    """
    check_local(folder)
    for source in sources:
        if _is_within(folder, source):
            raise ConfigError(
                f"The output {folder} is inside the corpus {source.path}: it would be read as part of it.",
                fix="Name a folder outside of the corpus.",
            )
    if not folder.name or folder.name == "..":
        raise ConfigError(f"The output cannot be `{folder}` itself.", fix="Name a folder in it.")
    return folder.resolve() if folder.is_symlink() else folder


# Why a step is new


def why(step: Step, context: Context) -> list[str]:
    """Says in plain lines what made a step new: the fields and inputs that differ from the nearest finished run.

    A changed input is followed to its own cause, each cause once. Empty if the step is cached.
    """
    return _planned(step, Identities(context.runs)).reasons


def _reasons(step: Step, identities: Identities, *, begun: bool) -> list[str]:
    last = _nearest(step, identities)
    if last is None:
        return [f"{step.label} was begun and has not ended." if begun else f"{step.label} has not been run before."]
    return _differences(step, last, identities)


def _differences(
    step: Step, record: StepRecord, identities: Identities, told: set[tuple[str, str]] | None = None
) -> list[str]:
    """Says how a step differs from a finished run of the same kind, most direct causes first.

    `told` are the pairs of fingerprints, before and now, whose differences were named: several inputs may come from
    one step.
    """
    lines: list[str] = []
    new = identities.of(step)
    told = set() if told is None else told
    if new["version"] != record.version:
        lines.append(f"{step.label}: version {record.version} -> {new['version']}")
    config = full_config(step.config)
    old_config = _with_new_defaults(record.config, config, new["config"])
    lines += [f"{step.label}: {change}" for change in changes(old_config, config)]
    for name in sorted(new["inputs"].keys() | record.inputs.keys()):
        before, now = record.inputs.get(name), new["inputs"].get(name)
        if before == now:
            continue
        if before is None or now is None:
            lines.append(f"{step.label}: input {name} {'removed' if now is None else 'added'}")
            continue
        lines.append(f"{step.label}: input {name} {before} -> {now}")
        lines += [f"  {line}" for line in _causes(step.inputs[name], before, identities, told)]
    return lines


def _with_new_defaults(old: Any, full: Any, identity: Any) -> Any:
    """Adds to an old config the options that did not exist yet and are at their default now: they change nothing."""
    if not (isinstance(old, dict) and isinstance(full, dict) and isinstance(identity, dict)):
        return old
    before, now, stated = (cast("dict[str, Any]", value) for value in (old, full, identity))
    merged = {key: _with_new_defaults(item, now.get(key), stated.get(key, {})) for key, item in before.items()}
    return merged | {key: item for key, item in now.items() if key not in before and key not in stated}


def _causes(item: Input, old: str, identities: Identities, told: set[tuple[str, str]]) -> list[str]:
    made = old.split("/")[0], identities.fingerprint(item).split("/")[0]
    if made in told:
        return []
    told.add(made)
    if isinstance(item, Source):
        return item.changes_since(old, identities.runs)
    made_by = item.step if isinstance(item, Part) else item
    try:
        record = read_record(identities.runs / made_by.name / made[0])
    except StepError:
        return []
    return [] if record is None else _differences(made_by, record, identities, told)
