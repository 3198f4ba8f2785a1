"""The verbs over what was run: ls, show and check."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from tilth import steps
from tilth.cli import terminal
from tilth.cli.options import call
from tilth.cli.terminal import duration, size
from tilth.errors import ConfigError, DataError, StepError
from tilth.evaluation.result import BASELINES, Baselines
from tilth.outputs import wrong_contents
from tilth.results import read_result
from tilth.run_record import LATEST, PAGE, RUN, RunRecord, read_run, read_runs
from tilth.step_record import RECORD, StepRecord, read_record

if TYPE_CHECKING:
    from tilth.synthesis.lineage import Origin

_MOST_SHOWN = 5
"""Documents that `show --id` prints whole; of more, the sources are listed."""
_MOST_LISTED = 40

_BEGINNING = re.compile(r"[0-9a-f]{8,31}")
"""Of an id, as long as it is told from others."""


def ls(words: Sequence[str]) -> None:
    """`tilth ls [--steps] [--runs DIR]`."""

    def listing(*, runs: Path = Path("runs"), steps: bool = False, json: bool = False) -> None:
        """List the runs, the newest first, or the steps that they are made of.

        Args:
            runs: Folder that holds the outputs of all steps.
            steps: List each step instead, and the runs that it belongs to; unfinished ones last.
            json: Print runs and steps as one JSON document.
        """
        found, listed = read_runs(runs), _listed_steps(runs)
        if json:
            terminal.show_json(
                {"runs": [_run_json(runs, run) for run in found], "steps": [_step_json(s) for s in listed]}
            )
        elif not found and not listed:
            terminal.say(f"Nothing was run in {runs} yet. Begin with `tilth run quickstart`.")
        elif steps or not found:
            columns = ("step", "label", "fingerprint", "finished (UTC)", "took", "size", "runs")
            terminal.show_table("", columns, [_step_row(step) for step in listed], right=(4, 5), whole=(2,))
        else:
            columns = ("run", "recipe", "corpora", "begun (UTC)", "state", "bits per byte")
            terminal.show_table("", columns, [_run_row(runs, run) for run in found], right=(5,), whole=(0, 1, 3, 4))
            written = size(sum(step.bytes for step in listed))
            terminal.say(
                f"{len(listed)} steps, {written}: `tilth ls --steps` lists them. `tilth show NAME` shows a run."
            )

    call(listing, words, "ls")


def _run_row(runs: Path, run: RunRecord) -> tuple[str, ...]:
    bits = bits_per_byte(runs, run)
    return (
        run.name,
        run.recipe,
        "\n".join(run.corpora),
        _time(run.started_at),
        run.status,
        f"{bits:.3f}" if bits else "",
    )


def _run_json(runs: Path, run: RunRecord) -> dict[str, Any]:
    return {**asdict(run), "folder": str(runs / run.name), "bits_per_byte": bits_per_byte(runs, run)}


def bits_per_byte(runs: Path, run: RunRecord) -> float | None:
    """Returns what the run's model needs on held-out text, or None where that was not measured."""
    for folder in reversed(run.steps.values()):
        path = runs / folder / BASELINES
        try:
            measured = read_result(Baselines, path).bits_per_byte if path.is_file() else {}
        except DataError:  # a file of that name which is something else
            continue
        if "model" in measured:
            return measured["model"]
    return None


@dataclass(frozen=True, kw_only=True)
class ListedStep:
    """A folder in `runs` that a step wrote, or began to."""

    folder: Path
    state: Literal["finished", "unfinished", "unreadable record"]
    record: StepRecord | None
    bytes: int
    runs: tuple[str, ...]
    """Names of the runs that it belongs to."""


def _listed_steps(runs: Path) -> list[ListedStep]:
    """Returns the finished steps, the newest first, then those that are not finished."""
    owners: dict[str, list[str]] = {}
    for run in read_runs(runs):
        for folder in run.steps.values():
            owners.setdefault(folder, []).append(run.name)
    listed = [_listed(folder, owners.get(os.path.relpath(folder, runs), ())) for folder in steps.finished_folders(runs)]
    listed.sort(key=lambda step: step.record.finished_at if step.record else "~", reverse=True)
    partial = sorted(folder for folder in runs.glob("*/*.partial") if not folder.parent.is_symlink())
    return listed + [
        ListedStep(folder=folder, state="unfinished", record=None, bytes=_folder_bytes(folder), runs=())
        for folder in partial
    ]


