"""The verbs over what was run: ls, show and check."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from tilth import steps
from tilth.cli import terminal
from tilth.cli.options import call
from tilth.cli.terminal import duration, size
from tilth.errors import ConfigError, DataError, StepError
from tilth.outputs import wrong_contents
from tilth.step_record import RECORD, StepRecord, read_record

_MOST_SHOWN = 5
"""Documents that `show --id` prints whole; of more, the sources are listed."""
_MOST_LISTED = 40


def ls(words: Sequence[str]) -> None:
    """`tilth ls [--runs DIR]`."""

    def listing(*, runs: Path = Path("runs")) -> None:
        """List the steps that were run, the newest first; unfinished ones last."""
        rows = [_listed(folder) for folder in steps.finished_folders(runs)]
        rows.sort(key=lambda row: row[3], reverse=True)
        partial = sorted(runs.glob("*/*.partial"))
        rows += [(f.parent.name, "", f.stem, "unfinished", "", _folder_size(f)) for f in partial]
        if not rows:
            terminal.say(f"Nothing was run in {runs} yet. Begin with `tilth run quickstart`.")
            return
        columns = ("step", "label", "fingerprint", "finished (UTC)", "took", "size")
        terminal.show_table("", columns, rows, right=(4, 5), whole=(2,))

    call(listing, words, "ls")


def _listed(folder: Path) -> tuple[str, str, str, str, str, str]:
    try:
        record = _record(folder)
    except (DataError, StepError):
        return folder.parent.name, "", folder.name, "unreadable record", "", _folder_size(folder)
    label = "" if record.label == record.name else record.label
    finished = record.finished_at[:19].replace("T", " ")
    return folder.parent.name, label, folder.name, finished, duration(record.seconds), _folder_size(folder)


def _record(folder: Path) -> StepRecord:
    record = read_record(folder)
    if record is None:
        raise DataError(f"{folder} holds no {RECORD}.")
    return record


def _folder_size(folder: Path) -> str:
    return size(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def check(words: Sequence[str]) -> None:
    """`tilth check [RUNS]`."""

    def checked(runs: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUNS")] = Path("runs")) -> None:
        """Read every file of every finished step, and list those that are not what was written.

        Args:
            runs: Folder with the outputs of all steps, or the folder of one step.
        """
        if not runs.is_dir():
            raise DataError(f"{runs} does not exist.", fix="Give the folder that `--runs` or `--out` named.")
        folders = steps.finished_folders(runs) + steps.unrecorded_folders(runs)
        folders = [runs] if (runs / RECORD).is_file() else sorted(folders)
        wrong = [(str(folder), name, what) for folder in folders for name, what in _wrong(folder).items()]
        if wrong:
            # Lines, not a table: paths are to be copied, and must not be folded.
            for folder, name, what in wrong:
                print(f"{Path(folder) / name}: {what}")
            damaged = sorted({folder for folder, _, _ in wrong})
            raise StepError(
                f"{len(wrong)} files in {len(damaged)} of {len(folders)} steps are not what was written.",
                fix=f"Delete {', '.join(damaged[:3])}{', ...' if len(damaged) > 3 else ''} and run them again.",
            )
        terminal.say(f"{len(folders)} steps checked: every file is as it was written.")

    call(checked, words, "check")


def _wrong(folder: Path) -> dict[str, str]:
    try:
        return wrong_contents(folder, _record(folder))
    except (DataError, StepError) as error:
        return {RECORD: f"cannot be read: {error.message}"}


def show(words: Sequence[str]) -> None:
    """`tilth show PATH [--id DOCUMENT]`."""

    def shown(paths: Annotated[tuple[Path, ...], tyro.conf.Positional], *, id: str | None = None) -> None:
        """Show where results came from: what made them, from which config and inputs, back to the sources.

        Args:
            paths: Folders of steps, or anything in them.
            id: Follow one document instead, by its id or the end of its source (`encodings/cp1006.py`): where it came
                from, or why it was dropped.
        """
        if not paths:
            raise ConfigError("No folder is given.", fix="`tilth show FOLDER`; `tilth ls` lists the folders of steps.")
        for folder in [_step_folder(path) for path in paths]:
            if id is not None:
                _show_document(folder, id)
                continue
            for ancestor in _ancestry(folder):
                _show_record(ancestor)

    call(shown, words, "show")


def _step_folder(path: Path) -> Path:
    for folder in (path, *path.absolute().parents):
        if (folder / RECORD).exists() and folder.suffix != ".partial":
            return folder
    raise DataError(
        f"{path} does not belong to a finished step.",
        fix="`tilth ls` lists the folders that `tilth show` can explain.",
    )


def _ancestry(folder: Path) -> list[Path]:
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


def _show_document(folder: Path, wanted: str) -> None:
    found = [match for ancestor in _ancestry(folder) for match in _rows(ancestor, wanted)]
    sources = sorted({str(row.get("source") or row["id"]) for _, row in found})
    if len(sources) > _MOST_SHOWN:
        print(f"{len(sources):,} documents match `{wanted}`:")
        print("\n".join(f"  {source}" for source in sources[:_MOST_LISTED]))
        if len(sources) > _MOST_LISTED:
            print(f"  and {len(sources) - _MOST_LISTED:,} more")
        return
    for path, row in found:
        print(f"{path}")
        for key, value in row.items():
            text = str(value)
            if value is not None and text:
                print(f"  {key:<9} {text if len(text) <= 400 else text[:400] + f' ... ({len(text):,} characters)'}")
    if not found:
        raise DataError(
            f"No dataset or table of dropped documents in {folder}, or in what it was made from, has the id {wanted} "
            "or a source that ends in it.",
            fix="Give an `id`, or a file's name as in `source`, or the end of one: `encodings/cp1006.py`.",
        )


def _rows(folder: Path, wanted: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields the rows whose id is `wanted`, or whose source is, or ends in it; a part `#n` may be left out."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    pattern = rf"(^|/){re.escape(wanted)}(#\d+)?$"
    for path in sorted(folder.rglob("*.parquet")):
        names = pq.read_schema(path).names
        if "id" not in names:  # a table of something else
            continue
        wanted_rows = pc.field("id") == wanted
        if "source" in names:
            wanted_rows |= cast(Any, pc).match_substring_regex(pc.field("source"), pattern)
        table = pq.read_table(path, filters=wanted_rows)
        for row in table.to_pylist():
            yield path, row
