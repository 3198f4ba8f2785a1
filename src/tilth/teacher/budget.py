"""What a run may spend on teachers, and the amounts that are counted against it; light, for configs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tilth.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Most that a run may spend; None: no limit. What is cached costs nothing. It stops cleanly, see `run`."""

    max_tokens: int | None = None
    """Prompt and completion tokens."""
    max_money: float | None = None
    """In the currency of the teachers' prices."""
    max_flops: float | None = None
    """Generation FLOPs; teachers whose parameters are not known cannot be limited by it."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_money", "max_flops"):
            limit = getattr(self, name)
            if limit is not None and not 0 <= limit < math.inf:
                raise ConfigError(
                    f"`{name}` is {limit}.", fix="Give 0 or a positive number, or leave it out for no limit."
                )


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount of each of the three things that a budget limits."""

    tokens: int = 0
    money: float = 0.0
    flops: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tokens + other.tokens, self.money + other.money, self.flops + other.flops)


NOTHING = Cost()
