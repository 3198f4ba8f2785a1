"""Exact and near duplicates: MinHash bands find candidates, true Jaccard similarity decides.

Written as map -> files -> reduce. A sketch (map) holds a few hashes for each document, cut into partitions by key; a
partition of all sketches (reduce) gives pairs of documents that share a key; the pairs' texts are then compared. The
earlier document in stable order (task, shard, row) survives, and each dropped one names a survivor that it truly
resembles: no chains. Price: texts of candidates are read a second time, and the verdicts (not the texts) of a whole
corpus meet in one process.

Shingle, exactly: the text in Unicode NFC, lower case; words are the matches of `\\w+`, but in scripts that are written
without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) each character is a word; a shingle is `shingle_words`
words in a row (a shorter text is one shingle); documents resemble each other by the Jaccard similarity of their sets
of shingles. Shingles are held as 64-bit hashes.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.curation.config import CurationConfig

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

SKETCH_SCHEMA = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("digest_high", pa.uint64(), nullable=False),
        pa.field("digest_low", pa.uint64(), nullable=False),
        pa.field("document", pa.int64(), nullable=False),
    ]
)
"""Documents that share a key are candidates; those that share the 128-bit digest too are copies of each other."""

BAND_RECALL = 0.99
"""Share of the pairs exactly at the threshold which the bands must bring together."""
BUCKET_LEADERS = 64
"""In a crowded bucket a document is compared with this many of the earliest, not with all: work stays linear."""

_WORD = re.compile(r"\w+")
_UNSPACED = (
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana, Katakana
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0ecf\u0edc-\u0edf"  # Thai, Lao
    "\u1780-\u17d3\u17dc-\u17dd\u1000-\u103f\u1050-\u109f\ua9e0-\ua9ef\uaa60-\uaa7f"  # Khmer, Burmese
)
UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
"""A character of a script that is written without spaces between words."""
_CHARACTER_OR_WORD = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")
OPENING = 5
"""Words of a text's opening."""
_CACHED_CHARACTERS = 64
_SPACE = re.compile(r"\s+")
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
_CHUNK = 4096


# Hashes of a text


def digest(text: str) -> bytes:
    """Returns 128 bits over the text in Unicode NFC with each run of white space as one space."""
    normal = _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
    return hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shingles(text: str, n_words: int = 5) -> U64:
    """Returns the sorted, distinct 64-bit hashes of the text's shingles (module docstring); empty without words."""
    found = words_of(text)
    if not found:
        return np.empty(0, np.uint64)
    return distinct(sequence_hashes(word_hashes(found), min(n_words, len(found))))


def words_of(text: str) -> list[str]:
    """Returns the words of a text, as shingles are made of them (module docstring)."""
    text = unicodedata.normalize("NFC", text).lower()
    return (_CHARACTER_OR_WORD if UNSPACED_CHARACTER.search(text) else _WORD).findall(text)


class TextHashes:
    """The hashes of one text, each made once however often it is asked for."""

    def __init__(self, text: str, lengths: Sequence[int] = ()) -> None:
        """`lengths`, rising: of the sequences that will be asked for, made together."""
        self.text = text
        words = words_of(text)
        self.opening = tuple(words[:OPENING])
        """Its first words."""
        self.words = word_hashes(words)
        """Of each word, in their order."""
        fitting = [n for n in lengths if n <= len(words)]
        self._sequences = dict(zip(fitting, sequences_of_lengths(self.words, fitting), strict=True))
        self._shingles: dict[int, U64] = {}
        self._signatures: dict[tuple[int, int, int], npt.NDArray[np.uint32]] = {}

    @functools.cached_property
    def digest(self) -> bytes:
        """`digest` of the text."""
        return digest(self.text)

    def sequences(self, n: int) -> U64:
        """Returns the hash of each `n` words in a row, in their order."""
        if n not in self._sequences:
            self._sequences[n] = sequence_hashes(self.words, n)
        return self._sequences[n]

    def shingles(self, n_words: int = 5) -> U64:
        """Returns `shingles` of the text."""
        if n_words not in self._shingles:
            n = min(n_words, len(self.words))
            self._shingles[n_words] = distinct(self.sequences(n)) if n else np.empty(0, np.uint64)
        return self._shingles[n_words]

    def signature(self, n_words: int, num_permutations: int, seed: int) -> npt.NDArray[np.uint32]:
        """Returns the MinHash signature of the shingles."""
        key = n_words, num_permutations, seed
        if key not in self._signatures:
            self._signatures[key] = signature(self.shingles(n_words), num_permutations, seed)
        return self._signatures[key]


