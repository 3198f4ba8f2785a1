"""One file for each round: weights, the answers it added, and what was measured.

The file is safetensors, so reading it never runs code, and appears whole or not at all: its presence means
that the round is over. That each round repeats the weights is the price (half a megabyte at the default
size).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tilth.errors import DataError
from tilth.files import write_bytes
from tilth.improve.task import Ints
from tilth.model import Transformer

PROMPTS, ANSWERS, RECORD = "harvest.prompts", "harvest.answers", "record"


@dataclass(frozen=True, kw_only=True)
class Round:
    """What happened in one round of one arm (round 0: the base model)."""

    difficulty: int
    """The newest difficulty after the round."""
    accuracy: list[float]
    """Per measured difficulty, in 0..1."""
    generated: int = 0
    """Problems answered, those of a difficulty that was then put off included."""
    kept: int = 0
    """Answers added to the training data."""
    right: int = 0
    """Answers among them that are right; known to the record only."""
    train_flops: float = 0.0
    generation_flops: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Harvest:
    """Problems with the model's own accepted answers, all of one difficulty."""

    difficulty: int
    prompts: Ints = field(default_factory=lambda: np.zeros((0, 1), dtype=np.int64))
    answers: Ints = field(default_factory=lambda: np.zeros((0, 1), dtype=np.int64))
    generated: int = 0
    flops: float = 0.0


def save_round(file: Path, model: Transformer, record: Round, harvest: Harvest) -> None:
    """Writes a round; equal weights, answers and record give equal bytes."""
    tensors = {f"model.{name}": weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    tensors[PROMPTS] = torch.from_numpy(harvest.prompts.astype(np.uint8))
    tensors[ANSWERS] = torch.from_numpy(harvest.answers.astype(np.uint8))
    write_bytes(file, save(tensors, metadata={RECORD: json.dumps(asdict(record))}))


def load_round(file: Path, model: Transformer | None = None) -> tuple[Round, tuple[Ints, Ints]]:
    """Reads a round's record and its prompts and answers, and puts its weights into `model`, if given.

    Raises: DataError if the file is not a round of such a model.
    """
    try:
        with safe_open(file, framework="pt") as content:
            record = Round(**json.loads(content.metadata()[RECORD]))
            prompts, answers = (content.get_tensor(name).numpy().astype(np.int64) for name in (PROMPTS, ANSWERS))
            if model is not None:
                model.load_state_dict({name: content.get_tensor(f"model.{name}") for name in model.state_dict()})
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{file} is not a round of this loop: {error}.",
            fix="Delete the file, and the round is run again.",
        ) from error
    return record, (prompts, answers)
