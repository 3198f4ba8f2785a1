"""Learning rate as a pure function of tokens: nothing to save, nothing to restore.

Source: Hu et al. 2024 (MiniCPM) for warm-up, stable, decay; Loshchilov & Hutter 2017 for the cosine.
"""

from __future__ import annotations

import math

from tilth.training.config import TrainConfig


def rate_factor(config: TrainConfig, tokens: float) -> float:
    """Returns the share of the peak learning rate after `tokens` of the budget; it rises from 0 to 1 and ends
    at 0.

    A step should ask for its middle, so that neither the first nor the last one is wasted on a rate of 0.
    """
    warmup = min(1.0, tokens / config.warmup_tokens) if config.warmup_tokens else 1.0
    return warmup * _decay(config, tokens)


def _decay(config: TrainConfig, tokens: float) -> float:
    left = max(0.0, 1.0 - tokens / config.tokens)
    if config.schedule == "wsd":
        return min(1.0, left / config.decay_fraction) if config.decay_fraction else 1.0
    after_warmup = (tokens - config.warmup_tokens) / max(1, config.tokens - config.warmup_tokens)
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, max(0.0, after_warmup)))
