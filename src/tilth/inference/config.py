"""How tokens are drawn; light, so that a recipe's config can hold it without loading torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tilth.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How a model continues a prompt."""

    max_tokens: int = 256
    """Most tokens that are added to a prompt."""
    temperature: float = 1.0
    """Divides the logits before sampling; 0 takes the likeliest token each time."""
    top_k: int | None = None
    """Sample among this many likeliest tokens only; None: among all."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that together hold this much probability (nucleus sampling)."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that the prompt or the completion holds already become less likely; 1: no difference."""
    seed: int = 0
    """With a prompt's index in the list it fixes what is drawn for that prompt, whatever the batch size."""
    stop_tokens: tuple[int, ...] = ()
    """Ids that end a completion; the id itself stays in the tokens and out of the text."""
    token_healing: bool = True
    """Continue a text prompt across the end of its last token, as text does (`inference/healing.py`); prompts given as
    ids are always taken as they are."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}.", fix="Ask for at least 1 token.")
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}.", fix="Give 0 (greedy) or a positive number.")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k is {self.top_k}.", fix="Give at least 1, or None for no limit.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}.", fix="Give a share above 0 and up to 1.")
        if not 0 < self.repetition_penalty < math.inf:
            raise ConfigError(
                f"repetition_penalty is {self.repetition_penalty}.", fix="Give a positive number, 1 for none."
            )
        if not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"seed is {self.seed}.", fix="Give a seed of 0 or more, below 2**63.")
