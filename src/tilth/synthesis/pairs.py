"""Pairs of documents of a corpus that are about the same without being the same: what a model of related documents is
trained on."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.curation.hashed_features import sklearn
from tilth.errors import DataError
from tilth.storage import Dataset
from tilth.synthesis.text_vectors import Lsa, TermCounts
from tilth.types import Document

CHARACTERS = 4000
"""How much of a document is compared."""
DIMENSIONS = 128
SHINGLE_WORDS = 3
MORE_NEIGHBOURS = 3
"""So many times as many neighbours are looked at as are wanted, since some are too alike."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A document and another one that relates to it."""

    first: int
    """Number of the document among those that were compared."""
    second: int
    similarity: float
    """Cosine of their vectors."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The pairs of a corpus."""

    documents: tuple[Document, ...]
    pairs: tuple[Pair, ...]
    too_alike: int
    """Pairs above the threshold that were left out because the texts nearly agree."""


def find_pairs(
    documents: Sequence[Document],
    vectors: npt.NDArray[np.floating[Any]],
    *,
    neighbours: int,
    threshold: float,
    max_overlap: float,
) -> Pairs:
    """Returns, for each document, up to `neighbours` others of a similarity of at least `threshold`.

    Pairs whose 3-word sequences have a Jaccard similarity of `max_overlap` or more are left out: a model would learn to
    copy from them. Exact search: time grows with the square of the documents; memory with documents x dimensions.
    """
    n = len(documents)
    count = min(n, 1 + neighbours * MORE_NEIGHBOURS)
    search: Any = sklearn("neighbors").NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute")
    distances, rows = search.fit(vectors).kneighbors(vectors)
    shingles = [_shingles(document.text) for document in documents]
    found: list[Pair] = []
    too_alike = 0
    for first in range(n):
        similar = sorted(
            (
                (round(1.0 - float(distance), 6), int(row))
                for distance, row in zip(distances[first], rows[first], strict=True)
            ),
            key=lambda one: (-one[0], documents[one[1]].id),
        )
        taken = 0
        for similarity, second in similar:
            if second == first or similarity < threshold or taken == neighbours:
                continue
            if _jaccard(shingles[first], shingles[second]) >= max_overlap:
                too_alike += 1
                continue
            found.append(Pair(first=first, second=second, similarity=similarity))
            taken += 1
    return Pairs(documents=tuple(documents), pairs=tuple(found), too_alike=too_alike)


def chosen_documents(dataset: Dataset, n: int, seed: int) -> list[Document]:
    """Returns at most `n` documents, the first by a hash of seed and id, in the order of their ids."""

    def key(document: Document) -> tuple[bytes, str]:
        return hashlib.sha256(f"{seed}\0{document.id}".encode("utf-8", "surrogatepass")).digest(), document.id

    return sorted(heapq.nsmallest(n, dataset.documents(), key=key), key=lambda document: document.id)


def lsa_vectors(documents: Sequence[Document], seed: int) -> npt.NDArray[np.float64]:
    """Returns vectors of length 1, (documents, dimensions). Raises: DataError where there are no words."""
    texts = [document.text[:CHARACTERS] for document in documents]
    if len(texts) < 2:
        raise DataError(f"There are {len(texts)} documents, and pairs are wanted.", fix="Give more.")
    return Lsa(TermCounts(texts), DIMENSIONS, seed).of(texts)


def _shingles(text: str) -> frozenset[int]:
    words = text[:CHARACTERS].lower().split()
    # A text of fewer words than a shingle has is one shingle.
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    joined = (" ".join(words[at : at + SHINGLE_WORDS]) for at in range(count))
    return frozenset(int.from_bytes(hashlib.blake2b(one.encode("utf-8", "surrogatepass"), digest_size=8).digest())
                     for one in joined)  # fmt: skip


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / max(len(one | other), 1)
