"""From one file format to another. What a format cannot say with the same meaning is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilth.errors import DataError
from tilth.tokenizer.tiktoken_ranks import write_ranks
from tilth.tokenizer.vocabulary import Vocabulary

_FIX = "Save it as `tokenizer.json`, which says it all."


def write_rank_file(path: Path, vocabulary: Vocabulary, merges: NDArray[np.uint32]) -> None:
    """Writes the tokens of `vocabulary` by rank; `merges` are those that it has or that its ranks say.

    Raises: DataError if ranks alone would give other ids: the vocabulary is not byte-level, its merges do not make
    tokens in the order of ids, or a token cannot be reached by its merges.
    """
    if type(vocabulary) is not Vocabulary:
        raise DataError(f"{path}: a rank file holds plain byte-level BPE only.", fix=_FIX)
    if vocabulary.merges is not None:
        _check_order(path, vocabulary, merges)
    write_ranks(path, vocabulary)


def _check_order(path: Path, vocabulary: Vocabulary, merges: NDArray[np.uint32]) -> None:
    special_ids = set(vocabulary.special_tokens.values())
    ids = {token: i for i, token in enumerate(vocabulary.tokens) if token and i not in special_ids}
    tokens = vocabulary.tokens
    made = np.array([ids[tokens[left] + tokens[right]] for left, right in merges.tolist()], dtype=np.int64)
    if (np.diff(made) < 0).any():
        index = int(np.argmax(np.diff(made) < 0)) + 1
        raise DataError(f"{path}: merge {index} makes a token of lower id than the merge before it.", fix=_FIX)
    reached = {*made.tolist(), *(token_id for token, token_id in ids.items() if len(token) == 1)}
    if not vocabulary.ignore_merges and (unreached := sorted(set(ids.values()) - reached)):
        raise DataError(f"{path}: no merge makes the token {unreached[0]}, {tokens[unreached[0]]!r}.", fix=_FIX)
