"""`tilth compare RUN RUN ...`: several runs on one page, and in short on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro

from tilth.cli import terminal
from tilth.cli.options import call
from tilth.cli.records import ancestry
from tilth.errors import ConfigError, DataError
from tilth.run_record import RUN, RunRecord, read_run, read_runs
from tilth.step_record import RECORD

if TYPE_CHECKING:
    from tilth.report.compare import ComparedRun, Comparison

MOST_FIELDS = 20
"""Differing fields on the terminal; the page has all."""
MOST_NAMES = 12
"""Known runs that an error names."""


def compare(words: Sequence[str]) -> None:
    """`tilth compare RUN RUN ... [--out FILE]`."""

    def compared(
        names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...")],
        *,
        out: Path = Path("compare.html"),
        runs: Path = Path("runs"),
        json: bool = False,
    ) -> None:
        """Compare runs on one page: curves, key figures, differing fields and data, what was dropped, samples.

        Args:
            names: Names of runs, their folders, or folders of steps (compared with what they were made from).
            out: The HTML file to write.
            runs: Folder in which runs are looked up by name.
            json: Print one JSON document too; tables are left out.
        """
        if len(names) < 2:
            raise ConfigError(
                f"`tilth compare` needs two runs; {len(names)} given.",
                fix=f"`tilth compare RUN RUN`. {_known(runs)}",
            )
        from tilth.report.compare import compare, render_comparison

        comparison = compare([_compared(name, runs) for name in names])
        page = render_comparison(comparison, out)
        if json:
            terminal.show_json(_as_json(comparison, page))
            return
        _show(comparison)
        terminal.say(f"Page: {page}")

    call(compared, words, "compare")


def _compared(name: str, runs: Path) -> ComparedRun:
    """Finds what a word names: a run by its name or folder, or a step.

    Raises: DataError, with the runs that are known, where it names neither.
    """
    from tilth.report.compare import read_compared

    for folder in (runs / name, Path(name)):
        if (folder / RUN).is_file():
            real = folder.resolve()
            record = read_run(real)
            if record is None:
                raise DataError(
                    f"{folder / RUN} cannot be read by this version of tilth.",
                    fix="Give the folder of its last step instead, such as its `export`.",
                )
            steps = [real.parent / step for step in record.steps.values()]
            there = [step for step in steps if step.is_dir()]
            return read_compared(record.name, [*there, *_at_work(record, real.parent)], record)
    for folder in (Path(name), *Path(name).absolute().parents[:2]):
        if (folder / RECORD).is_file():
            real = folder.resolve()
            return read_compared(f"{real.parent.name}/{real.name[:6]}", reversed(ancestry(real)))
    message, fix = terminal.unknown_word("run", name, [run.name for run in read_runs(runs)], f"tilth ls --runs {runs}")
    raise DataError(message, fix=f"{fix}\n{_known(runs)}")


def _known(runs: Path) -> str:
    names = [run.name for run in read_runs(runs)]
    if not names:
        return f"There are no runs in {runs}; `--runs` names another folder."
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"Runs in {runs}, the newest first: {', '.join(names[:MOST_NAMES])}{more}."


def _at_work(record: RunRecord, runs: Path) -> Iterator[Path]:
    """Yields the folders of unfinished trainings that were begun on the steps of an unfinished run."""
    if record.status == "finished":
        return
    done = {Path(step).name for step in record.steps.values()}
    for claim in sorted(runs.glob("*/*.partial/.step.claim.json")):
        try:
            inputs = cast("dict[str, Any]", json.loads(claim.read_text("utf-8"))).get("inputs") or {}
        except (OSError, ValueError, AttributeError):
            continue
        made_from = {str(value).split("/")[0] for value in cast("dict[str, object]", inputs).values()}
        if made_from and made_from <= done and (claim.parent / "metrics.jsonl").is_file():
            yield claim.parent


def _show(comparison: Comparison) -> None:
    from tilth.report.compare import takeaway

    names = [run.name for run in comparison.runs]
    right = range(1, len(names) + 1)
    rows = [(figure.name, *figure.texts) for figure in comparison.figures]
    terminal.show_table("", ("", *names), rows, right=tuple(right))
    different = [one for one in comparison.fields if one.differs]
    if different:
        fields = [(one.name, *(value or "–" for value in one.values)) for one in different[:MOST_FIELDS]]
        left = f", {len(different) - MOST_FIELDS} more in the page" if len(different) > MOST_FIELDS else ""
        equal = f"{len(comparison.fields) - len(different)} are equal"
        terminal.show_table(f"Fields that differ ({equal}{left})", ("", *names), fields)
    terminal.OUT.print(takeaway(comparison), markup=False)
    for run in comparison.runs:
        for why in run.unreadable:
            terminal.say(f"Left out of {run.name}: {why}")


def _as_json(comparison: Comparison, page: Path) -> dict[str, Any]:
    return {
        "page": str(page),
        "runs": [
            {
                "name": run.name,
                "record": None if run.record is None else asdict(run.record),
                "unreadable": list(run.unreadable),
            }
            for run in comparison.runs
        ],
        "same_held_out_text": comparison.same_held_out,
        "figures": {figure.name: list(figure.values) for figure in comparison.figures},
        "differing_fields": {one.name: list(one.values) for one in comparison.fields if one.differs},
        "equal_fields": {one.name: one.values[0] for one in comparison.fields if not one.differs},
        "documents": {one.reason: list(one.documents) for one in comparison.drops},
        "samples": [{"prompt": prompt.prompt, "texts": prompt.texts} for prompt in comparison.prompts],
    }
