"""How long work says where it is: one small protocol, so that stages know nothing of terminals.

The command line passes a rich progress bar; everything else (notebooks, logs, tests) gets `PlainProgress`,
which prints a line now and then, or `SILENT`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One piece of work under way."""

    def advance(self, amount: float = 1, **facts: str | float) -> None:
        """Adds `amount` units done; `facts` are shown beside the bar (`loss=2.31`)."""
        ...


class Progress(Protocol):
    """Makes bars. A bar lives as long as its `with` block."""

    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> AbstractContextManager[Bar]:
        """Starts a bar of `total` units (None: unknown) that stands at `done`."""
        ...

    def say(self, line: str) -> None:
        """Prints one line that stays."""
        ...


class _PlainBar:
    def __init__(self, name: str, total: float | None, unit: str, done: float, every_seconds: float) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self.every_seconds = every_seconds
        self.started_at = self.said_at = time.monotonic()
        self.done_at_start = done
        self.facts: dict[str, str | float] = {}

    def advance(self, amount: float = 1, **facts: str | float) -> None:
        self.done += amount
        self.facts.update(facts)
        if time.monotonic() - self.said_at >= self.every_seconds:
            self.said_at = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """The state as one line: share, count, rate, time left, facts."""
        seconds = max(time.monotonic() - self.started_at, 1e-9)
        rate = (self.done - self.done_at_start) / seconds
        parts = [f"{self.name}: {self.done:,.0f}"]
        if self.total:
            left = (self.total - self.done) / rate if rate > 0 else float("inf")
            parts[0] += f"/{self.total:,.0f} {self.unit} ({self.done / self.total:.0%})"
            parts.append(f"{left:,.0f} s left" if left != float("inf") else "")
        else:
            parts[0] += f" {self.unit}"
        parts.append(f"{rate:,.1f} {self.unit}/s")
        parts += [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in self.facts.items()]
        return "  ".join(part for part in parts if part)


class PlainProgress:
    """Progress as plain lines on standard error, at most one every `every_seconds` for each bar."""

    def __init__(self, every_seconds: float = 10.0) -> None:
        self.every_seconds = every_seconds

    @contextmanager
    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> Generator[Bar]:
        """A bar that prints lines."""
        bar = _PlainBar(name, total, unit, done, self.every_seconds)
        yield bar
        if bar.said_at != bar.started_at:
            print(bar.line(), file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Prints the line."""
        print(line, file=sys.stderr, flush=True)


class _SilentBar:
    def advance(self, amount: float = 1, **facts: str | float) -> None:
        pass


class _SilentProgress:
    @contextmanager
    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> Generator[Bar]:
        yield _SilentBar()

    def say(self, line: str) -> None:
        pass


SILENT: Progress = _SilentProgress()
"""Shows nothing."""
