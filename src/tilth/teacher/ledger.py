"""What was asked, answered and paid, by recipe and teacher."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.teacher.budget import Cost
from tilth.teacher.request import Usage


@dataclass(kw_only=True)
class Spending:
    """What one recipe asked of one teacher, in a run and in its result.

    A try that failed is not in it, though the provider may bill for it, as for an answer that was cut off: nobody says
    what it cost. Where an answer that cannot be used does say so, it is in `paid_money`.
    """

    recipe: str
    """Name of the recipe, or `critic` and the like."""
    teacher: str
    requests: int = 0
    """Answers that were paid for in this run."""
    cached: int = 0
    """Answers that cost nothing: from the cache, or from an equal request that was in flight."""
    retries: int = 0
    dead_letters: int = 0
    prompt_tokens: int = 0
    """Of all answers used, cached ones included: what the data costs, whoever paid when."""
    completion_tokens: int = 0
    money: float = 0.0
    flops: float = 0.0
    """Generation FLOPs: 2 x parameters x tokens; 0 where the parameters are not known."""
    paid_money: float = 0.0
    """What was paid in this run."""
    samples_kept: int = 0
    """Filled in by whoever keeps samples, as is `tokens_kept`."""
    tokens_kept: int = 0
    """Completion tokens of the answers that kept samples were made from."""


class Ledger:
    """The sums of a run."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], Spending] = {}
        self.requests = 0
        self.cached = 0
        self.dead_letters = 0
        self.paid = Cost()

    def line(self, recipe: str, teacher: str) -> Spending:
        """Returns the line of a recipe and teacher, to be added to."""
        key = recipe, teacher
        if key not in self._lines:
            self._lines[key] = Spending(recipe=recipe, teacher=teacher)
        return self._lines[key]

    def answered(self, line: Spending, usage: Usage, cost: Cost, *, cached: bool) -> None:
        """Counts one answer."""
        line.prompt_tokens += usage.prompt_tokens
        line.completion_tokens += usage.completion_tokens
        line.money += cost.money
        line.flops += cost.flops
        if cached:
            line.cached += 1
            self.cached += 1
        else:
            line.requests += 1
            line.paid_money += cost.money
            self.requests += 1
            self.paid = self.paid.plus(cost)

    def wasted(self, line: Spending, cost: Cost) -> None:
        """Counts what an answer cost that cannot be used."""
        line.paid_money += cost.money
        self.paid = self.paid.plus(cost)

    def failed(self, line: Spending) -> None:
        """Counts a dead letter."""
        line.dead_letters += 1
        self.dead_letters += 1

    def lines(self) -> list[Spending]:
        """Returns all lines, by recipe and teacher."""
        return [self._lines[key] for key in sorted(self._lines)]
