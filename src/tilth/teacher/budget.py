"""What a run may spend on teachers, and the amounts that are counted against it; light, for configs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from tilth.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Most that a run may spend; None: no limit. What is cached costs nothing; the same command with more goes on."""

    max_total_tokens: int | None = None
    """Prompt and completion tokens."""
    max_money: float | None = None
    """In the currency of the teachers' prices."""
    max_flops: float | None = None
    """Generation FLOPs; teachers whose parameters are not known cannot be limited by it."""

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return not (self.max_total_tokens is None and self.max_money is None and self.max_flops is None)

    def __post_init__(self) -> None:
        for name in ("max_total_tokens", "max_money", "max_flops"):
            limit = getattr(self, name)
            if limit is not None and not 0 <= limit < math.inf:
                raise ConfigError(
                    f"`{name}` is {limit}.", fix="Give 0 or a positive number, or leave it out for no limit."
                )


class Cost(NamedTuple):
    """An amount of each of the three things that a budget limits. A tuple: several are made for each request."""

    tokens: int = 0
    money: float = 0.0
    flops: float = 0.0

    def plus(self, other: Cost) -> Cost:
        """Returns the sum."""
        return Cost(self.tokens + other.tokens, self.money + other.money, self.flops + other.flops)

    def minus(self, other: Cost) -> Cost:
        """Returns the difference."""
        return Cost(self.tokens - other.tokens, self.money - other.money, self.flops - other.flops)


NOTHING = Cost()
