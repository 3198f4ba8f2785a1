"""Text with structure of two kinds, and the datasets and tokenizer that experiments on text are tried with."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.types import Document

WORDS = ["soil", "seed", "root", "leaf", "rain", "worm", "stone", "field", "plough", "grain"]


def documents(n: int, *, seed: int, code: bool = False) -> list[Document]:
    """Documents of a few dozen lines in which each word is followed by one of two others."""
    rng = random.Random(seed)
    made: list[Document] = []
    for index in range(n):
        lines: list[str] = []
        word = rng.randrange(10)
        for _ in range(rng.randrange(20, 40)):
            line: list[str] = []
            for _ in range(rng.randrange(4, 9)):
                word = (word * 3 + rng.choice([1, 4])) % 10
                line.append(WORDS[word])
            number = rng.randrange(100)
            lines.append(
                f"{line[0]}_{number} = {line[1]}({', '.join(line[2:])})" if code else " ".join(line) + f" {number}."
            )
        meta = {"kind": "code" if code else "prose"}
        corpus = "first" if code else "second"
        made.append(Document.make("\n".join(lines), f"{corpus}/{seed}-{index}", corpus=corpus, meta=meta))
    return made


def both(n: int, *, seed: int) -> list[Document]:
    """Documents of both kinds."""
    return [*documents(n, seed=seed, code=True), *documents(n, seed=seed + 1000)]


def write_text(folder: Path) -> tuple[Dataset, Dataset, Path]:
    """Writes training text, held-out text and a tokenizer; returns the datasets and the tokenizer's folder."""
    train = write_dataset(folder / "train", both(30, seed=1), made_by="test")
    held_out = write_dataset(folder / "held_out", both(3, seed=2), made_by="test")
    tokenizer = Tokenizer.train((document.text for document in train), vocab_size=300, special_tokens=["<|endoftext|>"])
    tokenizer.save(folder / "tokenizer")
    return train, held_out, folder / "tokenizer"


def with_text(document: Document, text: str) -> Document:
    """Returns a document with another text and its id."""
    return replace(Document.make(text, document.source), meta=document.meta)
