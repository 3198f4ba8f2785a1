"""The running account of a budget: an upper estimate is reserved before a request is sent, and settled after it."""

from __future__ import annotations

import asyncio
from collections import deque

from tilth.teacher.budget import NOTHING, Budget, Cost
from tilth.teacher.faults import BudgetSpent

_FIX = (
    "Raise `budget.{limit}` and run again: what was answered is in the request cache, and is not paid for twice. "
    "Smaller `max_tokens` of an answer let requests fit sooner."
)


class Reservations:
    """What was spent, and what the requests that are under way may still cost. It belongs to one event loop.

    Spent and reserved together never go beyond the budget. What was spent can go beyond it only where a teacher writes
    more than it was allowed to.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.spent = NOTHING
        self.reserved = NOTHING
        self.open = 0
        """Reservations that are not settled yet."""
        self._waiting: deque[tuple[Cost, asyncio.Future[None]]] = deque()

    async def reserve(self, estimate: Cost) -> None:
        """Reserves an amount; waits for others to settle while it does not fit.

        Raises: BudgetSpent if it does not fit although nothing else is under way.
        """
        if not self._waiting:
            if self._take(estimate):
                return
            if not self.open:
                raise self._spent(estimate)
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((estimate, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.settle(estimate, NOTHING)  # it was granted in the moment in which it was cancelled
            raise

    def settle(self, estimate: Cost, spent: Cost) -> None:
        """Gives a reservation back and counts what was really spent; `NOTHING` for a try that failed."""
        self.spent = self.spent.plus(spent)
        self.open -= 1
        # Sums of floats would not come back to 0 by themselves.
        self.reserved = self.reserved.minus(estimate) if self.open else NOTHING
        self._serve()

    def _serve(self) -> None:
        """Grants in order of arrival. The first that does not fit waits, or fails if nothing is left to wait for."""
        while self._waiting:
            estimate, future = self._waiting[0]
            if future.done():
                pass
            elif self._take(estimate):
                future.set_result(None)
            elif self.open:
                return
            else:
                future.set_exception(self._spent(estimate))
            self._waiting.popleft()

    def _take(self, estimate: Cost) -> bool:
        if self._beyond(estimate):
            return False
        self.reserved = self.reserved.plus(estimate)
        self.open += 1
        return True

    def _beyond(self, estimate: Cost) -> str:
        """Names the limit that an amount would go beyond; empty: it fits."""
        budget, total = self.budget, self.spent.plus(self.reserved).plus(estimate)
        if budget.max_total_tokens is not None and total.tokens > budget.max_total_tokens:
            return "max_total_tokens"
        if budget.max_money is not None and total.money > budget.max_money:
            return "max_money"
        if budget.max_flops is not None and total.flops > budget.max_flops:
            return "max_flops"
        return ""

    def _spent(self, estimate: Cost) -> BudgetSpent:
        limit = self._beyond(estimate)
        budget, spent = self.budget, self.spent
        said = {
            "max_total_tokens": f"{spent.tokens:,} of {budget.max_total_tokens or 0:,} tokens are spent, and the next "
            f"request may take up to {estimate.tokens:,}",
            "max_money": f"{spent.money:.6g} of {budget.max_money or 0:.6g} (money) are spent, and the next request "
            f"may cost up to {estimate.money:.3g}",
            "max_flops": f"{spent.flops:.3g} of {budget.max_flops or 0:.3g} FLOPs are spent, and the next request may "
            f"take up to {estimate.flops:.2g}",
        }[limit]
        return BudgetSpent(f"The budget is spent: {said}.", fix=_FIX.format(limit=limit))
