"""What a synthesis run is told; light, so that planning and `--help` load no model and no client."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tilth.errors import ConfigError
from tilth.teacher.budget import Budget


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Limits of the gates. None of them asks a teacher again, except where `critic` is set."""

    min_words: int = 10
    """Fewest words of a sample."""
    max_words: int = 20_000
    """Most words of a sample."""
    languages: tuple[str, ...] | None = None
    """ISO 639-1 codes to keep; None: the language of the source document; empty: all."""
    max_copied: float = 0.5
    """Largest share of a sample's 8-word sequences that stand in its own source document."""
    near_duplicate_threshold: float | None = 0.8
    """Jaccard similarity of word shingles to a sample kept before from which a sample is dropped; None: copies only."""
    decontaminate: tuple[str, ...] = ()
    """Evaluation sets (files, folders, datasets): samples that hold items of them are dropped."""
    against: tuple[str, ...] = ()
    """Datasets made earlier: near duplicates of their documents are dropped, too."""
    critic: Literal["", "rubric", "pairwise", "reward"] = ""
    """Have a teacher judge samples: by a rubric (0-5), against the source in both orders, or by log-probabilities."""
    critic_teacher: str | None = None
    """Which teacher judges; None: the one that writes."""
    min_score: float = 3.0
    """Lowest score of a critic, from 0 to 5; `pairwise` gives 5 (better), 2.5 (a tie) or 0."""
    verify: bool = True
    """Run the verifier of samples that name one."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_words <= self.max_words:
            raise ConfigError(
                f"`min_words` is {self.min_words} and `max_words` {self.max_words}.", fix="Give 0 <= min <= max."
            )
        if not 0 <= self.max_copied <= 1:
            raise ConfigError(f"`max_copied` is {self.max_copied}.", fix="Give a share from 0 to 1.")
        if not 0 <= self.min_score <= 5:
            raise ConfigError(f"`min_score` is {self.min_score}.", fix="Give a score from 0 to 5.")
        threshold = self.near_duplicate_threshold
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigError(
                f"`near_duplicate_threshold` is {threshold}.",
                fix="Give a similarity above 0 and at most 1, or None for exact copies only.",
            )


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """Generate data from documents with a recipe and a teacher."""

    samples: int = 1
    """Samples drawn of each prompt."""
    documents: int | None = None
    """Use only so many documents, the first by hash of their ids; None: all."""
    design: Literal["weighted", "grid", "latin"] = "weighted"
    """How documents are spread over the recipe's axes (topic, audience, format, ...)."""
    router: Literal["fixed", "best", "learned", "bandit"] = "fixed"
    """Who answers: the first teacher; all (best is kept); who a classifier says; who gives most per FLOP."""
    router_documents: int = 200
    """Documents that all teachers answer before the learned router chooses alone."""
    temperature: float | None = None
    """Overrides the recipe's, except for its judgements."""
    max_answer_tokens: int | None = None
    """Overrides the recipe's most tokens of an answer, except for its judgements."""
    gates: GateConfig = field(default_factory=GateConfig)
    budget: Budget = field(default_factory=Budget)
    reuse: Literal["exact", "same_prompt"] = "exact"
    """Which cached answers serve: those to the same request, or to the same prompt and seed, whatever else differs."""
    max_dead_letters: float = 0.05
    """Fail if more than this share of the documents lost a request after all its tries."""
    seed: int = 0
    """Chooses cells of the design, what recipes draw, and the teacher's seeds."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"`samples` is {self.samples}.", fix="Draw 1 or more.")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise ConfigError(f"`temperature` is {self.temperature}.", fix="Give 0 (greedy) or a positive number.")
        if self.max_answer_tokens is not None and self.max_answer_tokens < 1:
            raise ConfigError(f"`max_answer_tokens` is {self.max_answer_tokens}.", fix="Ask for 1 token or more.")
        if self.router_documents < 1:
            raise ConfigError(f"`router_documents` is {self.router_documents}.", fix="Give 1 or more.")
        if self.documents is not None and self.documents < 1:
            raise ConfigError(f"`documents` is {self.documents}.", fix="Use 1 or more, or leave it out for all.")
        if not 0 <= self.max_dead_letters <= 1:
            raise ConfigError(f"`max_dead_letters` is {self.max_dead_letters}.", fix="Give a share from 0 to 1.")