def _listed(folder: Path, owners: Sequence[str]) -> ListedStep:
    record, state = None, "unreadable record"
    with suppress(DataError, StepError):
        record, state = _record(folder), "finished"
    return ListedStep(folder=folder, state=state, record=record, bytes=_folder_bytes(folder), runs=tuple(owners))


def _step_row(step: ListedStep) -> tuple[str, ...]:
    folder, record = step.folder, step.record
    shown = size(step.bytes)
    if record is None:
        return folder.parent.name, "", folder.name.removesuffix(".partial"), step.state, "", shown, ""
    label = "" if record.label == record.name else record.label
    times = _time(record.finished_at), duration(record.seconds)
    return folder.parent.name, label, folder.name, *times, shown, ", ".join(step.runs)


def _step_json(step: ListedStep) -> dict[str, Any]:
    record = step.record
    return {
        "folder": str(step.folder),
        "name": step.folder.parent.name,
        "label": record.label if record else None,
        "fingerprint": step.folder.name.removesuffix(".partial"),
        "state": step.state,
        "finished_at": record.finished_at if record else None,
        "seconds": record.seconds if record else None,
        "bytes": step.bytes,
        "runs": list(step.runs),
    }


def _time(text: str) -> str:
    """Returns an ISO time to the minute."""
    return text[:16].replace("T", " ")


def _record(folder: Path) -> StepRecord:
    record = read_record(folder)
    if record is None:
        raise DataError(f"{folder} holds no {RECORD}.")
    return record


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check(words: Sequence[str]) -> None:
    """`tilth check [RUNS]`."""

    def checked(
        runs: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUNS")] = Path("runs"), *, json: bool = False
    ) -> None:
        """Read every file of every finished step, and list those that are not what was written.

        Args:
            runs: Folder with the outputs of all steps, or the folder of one step or run.
            json: Print the list as one JSON document.
        """
        if not runs.is_dir():
            raise DataError(f"{runs} does not exist.", fix="Give the folder that `--runs` or `--out` named.")
        folders = _folders_to_check(runs)
        wrong = [(str(folder), name, what) for folder in folders for name, what in _wrong(folder).items()]
        if json:
            files = [{"folder": folder, "file": name, "problem": what} for folder, name, what in wrong]
            terminal.show_json({"steps": len(folders), "damaged": files})
        else:
            # Lines, not a table: paths are to be copied, and must not be folded.
            for folder, name, what in wrong:
                print(f"{Path(folder) / name}: {what}")
        if wrong:
            damaged = sorted({folder for folder, _, _ in wrong})
            raise StepError(
                f"{len(wrong)} files in {len(damaged)} of {len(folders)} steps are not what was written.",
                fix=f"Delete {', '.join(damaged[:3])}{', ...' if len(damaged) > 3 else ''} and run them again.",
            )
        terminal.say(f"{len(folders)} steps checked: every file is as it was written.")

    call(checked, words, "check")


def _folders_to_check(runs: Path) -> list[Path]:
    if (runs / RECORD).is_file():
        return [runs]
    if (run := read_run(runs)) is not None:
        return [runs.resolve().parent / folder for folder in run.steps.values()]
    folders = sorted(steps.finished_folders(runs) + steps.unrecorded_folders(runs))
    if not folders:
        raise DataError(
            f"{runs} holds no finished step.",
            fix="Give the folder that `--runs` or `--out` named; `tilth ls` lists runs.",
        )
    return folders


def _wrong(folder: Path) -> dict[str, str]:
    try:
        return wrong_contents(folder, _record(folder))
    except (DataError, StepError) as error:
        return {RECORD: f"cannot be read: {error.message}"}


def show(words: Sequence[str]) -> None:
    """`tilth show PATH [--id DOCUMENT]`."""

    def shown(
        paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH ...")],
        *,
        id: str | None = None,
        runs: Path = Path("runs"),
        json: bool = False,
    ) -> None:
        """Show where results came from: what made them, from which config and inputs, back to the sources.

        Args:
            paths: Folders of runs or steps, or anything in them; or names of runs. None: the newest run.
            id: Follow one document instead, by its id or the end of its source (`encodings/cp1006.py`): where it came
                from, or why it was dropped; of a sample, the prompt, the teacher, the gates and the source text.
            runs: Folder in which runs are looked up by name.
            json: Print one JSON document.
        """
        if not paths:
            if read_run(runs / LATEST) is None:
                fix = "`tilth show RUN`, or the folder of a run or step; `tilth ls` lists them."
                raise ConfigError(f"No run or folder is given, and {runs} holds no run.", fix=fix)
            paths = (runs / LATEST,)
        shown = [_shown(path, runs) for path in paths]
        folders = dict.fromkeys(step for item in shown for step in item.steps)
        if id is not None and json and (found := [match for folder in folders for match in _rows(folder, id)]):
            terminal.show_json([_document_json(path, row, list(folders)) for path, row in found])
        elif id is not None:
            for item in shown:
                _show_document(item.folder, item.steps, id)
        elif json:
            terminal.show_json([_shown_json(item) for item in shown])
        else:
            for item in shown:
                if item.run is not None:
                    _show_run(item.folder, item.run)
                for folder in item.steps:
                    _show_record(folder)

    call(shown, words, "show")


