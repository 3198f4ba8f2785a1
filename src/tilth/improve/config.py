"""Settings of the self-improving loop; light, so that planning a run does not load torch.

The values are those of a pilot on reversing strings, tried on one seed and confirmed on fresh ones. At this size the
base model decides whether the loop starts at all: it must be right on a good part of the problems one step beyond its
data. `from_effort` is the one dial over steps and samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from tilth.errors import ConfigError
from tilth.improve.arms import ARMS as ARMS
from tilth.improve.arms import CHECKED, DEFAULT_ARMS, LabelWith
from tilth.improve.arms import Arm as Arm


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Let a model teach itself a family of problems from easy to hard, beside its controls."""

    task: str = "reverse"
    """Family of problems: reverse, copy, reverse_addition, sort, countdown_postfix; one of `tilth.synthesis.verify`,
    such as word_problems; or `path/to/file.py:name`."""
    arms: tuple[Arm, ...] = DEFAULT_ARMS
    """What is run from the base model; arms that the family has no use for are left out."""
    label_with: LabelWith = "vote"
    """How treated arms come to labels. Without a checker: the majority over augmented problems (vote) or samples
    (sample_vote), or the likeliest sample (best_of_n). With one, whose arm is `verified` instead of `vote`: what it
    accepts of samples, a beam, or a tree search (countdown_postfix); bits: the accepted samples that tell most."""
    rounds: int = 8
    """Rounds of generating, verifying and fine-tuning; each may take on problems one step harder."""
    base_difficulty: int = 6
    """Hardest problems that come with right answers: difficulties 1 to this."""
    base_steps: int = 700
    """Training steps of the base model; 0: a given model is used as it is."""
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
    samples_per_problem: int = 16
    """Samples, or beams, for a problem where `label_with` is not `vote`; a tree search has as many tokens."""
    label_noise: float = 0.2
    """Share of the labels of the arm `noise` that are exchanged for answers to other problems."""
    text_share: float = 0.3
    """Where real text is given: its share of the rows of a batch, and of the loss (replay against forgetting)."""
    text_row_tokens: int = 128
    """Tokens of a row of real text; problems share rows of that length."""
    held_out_bytes: int = 20_000
    """Held-out real text that is measured after each round."""
    sampled_texts: int = 32
    """Openings of held-out text that a model continues, for the monitor; 0: none."""
    monitor: bool = True
    """Whether the collapse monitor may throw a round of a treated arm away."""
    max_text_loss_rise: float = 0.1
    """Rise of the held-out bits per byte, over the lower of base model and last good round, that throws a round away:
    several times what the measurement of a good round moves, far below what training without replay does."""
    min_diversity: float = 0.5
    """Share of the diversity of base model or last good round, whichever is higher, below which a round is thrown away:
    half the different answers, rare words or runs of words are gone."""
    max_fall_backs: int = 2
    """Rounds thrown away in a row that end an arm: the next would start from the same model and data."""
    min_bits_per_label: float = 0.01
    """Bits per pseudo-label below which a round is exhausted: the model was sure of its labels before (p > .99)."""
    min_gain: float = 0.02
    """Rise of the controller's score, in difficulties solved, that counts as a gain: of 100 problems, two."""
    max_flops: float | None = None
    """FLOPs of training, generation and choice that the arm `controlled` may spend; None: only the rounds limit it."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of everything that is drawn by chance; the whole loop runs once for each."""

    def __post_init__(self) -> None:
        counts = ("rounds", "base_difficulty", "round_steps", "samples", "test_problems")
        shape = ("d_model", "n_layers", "n_heads", "d_ff", "batch_size", "max_draws", "samples_per_problem")
        text = ("text_row_tokens", "held_out_bytes", "max_fall_backs")
        for name in (*counts, "validation_problems", *shape, *text):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        for name in ("base_steps", "weight_decay", "sampled_texts", "min_bits_per_label", "min_gain"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 0 or more.")
        for name in ("learning_rate", "muon_learning_rate", "gradient_clip", "max_text_loss_rise"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix=f"Give a positive {name}.")
        shares = ("newest_share", "promote_at", "warmup_fraction", "decay_fraction", "label_noise", "min_diversity")
        for name in (*shares, "text_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a share between 0 and 1.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a number from 0 up to below 1.")
        if self.text_share == 1:
            raise ConfigError("text_share is 1.", fix="Give a share below 1: the rest of a batch are problems.")
        if self.max_flops is not None and not (self.max_flops > 0 and math.isfinite(self.max_flops)):
            raise ConfigError(f"max_flops is {self.max_flops}.", fix="Give a positive number of FLOPs, or none.")
        self._check_arms()
        self._check_votes_and_seeds()

    def _check_arms(self) -> None:
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown:
            raise ConfigError(f"There is no arm `{unknown[0]}`.", fix=f"Choose from {', '.join(ARMS)}.")
        if not self.arms or len(set(self.arms)) < len(self.arms):
            raise ConfigError(f"arms is {self.arms}.", fix="Give one or more different arms.")
        if self.label_with not in get_args(LabelWith):
            raise ConfigError(
                f"label_with is {self.label_with!r}.", fix=f"Choose from {', '.join(get_args(LabelWith))}."
            )

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
    def leading_arm(self) -> Arm:
        """The treated arm that others follow."""
        return "verified" if self.label_with in CHECKED else "vote"

    @property
    def measured_difficulties(self) -> range:
        """What accuracy is measured on: two steps beyond what the rounds can reach."""
        return range(1, self.base_difficulty + self.rounds + 3)
