"""What the self-improving loop is told; light, so that planning a run does not load torch.

The values are those of a pilot on reversing strings, tried on one seed and confirmed on fresh ones. At this size the
base model decides whether the loop starts at all: it must be right on a good part of the problems one step beyond its
data. `from_effort` is the one dial over steps and samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tilth.errors import ConfigError

Arm = Literal["frozen", "control", "unfiltered", "vote", "checker"]
ARMS: tuple[Arm, ...] = ("frozen", "control", "unfiltered", "vote", "checker")
"""Left as it is; as many steps on base data; own answers unchecked; own answers by vote; own answers checked
exactly."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Let a model teach itself a task from easy to hard, beside its controls."""

    rounds: int = 8
    """Rounds of generating, verifying and training on; each may take on problems one step harder."""
    base_difficulty: int = 6
    """Hardest problems that come with right answers: lengths 1 to this."""
    base_steps: int = 800
    """Training steps of the base model."""
    round_steps: int = 100
    """Training steps of a round."""
    samples: int = 1000
    """Problems with an answer of its own that an arm adds in a round."""
    prompts_per_difficulty: int = 200
    """Fixed problems to measure on for each difficulty, never trained on; fewer where few exist."""
    d_model: int = 64
    """Width of the model."""
    n_layers: int = 3
    """Its blocks."""
    n_heads: int = 4
    """Its attention heads."""
    d_ff: int = 160
    """Width of its feed-forward layers."""
    batch_size: int = 128
    """Problems in a training step."""
    learning_rate: float = 2e-3
    """Highest learning rate, of the base model and of every round."""
    newest_share: float = 0.25
    """Share of a round's batch that has the newest difficulty; the rest is weighted by difficulty."""
    views: int = 4
    """Relabelled copies of a problem that vote on its answer."""
    agree: int = 3
    """Views that must give the same answer for it to be kept."""
    promote_at: float = 0.5
    """Share of answers that a verifier must accept before an arm moves on to the next difficulty."""
    max_draws: int = 4
    """Most problems that a verified arm tries in a round, as a multiple of `samples`."""
    seed: int = 0
    """Seed of everything that is drawn by chance."""

    def __post_init__(self) -> None:
        counts = (
            "rounds",
            "base_difficulty",
            "base_steps",
            "round_steps",
            "samples",
            "prompts_per_difficulty",
        )
        for name in (*counts, "d_model", "n_layers", "n_heads", "d_ff", "batch_size", "max_draws"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix=f"Give a {name} of at least 1.")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}.", fix="Give a positive rate such as 2e-3.")
        for name in ("newest_share", "promote_at"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a share between 0 and 1.")
        if not self.views / 2 < self.agree <= self.views:
            raise ConfigError(
                f"{self.agree} of {self.views} views must agree, which is not a majority of them.",
                fix="Choose agree above half of views and no higher than views.",
            )
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}.", fix="Give a seed of 0 or more.")

    @classmethod
    def from_effort(cls, effort: float = 1.0, *, rounds: int = 8, seed: int = 0) -> LoopConfig:
        """Scales steps, samples and the fixed problems by one dial: 1 takes minutes on two cores, .01
        seconds.

        Below 1 the base model is too weak for the loop to start: that is for trying the machinery.
        """
        default = cls(rounds=rounds, seed=seed)

        def scaled(value: int) -> int:
            return max(1, round(value * effort))

        return cls(
            rounds=rounds,
            seed=seed,
            base_steps=scaled(default.base_steps),
            round_steps=scaled(default.round_steps),
            samples=scaled(default.samples),
            prompts_per_difficulty=scaled(default.prompts_per_difficulty),
        )

    @property
    def measured_difficulties(self) -> range:
        """What accuracy is measured on: two steps beyond what the rounds can reach."""
        return range(1, self.base_difficulty + self.rounds + 3)
