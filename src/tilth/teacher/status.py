"""Where a run stands with its teachers: how much is done, how fast, and what it costs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

RATE_SECONDS = 30
"""Over how many seconds the rate is measured."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """A moment of a run. A request is one sample of one prompt."""

    done: int
    """Answers handed on, and dead letters."""
    cached: int
    """Those of them that cost nothing."""
    dead_letters: int
    paid: int
    """Answers that were paid for in this run."""
    in_flight: int
    """Calls to teachers under way; one call may ask for several samples."""
    waiting: int
    """Calls that wait for their turn, or to be tried again."""
    rate: float
    """Answers a second from teachers, over the last half minute."""
    tokens: int
    """Paid in this run."""
    money: float
    """Paid in this run."""
    flops: float
    limits: Mapping[str, int]
    """Endpoint -> how many requests it may have in flight now."""
    expected: int | None = None
    """Requests in all, where that is known."""

    @property
    def money_to_come(self) -> float | None:
        """What the rest will cost at the average price of an answer so far; None: not known."""
        if self.expected is None or not self.paid:
            return None
        return self.money / self.paid * max(self.expected - self.done, 0)

    @property
    def seconds_left(self) -> float | None:
        """Time to the end at this rate, with nothing from the cache; None: not known."""
        if self.expected is None or self.rate <= 0:
            return None
        return max(self.expected - self.done, 0) / self.rate

    def line(self) -> str:
        """Returns one line: `1,204/2,000 requests · 64 in flight · 85/s · 0.42 spent, 0.28 to come · 10 s left`."""
        total = "" if self.expected is None else f"/{self.expected:,}"
        parts = [f"{self.done:,}{total} requests"]
        parts += [f"{self.cached:,} cached"] if self.cached else []
        parts += [f"{self.dead_letters:,} dead letters"] if self.dead_letters else []
        parts += [f"{self.in_flight:,} in flight", f"{self.rate:,.3g}/s" if self.rate < 100 else f"{self.rate:,.0f}/s"]
        parts.append(self.spent())
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return " · ".join(parts)

    def spent(self) -> str:
        """Returns what is spent and to come: money where the teachers have prices, else tokens."""
        if not self.money:
            return f"{self.tokens:,} tokens"
        to_come = self.money_to_come
        return f"{self.money:.2f} spent" + ("" if to_come is None else f", {to_come:.2f} to come")


def duration(seconds: float) -> str:
    """Returns a time for people: `10 s`, `5 min`, `3.2 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Rate:
    """Counts over the last `RATE_SECONDS`, in buckets of a second: its memory does not grow."""

    def __init__(self, now: float) -> None:
        self._begun = now
        self._buckets: deque[tuple[int, int]] = deque(maxlen=RATE_SECONDS + 1)

    def add(self, now: float, n: int = 1) -> None:
        """Counts `n` at a time, which must not go back."""
        second = int(now)
        if self._buckets and self._buckets[-1][0] == second:
            n += self._buckets.pop()[1]
        self._buckets.append((second, n))

    def per_second(self, now: float) -> float:
        """Returns how many a second there were lately."""
        since = max(now - RATE_SECONDS, self._begun)
        n = sum(count for second, count in self._buckets if second + 1 > since)
        return n / max(now - since, 1.0)
