"""How long work says where it is: one small protocol, so that stages know nothing of terminals.

The command line passes a rich progress bar; everything else (notebooks, logs, tests) gets `PlainProgress`,
which prints a line now and then, or `SILENT`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol


class Bar(Protocol):
    """One piece of work under way."""

    def advance(self, amount: float = 1, **facts: str | float) -> None:
        """Adds `amount` units done; `facts` are shown beside the bar (`loss=2.31`)."""
        ...


class Progress(Protocol):
    """Makes bars. A bar lives as long as its `with` block."""

    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> AbstractContextManager[Bar]:
        """Starts a bar of `total` units (None: unknown) of which `done` are done."""
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


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """What a process tells its parent about its progress."""

    kind: Literal["begin", "advance", "end", "say"]
    bar: int = 0
    text: str = ""
    """Name of a bar, or a line to say."""
    unit: str = ""
    total: float | None = None
    amount: float = 0
    facts: dict[str, str | float] = field(default_factory=dict[str, "str | float"])


class ForwardedProgress:
    """Progress in a process without a terminal: events go to `send`, at most a few a second for each bar."""

    def __init__(self, send: Callable[[ProgressEvent], None], every_seconds: float = 0.2) -> None:
        self.send, self.every_seconds = send, every_seconds
        self.n_bars = 0

    @contextmanager
    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> Generator[Bar]:
        """A bar that is shown elsewhere."""
        self.n_bars += 1
        bar = _ForwardedBar(self.n_bars, self.send, self.every_seconds)
        self.send(ProgressEvent(kind="begin", bar=bar.index, text=name, unit=unit, total=total, amount=done))
        try:
            yield bar
        finally:
            bar.flush()
            self.send(ProgressEvent(kind="end", bar=bar.index))

    def say(self, line: str) -> None:
        """Has the line said elsewhere."""
        self.send(ProgressEvent(kind="say", text=line))


class _ForwardedBar:
    def __init__(self, index: int, send: Callable[[ProgressEvent], None], every_seconds: float) -> None:
        self.index, self.send, self.every_seconds = index, send, every_seconds
        self.amount, self.sent_at = 0.0, 0.0
        self.facts: dict[str, str | float] = {}

    def advance(self, amount: float = 1, **facts: str | float) -> None:
        self.amount += amount
        self.facts |= facts
        if time.monotonic() - self.sent_at >= self.every_seconds:
            self.flush()

    def flush(self) -> None:
        if self.amount or self.facts:
            self.send(ProgressEvent(kind="advance", bar=self.index, amount=self.amount, facts=self.facts))
        self.amount, self.facts, self.sent_at = 0.0, {}, time.monotonic()


class Replay:
    """Shows the events of one other process here, under its label."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.progress, self.label = progress, label
        self.bars: dict[int, tuple[ExitStack, Bar]] = {}

    def show(self, event: ProgressEvent) -> None:
        """Shows one event."""
        if event.kind == "say":
            self.progress.say(event.text)
        elif event.kind == "begin":
            stack = ExitStack()
            name = f"{self.label}: {event.text}"
            bar = stack.enter_context(self.progress.bar(name, event.total, event.unit, event.amount))
            self.bars[event.bar] = stack, bar
        elif event.kind == "advance":
            self.bars[event.bar][1].advance(event.amount, **event.facts)
        else:
            self.bars.pop(event.bar)[0].close()

    def close(self) -> None:
        """Removes the bars that a process left behind."""
        for stack, _ in self.bars.values():
            stack.close()
        self.bars.clear()


MOST_LINES = 50
"""Lines that `RecordedProgress` keeps."""


@dataclass(frozen=True, kw_only=True)
class BarState:
    """What a bar shows at one moment."""

    name: str
    unit: str
    total: float | None
    done: float
    done_at_start: float
    started_at: float
    """On the monotonic clock."""
    facts: dict[str, str | float] = field(default_factory=dict[str, "str | float"])

    def rate(self, now: float) -> float:
        """Returns units a second since the bar began; `now` is on the monotonic clock."""
        return (self.done - self.done_at_start) / max(now - self.started_at, 1e-9)

    def seconds_left(self, now: float) -> float | None:
        """Returns the seconds to the end at this rate; None where the total is unknown or nothing is done yet."""
        rate = self.rate(now)
        return max(self.total - self.done, 0) / rate if self.total and rate > 0 else None


class RecordedProgress:
    """Passes everything on to another progress, and remembers the open bars and the last lines, for a page.

    Another thread may read `bars` and `lines` at any time.
    """

    def __init__(self, shown: Progress) -> None:
        self.shown = shown
        self._lock = threading.Lock()
        self._bars: dict[int, BarState] = {}
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._n_bars = 0

    def bars(self) -> tuple[BarState, ...]:
        """Returns the open bars, the oldest first."""
        with self._lock:
            return tuple(self._bars.values())

    def lines(self) -> tuple[str, ...]:
        """Returns the last lines that were said, the oldest first."""
        with self._lock:
            return tuple(self._lines)

    @contextmanager
    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> Generator[Bar]:
        """A bar that is shown by the other progress and recorded here."""
        state = BarState(name=name, unit=unit, total=total, done=done, done_at_start=done, started_at=time.monotonic())
        with self._lock:
            self._n_bars += 1
            key = self._n_bars
            self._bars[key] = state
        try:
            with self.shown.bar(name, total, unit, done) as bar:
                yield _RecordedBar(self, key, bar)
        finally:
            with self._lock:
                del self._bars[key]

    def say(self, line: str) -> None:
        """Has the line said, and remembers it."""
        with self._lock:
            self._lines.append(line)
        self.shown.say(line)

    def add(self, key: int, amount: float, facts: dict[str, str | float]) -> None:
        """Adds to a bar that is still open."""
        with self._lock:
            if (state := self._bars.get(key)) is not None:
                self._bars[key] = replace(state, done=state.done + amount, facts=state.facts | facts)


class _RecordedBar:
    def __init__(self, recorded: RecordedProgress, key: int, shown: Bar) -> None:
        self.recorded, self.key, self.shown = recorded, key, shown

    def advance(self, amount: float = 1, **facts: str | float) -> None:
        self.recorded.add(self.key, amount, facts)
        self.shown.advance(amount, **facts)
