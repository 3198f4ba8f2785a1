"""Texts as sparse vectors of hashed words and pairs of words: nothing to fit, nothing to store, any language.

Used by classifiers that are small linear models: `quality`, and the learned router of synthesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilth.errors import DependencyError

TOKEN = r"(?u)[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[^\w\s]"
"""A word, a single Chinese or Japanese character, or a punctuation mark."""


def sklearn(module: str) -> Any:
    """Imports a module of scikit-learn. Raises: DependencyError if it is not installed."""
    import importlib

    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise DependencyError(
            "Classifiers of text need scikit-learn.", fix='Install it: `pip install "tilth[synthesis]"`.'
        ) from error


def hashed_features(texts: Sequence[str], n_features: int) -> Any:
    """Returns counts of hashed words and word pairs, a sparse matrix (texts, n_features) of float64.

    Counts of a pair of words that share a hash have random signs, so that they cancel on average.
    """
    vectorizer = sklearn("feature_extraction.text").HashingVectorizer(
        n_features=n_features, ngram_range=(1, 2), token_pattern=TOKEN, norm=None
    )
    return vectorizer.transform(texts)
