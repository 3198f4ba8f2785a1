"""GPT-2's own files in: `vocab.json` (token to id) and `merges.txt` (a merge on each line).

RoBERTa, BART and many later models publish the same pair. It does not say how text is cut; GPT-2's split is what the
format was made for, and another one can be named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilth.errors import DataError
from tilth.files import read_json
from tilth.tokenizer.byte_level import from_characters
from tilth.tokenizer.names import KNOWN
from tilth.tokenizer.vocabulary import Vocabulary, tokens_by_id

FILE_NAMES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""The pair's names: Hugging Face's, and OpenAI's of 2019."""


def find_files(path: Path) -> tuple[Path, Path] | None:
    """The two files, given their folder or one of them; None if they are not there."""
    folder = path if path.is_dir() else path.parent
    for vocab, merges in FILE_NAMES:
        is_meant = path.is_dir() or path.name in (vocab, merges)
        if is_meant and (folder / vocab).is_file() and (folder / merges).is_file():
            return folder / vocab, folder / merges
    return None


def read_gpt2_files(
    vocab_file: Path,
    merges_file: Path,
    *,
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> Vocabulary:
    """The vocabulary of the two files.

    `special_tokens` (default: `<|endoftext|>`, if the vocabulary has it) are special because this argument says so.
    Raises: DataError naming file and entry.
    """
    vocab: Any = read_json(vocab_file)
    if not isinstance(vocab, dict) or not all(type(token_id) is int for token_id in vocab.values()):
        raise DataError(f"{vocab_file} does not map tokens to ids.")
    name = pattern or "gpt2"
    wanted = special_tokens if special_tokens is not None else {"<|endoftext|>": vocab.get("<|endoftext|>", -1)}
    specials = {text: token_id for text, token_id in wanted.items() if token_id >= 0}
    tokens: dict[bytes, int] = {}
    for text, token_id in vocab.items():
        if text in specials:
            if specials[text] != token_id:
                raise DataError(f"{vocab_file}: {text!r} has the id {token_id}, not {specials[text]}.")
            continue
        try:
            token = from_characters(text)
        except KeyError as error:
            raise DataError(f"{vocab_file}: {error} in the token {text!r} (id {token_id}) is no byte.") from None
        tokens[token] = token_id
    return Vocabulary(
        tokens=tokens_by_id(str(vocab_file), tokens, specials),
        merges=_merges(merges_file, vocab),
        pattern=KNOWN[name].pattern if name in KNOWN else name,
        special_tokens=specials,
    )


def _merges(path: Path, vocab: Mapping[str, int]) -> NDArray[np.uint32]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}.") from None
    pairs: list[tuple[int, int]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip("\r") or (number == 1 and line.startswith("#version")):
            continue
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2 or parts[0] not in vocab or parts[1] not in vocab:
            raise DataError(f"{path}: line {number}, {line[:60]!r}, is not two tokens of the vocabulary.")
        pairs.append((vocab[parts[0]], vocab[parts[1]]))
    return np.array(pairs, dtype=np.uint32).reshape(-1, 2)
