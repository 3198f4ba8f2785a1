"""The real text of a collapse experiment, in parts without a passage in common, as datasets under `corpora/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tilth.improve.text.config import CollapseConfig
from tilth.improve.text.passages import (
    check_enough,
    first_tokens,
    n_tokens,
    passages_of,
    random_bytes,
    random_tokens,
    without_texts,
)
from tilth.improve.text.sampling import separator_of
from tilth.storage import MANIFEST, Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import held_out_excerpt
from tilth.types import Document

CORPORA, HELD_OUT, OTHER = "corpora", "held_out", "verifier"
POOL_BYTES = 16_000_000
"""Most real text that is read: the verifier's part, and what the seeds draw their original text from."""
_REAL, _HELD_OUT = 0, 1


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """The real text, in parts that have no passage in common."""

    held_out: tuple[Document, ...]
    other: tuple[Document, ...]
    """The verifier's."""
    pool: tuple[Document, ...]
    """What the original text of each seed is drawn from."""


def divide(train: Dataset, held_out: Dataset, tokenizer: Tokenizer, config: CollapseConfig) -> Corpora:
    """Divides real text into held-out passages, the verifier's, and the pool.

    Documents are taken in the order of their ids, which is random and stable; those of the verifier are not the pool's.
    What is measured are random passages of all held-out documents, the same for all seeds; none of the others is
    learned from either.
    Raises: DataError if there is too little text, or if the tokenizer has no separator.
    """
    separator_of(tokenizer)
    excerpt = held_out_excerpt(held_out.documents(), POOL_BYTES)
    every = without_texts(passages_of(excerpt, config.passage_bytes), ())
    measured = random_bytes(every, config.held_out_bytes, np.random.default_rng(_HELD_OUT))
    documents = held_out_excerpt(train.documents(), POOL_BYTES)
    wanted = round(config.verifier_sets * config.set_tokens)
    n_other = int(np.searchsorted(np.cumsum(n_tokens(documents, tokenizer)), wanted)) + 1
    known = {passage.text for passage in every}
    other = without_texts(passages_of(documents[:n_other], config.passage_bytes), known)
    known |= {passage.text for passage in other}
    pool = without_texts(passages_of(documents[n_other:], config.passage_bytes), known)
    check_enough(other, 1, tokenizer, "real text for the verifier")
    check_enough(pool, config.set_tokens, tokenizer, "real text besides the verifier's")
    return Corpora(held_out=tuple(measured), other=tuple(first_tokens(other, wanted, tokenizer)), pool=tuple(pool))


def original_name(seed: int) -> str:
    """Returns the name of a seed's original text."""
    return f"original-seed-{seed}"


def write_corpora(out: Path, train: Dataset, held_out: Dataset, tokenizer: Tokenizer, config: CollapseConfig) -> None:
    """Writes the held-out text, the verifier's, and the original text of each seed, unless that is done."""
    folder = out / CORPORA
    names = [HELD_OUT, OTHER, *map(original_name, config.seeds)]
    if all((folder / name / MANIFEST).is_file() for name in names):
        return
    corpora = divide(train, held_out, tokenizer, config)
    texts: dict[str, Sequence[Document]] = {HELD_OUT: corpora.held_out, OTHER: corpora.other}
    for seed in config.seeds:
        rng = np.random.default_rng([seed, _REAL])
        texts[original_name(seed)] = random_tokens(corpora.pool, config.set_tokens, tokenizer, rng)
    for name, documents in texts.items():
        write_dataset(folder / name, documents, made_by="collapse", identity={"name": name})


def read_text(out: Path, name: str) -> list[Document]:
    """Returns the documents of one part."""
    return list(Dataset.open(out / CORPORA / name).documents())
