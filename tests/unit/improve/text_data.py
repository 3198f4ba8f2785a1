"""A tokenizer, datasets and a model of text, small enough for tests."""

from __future__ import annotations

import random
from pathlib import Path

from tilth.model import ModelConfig, save_model
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import initial_model
from tilth.types import Document

WORDS = (
    "the",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "a",
    "red",
    "blue",
    "mat",
    "and",
    "then",
    "slept",
    "ate",
    "fish",
)


def documents(n: int, seed: int) -> list[Document]:
    """Texts of random words."""
    rng = random.Random(seed)
    return [Document.make(" ".join(rng.choices(WORDS, k=40)) + ".", f"{seed}/{index}") for index in range(n)]


def datasets(folder: Path) -> tuple[Dataset, Dataset]:
    """Writes training and held-out text."""
    train = write_dataset(folder / "train", documents(60, 1), made_by="test")
    return train, write_dataset(folder / "held_out", documents(10, 2), made_by="test")


def tokenizer_of(dataset: Dataset) -> Tokenizer:
    """Trains one on the text."""
    texts = [document.text for document in dataset]
    return Tokenizer.train(texts, vocab_size=300, special_tokens=["<|endoftext|>"])


def model_of_text(folder: Path, vocab_size: int, *, context_length: int = 64) -> Path:
    """Writes a model of random weights."""
    config = ModelConfig(vocab_size=vocab_size, d_model=32, n_layers=1, n_heads=2, context_length=context_length)
    save_model(initial_model(config, 0), folder)
    return folder
