"""A small world to train in: text with structure, a tokenizer, datasets of a few shards."""

from __future__ import annotations

import random

import pytest

from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.types import Document

WORDS = ["soil", "seed", "root", "leaf", "rain", "worm", "stone", "field", "plough", "grain"]


def documents(n: int, *, seed: int = 0, name: str = "a") -> list[Document]:
    """Sentences in which each word is followed by one of two others, so that there is something to learn."""
    rng = random.Random(seed)
    made: list[Document] = []
    for index in range(n):
        word, words = rng.randrange(10), list[str]()
        for _ in range(rng.choice([3, 10, 40, 150])):
            word = (word * 3 + rng.choice([1, 4])) % 10
            words.append(WORDS[word])
        made.append(Document.make(" ".join(words), f"{name}/{index}"))
    return made


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    texts = [document.text for document in documents(50)]
    return Tokenizer.train(texts, vocab_size=270, special_tokens=["<|endoftext|>"])


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("train"), documents(120), made_by="test", shard_bytes=8000)


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(
        tmp_path_factory.mktemp("held_out"), documents(12, seed=9, name="b"), made_by="test", shard_bytes=1 << 20
    )
