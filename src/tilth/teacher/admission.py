"""How many requests may be in flight at one endpoint, and whose turn it is.

The limit is found as TCP finds its window: it doubles every round trip until the endpoint first complains (429, 503, a
time-out), falls by a third at a complaint, at most once a round trip, and grows by a constant a round trip from there
on. It grows only while it is what holds requests back. Recipes take turns, so that ten requests of one need not wait
for ten thousand of another. An endpoint of which nothing but faults comes is left alone for a while, so that a server
that starts anew does not cost the waiting requests their tries. All steps take constant time, and nothing is polled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum, auto

START = 16
"""Requests in flight before anything is known of an endpoint."""
DECREASE = 0.7
"""Factor of the limit when an endpoint complains; CUBIC's, as 0.5 falls to next to nothing where faults are random."""
INCREASE_SHARE = 1 / 32
"""Share of the maximum by which the limit grows in a round trip, after the first complaint."""


SILENT_AFTER = 16
"""After so many faults in a row, or as many as may be in flight, an endpoint is left alone."""
MOST_SILENT_SECONDS = 60.0


class Outcome(Enum):
    """What a request says about its endpoint."""

    ANSWERED = auto()
    OVERLOADED = auto()
    """It asked for fewer requests, or was too slow."""
    BROKEN = auto()
    """It failed, or could not be reached."""
    OTHER = auto()
    """Nothing: a fault of the answer or of the request, or cancelled."""


class Admission:
    """The requests to one endpoint. It belongs to one event loop."""

    def __init__(self, *, maximum: int, start: int = START) -> None:
        self.maximum = maximum
        self.limit = float(min(start, maximum))
        self.in_flight = 0
        self.waiting = 0
        self.paused_until = 0.0
        """On the loop's clock: nothing is sent before, as the endpoint has asked."""
        self._doubling = True
        self._decreased_at = -1.0
        self._faults_in_a_row = 0
        self._silences = 0
        """Pauses since the last answer."""
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._turns: deque[str] = deque()
        """Recipes with a queue; the first is next."""
        self._timer: asyncio.TimerHandle | None = None

    def limit_to(self, maximum: int) -> None:
        """Lowers the maximum, for another teacher at the endpoint that takes fewer."""
        self.maximum = min(self.maximum, maximum)
        self.limit = min(self.limit, float(self.maximum))

    async def enter(self, recipe: str, *, first: bool = False) -> float:
        """Waits for a turn and returns when it came, on the loop's clock; `first`: before the others of its recipe.

        Whoever has entered must `leave`.
        """
        loop = asyncio.get_running_loop()
        if not self._turns and self._is_free(loop.time()):
            self.in_flight += 1
            return loop.time()
        future = loop.create_future()
        self._enqueue(recipe, future, first)
        self.waiting += 1
        self._grant()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # its turn came in the moment in which it was cancelled
                self.in_flight -= 1
                self._grant()
            raise
        finally:
            self.waiting -= 1
        return loop.time()

    def leave(self, entered: float, outcome: Outcome) -> float:
        """Gives a place free; returns for how many seconds the endpoint is left alone now, mostly 0.

        `entered` is what `enter` returned.
        """
        saturated = self.in_flight >= int(self.limit)
        self.in_flight -= 1
        # What was sent before the last decrease tells nothing about the limit since.
        if entered > self._decreased_at:
            if outcome is Outcome.OVERLOADED:
                self.limit = max(1.0, self.limit * DECREASE)
                self._doubling = False
                self._decreased_at = asyncio.get_running_loop().time()
            elif outcome is Outcome.ANSWERED and saturated:
                step = 1.0 if self._doubling else max(1.0, self.maximum * INCREASE_SHARE) / self.limit
                self.limit = min(float(self.maximum), self.limit + step)
        silent = self._silent(outcome)
        if silent:
            self.pause(silent)
        self._grant()
        return silent

    def pause(self, seconds: float) -> None:
        """Sends nothing for so long; what is in flight goes on."""
        self.paused_until = max(self.paused_until, asyncio.get_running_loop().time() + seconds)

    def close(self) -> None:
        """Forgets the timer of a pause."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _silent(self, outcome: Outcome) -> float:
        """Returns how long to leave the endpoint alone after this: 1 second, then 2, 4, ... until it answers."""
        if outcome is Outcome.ANSWERED:
            self._faults_in_a_row = self._silences = 0
        elif outcome is not Outcome.OTHER:
            self._faults_in_a_row += 1
        if self._faults_in_a_row < max(SILENT_AFTER, int(self.limit)):
            return 0.0
        self._faults_in_a_row = 0
        self._silences += 1
        return min(MOST_SILENT_SECONDS, 2.0 ** (self._silences - 1))

    def _is_free(self, now: float) -> bool:
        return self.in_flight < int(self.limit) and now >= self.paused_until

    def _enqueue(self, recipe: str, future: asyncio.Future[None], first: bool) -> None:
        waiting = self._queues.get(recipe)
        if waiting is None:
            waiting = self._queues[recipe] = deque()
            self._turns.append(recipe)
        if first:
            waiting.appendleft(future)
        else:
            waiting.append(future)

    def _grant(self) -> None:
        loop = asyncio.get_running_loop()
        while self._turns and self._is_free(loop.time()):
            recipe = self._turns.popleft()
            waiting = self._queues[recipe]
            future = waiting.popleft()
            if waiting:
                self._turns.append(recipe)
            else:
                del self._queues[recipe]
            if not future.done():  # else it was cancelled
                future.set_result(None)
                self.in_flight += 1
        if self._turns and loop.time() < self.paused_until and self._timer is None:
            self._timer = loop.call_at(self.paused_until, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._grant()
