"""Run as a program by `test_out_of_memory`: encodes or counts until memory ends, then with memory again.

Arguments: what to do, and how many MiB more than at the start may be mapped. Prints how many calls ended in a
MemoryError; exits with 1 if what comes after them is wrong.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

from tilth import native
from tilth.tokenizer import Tokenizer


def word(n: int) -> str:
    """A number in letters, which no pattern divides."""
    return f"{n * 7919:x}".translate(_LETTERS)


_LETTERS = str.maketrans("0123456789", "ghijklmnop")
# Distinct pieces of up to 15 bytes, longer ones, and characters of three bytes: every table of the caches grows.
TEXTS = [
    " ".join(map(word, range(start, start + 1500)))
    + "".join(f" {word(n)}andsoonforlong{word(n)}" for n in range(start, start + 100))
    + "".join(chr(0x4E00 + (start + n) % 20000) for n in range(200))
    for start in range(0, 150_000, 1500)
]
PIECES = [word(n) for n in range(100_000)]


def mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def with_limit(mebibytes: int, calls: list[Callable[[], object]]) -> int:
    """Makes the calls under a limit; returns how many of them memory was too small for."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    failed = 0
    resource.setrlimit(resource.RLIMIT_AS, (mapped_bytes() + (mebibytes << 20), hard))
    for call in calls:
        try:
            call()
        except MemoryError:
            failed += 1
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return failed


def tokenizer_of(kind: str) -> Tokenizer:
    if kind == "ranks":
        return Tokenizer.from_ranks({bytes([byte]): byte for byte in range(256)} | {b"an": 256}, pattern="cl100k")
    if kind == "merges":
        return Tokenizer.train(TEXTS[:1], vocab_size=300)
    return Tokenizer.train(TEXTS[:3], vocab_size=1400, byte_fallback=True)


def encode(kind: str, mebibytes: int) -> int:
    tokenizer, fresh = tokenizer_of(kind), tokenizer_of(kind)
    failed = with_limit(mebibytes, [lambda text=text: tokenizer.encode_to_numpy(text) for text in TEXTS])
    for text in TEXTS:
        assert tokenizer.encode(text) == fresh.encode(text), "other ids after a MemoryError"
    return failed


def count(mebibytes: int) -> int:
    counts = native.PieceCounts()
    failed = with_limit(mebibytes, [lambda piece=piece: counts.add_pieces([piece], 1) for piece in PIECES])
    counts.add_pieces([*PIECES], 1)
    assert len(counts) == len(PIECES), "pieces are lost or there twice after a MemoryError"
    return failed


if __name__ == "__main__":
    kind, size = sys.argv[1], int(sys.argv[2])
    print(count(size) if kind == "counts" else encode(kind, size))
