"""Texts as points, so that those about the same are near each other: TF-IDF and latent semantic analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.curation.hashed_features import TOKEN, sklearn
from tilth.errors import DataError

_WORDS = r"(?u)\b[^\W\d_]{3,}\b"
_CHARACTERS = TOKEN.rpartition("|")[0]
"""Words, and single Chinese or Japanese characters."""
MAX_SHARE = 1 / 3
MAX_WORDS = 30_000


class TermCounts:
    """TF-IDF of the words of texts; a word in more than a third of them tells nothing, unless all are."""

    def __init__(self, texts: Sequence[str]) -> None:
        limits: list[tuple[int, float]] = [(2, MAX_SHARE), (1, 1.0)] if len(texts) >= 20 else [(1, 1.0)]
        pattern = _WORDS if _has_spaces(texts) else _CHARACTERS
        self.vectorizer, self.matrix = _fitted(texts, pattern, limits)
        self.words: list[str] = self.vectorizer.get_feature_names_out().tolist()

    def of_groups(self, groups: npt.NDArray[np.int64], k: int, n: int = 10) -> list[list[str]]:
        """Returns, for each group, the words whose mean weight is furthest above that in all documents."""
        everywhere = np.asarray(self.matrix.mean(axis=0)).ravel()
        found: list[list[str]] = []
        for group in range(k):
            rows = np.flatnonzero(groups == group)
            if not len(rows):
                found.append([])
                continue
            lead = np.asarray(self.matrix[rows].mean(axis=0)).ravel() - everywhere
            best = np.argsort(-lead, kind="stable")[:n]
            found.append([self.words[word] for word in best if lead[word] > 0])
        return found


def _fitted(texts: Sequence[str], pattern: str, limits: Sequence[tuple[int, float]]) -> tuple[Any, Any]:
    """Returns vectorizer and matrix under the first limits (fewest documents, largest share) that leave a word."""
    error: ValueError | None = None
    for fewest, share in limits:
        vectorizer = sklearn("feature_extraction.text").TfidfVectorizer(
            token_pattern=pattern,
            max_features=MAX_WORDS,
            min_df=fewest,
            max_df=share,
            sublinear_tf=True,
            dtype=np.float64,
        )
        try:
            return vectorizer, vectorizer.fit_transform(texts)
        except ValueError as found:
            error = found
    raise DataError(f"The documents have no words to group them by: {error}.", fix="Give texts.") from None


def _has_spaces(texts: Sequence[str]) -> bool:
    """Whether most texts separate words by spaces: those of Chinese or Japanese are counted by characters."""
    return sum(text.count(" ") * 20 > len(text) for text in texts) * 2 >= len(texts)


class Lsa:
    """Latent semantic analysis of TF-IDF, rows of length 1."""

    def __init__(self, words: TermCounts, dimensions: int, seed: int) -> None:
        self.words = words
        dimensions = min(dimensions, min(words.matrix.shape) - 1)
        self.svd: Any = None
        if dimensions >= 2:
            self.svd = sklearn("decomposition").TruncatedSVD(dimensions, random_state=seed)
            self.svd.fit(words.matrix)

    def of(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Returns the features of texts, (texts, dimensions)."""
        matrix = self.words.vectorizer.transform(texts)
        reduced = matrix.toarray() if self.svd is None else self.svd.transform(matrix)
        return np.asarray(sklearn("preprocessing").normalize(reduced))
