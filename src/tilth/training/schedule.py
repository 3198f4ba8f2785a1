"""Learning rate as a pure function of the step: nothing to save, nothing to restore.

Source: Hu et al. 2024 (MiniCPM) for warm-up, stable, decay; Loshchilov & Hutter 2017 for the cosine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tilth.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a training is, and what share of its peak learning rate each step gets."""

    steps: int
    """Optimizer steps in all."""
    warmup_steps: float = 0.0
    """Steps over which the rate rises from 0."""
    decay_fraction: float = 0.0
    """Share of the steps over which `wsd` decays to 0; 0: it stays flat."""
    shape: Literal["wsd", "cosine"] = "wsd"
    """After the warm-up: flat, then a linear decay (wsd), or half a cosine."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"A schedule of {self.steps} steps trains nothing.", fix="Give at least 1 step.")
        if self.warmup_steps < 0 or not 0 <= self.decay_fraction <= 1:
            raise ConfigError(
                f"warmup_steps {self.warmup_steps} and decay_fraction {self.decay_fraction} cannot be.",
                fix="Give a warm-up of 0 or more and a share between 0 and 1.",
            )
        if self.shape not in ("wsd", "cosine"):
            raise ConfigError(f"There is no schedule {self.shape!r}.", fix="Choose wsd or cosine.")

    def lr_multiplier(self, step: int) -> float:
        """Returns the share of the peak learning rate in step `step`, counted from 0.

        It is taken in the middle of the step, so that neither the first nor the last one has a rate of 0.
        """
        return self.at(step + 0.5)

    def at(self, done: float) -> float:
        """Returns the share of the peak learning rate after `done` steps: from 0 up to 1 and down to 0."""
        warmup = min(1.0, done / self.warmup_steps) if self.warmup_steps else 1.0
        return warmup * self._decay(done)

    def _decay(self, done: float) -> float:
        left = max(0.0, 1.0 - done / self.steps)
        if self.shape == "wsd":
            return min(1.0, left / self.decay_fraction) if self.decay_fraction else 1.0
        after_warmup = (done - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, max(0.0, after_warmup)))
