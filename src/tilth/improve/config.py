"""Settings of the self-improving loop; light, so that planning a run does not load torch.

The values are those of a pilot on reversing strings, tried on one seed and confirmed on fresh ones. At this size the
base model decides whether the loop starts at all: it must be right on a good part of the problems one step beyond its
data. `from_effort` is the one dial over steps and samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tilth.errors import ConfigError

Arm = Literal["baseline", "control", "flop_matched", "unfiltered", "gated_unfiltered", "vote", "oracle"]
ARMS: tuple[Arm, ...] = get_args(Arm)
"""What each arm does after the base model, in the order in which they are shown.

baseline: nothing. control: as many steps as the others, on base data. flop_matched: base data, for as many FLOPs as the
vote arm spends on training and generation. unfiltered: unfiltered self-training, one difficulty more in each round.
gated_unfiltered: unfiltered self-training at the difficulties, and with the number of pseudo-labels, of the vote arm,
so that the two differ by the filter alone. vote: pseudo-labels by majority over augmentations, without right answers.
oracle: pseudo-labels that an exact verifier accepts.
"""
FOLLOWS_VOTE: frozenset[Arm] = frozenset(("gated_unfiltered", "flop_matched"))
"""Arms that read what the vote arm did in the same round, and so run after it."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Let a model teach itself a family of problems from easy to hard, beside its controls."""

    rounds: int = 8
    """Rounds of generating, verifying and fine-tuning; each may take on problems one step harder."""
    base_difficulty: int = 6
    """Hardest problems that come with right answers: difficulties 1 to this."""
    base_steps: int = 700
    """Training steps of the base model."""
    round_steps: int = 60
    """Training steps of a round."""
    samples: int = 1000
    """Pseudo-labelled problems that an arm adds in a round."""
    test_problems: int = 200
    """Problems for each difficulty that accuracy is reported on; fewer where few exist."""
    validation_problems: int = 100
    """Problems for each difficulty beyond the base data that decide on promotion; choose settings on them, too."""
    d_model: int = 64
    """Width of the model."""
    n_layers: int = 3
    """Its blocks."""
    n_heads: int = 4
    """Its attention heads."""
    d_ff: int = 160
    """Width of its feed-forward layers."""
    batch_size: int = 64
    """Problems in a training step."""
    learning_rate: float = 6e-3
    """Peak learning rate of AdamW, of the base model and of every round."""
    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon, for the matrices in the blocks."""
    warmup_fraction: float = 0.125
    """Share of the steps in which the learning rate rises."""
    decay_fraction: float = 0.5
    """Share of the steps, at the end, in which it falls to zero."""
    beta1: float = 0.9
    """AdamW's decay of the mean gradient."""
    beta2: float = 0.98
    """AdamW's decay of the mean squared gradient."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices (times the learning rate)."""
    gradient_clip: float = 1.0
    """Largest norm of the whole gradient."""
    newest_share: float = 0.25
    """Share of a round's batch that has the newest difficulty; the rest is weighted by difficulty."""
    augmentations: int = 4
    """Versions of a problem, itself included, whose answers vote."""
    min_agreement: int = 3
    """Votes that an answer needs to become a pseudo-label."""
    promote_at: float = 0.5
    """Share of validation problems whose answers must be accepted before an arm moves on to their difficulty."""
    max_draws: int = 4
    """Most problems that a gated arm tries in a round, as a multiple of `samples`."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of everything that is drawn by chance; the whole loop runs once for each."""

    def __post_init__(self) -> None:
        counts = ("rounds", "base_difficulty", "base_steps", "round_steps", "samples", "test_problems")
        shape = ("d_model", "n_layers", "n_heads", "d_ff", "batch_size", "max_draws")
        for name in (*counts, "validation_problems", *shape):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        for name in ("learning_rate", "muon_learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix=f"Give a positive {name}.")
        for name in ("newest_share", "promote_at", "warmup_fraction", "decay_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a share between 0 and 1.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a number from 0 up to below 1.")
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay is {self.weight_decay}.", fix="Give 0 or more.")
        self._check_votes_and_seeds()

    def _check_votes_and_seeds(self) -> None:
        if not self.augmentations / 2 < self.min_agreement <= self.augmentations:
            raise ConfigError(
                f"min_agreement {self.min_agreement} is not a majority of {self.augmentations} augmentations.",
                fix="Choose min_agreement above half of augmentations and no higher than augmentations.",
            )
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds is {self.seeds}.", fix="Give one or more different seeds of 0 or more.")

    @classmethod
    def from_effort(cls, effort: float = 1.0, *, rounds: int = 8, seeds: tuple[int, ...] = (0,)) -> LoopConfig:
        """Scales steps, samples and the measured problems by one dial: 1 takes minutes on two cores, .01 seconds.

        Below 1 the base model is too weak for the loop to start: that is for trying the machinery.
        """
        default = cls(rounds=rounds, seeds=seeds)

        def scaled(value: int) -> int:
            return max(1, round(value * effort))

        return cls(
            rounds=rounds,
            seeds=seeds,
            base_steps=scaled(default.base_steps),
            round_steps=scaled(default.round_steps),
            samples=scaled(default.samples),
            test_problems=scaled(default.test_problems),
            validation_problems=scaled(default.validation_problems),
        )

    @property
    def measured_difficulties(self) -> range:
        """What accuracy is measured on: two steps beyond what the rounds can reach."""
        return range(1, self.base_difficulty + self.rounds + 3)
