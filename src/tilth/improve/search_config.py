"""Settings of the search experiments (countdown, code tasks); light, so that planning a run does not load torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from tilth.errors import ConfigError

SearchArm = Literal[
    "control",
    "flop_matched",
    "unfiltered",
    "vote",
    "samples",
    "tree",
    "bits",
    "noise",
    "oracle",
]
SEARCH_ARMS: tuple[SearchArm, ...] = get_args(SearchArm)
FOLLOWS_SAMPLES: frozenset[SearchArm] = frozenset(("flop_matched",))
"""Arms that read what the arm `samples` spent in the same round, and so run after it."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What a base model learns from, and what its arms may spend."""

    difficulty: int = 2
    """Of all problems: there is one level, and what grows is the model."""
    labelled: int = 4000
    """Different problems that come with a right answer."""
    base_steps: int = 450
    """Training steps of the base model."""
    rounds: int = 3
    """Rounds of asking, labelling and training."""
    round_steps: int = 100
    """Training steps of a round."""
    prompts: int = 800
    """New problems without answers in each round: the same for all arms."""
    replay_share: float = 0.3
    """Share of a batch that is drawn from the labelled problems; the rest from all accepted answers so far."""
    samples: int = 16
    """Answers sampled for each problem."""
    tree_tokens: int = 80
    """Tokens of a tree search for each problem."""
    per_problem: int = 4
    """Most different accepted answers kept of a problem."""
    min_agreement: float = 0.5
    """Share of the samples that a vote needs."""
    bits_share: float = 0.5
    """Share of the accepted answers that the selection by bits keeps."""
    noise_share: float = 0.2
    """Share of the accepted answers that label noise spoils."""
    test_problems: int = 1000
    """Problems that accuracy is reported on."""
    pass_problems: int = 250
    """Of these, the problems that are answered `pass_samples` times, before and after all rounds."""
    pass_samples: int = 16
    """Answers of each problem, of which one must be right."""
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
    learning_rate: float = 6e-3
    """Peak learning rate of AdamW, of the base model."""
    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon, of the base model."""
    round_lr_multiplier: float = 0.7
    """Both rates of the rounds, as a multiple of the base model's."""
    arms: tuple[SearchArm, ...] = SEARCH_ARMS
    """Which arms run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of everything that is drawn by chance; the whole experiment runs once for each."""

    def __post_init__(self) -> None:
        counts = ("difficulty", "labelled", "base_steps", "rounds", "round_steps", "prompts", "samples", "tree_tokens")
        measured = ("per_problem", "test_problems", "pass_problems", "pass_samples")
        for name in (*counts, *measured, "d_model", "n_layers", "n_heads", "d_ff", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        for name in ("replay_share", "min_agreement", "bits_share", "noise_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give a share between 0 and 1.")
        for name in ("learning_rate", "muon_learning_rate", "round_lr_multiplier"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix=f"Give a positive {name}.")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds is {self.seeds}.", fix="Give one or more different seeds of 0 or more.")
        unknown = set(self.arms) - set(SEARCH_ARMS)
        if unknown or not self.arms or (FOLLOWS_SAMPLES & set(self.arms) and "samples" not in self.arms):
            raise ConfigError(
                f"arms is {self.arms}.",
                fix=f"Choose among {', '.join(SEARCH_ARMS)}; {', '.join(FOLLOWS_SAMPLES)} needs `samples` beside it.",
            )

    def scaled(self, effort: float) -> SearchConfig:
        """Returns these settings with steps, problems and prompts times `effort`, for trying the machinery in seconds.

        Raises: ConfigError unless `effort` is positive.
        """
        if not effort > 0:
            raise ConfigError(f"effort is {effort}.", fix="Give a positive number; 1 is the recipe as it is reported.")
        names = ("labelled", "base_steps", "round_steps", "prompts", "test_problems", "pass_problems")
        return replace(self, **{name: max(2, round(getattr(self, name) * effort)) for name in names})
