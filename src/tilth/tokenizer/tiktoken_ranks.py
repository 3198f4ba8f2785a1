"""tiktoken's rank files in and out: a line for each token, its bytes in base64 and its rank.

The file names neither the split pattern nor the special tokens. The published ones are recognized by their hash; for
another one both must be given, because a wrong guess would give wrong ids without an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path

from tilth import native
from tilth.errors import ConfigError, DataError
from tilth.files import write_bytes
from tilth.tokenizer.names import KNOWN, RANK_FILES
from tilth.tokenizer.vocabulary import MAX_ID, Vocabulary, tokens_by_id


def read_ranks(
    path: Path, content: bytes, *, pattern: str | None = None, special_tokens: Mapping[str, int] | None = None
) -> Vocabulary:
    """The vocabulary of a rank file, whose `content` was read from `path`.

    `pattern` may be the name of a known tokenizer, which brings its special tokens where their ids follow on the ranks.
    Both options go before what the content's hash says.
    Raises: DataError naming file and line; ConfigError if the file is not known and no pattern is given.
    """
    name = RANK_FILES.get(hashlib.sha256(content).hexdigest()) if pattern is None else pattern
    if name is None:
        raise ConfigError(
            f"{path} is no rank file that is known by its content, and it does not say how text is cut.",
            fix=f"Give `pattern=`: {', '.join(n for n in KNOWN if KNOWN[n].pattern)}, or a regex.",
        )
    if name in KNOWN and not KNOWN[name].pattern:
        raise ConfigError(f"{path} is a rank file; {name} is a SentencePiece vocabulary.", fix="Name another pattern.")
    tokens = native.rank_file_tokens(content, MAX_ID)
    # What is wrong with a file that the core does not take, or all the same right, the reader here finds out.
    ranks = _parse(path, content) if tokens is None else tokens
    specials = dict(special_tokens or {}) if special_tokens is not None else _known_specials(name, len(ranks))
    return Vocabulary(
        tokens=tokens_by_id(str(path), ranks, specials),
        merges=None,
        pattern=KNOWN[name].pattern if name in KNOWN else name,
        special_tokens=dict(specials),
    )


def _known_specials(name: str, n_ranks: int) -> dict[str, int]:
    """The special tokens that go with a known name, if their ids follow on so many ranks, or on one that is left out.

    For a vocabulary of another size, the name gives only the split pattern.
    """
    specials = KNOWN[name].special_tokens if name in KNOWN else {}
    return specials if min(specials.values(), default=0) - n_ranks in (0, 1) else {}


def write_ranks(path: Path, vocabulary: Vocabulary) -> None:
    """Writes the ordinary tokens by id, as tiktoken reads them; atomically.

    The caller sees to it that ranks alone give the same ids (`Tokenizer.save_ranks`).
    """
    special_ids = set(vocabulary.special_tokens.values())
    lines = [
        f"{base64.b64encode(token).decode()} {token_id}\n"
        for token_id, token in enumerate(vocabulary.tokens)
        if token and token_id not in special_ids
    ]
    write_bytes(path, "".join(lines).encode())


def is_rank_file(content: bytes) -> bool:
    """Tells whether the first line is base64 and a number."""
    parts = content[:4096].split(b"\n", 1)[0].split()
    if len(parts) != 2 or not parts[1].isdigit():
        return False
    try:
        base64.b64decode(parts[0], validate=True)
    except binascii.Error:
        return False
    return True


def _parse(path: Path, content: bytes) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    lines: dict[int, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line:
            continue
        try:
            encoded, rank_text = line.split()
            token, rank = base64.b64decode(encoded, validate=True), int(rank_text)
        except ValueError:
            raise DataError(f"{path}: line {number}, {line[:60]!r}, is not a token in base64 and its rank.") from None
        if not token:
            raise DataError(f"{path}: line {number} has an empty token.")
        if token in ranks:
            raise DataError(f"{path}: line {number} has the token of line {lines[ranks[token]]} again, {token!r}.")
        if rank in lines:
            raise DataError(f"{path}: line {number} has the rank {rank} of line {lines[rank]} again.")
        ranks[token] = rank
        lines[rank] = number
    return ranks
