"""The weights that did best on held-out text, and when to stop because newer ones no longer do.

A model that sees a small text many times begins to learn it by heart: its loss on other text falls, and then rises.
What is kept are the weights of the best measurement. They are chosen on the text that is reported, among a dozen
measurements, so the reported number is lower than on other text by a little (less than two measurements differ).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tilth.training.checkpoint import unwrapped


class BestWeights:
    """The best measurement so far with its weights; a copy of the weights is held from then on."""

    def __init__(self, measure: str, patience: int | None = None, *, pass_tokens: int = 0) -> None:
        """`measure` names the measurement whose lowest value counts.

        After `patience` measurements without a new best one training has to stop; None: never. Those in the first
        `pass_tokens` tokens do not count: nothing is learned by heart while all text is new, so they are noise.
        """
        self.measure, self.patience, self.pass_tokens = measure, patience, pass_tokens
        self.step, self.tokens, self.value = 0, 0, math.inf
        """When it was measured, and the measurement."""
        self.n_worse = 0
        """Measurements since then, those of the first pass left out."""
        self.weights: dict[str, Tensor] = {}

    @property
    def is_past(self) -> bool:
        """Whether the best measurement was so many measurements ago that training has to stop."""
        return self.patience is not None and self.n_worse >= self.patience

    def add(self, measured: Mapping[str, float], model: nn.Module, *, step: int, tokens: int) -> None:
        """Takes in a measurement of a model as it is now."""
        value = measured[self.measure]
        if math.isfinite(value) and value <= self.value:
            self.step, self.tokens, self.value, self.n_worse = step, tokens, value, 0
            self.weights = {name: weight.detach().clone() for name, weight in unwrapped(model).state_dict().items()}
        elif tokens > self.pass_tokens:
            self.n_worse += 1

    def restore(self, model: nn.Module) -> None:
        """Gives a model the best weights, where there are any."""
        if self.weights:
            unwrapped(model).load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything but the weights, as plain JSON data."""
        value = self.value if math.isfinite(self.value) else None
        return {"step": self.step, "tokens": self.tokens, "value": value, "n_worse": self.n_worse}

    def load_state_dict(self, state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        """Continues where `state_dict` was called."""
        self.step, self.tokens, self.n_worse = state["step"], state["tokens"], state["n_worse"]
        self.value = math.inf if state["value"] is None else state["value"]
        self.weights = dict(weights)