@dataclass(frozen=True)
class Shown:
    """What a path belongs to: a run with its steps, or a step with those that it was made from."""

    folder: Path
    run: RunRecord | None
    steps: list[Path]


def _shown(path: Path, runs: Path) -> Shown:
    named = [runs / path] if (runs / path / RUN).is_file() else []  # a corpus may have the same name as its run
    for folder in (path, *path.absolute().parents, *named):
        if (folder / RECORD).exists() and folder.suffix != ".partial":
            folder = _without_links(folder)
            return Shown(folder, None, ancestry(folder))
        if (folder / RUN).is_file() and (run := read_run(folder)) is not None:
            folder = _without_links(folder)
            return Shown(folder, run, _by_age([folder.parent / step for step in run.steps.values()]))
    raise DataError(
        f"{path} does not belong to a run or a finished step.",
        fix="`tilth ls` lists the runs, and `tilth ls --steps` the folders, that `tilth show` can explain.",
    )


def _by_age(folders: Iterable[Path]) -> list[Path]:
    """Returns the folders of finished steps that are still there, the oldest first."""
    return sorted((f for f in folders if (f / RECORD).exists()), key=lambda folder: _record(folder).finished_at)


def _without_links(folder: Path) -> Path:
    """Returns the folder that a path leads to, relative to the working directory where it is in that."""
    real, here = folder.resolve(), Path.cwd()
    return real.relative_to(here) if here in real.parents else real


def _show_run(folder: Path, run: RunRecord) -> None:
    ended = f" to {_time(run.finished_at)}" if run.finished_at else ""
    page = folder / PAGE
    lines = [
        f"{run.name}  {folder}",
        f"    command {run.command}",
        f"    recipe  {run.recipe}",
        *([f"    fields  {json.dumps(run.fields, ensure_ascii=False)}"] if run.fields else []),
        *(f"    corpus  {corpus}" for corpus in run.corpora),
        f"    begun   {_time(run.started_at)}{ended} UTC: {run.status}",
        *([f"    error   {run.error}"] if run.error else []),
        *([f"    report  {page}"] if page.exists() else []),
        *(f"    step    {label}: {folder.parent / step}" for label, step in run.steps.items()),
    ]
    print("\n".join(lines) + "\n")


def _shown_json(item: Shown) -> dict[str, Any]:
    run = asdict(item.run) if item.run is not None else None
    steps_ = [{"folder": str(folder), **asdict(_record(folder))} for folder in item.steps]
    return {"folder": str(item.folder), "run": run, "steps": steps_}


def ancestry(folder: Path) -> list[Path]:
    """Returns a step's folder and those of all that it was made from, each once, the nearest first."""
    found = [folder]
    for step in found:  # it grows while it is read
        record = _record(step)
        for name, step_name in record.input_steps.items():
            parent = step.parent.parent / step_name / record.inputs[name].split("/")[0]
            if parent not in found and (parent / RECORD).exists():
                found.append(parent)
    return found


def _show_record(folder: Path) -> None:
    record = _record(folder)
    finished, seconds = record.finished_at[:19].replace("T", " "), duration(record.seconds)
    label = f"  ({record.label})" if record.label != record.name else ""
    commit = f", commit {record.git_commit}" if record.git_commit else ""
    lines = [
        f"{record.name}{label}  {folder}",
        f"    made    {finished} UTC in {seconds}, tilth {record.tilth_version}{commit}",
        f"    on      {record.device}, {record.threads} threads, torch {record.libraries.get('torch', 'none')}",
    ]
    lines += [f"    config  {json.dumps(record.config)}"] if record.config else []
    lines += [f"    counts  {json.dumps(record.counts)}"] if record.counts else []
    for name, fingerprint in record.inputs.items():
        basis = record.source_bases.get(name, "content")
        by = "" if basis == "content" else f" by {basis}"
        lines.append(f"    from    {name}: {record.input_steps.get(name, 'files')} {fingerprint}{by}")
    written = sum(output.bytes for output in record.outputs.values())
    lines.append(f"    wrote   {len(record.outputs)} files, {size(written)}")
    print("\n".join(lines))


