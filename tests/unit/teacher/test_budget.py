"""What is spent and reserved never goes beyond the budget, and nobody waits for what will not come."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.errors import ConfigError
from tilth.synthesis.config import SynthesisConfig
from tilth.teacher.budget import NOTHING, Budget, Cost
from tilth.teacher.faults import BudgetSpent
from tilth.teacher.reservations import Reservations
from unit.teacher.controlled import run

LIMITED = [Budget(max_total_tokens=100), Budget(max_money=1.0), Budget(max_flops=1e21)]


def cost(percent: float) -> Cost:
    """A share of each of the limits above."""
    return Cost(int(percent), percent / 100, percent * 1e19)


def test_it_is_the_budget_of_a_synthesis_run() -> None:
    assert SynthesisConfig().budget == Budget()


@pytest.mark.parametrize("limits", [{"max_total_tokens": -1}, {"max_money": math.nan}, {"max_flops": math.inf}])
def test_limits_that_cannot_be(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(limits))):
        Budget(**limits)  # type: ignore[arg-type]


requests = st.tuples(st.integers(0, 60), st.integers(0, 100), st.integers(0, 5), st.integers(0, 5), st.booleans())
"""(estimate, share of it that is really used, when it comes, how long it takes, whether it is cancelled)"""


@settings(deadline=None, max_examples=150)
@given(requests=st.lists(requests, max_size=30), budget=st.sampled_from(LIMITED))
def test_the_budget_holds(requests: list[tuple[int, int, int, int, bool]], budget: Budget) -> None:
    async def work() -> None:
        account = Reservations(budget)
        used = NOTHING

        async def one(estimate: int, share: int, begin: int, seconds: int, _: bool) -> bool:
            nonlocal used
            await asyncio.sleep(begin)
            try:
                await account.reserve(cost(estimate))
            except BudgetSpent:
                return False
            spent = NOTHING
            try:
                total = account.spent.plus(account.reserved)
                assert budget.max_total_tokens is None or total.tokens <= budget.max_total_tokens
                assert budget.max_money is None or total.money <= budget.max_money
                assert budget.max_flops is None or total.flops <= budget.max_flops
                await asyncio.sleep(seconds)
                spent = cost(estimate * share / 100)
            finally:
                account.settle(cost(estimate), spent)
                used = used.plus(spent)
            return True

        tasks = [asyncio.ensure_future(one(*each)) for each in requests]
        for i, (_, _, begin, seconds, cancelled) in enumerate(requests):
            if cancelled:
                asyncio.get_running_loop().call_later(begin + (seconds + i) % 5, tasks[i].cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, bool | asyncio.CancelledError) for each in results)
        assert account.open == 0 and account.reserved == NOTHING and account.spent == used

    run(work())


@settings(deadline=None, max_examples=50)
@given(estimates=st.lists(st.integers(0, 60), max_size=30))
def test_nobody_is_refused_for_whom_there_is_room(estimates: list[int]) -> None:
    async def work() -> None:
        account = Reservations(LIMITED[0])

        async def one(estimate: int) -> None:
            await account.reserve(Cost(estimate))
            await asyncio.sleep(1)
            account.settle(Cost(estimate), Cost(estimate))

        results = await asyncio.gather(*(one(each) for each in estimates), return_exceptions=True)
        left = 100 - account.spent.tokens
        refused = [each for each, result in zip(estimates, results, strict=True) if isinstance(result, BudgetSpent)]
        assert all(each > left for each in refused)
        assert account.spent.tokens == sum(estimates) - sum(refused)

    run(work())


def test_it_waits_while_others_may_give_something_back() -> None:
    async def work() -> None:
        account = Reservations(Budget(max_total_tokens=100))
        await account.reserve(Cost(80))
        second = asyncio.ensure_future(account.reserve(Cost(50)))
        await asyncio.sleep(1)
        assert not second.done()
        account.settle(Cost(80), Cost(40))
        await second
        third = asyncio.ensure_future(account.reserve(Cost(30)))
        await asyncio.sleep(1)
        account.settle(Cost(50), Cost(50))
        with pytest.raises(BudgetSpent, match=r"90 of 100 tokens are spent.*up to 30"):
            await third

    run(work())


def test_what_is_granted_in_the_moment_in_which_it_is_cancelled_is_given_back() -> None:
    async def work() -> None:
        account = Reservations(Budget(max_total_tokens=100))
        await account.reserve(Cost(80))
        cancelled, next_one = (asyncio.ensure_future(account.reserve(Cost(60))) for _ in range(2))
        await asyncio.sleep(1)
        account.settle(Cost(80), NOTHING)
        cancelled.cancel()
        await asyncio.wait_for(next_one, 10)
        assert account.open == 1 and account.reserved == Cost(60) and cancelled.cancelled()

    run(work())


@pytest.mark.parametrize(
    ("budget", "said", "field"),
    [
        (LIMITED[0], "0 of 100 tokens are spent", "max_total_tokens"),
        (LIMITED[1], "0 of 1 (money) are spent", "max_money"),
        (LIMITED[2], "0 of 1e+21 FLOPs are spent", "max_flops"),
    ],
)
def test_what_it_says(budget: Budget, said: str, field: str) -> None:
    with pytest.raises(BudgetSpent) as caught:
        run(Reservations(budget).reserve(cost(150)))
    assert said in caught.value.message
    assert f"budget.{field}" in str(caught.value.fix) and "not paid for twice" in str(caught.value.fix)
