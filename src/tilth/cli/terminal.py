"""Terminal output: progress bars, tables, error boxes. Only this module imports rich."""

from __future__ import annotations

import difflib
import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tilth.progress import Bar, PlainProgress
from tilth.progress import Progress as ProgressProtocol
from tilth.results import without_nan

if TYPE_CHECKING:
    from tilth.cli import Verb


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Lets the error out, to `cli._call`: rich would exit with 1."""
        raise BrokenPipeError


OUT = _Console(highlight=False)
ERR = _Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Prints a line to standard error, without markup."""
    ERR.print(Text(text), soft_wrap=True)


def say_softly(text: str) -> None:
    """Prints a remark to standard error, dimmed."""
    ERR.print(Text(text, style="dim"), soft_wrap=True)


def show_error(message: str, fix: str | None) -> None:
    """Shows an error and its fix in a box on standard error."""
    body = Text(message)
    if fix:
        body.append("\n\n" + fix, style="green")
    ERR.print(Panel(body, title="[bold red]error", title_align="left", border_style="red", box=box.ROUNDED))


def unknown_word(kind: str, word: str, known: Iterable[str], look: str) -> tuple[str, str]:
    """Returns message and fix for a name that is not known, with the closest ones that are."""
    close = difflib.get_close_matches(word, list(known), n=2)
    hint = f"Did you mean {' or '.join(f'`{c}`' for c in close)}? " if close else ""
    return f"There is no {kind} called `{word}`.", f"{hint}`{look}` shows what there is."


def show_help(recipes: Mapping[str, Verb], stages: Mapping[str, Verb]) -> None:
    """Prints the first page of help."""
    OUT.print("[bold]tilth[/] trains small language models on curated data.\n")
    OUT.print("[bold]Usage[/]  tilth [cyan]COMMAND[/] [dim]...[/]\n")
    for title, verbs in (("Recipes and their results", recipes), ("Single stages", stages)):
        OUT.print(f"[bold]{title}[/]")
        listed = Table.grid(padding=(0, 2))
        for name, verb in verbs.items():
            listed.add_row("", f"[cyan]{name}[/]", verb.summary)
        OUT.print(listed)
        OUT.print()
    OUT.print("[bold]Start with[/]  tilth run quickstart")
    OUT.print("[dim]`tilth COMMAND --help` says more; `--debug` shows the traceback of an error.[/]")


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Sequence[int] = (),
    whole: Sequence[int] = (),
) -> None:
    """Prints a table; columns whose indices are in `right` are aligned to the right, those in `whole` never folded.

    On a terminal too narrow for it, each row is a block of lines instead, one a column.
    """
    rows = [tuple(row) for row in rows]
    if _least_width(columns, rows, whole) > OUT.width:
        _show_blocks(title, columns, rows)
        return
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        justify = "right" if index in right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=index in whole)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    OUT.print(table)


_LEAST_FOLDED = 12
"""Cells of a column that may be folded, below which it cannot be read any more."""


def _least_width(columns: Sequence[str], rows: Sequence[Sequence[str]], whole: Sequence[int]) -> int:
    """Returns the cells that a table needs to be read, with a space on either side of each column."""
    total = 0
    for index, column in enumerate(columns):
        lines = [line for cell in (column, *(row[index] for row in rows)) for line in cell.split("\n")]
        widest = max(cell_len(line) for line in lines)
        total += 2 + (widest if index in whole else min(widest, _LEAST_FOLDED))
    return total


def _show_blocks(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints each row as lines of a column's name and its cell; empty cells are left out."""
    if title:
        OUT.print(Text(title, style="bold"))
    for row in rows:
        block = Table.grid(padding=(0, 2))
        for column, cell in zip(columns, row, strict=True):
            if cell:
                block.add_row(Text(column, style="dim"), Text(cell, overflow="fold"))
        OUT.print(block)
        OUT.print()


def show_rule(title: str) -> None:
    """Prints a line across the terminal with a title."""
    OUT.rule(Text(title), align="left", style="dim")


def show_panel(title: str, text: str, *, colour: str = "default", dim: bool = False) -> None:
    """Prints a text in a box with a title, without markup."""
    body = Text(text, style="dim" if dim else "")
    OUT.print(
        Panel(body, title=Text(title), title_align="left", border_style="dim" if dim else colour, box=box.ROUNDED)
    )


def show_json(value: object) -> None:
    """Prints one JSON document to standard output; numbers that are not finite become null."""
    text = json.dumps(without_nan(value), indent=2, ensure_ascii=False, default=str)
    # A lone surrogate, as names of files may have, has no UTF-8; this is JSON's own escape of it.
    print(text.encode("utf-8", "backslashreplace").decode("utf-8"))


class _Facts(ProgressColumn):
    def render(self, task: Task) -> Text:
        facts: dict[str, str | float] = task.fields.get("facts", {})
        cells = (
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
        )
        return Text("  ".join(cells), style="dim")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        unit: str = task.fields["unit"]
        if unit == "bytes":
            return Text(f"{size(speed)}/s", style="cyan")
        return Text(f"{speed:,.0f} {unit}/s" if speed >= 1000 else f"{speed:.4g} {unit}/s", style="cyan")


class _RichBar:
    def __init__(self, live: Progress, task: TaskID) -> None:
        self.live, self.task = live, task
        self.facts: dict[str, str | float] = {}

    def advance(self, amount: float = 1, **facts: str | float) -> None:
        self.facts |= facts
        self.live.update(self.task, advance=amount, facts=self.facts)


class RichProgress:
    """Live bars on a terminal; one display holds all bars that are open."""

    def __init__(self) -> None:
        self.live = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=28), TextColumn("{task.percentage:>3.0f}%"),
            _Rate(), TimeRemainingColumn(compact=True), _Facts(), console=ERR, transient=True,
        )  # fmt: skip
        self.open_bars = 0

    @contextmanager
    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> Generator[Bar]:
        """A bar that is drawn until its block ends."""
        if self.open_bars == 0:
            self.live.start()
        self.open_bars += 1
        task = self.live.add_task(name, total=total, completed=int(done), unit=unit, facts={})
        try:
            yield _RichBar(self.live, task)
        finally:
            self.open_bars -= 1
            self.live.remove_task(task)
            if self.open_bars == 0:
                self.live.stop()

    def say(self, line: str) -> None:
        """Prints a line above the bars."""
        ERR.print(Text(line), soft_wrap=True)


def progress() -> ProgressProtocol:
    """Returns live bars where standard error is a terminal, plain lines elsewhere."""
    return RichProgress() if ERR.is_terminal else PlainProgress()


def duration(seconds: float) -> str:
    """Returns seconds with a unit that suits them (`0.4 s`, `12 s`, `3 m 05 s`)."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{int(seconds) // 60} m {int(seconds) % 60:02d} s"
    if seconds < 72 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:,.0f} days"


def about(seconds: float) -> str:
    """Returns an estimated time: seconds with two digits (`8.4 s`, `6 m 40 s`), and 1 s at least."""
    return duration(max(1.0, seconds if seconds < 10 else float(f"{seconds:.2g}")))


def size(n_bytes: float) -> str:
    """Returns bytes with a decimal unit that suits them (`1.2 MB`)."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}" if unit != "B" else f"{n_bytes:.0f} B"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
