"""What a loop starts from: a model and a tokenizer of any origin, and real text to keep in the mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tilth.errors import ConfigError
from tilth.improve.family import end_token
from tilth.storage import Dataset
from tilth.synthesis.verify.task_family import Augmentable, Augmentation, ProblemSource, TaskFamily
from tilth.training import held_out_excerpt
from tilth.types import Document, Problem

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Start:
    """The model that the loop continues, and its tokenizer; without a model, the loop trains one with the tokenizer."""

    model: Path | None = None
    """A folder of ours, or a Hugging Face one that holds a Llama."""
    tokenizer: Tokenizer | None = None
    """Takes the place of the family's own; None: the family's own is the model's."""


@dataclass(frozen=True, kw_only=True)
class TextMix:
    """Real text: a share of every batch of every arm is made of it, and what is held out is measured each round."""

    train: Dataset
    held_out: Dataset
    max_bytes: int = 8_000_000
    """Text of `train` that rows are drawn from: documents in the order of their ids, which is random and stable."""


class Retokenized:
    """A family with another tokenizer; its bounds on answers hold, since a token is at least one character.

    Byte-level tokenizers take several tokens for some characters outside of ASCII: a family of such answers has to
    bound them itself.
    """

    def __init__(self, family: TaskFamily, tokenizer: Tokenizer) -> None:
        self._family = family
        self.name, self.tokenizer = family.name, tokenizer
        self.n_problems, self.answer_tokens = family.n_problems, family.answer_tokens
        self.propose, self.parse, self.verify = family.propose, family.parse, family.verify


class RetokenizedAugmentable(Retokenized):
    """The same for a family with augmentations."""

    def augmentations(self, n: int, rng: np.random.Generator) -> Sequence[Augmentation]:
        """Draws `n` augmentations of the family."""
        assert isinstance(self._family, Augmentable)
        return self._family.augmentations(n, rng)


def with_tokenizer(family: TaskFamily, tokenizer: Tokenizer | None) -> TaskFamily:
    """Returns the family with that tokenizer; as it is for None, or where it has a tokenizer for text already."""
    if tokenizer is None or getattr(family.tokenizer, "fingerprint", None) == tokenizer.fingerprint:
        return family
    return (RetokenizedAugmentable if isinstance(family, Augmentable) else Retokenized)(family, tokenizer)


def text_tokenizer(source: ProblemSource) -> Tokenizer:
    """Returns the family's tokenizer as one for any text.

    Raises: ConfigError if it knows the family's alphabet only.
    """
    from tilth.tokenizer import Tokenizer

    if not isinstance(source.tokenizer, Tokenizer):
        raise ConfigError(
            f"Real text cannot be mixed in: the tokenizer of the family {source.name} knows its own alphabet only.",
            fix="Give a tokenizer for text: `Start(tokenizer=...)`, or a model's folder with `--model`.",
        )
    return source.tokenizer


@lru_cache(maxsize=4)
def _excerpt(dataset: Dataset, max_bytes: int) -> tuple[Document, ...]:
    # Once per process: rounds and arms read the same.
    return tuple(held_out_excerpt(dataset.documents(), max_bytes))


def held_out_documents(text: TextMix, max_bytes: int) -> tuple[Document, ...]:
    """Returns the held-out documents that are measured; the last is cut. Raises: DataError if there is no text."""
    return _excerpt(text.held_out, max_bytes)


@lru_cache(maxsize=2)
def text_tokens(dataset: Dataset, max_bytes: int, tokenizer: Tokenizer) -> NDArray[np.int32]:
    """Returns the tokens of a dataset's documents with separators around them."""
    separator = end_token(tokenizer)
    parts: list[NDArray[np.int32]] = [np.array([separator], dtype=np.int32)]
    texts = [document.text for document in _excerpt(dataset, max_bytes)]
    for ids in tokenizer.encode_batch(texts, disallowed_special=()):
        parts += [np.asarray(ids, dtype=np.int32), parts[0]]
    return np.concatenate(parts)


def longest_problem(source: ProblemSource, problems: Sequence[Problem], most_answer: int) -> int:
    """Returns the tokens that the longest of the prompts takes with an answer of `most_answer` tokens."""
    encode = source.tokenizer.encode_ordinary
    return max((len(encode(problem.prompt)) for problem in problems), default=1) + most_answer