def word_hashes(words: Sequence[str]) -> U64:
    """Returns a 64-bit hash of each word."""
    return np.fromiter(map(_hash_word, words), np.uint64, len(words))


def sequence_hashes(hashes: U64, n: int) -> U64:
    """Returns the 64-bit hash of each `n` words in a row, in their order, given the words' hashes (`n` or more)."""
    (found,) = sequences_of_lengths(hashes, (n,))
    return found


def sequences_of_lengths(hashes: U64, lengths: Sequence[int]) -> list[U64]:
    """Returns `sequence_hashes` for several lengths, in rising order, at the cost of the longest."""
    found: list[U64] = []
    rolled = np.zeros(len(hashes), np.uint64)
    last = 0
    for n in lengths:
        for offset in range(last, n):
            rolled = rolled[: max(len(hashes) - offset, 0)] + _ODD
            _mix_in_place(rolled)
            rolled += hashes[offset : offset + len(rolled)]
        mixed = rolled.copy()
        _mix_in_place(mixed)
        found.append(mixed)
        last = n
    return found


def _hash_word(word: str) -> int:
    # Long "words" (base64, binary) do not come again, and would fill the memory.
    return _hash_short(word) if len(word) <= _CACHED_CHARACTERS else _hash(word)


@functools.lru_cache(maxsize=1 << 18)
def _hash_short(word: str) -> int:
    return _hash(word)


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mix(x: U64) -> U64:
    """Scrambles 64-bit numbers (the finaliser of SplitMix64), modulo 2^64."""
    x = x.copy()
    _mix_in_place(x)
    return x


def _mix_in_place(x: U64) -> None:
    shifted = x >> _SHIFTS[0]
    x ^= shifted
    x *= _MULTIPLIERS[0]
    np.right_shift(x, _SHIFTS[1], out=shifted)
    x ^= shifted
    x *= _MULTIPLIERS[1]
    np.right_shift(x, _SHIFTS[2], out=shifted)
    x ^= shifted


def distinct(hashes: U64) -> U64:
    """Returns the hashes sorted, each once: `numpy.unique`, which took up to 100 times as long (NumPy 2.4)."""
    ordered = np.sort(hashes)
    keep = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=keep[1:])
    return ordered[keep]


def jaccard(a: U64, b: U64) -> float:
    """Returns the Jaccard similarity of two sorted sets of hashes; 0 if both are empty."""
    if len(a) == 0 or len(b) == 0:
        return 0.0
    if len(a) > len(b):
        a, b = b, a
    if len(a) == len(b) and bool(np.array_equal(a, b)):
        return 1.0
    positions = np.minimum(np.searchsorted(b, a), len(b) - 1)
    shared = int(np.count_nonzero(b[positions] == a))
    return shared / (len(a) + len(b) - shared)


# MinHash


def minhash(
    texts: Iterable[str], *, num_permutations: int = 128, shingle_words: int = 5, seed: int = 0
) -> npt.NDArray[np.uint32]:
    """Returns MinHash signatures, (texts, num_permutations), uint32.

    The share of equal columns of two rows estimates the Jaccard similarity of their shingles. A text without words
    has the highest value everywhere.
    Source: Broder 1997; permutation i is the upper half of a_i * x + b_i modulo 2^64 (multiply-shift, Dietzfelbinger
    et al. 1997), over scrambled shingles x.
    Checked against: tests/parity/curation/test_minhash.py (datasketch and true similarity).
    """
    rows = [signature(shingles(text, shingle_words), num_permutations, seed) for text in texts]
    return np.stack(rows) if rows else np.empty((0, num_permutations), np.uint32)