def _show_document(folder: Path, among: Sequence[Path], wanted: str) -> None:
    found = _matches(folder, among, wanted)
    sources = sorted({str(row.get("source") or row["id"]) for _, row in found})
    if len(sources) > _MOST_SHOWN:
        print(f"{len(sources):,} documents match `{wanted}`:")
        print("\n".join(f"  {source}" for source in sources[:_MOST_LISTED]))
        if len(sources) > _MOST_LISTED:
            print(f"  and {len(sources) - _MOST_LISTED:,} more")
        return
    for path, row in found:
        print(f"{path}")
        made = _origins(row, among)
        for key, value in row.items():
            text = str(value)
            if value is not None and text and not (made and key == "lineage"):
                print(f"  {key:<9} {text if len(text) <= 400 else text[:400] + f' ... ({len(text):,} characters)'}")
        _show_origins(made, row)


def _document_json(path: Path, row: Mapping[str, Any], among: Sequence[Path]) -> dict[str, Any]:
    made = [asdict(origin) for origin in _origins(row, among)]
    return {"file": str(path), "document": row, **({"made_of": made} if made else {})}


def _origins(row: Mapping[str, Any], among: Sequence[Path]) -> list[Origin]:
    """Returns what a sample was made of, as its lineage says; nothing for any other document."""
    from tilth.synthesis.lineage import is_made, origins
    from tilth.synthesis.result import SYNTHESIS, SynthesisResult

    if not is_made(row.get("lineage")):
        return []
    folders: list[Path] = []
    steps_ = list(among)
    for step in steps_:  # it grows while it is read: a source may be made of another one
        if (step / SYNTHESIS).is_file():
            with suppress(DataError):
                source = Path(read_result(SynthesisResult, step / SYNTHESIS).dataset)
                folders.append(source)
                steps_ += [folder for folder in (source, source.parent) if folder not in steps_]
        elif (step / RECORD).is_file():
            folders += [manifest.parent for manifest in sorted(step.rglob("dataset.json"))]
    return origins(row["lineage"], folders)


def _show_origins(made: Sequence[Origin], row: Mapping[str, Any]) -> None:
    from tilth.synthesis.lineage import lines
    from tilth.synthesis.render import STAGE

    for origin in made:
        print("\n".join(f"  {line}" for line in lines(origin)))
    if made:
        for entry in reversed(json.loads(row["lineage"])):
            if entry.get("stage") != STAGE:
                facts = ", ".join(f"{key} {value}" for key, value in entry.items() if key != "stage")
                print(f"  before    {entry.get('stage')}: {facts}")


def _matches(folder: Path, among: Sequence[Path], wanted: str) -> list[tuple[Path, dict[str, Any]]]:
    """Returns the rows that an id or a source names, with their files. Raises: DataError if there are none."""
    found = [match for ancestor in among for match in _rows(ancestor, wanted)]
    if not found:
        raise DataError(
            f"No dataset or table of dropped documents in {folder}, or in what it was made from, has the id {wanted} "
            "or a source that ends in it.",
            fix="Give an `id`, 8 or more characters of its beginning, a file's name as in `source`, or the end of one: "
            "`encodings/cp1006.py`.",
        )
    return found


def _rows(folder: Path, wanted: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields the rows whose id is or begins with `wanted`, or whose source is or ends in it, without `#n` too."""
    import pyarrow.parquet as pq

    pc: Any = importlib.import_module("pyarrow.compute")  # most of it is made at import, so no type checker knows it
    pattern = rf"(^|/){re.escape(wanted)}(#\d+)?$"
    for path in sorted(folder.rglob("*.parquet")):
        names = pq.read_schema(path).names
        if "id" not in names:  # a table of something else
            continue
        wanted_rows = pc.field("id") == wanted
        if _BEGINNING.fullmatch(wanted):
            wanted_rows |= pc.starts_with(pc.field("id"), wanted)
        if "source" in names:
            wanted_rows |= pc.match_substring_regex(pc.field("source"), pattern)
        table = pq.read_table(path, filters=wanted_rows)
        for row in table.to_pylist():
            yield path, row
