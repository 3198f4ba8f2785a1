"""What all arms of one seed share: settings, problems, streams of chance, folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tilth import execute
from tilth.errors import ConfigError
from tilth.improve.arms import Arm
from tilth.improve.config import LoopConfig
from tilth.improve.family import Split, end_token, split_problems
from tilth.improve.problem_pool import ProblemPool
from tilth.improve.start import TextMix, held_out_documents, longest_problem, text_tokenizer, text_tokens
from tilth.improve.text_rows import TextRows
from tilth.model import ModelConfig, Transformer, load_model
from tilth.synthesis.verify.task_family import TaskFamily
from tilth.training import initial_model
from tilth.types import Document, Problem

_SPLIT = 0


@dataclass(frozen=True, kw_only=True)
class SeedRun:
    """One seed of a loop; goes to worker processes, so it holds nothing large."""

    config: LoopConfig
    family: TaskFamily
    seed: int
    folder: Path
    """Holds `base/` and, for each arm, a folder for each round."""
    context: execute.Context = field(default_factory=execute.Context)
    model: Path | None = None
    """The model that the loop continues; None: it trains one."""
    text: TextMix | None = None

    @property
    def base_folder(self) -> Path:
        """The folder of the base model."""
        return self.folder / "base"

    def round_folder(self, arm: Arm, number: int) -> Path:
        """Returns the folder of a round, counted from 1."""
        return self.folder / arm / f"round-{number:02d}"

    @cached_property
    def split(self) -> Split:
        """The validation and test problems."""
        config = self.config
        difficulties = config.measured_difficulties
        return split_problems(
            self.family,
            difficulties,
            n_test=config.test_problems,
            n_validation=config.validation_problems,
            validate_beyond=config.base_difficulty,
            rngs=(self.rng(_SPLIT, difficulty) for difficulty in difficulties),
        )

    @property
    def validation(self) -> dict[int, Sequence[Problem]]:
        """The validation problems without their answers: what arms may decide on."""
        return {
            difficulty: [replace(problem, answer=None) for problem in problems]
            for difficulty, problems in self.split.validation.items()
        }

    @property
    def longest(self) -> int:
        """Tokens of the longest measured prompt and its answer."""
        measured = [p for part in (self.split.validation, self.split.test) for ps in part.values() for p in ps]
        return longest_problem(self.family, measured, self.family.answer_tokens(self.config.measured_difficulties[-1]))

    @property
    def model_config(self) -> ModelConfig:
        """The shape of a model that the loop trains: without positions; rotary ones fail one step beyond training.

        The context is twice the longest measured prompt: others that are drawn may be longer, and it costs nothing.
        """
        context = 2 * self.longest
        return ModelConfig(
            vocab_size=self.family.tokenizer.vocab_size,
            d_model=self.config.d_model,
            n_layers=self.config.n_layers,
            n_heads=self.config.n_heads,
            d_ff=self.config.d_ff,
            context_length=context if self.text is None else max(context, self.config.text_row_tokens),
            rope_theta=None,
        )

    def first_model(self) -> Transformer:
        """Returns the model before the base training: the given one, or one of random weights.

        Raises: ConfigError if the given one cannot take the tokenizer or the longest problem.
        """
        if self.model is None:
            return initial_model(self.model_config, self.seed).to(self.context.device)
        model = load_model(self.model, device=self.context.device)
        model.config.check_vocabulary(self.family.tokenizer.vocab_size)
        if self.longest > model.config.context_length:
            raise ConfigError(
                f"The longest measured problem and its answer take {self.longest} tokens, and the context of "
                f"{self.model} is {model.config.context_length}.",
                fix="Lower rounds or base_difficulty, or give a model of a longer context.",
            )
        return model

    def pool(self, context_length: int | None = None) -> ProblemPool:
        """Returns the base data, the same for all arms and rounds, with real text where there is some.

        Rows of text are no longer than `context_length`, that of the model.
        """
        return ProblemPool(self.family, self.config, self.split.excluded, text=self._text_rows(context_length))

    def _text_rows(self, context_length: int | None) -> TextRows | None:
        if self.text is None:
            return None
        tokenizer = text_tokenizer(self.family)
        return TextRows(
            ids=text_tokens(self.text.train, self.text.max_bytes, tokenizer),
            separator=end_token(tokenizer),
            row_tokens=min(self.config.text_row_tokens, context_length or self.config.text_row_tokens),
            share=self.config.text_share,
        )

    def held_out(self) -> tuple[Document, ...]:
        """Returns the held-out real text that is measured; empty where there is none."""
        return () if self.text is None else held_out_documents(self.text, self.config.held_out_bytes)

    def rng(self, *key: int) -> np.random.Generator:
        """Returns the stream of chance that belongs to a key."""
        return np.random.default_rng([self.seed, *key])
