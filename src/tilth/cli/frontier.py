"""`tilth frontier CARD ...`: what datasets cost to make and what they are worth, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tilth.cli import terminal
from tilth.cli.options import call
from tilth.results import without_nan

if TYPE_CHECKING:
    from tilth.assay.frontier import Frontier


def frontier(words: Sequence[str]) -> None:
    """`tilth frontier CARD ... [--out FILE] [--json]`."""

    def compared(
        cards: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CARD ...")],
        *,
        out: Path | None = None,
        json: bool = False,
    ) -> None:
        """Show what datasets cost to make and what they are worth: which ways of making data pay.

        Args:
            cards: Folders of assays with a value (`assay.json`) or of experiments (`experiment.json`), each PATH or
                NAME=PATH.
            out: JSON file to write; a page is written beside it.
            json: Print one JSON document; tables are left out.
        """
        from tilth.assay.frontier import read_frontier
        from tilth.results import write_result

        found = read_frontier([_named(word) for word in cards])
        page = None
        if out is not None:
            from tilth.report.frontier import render_frontier

            write_result(out, found)
            page = render_frontier(out, out.with_suffix(".html"))
        if json:
            terminal.show_json(without_nan(asdict(found)))
            return
        _show(found)
        if page is not None:
            terminal.say(f"Page:  {page}")

    call(compared, words, "frontier")


def _named(word: str) -> tuple[str, Path]:
    """Returns name and path of a word: `NAME=PATH`, or a path alone."""
    name, equals, path = word.partition("=")
    if equals and not Path(word).exists():
        return name, Path(path)
    return "", Path(word)


def _show(found: Frontier) -> None:
    from tilth.assay.frontier import as_rows

    for group in found.groups:
        rows = as_rows(found, group)
        columns = [column for column in rows[0] if column == "" or any(row[column] for row in rows)]
        table = [tuple(row[column] for column in columns) for row in rows]
        numbers = ("FLOPs/token", "FLOPs", "gain", "per 10^15 FLOPs", "value")
        right = tuple(index for index, column in enumerate(columns) if column in numbers)
        terminal.show_table(f"{group} (* on the frontier; 95% intervals)", columns, table, right=right)
        for answer in found.answers:
            if answer.group == group:
                terminal.OUT.print(f"{answer.question} {answer.verdict}", markup=False)
        for point in found.points:
            if point.group == group and point.beaten_by:
                names = ", ".join(f"`{name}`" for name in point.beaten_by)
                terminal.OUT.print(f"`{point.name}` costs no less than {names} and is worth less.", markup=False)
    for note in found.notes:
        terminal.say(note)