def signature(shingle_hashes: U64, num_permutations: int = 128, seed: int = 0) -> npt.NDArray[np.uint32]:
    """Returns the MinHash signature of a set of shingle hashes, (num_permutations,), uint32."""
    factors, offsets = _permutations(num_permutations, seed)
    lowest = np.full(num_permutations, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(shingle_hashes), _CHUNK):  # a block stays in the processor's cache
        block = shingle_hashes[None, start : start + _CHUNK]
        values = (factors[:, None] * block + offsets[:, None]) >> np.uint64(32)
        np.minimum(lowest, values.min(axis=1).astype(np.uint32), out=lowest)
    return lowest


@functools.lru_cache(maxsize=8)
def _permutations(n: int, seed: int) -> tuple[U64, U64]:
    offset = np.full(2 * n, seed % 2**64, np.uint64) * _ODD  # arrays wrap around silently, scalars warn
    numbers = _mix(_mix(np.arange(2 * n, dtype=np.uint64) + np.uint64(1)) + offset)
    return numbers[:n] | np.uint64(1), numbers[n:]


def bands(num_permutations: int, threshold: float) -> tuple[int, int]:
    """Returns (bands, rows a band): as many rows as bring together `BAND_RECALL` of the pairs at the threshold.

    A pair of similarity s shares one of b bands of r rows with probability 1 - (1 - s^r)^b.
    """
    for rows in range(num_permutations, 1, -1):
        n_bands = num_permutations // rows
        if 1 - (1 - threshold**rows) ** n_bands >= BAND_RECALL:
            return n_bands, rows
    return num_permutations, 1


def band_keys(signatures: npt.NDArray[np.uint32], threshold: float) -> U64:
    """Returns the hash of each band of each signature, (texts, bands): alike texts share one (`bands`)."""
    n_bands, rows = bands(signatures.shape[1], threshold)
    columns = signatures[:, : n_bands * rows].reshape(len(signatures), n_bands, rows).astype(np.uint64)
    keys = np.broadcast_to(_mix(np.arange(1, n_bands + 1, dtype=np.uint64)), columns.shape[:2])
    for row in range(rows):
        keys = keys + _ODD
        _mix_in_place(keys)
        keys += columns[:, :, row]
    return _mix(keys)


# Map: sketches


def sketch(
    texts: Sequence[str], first_document: int, config: CurationConfig, begin: Callable[[], None] = lambda: None
) -> pa.Table:
    """Returns the sketch of texts numbered from `first_document`: a row of `SKETCH_SCHEMA` a key.

    `begin` is called before each text, so that the time that one takes can be limited.
    """
    packed: list[bytes] = []
    rows_of_signatures: list[npt.NDArray[np.uint32]] = []
    for text in texts:
        begin()
        packed.append(digest(text))
        if config.near_duplicate_threshold is not None:
            hashed = shingles(text, config.shingle_words)
            rows_of_signatures.append(signature(hashed, config.num_permutations, config.seed))
    digests = np.frombuffer(b"".join(packed), "<u8").reshape(-1, 2)
    keys = [_mix(digests[:, :1].astype(np.uint64))]  # (texts, 1): equal texts meet here
    if config.near_duplicate_threshold is not None and len(texts):
        signatures = np.stack(rows_of_signatures)
        keys.append(band_keys(signatures, config.near_duplicate_threshold))
    keys_all = np.concatenate(keys, axis=1)
    n_keys = keys_all.shape[1]
    documents = np.arange(first_document, first_document + len(texts), dtype=np.int64)
    return pa.table(
        {
            "key": keys_all.ravel(),
            "digest_high": np.repeat(digests[:, 0], n_keys),
            "digest_low": np.repeat(digests[:, 1], n_keys),
            "document": np.repeat(documents, n_keys),
        },
        schema=SKETCH_SCHEMA,
    )


def partitions(table: pa.Table, n: int) -> list[pa.Table]:
    """Cuts a sketch into `n` tables by key: all rows of a key are in the partition of the same number."""
    if n == 1:
        return [table]
    numbers = table["key"].to_numpy() % np.uint64(n)
    return [table.filter(pa.array(numbers == np.uint64(number))) for number in range(n)]


