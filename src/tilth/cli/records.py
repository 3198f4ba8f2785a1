"""The verbs over what was run: ls and show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from tilth import steps
from tilth.cli import terminal
from tilth.cli.options import call
from tilth.cli.terminal import duration, size
from tilth.errors import DataError


def ls(words: Sequence[str]) -> None:
    """`tilth ls [--runs DIR]`."""

    def listing(*, runs: Path = Path("runs")) -> None:
        """List the steps that were run, the newest first; unfinished ones last."""
        folders = [path.parent for path in runs.glob(f"*/*/{steps.RECORD}") if path.parent.suffix != ".partial"]
        done = sorted(folders, key=lambda folder: str(_record(folder)["finished_at"]), reverse=True)
        rows = [_listed(folder) for folder in done]
        rows += [(f.parent.name, f.stem, "unfinished", "", _folder_size(f)) for f in sorted(runs.glob("*/*.partial"))]
        if not rows:
            terminal.say(f"Nothing was run in {runs} yet. Begin with `tilth run quickstart`.")
            return
        terminal.show_table("", ("step", "fingerprint", "finished (UTC)", "took", "size"), rows, right=(3, 4))

    call(listing, words, "ls")


def _listed(folder: Path) -> tuple[str, str, str, str, str]:
    record = _record(folder)
    finished = str(record["finished_at"])[:19].replace("T", " ")
    return folder.parent.name, folder.name, finished, duration(float(record["seconds"])), _folder_size(folder)


def _record(folder: Path) -> Mapping[str, Any]:
    record = steps.read_record(folder)
    if record is None:
        raise DataError(f"{folder} holds no {steps.RECORD}.")
    return record


def _folder_size(folder: Path) -> str:
    return size(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def show(words: Sequence[str]) -> None:
    """`tilth show PATH [--id DOCUMENT]`."""

    def shown(paths: Annotated[tuple[Path, ...], tyro.conf.Positional], *, id: str | None = None) -> None:
        """Show where results came from: what made them, from which config and inputs, back to the sources.

        Args:
            paths: Folders of steps, or anything in them.
            id: Follow one document instead: its source, or why it was dropped.
        """
        for folder in [_step_folder(path) for path in paths]:
            if id is not None:
                _show_document(folder, id)
                continue
            for ancestor in _ancestry(folder):
                _show_record(ancestor)

    call(shown, words, "show")


def _step_folder(path: Path) -> Path:
    for folder in (path, *path.absolute().parents):
        if (folder / steps.RECORD).exists():
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
        for name, step_name in cast("dict[str, str]", record["input_steps"]).items():
            parent = step.parent.parent / step_name / str(record["inputs"][name]).split("/")[0]
            if parent not in found and (parent / steps.RECORD).exists():
                found.append(parent)
    return found


def _show_record(folder: Path) -> None:
    record = _record(folder)
    finished, seconds = str(record["finished_at"])[:19].replace("T", " "), duration(float(record["seconds"]))
    lines = [
        f"{record['name']}  {folder}",
        f"    made    {finished} UTC in {seconds}, tilth {record['tilth_version']}, commit {record['git_commit']}",
    ]
    lines += [f"    config  {json.dumps(record['config'])}"] if record["config"] else []
    lines += [f"    counts  {json.dumps(record['counts'])}"] if record["counts"] else []
    for name, fingerprint in record["inputs"].items():
        lines.append(f"    from    {name}: {record['input_steps'].get(name, 'files')} {fingerprint}")
    print("\n".join(lines))


def _show_document(folder: Path, wanted: str) -> None:
    found = False
    for ancestor in _ancestry(folder):
        for path, row in _rows(ancestor, wanted):
            found = True
            print(f"{path}")
            for key, value in row.items():
                text = str(value)
                if value is not None and text:
                    print(f"  {key:<9} {text if len(text) <= 400 else text[:400] + f' ... ({len(text):,} characters)'}")
    if not found:
        raise DataError(
            f"No dataset or table of dropped documents in {folder}, or in what it was made from, has the id {wanted}.",
            fix="Ids are the `id` column of a dataset, and of `rejects/`.",
        )


def _rows(folder: Path, wanted: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    import pyarrow.parquet as pq

    for path in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(path, filters=[("id", "=", wanted)])
        for row in table.to_pylist():
            yield path, row
