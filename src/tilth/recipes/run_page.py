"""The page of a run: the report on the steps that it has, under its name and with the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tilth.execute import Context
from tilth.run_record import PAGE, RunRecord

EXPORTED = "generation_config.json"
"""The file by which the folder of a model to chat with is known."""


def write_page(
    record: RunRecord, folders: Iterable[Path], context: Context, out: Path | None = None, *, unfinished: str = ""
) -> Path:
    """Renders the page from the results in the folders of steps; returns its path, `runs/<name>/report.html`.

    `unfinished` says how the run ended, where that was before its end.
    """
    from tilth.report import collect, render

    folders = list(folders)
    results = collect(
        folders,
        name=record.name,
        run_command=record.command,
        chat_command=chat_command(record, folders, context.runs),
    )
    return render(replace(results, unfinished=unfinished), out or context.runs / record.name / PAGE)


def chat_command(record: RunRecord, folders: Iterable[Path], runs: Path) -> str | None:
    """Returns the command to chat with the run's model, or None if it has exported none."""
    exports = [folder for folder in folders if (folder / EXPORTED).is_file()]
    return f"tilth chat {shlex.quote(str(linked(record, exports[-1], runs)))}" if exports else None


def linked(record: RunRecord, folder: Path, runs: Path) -> Path:
    """Returns the run's link to the folder of a step, where there is one, else the folder itself."""
    links: Mapping[Path, Path] = {
        path.resolve(): path for label in record.steps if (path := runs / record.name / label).is_symlink()
    }
    return links.get(folder.resolve(), folder)