# Reduce: pairs


@dataclass(frozen=True)
class Pairs:
    """Pairs (earlier, later) of documents, each an (n, 2) array, sorted by the later one, without repeats."""

    exact: I64
    candidates: I64

    @classmethod
    def join(cls, pairs: Sequence[Pairs]) -> Pairs:
        """Joins the pairs of all partitions."""
        return cls(
            exact=_distinct([some.exact for some in pairs]), candidates=_distinct([some.candidates for some in pairs])
        )


def find_pairs(sketches: pa.Table) -> Pairs:
    """Returns the pairs of one partition: copies, and candidates for near duplicates.

    Only the first of a set of copies is a candidate. In a bucket each document is paired with the `BUCKET_LEADERS`
    earliest before it.
    """
    key, high, low = (sketches[name].to_numpy() for name in ("key", "digest_high", "digest_low"))
    document = sketches["document"].to_numpy()
    if len(key) == 0:
        return Pairs(exact=_distinct([]), candidates=_distinct([]))
    order = np.lexsort((document, low, high, key))
    key, high, low, document = key[order], high[order], low[order], document[order]
    same_key = key[1:] == key[:-1]
    copy = np.concatenate([[False], same_key & (high[1:] == high[:-1]) & (low[1:] == low[:-1])])
    first = document[np.maximum.accumulate(np.where(copy, 0, np.arange(len(key))))]
    exact = np.stack([first[copy], document[copy]], axis=1)

    key, document = key[~copy], document[~copy]
    order = np.lexsort((document, key))
    key, document = key[order], document[order]
    start = np.concatenate([[True], key[1:] != key[:-1]])
    begin = np.maximum.accumulate(np.where(start, np.arange(len(key)), 0))
    found: list[I64] = []
    for leader in range(BUCKET_LEADERS):
        later = np.flatnonzero(np.arange(len(key)) - begin > leader)
        if len(later) == 0:
            break
        found.append(np.stack([document[begin[later] + leader], document[later]], axis=1))
    return Pairs(exact=_distinct([exact]), candidates=_distinct(found))


def _distinct(pairs: Sequence[I64]) -> I64:
    joined = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    return np.unique(joined[:, ::-1], axis=0)[:, ::-1]


def choose(exact: I64, near: Iterable[tuple[int, int, float]]) -> dict[int, tuple[int, float | None]]:
    """Decides what is dropped: dropped document -> (survivor, similarity; None for a copy).

    Copies are dropped first; then, in stable order, each document that resembles an earlier one that is kept. A copy
    of a document that itself is dropped resembles that one's survivor.
    """
    copies = {int(later): int(earlier) for earlier, later in exact}
    dropped: dict[int, tuple[int, float | None]] = {}
    for earlier, later, similarity in sorted(near, key=lambda pair: (pair[1], pair[0])):
        if later not in dropped and earlier not in dropped:
            dropped[later] = (earlier, similarity)
    for later, earlier in copies.items():
        dropped[later] = dropped.get(earlier, (earlier, None))
    return dropped


def deduplicate(texts: Sequence[str], config: CurationConfig) -> dict[int, tuple[int, float | None]]:
    """Deduplicates texts in memory: index of each dropped text -> (index of its survivor, similarity or None).

    The whole of map, reduce and comparison in one process; `curate` does the same over files.
    """
    pairs = find_pairs(sketch(texts, 0, config))
    needed = {int(document) for document in pairs.candidates.ravel()}
    hashed = {document: shingles(texts[document], config.shingle_words) for document in needed}
    return choose(pairs.exact, resemblances(pairs.candidates, hashed, config.near_duplicate_threshold or 1.0))


def resemblances(candidates: I64, hashed: Mapping[int, U64], threshold: float) -> list[tuple[int, int, float]]:
    """Returns the candidates with a Jaccard similarity of `threshold` or more: (earlier, later, similarity)."""
    found: list[tuple[int, int, float]] = []
    for earlier, later in candidates:
        similarity = jaccard(hashed[int(earlier)], hashed[int(later)])
        if similarity >= threshold:
            found.append((int(earlier), int(later), similarity))
    return found
