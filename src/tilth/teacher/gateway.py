"""The gateway: the way of every request from a recipe to a teacher.

Cache, then a turn at the endpoint, then a reservation in the budget, then one try after the other, then cache and
ledger, then the caller. Equal requests that are under way at the same time are asked once. An answer is handed on only
when it is on the disk, so a killed run loses at most what was in flight, and a new run pays for nothing twice. Two
processes that ask for the same at the same moment may both pay: each looks again after a wait, but no process waits for
another's answer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from tilth.errors import ConfigError, StepError
from tilth.progress import SILENT, Bar, Progress
from tilth.teacher.admission import Admission, Outcome
from tilth.teacher.budget import NOTHING, Budget, Cost
from tilth.teacher.cache import RequestCache, Vector
from tilth.teacher.faults import (
    AccessRefused,
    BadAnswer,
    ConnectionFault,
    DeadLetter,
    Overloaded,
    ServerFault,
    TeacherFault,
    TimedOut,
)
from tilth.teacher.ledger import Ledger, Spending
from tilth.teacher.questions import Embeddings, Found, Lane, Question, Reuse, Samples
from tilth.teacher.request import Reply, Request, Teacher
from tilth.teacher.reservations import Reservations
from tilth.teacher.status import Rate, Status

V = TypeVar("V")
MOST_BACKOFF_SECONDS = 60.0
"""Longest wait before another try that an endpoint has not asked for."""
MOST_TRY_SECONDS = 600.0
"""Longest try of a teacher that has no limit of its own."""
MOST_PAUSE_SECONDS = 600.0
"""Longest wait that an endpoint can ask for (Retry-After); after it, the request is tried again."""
LOOK_AGAIN_SECONDS = 0.05
"""After a longer wait for its turn, a request looks whether another process has paid for its answer by now."""
SAID_SECONDS = 5.0
"""Pauses of an endpoint from this length on are said."""
SAID_TRIES = 3
"""A request that has got so many answers that are none is said, once for each teacher."""
SHOW_SECONDS = 0.2
"""How often a bar is told what was done."""


@dataclass(eq=False)
class _Flight:
    """Items that are being asked for, and how many callers wait for them."""

    keys: list[object]
    task: asyncio.Task[dict[object, Found[Any]]] = field(init=False)
    waiters: int = 0


class Gateway:
    """Asks teachers through the cache, within the budget. It belongs to one event loop; `async with` closes it.

    Closing ends what is under way and closes the teachers; the cache stays open, it is whoever's opened it.
    """

    def __init__(
        self,
        teachers: Mapping[str, Teacher],
        *,
        cache: RequestCache | None,
        budget: Budget | None = None,
        reuse: Reuse = "exact",
        max_in_flight: int = 64,
        max_tries: int = 12,
        backoff_seconds: float = 0.5,
        request_seconds: float | None = None,
        say: Callable[[str], None] = SILENT.say,
    ) -> None:
        """`max_in_flight`: of each endpoint. `backoff_seconds`: the second try comes within so long after the first,
        and each further one within double that. `request_seconds`: longest try; None: the teacher's own
        limit (its `timeout`), or `MOST_TRY_SECONDS` where it has none. `say` gets lines worth reading.

        With `reuse="same_prompt"`, an answer to equal messages, schema and seed serves whatever its other parameters
        were. A run that asks for one prompt with several parameters gets one answer for all of them.
        """
        if not teachers:
            raise ConfigError("A gateway needs a teacher.")
        if max_in_flight < 1 or max_tries < 1 or backoff_seconds < 0 or (request_seconds or 1) <= 0:
            raise ConfigError("`max_in_flight`, `max_tries`, `request_seconds`: give positive numbers.")
        self.cache, self.max_tries = cache, max_tries
        self.reuse: Reuse = reuse
        self.backoff_seconds, self.request_seconds, self.say = backoff_seconds, request_seconds, say
        self.ledger = Ledger()
        self.reservations = Reservations(budget or Budget())
        self.expected: int | None = None
        """Requests in all, as far as the caller knows; the status is reckoned from it."""
        self._admissions: dict[str, Admission] = {}
        self._lanes: dict[str, Lane] = {}
        for key, teacher in teachers.items():
            # A teacher may know that it takes fewer, such as one in this process.
            most = min(max_in_flight, getattr(teacher, "max_in_flight", None) or max_in_flight)
            admission = self._admissions.setdefault(teacher.endpoint, Admission(maximum=most))
            admission.limit_to(most)
            self._lanes[key] = Lane(teacher, admission)
        if len({lane.name for lane in self._lanes.values()}) < len(self._lanes):
            raise ConfigError(
                f"Two teachers have one name: {', '.join(lane.name for lane in self._lanes.values())}.",
                fix="Give each a name of its own.",
            )
        self._refused: dict[str, AccessRefused] = {}
        self._said: set[str] = set()
        self._flights: dict[object, _Flight] = {}
        self._open: set[_Flight] = set()
        self._closed = False
        self._done = 0
        self._rate: Rate | None = None
        self._jitter = random.Random()  # of its own, and not seeded: no outcome depends on it
        self._bar: Bar | None = None
        self._bar_owes = 0
        self._bar_at = 0.0

    # Asking.

    async def ask(
        self, request: Request, *, recipe: str, teacher: str | None = None, n: int = 1, first_sample: int = 0
    ) -> list[Reply]:
        """Returns `n` samples, those from `first_sample` on, each from the cache if it is there.

        Missing samples that are neighbours are asked in one call. `teacher` None: the only one.
        Raises: DeadLetter after the last try; BudgetSpent; AccessRefused; StepError if the cache cannot be written.
        """
        lane = self._lane(teacher)
        samples = range(first_sample, first_sample + n)
        found = await self._find(Samples(lane, recipe, request, self.reuse), samples)
        return [
            Reply(
                answer=each.value,
                request=request,
                key=each.key.hex(),
                teacher=lane.name,
                sample=sample,
                cached=each.cached,
            )
            for sample, each in zip(samples, found, strict=True)
        ]

    async def embed(self, texts: Sequence[str], *, recipe: str, teacher: str | None = None) -> Vector:
        """Returns the embeddings of texts, (texts, dimensions); equal texts are asked once.

        Raises: as `ask` does.
        """
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        found = await self._find(Embeddings(self._lane(teacher), recipe, list(rows)), range(len(rows)))
        if not found:
            return np.zeros((0, 0), dtype=np.float32)
        return np.stack([found[rows[text]].value for text in texts])

    # What it has come to.

    def spending(self) -> list[Spending]:
        """Returns what was asked and paid, by recipe and teacher."""
        return [replace(line) for line in self.ledger.lines()]

    def status(self) -> Status:
        """Returns where the run stands."""
        in_flight = sum(admission.in_flight for admission in self._admissions.values())
        paid = self.ledger.paid
        return Status(
            done=self._done,
            cached=self.ledger.cached,
            dead_letters=self.ledger.dead_letters,
            paid=self.ledger.requests,
            in_flight=in_flight,
            waiting=max(len(self._open) - in_flight, 0),
            rate=0.0 if self._rate is None else self._rate.per_second(time.monotonic()),
            tokens=paid.tokens,
            money=paid.money,
            flops=paid.flops,
            limits={endpoint: int(admission.limit) for endpoint, admission in self._admissions.items()},
            expected=self.expected,
        )

    def status_line(self) -> str:
        """Returns where the run stands, as one line."""
        return self.status().line()

    @contextmanager
    def shown(self, progress: Progress, *, name: str = "requests", expected: int | None = None) -> Generator[None]:
        """Shows a bar while the block runs: on a terminal a live line, elsewhere a line now and then."""
        self.expected = expected
        with progress.bar(name, expected, "requests") as bar:
            self._bar, self._bar_owes = bar, 0
            try:
                yield
            finally:
                self._show()
                self._bar = None

    # Closing.

    async def aclose(self) -> None:
        """Ends what is under way, then closes the teachers. What was answered is written."""
        self._closed = True
        tasks = [flight.task for flight in self._open]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for admission in self._admissions.values():
            admission.close()
        for lane in self._lanes.values():
            await lane.teacher.aclose()

    async def __aenter__(self) -> Gateway:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # The way of a request.

    async def _find(self, question: Question[V], items: Iterable[int]) -> list[Found[V]]:
        """Returns items from the cache, from flights that are under way, and from flights of their own."""
        self._check(question.lane)
        items = list(items)
        found: dict[int, Found[V]] = {}
        flights: dict[int, _Flight] = {}
        missing: list[int] = []
        done = 0
        for item in items:
            hit = None if self.cache is None else question.look_up(self.cache, item)
            if hit is not None:
                found[item] = hit
            elif (flight := self._flights.get(question.flight_key(item))) is not None:
                flights[item] = flight
            else:
                missing.append(item)
        for run in _runs(missing, question.most_at_once):
            flights.update(dict.fromkeys(run, self._start(question, run)))
        try:
            if flights:
                await self._wait(set(flights.values()))
            else:
                await asyncio.sleep(0)  # a thousand answers from the cache must not keep the others from their turn
            done = len(items)
            for item, flight in flights.items():
                if flight.task.cancelled():
                    raise StepError("The gateway was closed while a request was under way.")
                each: Found[V] = flight.task.result()[question.flight_key(item)]
                found[item] = each if item in missing else replace(each, cached=True)
        finally:
            self._count(question, found, done)
        return [found[item] for item in items]

    def _start(self, question: Question[V], run: list[int]) -> _Flight:
        flight = _Flight([question.flight_key(item) for item in run])
        self._flights.update(dict.fromkeys(flight.keys, flight))
        self._open.add(flight)
        flight.task = asyncio.get_running_loop().create_task(self._fly(question, run))
        flight.task.add_done_callback(lambda _: self._landed(flight))
        return flight

    def _landed(self, flight: _Flight) -> None:
        self._open.discard(flight)
        self._forget(flight)
        if not flight.task.cancelled():
            flight.task.exception()  # seen, even if nobody waits any more

    def _forget(self, flight: _Flight) -> None:
        for key in flight.keys:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _wait(self, flights: set[_Flight]) -> None:
        """Waits for all of them; those that nobody else waits for end with the caller."""
        for flight in flights:
            flight.waiters += 1
        try:
            await asyncio.wait([flight.task for flight in flights])
        finally:
            for flight in flights:
                flight.waiters -= 1
                if not flight.waiters and not flight.task.done():
                    self._forget(flight)  # so that nobody joins what is about to end
                    flight.task.cancel()

    async def _fly(self, question: Question[V], left: list[int]) -> dict[object, Found[V]]:
        """Tries until all items are there. Raises: DeadLetter."""
        line = self.ledger.line(question.recipe, question.lane.name)
        landed: dict[object, Found[V]] = {}
        tries, first = 0, False
        while left:
            try:
                found = await self._try(question, left, again=tries > 0, first=first)
            except TeacherFault as fault:
                tries += 1
                if not fault.retryable or tries >= self.max_tries:
                    self.ledger.failed(line)
                    key, name = question.key(left[0]).hex(), question.lane.name
                    raise DeadLetter(fault, tries=tries, key=key, teacher=name) from fault
                line.retries += 1
                self._say_fault(question.lane, fault, tries)
                # What was begun is ended first; but while a server is down, no request is to use up all its tries.
                first = not isinstance(fault, ConnectionFault | ServerFault)
                await asyncio.sleep(self._backoff(tries))
            else:
                # A teacher may give fewer samples than it was asked for; the others are asked in another call.
                landed.update((question.flight_key(item), each) for item, each in zip(left, found, strict=False))
                left = left[len(found) :]
        return landed

    async def _try(self, question: Question[V], items: list[int], *, again: bool, first: bool) -> list[Found[V]]:
        """One try, from the wait for a turn to the answers on the disk."""
        lane, admission = question.lane, question.lane.admission
        since = asyncio.get_running_loop().time()
        entered = await admission.enter(question.recipe, first=first)
        outcome = Outcome.OTHER
        try:
            self._check(lane)
            if (again or entered - since > LOOK_AGAIN_SECONDS) and (known := self._known(question, items)):
                return known
            estimate = lane.cost(question.estimate(items)) if self.reservations.budget.is_limited else NOTHING
            await self.reservations.reserve(estimate)
            cost = NOTHING
            try:
                values = (await self._send(question, items))[: len(items)]
                outcome = Outcome.ANSWERED
                cost, written = self._record(question, items, values)
            except BadAnswer as fault:
                if fault.usage is not None:
                    cost = lane.cost(fault.usage)
                    self.ledger.wasted(self.ledger.line(question.recipe, lane.name), cost)
                raise
            finally:
                self.reservations.settle(estimate, cost)
            if written is not None:
                # Within its turn: what a kill can lose is never more than may be in flight.
                await written
        except (Overloaded, TimedOut) as fault:
            outcome = Outcome.OVERLOADED
            if isinstance(fault, Overloaded) and fault.retry_after:
                self._pause(lane, fault.retry_after)
            raise
        except (ConnectionFault, ServerFault):
            outcome = Outcome.BROKEN
            raise
        except AccessRefused as error:
            self._refused[lane.name] = error
            raise
        finally:
            silent = admission.leave(entered, outcome)
            if silent >= SAID_SECONDS:
                self.say(f"{lane.teacher.endpoint} does not answer: the next try is in {silent:.0f} seconds.")
        return [Found(question.key(item), value, False) for item, value in zip(items, values, strict=False)]

    async def _send(self, question: Question[V], items: list[int]) -> Sequence[V]:
        seconds = self.request_seconds
        if seconds is None and not question.lane.ends_tries:
            seconds = MOST_TRY_SECONDS
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                values = await question.send(items)
        except TimeoutError:
            if limit.expired():
                raise TimedOut(f"No answer within {seconds or 0:g} seconds.") from None
            raise
        if not values:
            raise BadAnswer("The teacher gave no answer.")
        return values

    def _record(
        self, question: Question[V], items: list[int], values: Sequence[V]
    ) -> tuple[Cost, asyncio.Future[None] | None]:
        """Counts what has landed and hands it to the cache, before anything can be cancelled."""
        lane, total = question.lane, NOTHING
        line = self.ledger.line(question.recipe, lane.name)
        for item, value in zip(items, values, strict=False):
            usage = question.usage(item, value)
            cost = lane.cost(usage)
            self.ledger.answered(line, usage, cost, cached=False)
            total = total.plus(cost)
        now = time.monotonic()
        self._rate = self._rate or Rate(now)
        self._rate.add(now, len(values))
        if self.cache is None:
            return total, None
        return total, self.cache.put([question.entry(item, value) for item, value in zip(items, values, strict=False)])

    def _known(self, question: Question[V], items: list[int]) -> list[Found[V]]:
        """The first of the items that the cache holds by now."""
        known: list[Found[V]] = []
        for item in items if self.cache is not None else ():
            if self.cache is None or (hit := question.look_up(self.cache, item)) is None:
                break
            known.append(hit)
        return known

    def _count(self, question: Question[V], found: Mapping[int, Found[V]], done: int) -> None:
        """Counts what a caller got for nothing, and that it has got it."""
        line = None
        for item, each in found.items():
            if each.cached:
                line = line or self.ledger.line(question.recipe, question.lane.name)
                usage = question.usage(item, each.value)
                self.ledger.answered(line, usage, question.lane.cost(usage), cached=True)
        self._done += done
        self._bar_owes += done
        now = asyncio.get_running_loop().time()
        if self._bar is not None and now - self._bar_at >= SHOW_SECONDS:
            self._bar_at = now
            self._show()

    def _show(self) -> None:
        if self._bar is not None:
            status = self.status()
            self._bar.advance(self._bar_owes, in_flight=float(status.in_flight), cost=status.spent())
            self._bar_owes = 0

    def _backoff(self, tries: int) -> float:
        """Exponential, with full jitter, so that requests that failed together do not come again together."""
        longest = min(MOST_BACKOFF_SECONDS, self.backoff_seconds * 2 ** min(tries - 1, 30))
        return self._jitter.uniform(0, longest)

    def _say_fault(self, lane: Lane, fault: TeacherFault, tries: int) -> None:
        """Else a server that answers everything with the page of its proxy would look like a slow one for minutes."""
        if tries >= SAID_TRIES and isinstance(fault, BadAnswer) and lane.name not in self._said:
            self._said.add(lane.name)
            self.say(f"`{lane.name}` answers, but: {fault} A request is tried {self.max_tries} times.")

    def _pause(self, lane: Lane, seconds: float) -> None:
        if seconds >= SAID_SECONDS and lane.admission.paused_until <= asyncio.get_running_loop().time():
            longest = f"; the next try is in {MOST_PAUSE_SECONDS:.0f}" if seconds > MOST_PAUSE_SECONDS else ""
            self.say(f"{lane.teacher.endpoint} asks to wait {seconds:.0f} seconds{longest}.")
        lane.admission.pause(min(seconds, MOST_PAUSE_SECONDS))

    def _check(self, lane: Lane) -> None:
        """Raises what makes it pointless to send anything more."""
        if self._closed:
            raise StepError("The gateway is closed.")
        if (refused := self._refused.get(lane.name)) is not None:
            raise AccessRefused(refused.message, fix=refused.fix)
        if self.cache is not None:
            self.cache.check()

    def _lane(self, teacher: str | None) -> Lane:
        if teacher is None and len(self._lanes) == 1:
            return next(iter(self._lanes.values()))
        if teacher is None or teacher not in self._lanes:
            wanted = "No teacher is named" if teacher is None else f"There is no teacher `{teacher}`"
            raise ConfigError(f"{wanted}.", fix=f"There are {', '.join(self._lanes)}.")
        return self._lanes[teacher]


def _runs(items: Sequence[int], longest: int) -> list[list[int]]:
    """Splits sorted numbers into runs without gaps."""
    runs: list[list[int]] = []
    for item in items:
        if runs and runs[-1][-1] == item - 1 and len(runs[-1]) < longest:
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs
