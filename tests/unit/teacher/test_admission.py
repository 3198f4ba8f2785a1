"""Admission never exceeds its limit, never forgets a request, and is fair; the limit follows what the endpoint says."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.teacher.admission import DECREASE, START, Admission, Outcome
from unit.teacher.controlled import run

Fate = Literal["answered", "overloaded", "other", "cancelled", "paused"]
fates = st.sampled_from(["answered", "answered", "answered", "overloaded", "other", "cancelled", "paused"])
requests = st.tuples(fates, st.sampled_from("ABC"), st.integers(0, 5), st.integers(0, 5), st.booleans())
"""(what becomes of it, recipe, when it comes, how long it takes, whether it comes first)"""


class Watched(Admission):
    """Looks at the limit and the pause whenever a request is let in."""

    _inside = 0

    @property
    def in_flight(self) -> int:
        return self._inside

    @in_flight.setter
    def in_flight(self, value: int) -> None:
        if value > self._inside:
            assert value <= int(self.limit) <= self.maximum
            assert asyncio.get_running_loop().time() >= self.paused_until
        assert value >= 0
        self._inside = value


@settings(deadline=None, max_examples=150)
@given(requests=st.lists(requests, max_size=60), maximum=st.integers(1, 20), start=st.integers(1, 20))
def test_the_limit_holds_and_all_come_to_their_turn(
    requests: list[tuple[Fate, str, int, int, bool]], maximum: int, start: int
) -> None:
    async def work() -> None:
        admission = Watched(maximum=maximum, start=start)
        inside = 0
        served: list[Fate] = []

        async def one(fate: Fate, recipe: str, begin: int, seconds: int, first: bool) -> None:
            nonlocal inside
            await asyncio.sleep(begin)
            entered = await admission.enter(recipe, first=first)
            inside += 1
            assert inside <= admission.in_flight <= maximum
            assert asyncio.get_running_loop().time() == entered
            outcome = Outcome.OTHER
            try:
                await asyncio.sleep(seconds)
                outcome = Outcome.ANSWERED if fate == "answered" else outcome
                if fate in ("overloaded", "paused"):
                    outcome = Outcome.OVERLOADED
                if fate == "paused":
                    admission.pause(7)
                served.append(fate)
            finally:
                inside -= 1
                before = admission.limit
                admission.leave(entered, outcome)
                assert 1 <= admission.limit <= maximum
                assert outcome is Outcome.ANSWERED or admission.limit <= before
                assert outcome is Outcome.OVERLOADED or admission.limit >= before

        tasks = [asyncio.ensure_future(one(*each)) for each in requests]
        for i, (fate, _, begin, seconds, _) in enumerate(requests):
            if fate == "cancelled":
                asyncio.get_running_loop().call_later(begin + (seconds + i) % 5, tasks[i].cancel)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [each for each in done if each is not None and not isinstance(each, asyncio.CancelledError)]
        wanted = sum(fate != "cancelled" for fate, *_ in requests)
        assert sum(fate != "cancelled" for fate in served) == wanted
        assert admission.in_flight == admission.waiting == 0
        admission.close()

    run(work())


def test_it_doubles_at_first_falls_once_a_round_trip_and_then_grows_by_a_constant() -> None:
    async def work() -> None:
        admission = Admission(maximum=320, start=10)
        outcome = Outcome.ANSWERED

        async def ask_on_and_on() -> None:
            while True:
                entered = await admission.enter("A")
                await asyncio.sleep(1)
                admission.leave(entered, outcome)

        workers = [asyncio.ensure_future(ask_on_and_on()) for _ in range(400)]
        await asyncio.sleep(0.5)
        limits: list[float] = []
        for each in [Outcome.ANSWERED] * 6 + [Outcome.OVERLOADED] + [Outcome.ANSWERED] * 4:
            outcome = each
            await asyncio.sleep(1)
            limits.append(admission.limit)
        assert limits[:6] == [20, 40, 80, 160, 320, 320]
        assert limits[6] == 224 == 320 * DECREASE
        # What was sent before the decrease comes back first; from then on a constant a round trip.
        assert limits[7] == 224
        assert [after - before for before, after in pairwise(limits[7:11])] == pytest.approx([10] * 3, abs=0.7)
        outcome = Outcome.OVERLOADED
        await asyncio.sleep(3000)
        assert admission.limit == 1
        outcome = Outcome.OTHER
        await asyncio.sleep(100)
        assert admission.limit == 1
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    run(work())


def test_it_does_not_grow_where_it_holds_nothing_back() -> None:
    async def work() -> None:
        admission = Admission(maximum=64)
        for _ in range(100):
            entered = await admission.enter("A")
            await asyncio.sleep(1)
            admission.leave(entered, Outcome.ANSWERED)
        assert admission.limit == START

    run(work())


def test_what_was_sent_before_a_decrease_says_nothing_about_it() -> None:
    async def work() -> None:
        admission = Admission(maximum=16)
        entered = [await admission.enter("A") for _ in range(16)]
        await asyncio.sleep(1)
        admission.leave(entered[0], Outcome.OVERLOADED)
        for each, outcome in zip(entered[1:], [Outcome.OVERLOADED, Outcome.ANSWERED] * 8, strict=False):
            await asyncio.sleep(1)
            admission.leave(each, outcome)
            assert admission.limit == pytest.approx(16 * DECREASE)

    run(work())


def test_a_pause_holds_for_all_and_wakes_by_itself() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        admission = Admission(maximum=4)
        entered = await admission.enter("A")
        admission.pause(5)
        admission.pause(3)  # the longer one counts
        admission.leave(entered, Outcome.OVERLOADED)
        times = await asyncio.gather(*(admission.enter(recipe) for recipe in "AB"))
        assert times == [5, 5] and loop.time() == 5

    run(work())


def test_an_endpoint_that_only_fails_is_left_alone_for_longer_and_longer() -> None:
    async def work() -> None:
        admission = Admission(maximum=64)
        pauses: list[float] = []

        async def fail(n: int, outcome: Outcome = Outcome.BROKEN) -> None:
            for _ in range(n):
                if pause := admission.leave(await admission.enter("A"), outcome):
                    pauses.append(pause)
                    assert admission.paused_until == asyncio.get_running_loop().time() + pause

        await fail(15)
        await fail(1, Outcome.ANSWERED)
        await fail(15)
        assert pauses == []
        await fail(1 + 8 * 16)
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        await fail(1, Outcome.ANSWERED)
        await fail(16)
        assert pauses[9:] == [1]
        await fail(100, Outcome.OTHER)
        assert len(pauses) == 10

    run(work())


def test_whose_turn_comes_in_the_moment_in_which_it_is_cancelled_gives_it_back() -> None:
    async def work() -> None:
        admission = Admission(maximum=1)
        entered = await admission.enter("A")
        cancelled, next_one = (asyncio.ensure_future(admission.enter("A")) for _ in range(2))
        await asyncio.sleep(1)
        admission.leave(entered, Outcome.ANSWERED)
        cancelled.cancel()
        admission.leave(await asyncio.wait_for(next_one, 10), Outcome.ANSWERED)
        assert admission.in_flight == admission.waiting == 0 and cancelled.cancelled()

    run(work())


def test_recipes_take_turns() -> None:
    async def work() -> None:
        admission = Admission(maximum=1)
        order: list[str] = []

        async def one(recipe: str, first: bool = False) -> None:
            entered = await admission.enter(recipe, first=first)
            order.append(recipe + "!" * first)
            try:
                await asyncio.sleep(1)
            finally:
                admission.leave(entered, Outcome.ANSWERED)

        many = [asyncio.ensure_future(one("many")) for _ in range(1000)]
        await asyncio.sleep(0.5)
        few = [asyncio.ensure_future(one("few")) for _ in range(10)]
        await asyncio.sleep(0)
        again = asyncio.ensure_future(one("many", True))
        await asyncio.gather(*few, again)
        assert order[:3] in (["many", "many!", "few"], ["many", "few", "many!"])
        assert len(order) <= 22
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)
        assert admission.in_flight == admission.waiting == 0

    run(work())
