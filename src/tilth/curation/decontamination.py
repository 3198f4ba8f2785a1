"""Evaluation text in training data: found by word sequences that a document shares with the items of evaluation sets.

Words are those of `dedup` (Unicode NFC, lower case, no punctuation). A text is contaminated by an item if

- `shared_13_gram`: it holds 13 words in a row of the item's question or answer (Brown et al. 2020, appendix C);
- `whole_item`: it holds the whole of a question of 6 to 12 words;
- `similar_item`: they share 10 words in a row, and 13 words and more than half of the item align with the text around
  them (difflib; Cosmopedia's rule, here over words instead of characters, in blocks of at least 3 words, for items of
  13 to 400 words). That finds an item in which a word was changed here and there.

Sequences say little where they are boilerplate: those that more than `MOST_ITEMS` items share ("which of the following
statements is ..."), and those with fewer than 4 different words of letters (counting, single letters), are left
out. Questions below 6 words are not looked for: they stand in too much innocent text.

Measured with 78,528 items (GSM8K, MMLU, MATH, tasks of the Eval Gauntlet): of 550 web pages without an item none was
dropped; of questions of 13 words or more put into them, 94% were found as they are (the others are brackets under a
common instruction), 87% with every 15th word changed,
71% with every 10th (docs/log.md).
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from tilth.curation.config import CurationConfig
from tilth.curation.dedup import U64, UNSPACED_CHARACTER, sequence_hashes, word_hashes, words_of
from tilth.curation.evaluation_sets import Item, read_items
from tilth.curation.operators import Drop, Operator, Row, judge
from tilth.errors import DataError
from tilth.files import atomic_path
from tilth.identity import fingerprint_of
from tilth.sources import Source
from tilth.types import extend_lineage

STAGE = "decontaminate"
GRAM = 13
"""Words in a row that are too many to be shared by chance."""
CANDIDATE = 10
"""Words in a row that make an item a candidate."""
MOST_ITEMS = 10
"""Sequences that are in more items than these are the set's template."""
LEAST_WHOLE = 6
"""Fewest words of a question that is looked for as a whole."""
MOST_ALIGNED = 0.5
"""Share of an item's words that may align with a text that shares a candidate sequence."""
SAVED = "evaluation.npz"

_LEAST_REAL = 4
_BLOCK = 3
_MOST_ALIGNED_WORDS = 400
_MOST_CANDIDATES = 8
_EXCERPT = 200
_LABELS = frozenset({"question", "q", "problem", "answer", "a", "output", "input", "context", "passage", "sentence"})
_I64 = npt.NDArray[np.int64]
Reason = Literal["shared_13_gram", "whole_item", "similar_item"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contamination:
    """An item of an evaluation set that a text holds."""

    reason: Reason
    item: str
    """`<set>#<id>`."""
    text: str
    """The words that they share: lower case, no punctuation, cut to 200 characters."""
    measure: float
    """Words in a row; of `similar_item` the share of the item's words."""
    limit: float
    begin: int
    """Where the shared words begin and end in the text, in words."""
    end: int

    def drop(self) -> Drop:
        """Returns the judgement."""
        how = {
            "shared_13_gram": f"{self.measure:.0f} words in a row ≥ {self.limit:.0f} of {self.item}",
            "whole_item": f"all {self.measure:.0f} words of {self.item}",
            "similar_item": f"{self.measure:.0%} > {self.limit:.0%} of the words of {self.item}",
        }[self.reason]
        return Drop(self.reason, f"{how}: {self.text!r}", self.measure, self.limit)


class EvaluationIndex:
    """The word sequences of evaluation sets."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.names: list[str] = []
        self.too_short: int = 0
        """Questions that are too short to be looked for."""
        pieces: list[U64] = []
        real: list[bool] = []
        item_of: list[int] = []
        whole: list[tuple[int, int, int]] = []
        for number, item in enumerate(items):
            self.names.append(item.name)
            for text, is_prompt in (*((p, True) for p in item.prompts), *((a, False) for a in item.answers)):
                words = _without_labels(words_of(text))
                if is_prompt and len(words) < GRAM:
                    if len(words) >= LEAST_WHOLE and len({*filter(_is_real, words)}) >= _LEAST_REAL:
                        key = int(sequence_hashes(word_hashes(words), len(words))[0])
                        whole.append((len(words), key, len(pieces)))
                    self.too_short += len(words) < LEAST_WHOLE
                pieces.append(word_hashes(words))
                real += map(_is_real, words)
                item_of.append(number)
        self._words = np.concatenate([np.empty(0, np.uint64), *pieces])
        self._offsets: _I64 = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
        self._item_of: _I64 = np.array(item_of, np.int64)
        self._index_sequences(np.array(real, bool))
        self._index_whole(whole)

    def _index_sequences(self, real: npt.NDArray[np.bool_]) -> None:
        """Sorts the candidate sequences by key, without those that say little; of a repeated one the first is kept."""
        piece = np.repeat(np.arange(len(self._item_of)), np.diff(self._offsets))
        begin = np.arange(max(len(self._words) - CANDIDATE + 1, 0))
        within = piece[begin] == piece[begin + CANDIDATE - 1] if len(begin) else np.empty(0, bool)
        is_long = np.diff(self._offsets) >= GRAM  # what is shorter is looked for as a whole, or not at all
        begin = begin[within & is_long[piece[: len(within)]] & (_real_words(self._words, real) >= _LEAST_REAL)]
        keys, piece = sequence_hashes(self._words, CANDIDATE)[begin], piece[begin]
        order = np.lexsort((begin, piece, keys))
        keys, piece, begin = keys[order], piece[order], begin[order]
        new_key = _changes(keys)
        first = new_key | _changes(piece)
        item = self._item_of[piece]
        n_items = np.bincount(np.cumsum(new_key) - 1, weights=new_key | _changes(item)) if len(keys) else np.empty(0)
        kept = first & (n_items[np.cumsum(new_key) - 1] <= MOST_ITEMS)
        self._keys, self._pieces, self._positions = keys[kept], piece[kept], (begin - self._offsets[piece])[kept]

    def _index_whole(self, whole: list[tuple[int, int, int]]) -> None:
        """Takes (words, key, piece) of the questions that are looked for as a whole."""
        self._whole = sorted(whole)
        self._whole_of: dict[int, tuple[U64, _I64]] = {}
        """Words -> keys (sorted) and their pieces, the longest first; of equal questions the earliest comes first."""
        for length in sorted({n for n, _, _ in whole}, reverse=True):
            rows = [(key, piece) for n, key, piece in self._whole if n == length]
            keys, pieces = zip(*rows, strict=True)
            self._whole_of[length] = np.array(keys, np.uint64), np.array(pieces, np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def find(self, text: str) -> Contamination | None:
        """Returns the item that a text shares most with, or None."""
        return self.search(text)[1]

    def search(self, text: str) -> tuple[int, Contamination | None]:
        """Returns the longest sequence that a text shares with an item (in words; 0: none of `CANDIDATE`), and the item
        that it shares most with: the longest sequence of `GRAM` first, then a whole item, then a similar one.
        """
        words = words_of(text)
        if len(words) < LEAST_WHOLE:
            return 0, None
        hashes = word_hashes(words)
        runs = self._runs(sequence_hashes(hashes, CANDIDATE)) if len(words) >= CANDIDATE else []
        length, start, piece = max(runs, key=lambda run: (run[0], -run[1], -run[2]), default=(0, 0, 0))
        if length >= GRAM:
            return length, self._found("shared_13_gram", piece, words, (start, start + length), length, GRAM)
        return length, self._find_whole(words, hashes) or self._find_similar(words, hashes, runs)

    def _runs(self, keys: U64) -> list[tuple[int, int, int]]:
        """Returns the sequences shared with a piece: (words, start in the text, piece)."""
        hits, begin = _found_in(keys, self._keys)
        if not len(hits):
            return []
        n = np.searchsorted(self._keys, keys[hits], "right") - begin
        at = np.repeat(hits, n)
        rows = np.concatenate([np.arange(first, first + count) for first, count in zip(begin, n, strict=True)])
        piece, diagonal = self._pieces[rows], at - self._positions[rows]
        order = np.lexsort((at, diagonal, piece))
        at, piece, diagonal = at[order], piece[order], diagonal[order]
        goes_on = (at[1:] == at[:-1] + 1) & (piece[1:] == piece[:-1]) & (diagonal[1:] == diagonal[:-1])
        starts = np.flatnonzero(np.concatenate([[True], ~goes_on]))
        lengths = np.diff(np.append(starts, len(at))) + CANDIDATE - 1
        return list(zip(lengths.tolist(), at[starts].tolist(), piece[starts].tolist(), strict=True))

    def _find_whole(self, words: Sequence[str], hashes: U64) -> Contamination | None:
        for n, (wanted, pieces) in self._whole_of.items():
            hits, rows = _found_in(sequence_hashes(hashes, n), wanted)
            if len(hits):
                start, piece = int(hits[0]), int(pieces[rows[0]])
                return self._found("whole_item", piece, words, (start, start + n), n, n)
        return None

    def _find_similar(
        self, words: Sequence[str], hashes: U64, runs: Sequence[tuple[int, int, int]]
    ) -> Contamination | None:
        where: dict[int, list[int]] = {}
        for _, start, piece in runs:
            where.setdefault(piece, []).append(start)
        best: tuple[float, int, int, int] | None = None
        for piece, starts in sorted(where.items(), key=lambda entry: (-len(entry[1]), entry[0]))[:_MOST_CANDIDATES]:
            item = self._words[self._offsets[piece] : self._offsets[piece + 1]]
            # A short item is looked for as a whole; so long a one has many sequences of 13.
            if not GRAM <= len(item) <= _MOST_ALIGNED_WORDS:
                continue
            begin = max(starts[0] - len(item), 0)
            window = hashes[begin : starts[0] + 2 * len(item)].tolist()
            blocks = difflib.SequenceMatcher(None, window, item.tolist(), autojunk=False).get_matching_blocks()
            used = [block for block in blocks if block.size >= _BLOCK]
            aligned = sum(block.size for block in used)
            share = aligned / len(item)
            if aligned >= GRAM and share > MOST_ALIGNED and (best is None or share > best[0]):
                best = share, piece, begin + used[0].a, begin + used[-1].a + used[-1].size
        if best is None:
            return None
        share, piece, first, last = best
        return self._found("similar_item", piece, words, (first, last), share, MOST_ALIGNED)

    def _found(
        self, reason: Reason, piece: int, words: Sequence[str], span: tuple[int, int], measure: float, limit: float
    ) -> Contamination:
        item, (begin, end) = self.names[int(self._item_of[piece])], span
        text = " ".join(words[begin:end])[:_EXCERPT]
        return Contamination(reason=reason, item=item, text=text, measure=measure, limit=limit, begin=begin, end=end)

    # On disk

    def save(self, folder: Path) -> None:
        """Writes the index, so that worker processes need not read the sets again."""
        names = np.frombuffer(json.dumps([self.names, self.too_short]).encode(), np.uint8)
        whole = np.array(self._whole, dtype=[("n", "<i8"), ("key", "<u8"), ("piece", "<i8")])
        arrays = (self._words, self._offsets, self._item_of, self._keys, self._pieces, self._positions, whole, names)
        with atomic_path(folder / SAVED) as temporary, temporary.open("wb") as file:
            np.savez(file, *arrays)

    @classmethod
    def load(cls, folder: Path) -> EvaluationIndex:
        """Loads a saved index."""
        index = cls(())
        with np.load(folder / SAVED) as saved:
            arrays = [saved[f"arr_{number}"] for number in range(8)]
        index._words, index._offsets, index._item_of, index._keys, index._pieces, index._positions = arrays[:6]
        index._index_whole([(int(n), int(key), int(piece)) for n, key, piece in arrays[6].tolist()])
        index.names, index.too_short = json.loads(arrays[7].tobytes())
        return index


def _without_labels(words: list[str]) -> list[str]:
    """Takes off `Question:` and `Answer:` around an item."""
    while words and words[0] in _LABELS:
        words = words[1:]
    while words and words[-1] in _LABELS:
        words = words[:-1]
    return words


@functools.lru_cache(maxsize=1 << 16)
def _is_real(word: str) -> bool:
    return any(map(str.isalpha, word)) and (len(word) > 1 or UNSPACED_CHARACTER.match(word) is not None)


def _real_words(words: U64, real: npt.NDArray[np.bool_]) -> _I64:
    """Returns how many different real words each `CANDIDATE` words in a row have."""
    back = np.full(len(words), CANDIDATE)  # distance to the same word before, as far as that matters
    for distance in range(CANDIDATE - 1, 0, -1):
        back[distance:][words[distance:] == words[:-distance]] = distance
    n = max(len(words) - CANDIDATE + 1, 0)
    counts = np.zeros(n, np.int64)
    for offset in range(CANDIDATE):
        counts += real[offset : offset + n] & (back[offset : offset + n] > offset)
    return counts


def _found_in(keys: U64, among: U64) -> tuple[_I64, _I64]:
    """Returns which of `keys` are in the sorted array `among`, and where each begins there."""
    if not len(among):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    begin = np.searchsorted(among, keys, "left")
    hits = np.flatnonzero(among[np.minimum(begin, len(among) - 1)] == keys)
    return hits, begin[hits]


def _changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tells of each value whether it differs from the one before it."""
    return np.concatenate([np.ones(min(len(values), 1), bool), values[1:] != values[:-1]])


def evaluation_index(paths: Sequence[str]) -> EvaluationIndex:
    """Returns the index of evaluation sets, or the one that `keep_evaluation_index` left in a folder.

    Raises: DataError as `read_items` does, and if there is nothing to look for.
    """
    if len(paths) == 1 and (Path(paths[0]) / SAVED).is_file():
        return EvaluationIndex.load(Path(paths[0]))
    index = EvaluationIndex(item for path in paths for item in read_items(path))
    if not len(index):
        raise DataError(f"The evaluation sets are empty: {', '.join(paths)}.", fix="Give files that hold items.")
    return index


def keep_evaluation_index(paths: Sequence[str], work: Path) -> str:
    """Makes the index once and returns its folder, below `work`, named by the sets' content. Raises: as above."""
    folder = work / f"evaluation-{fingerprint_of([Source(path).fingerprint(work) for path in paths])}"
    if not (folder / SAVED).is_file():
        evaluation_index(paths).save(folder)
    return str(folder)


def cut(text: str, index: EvaluationIndex) -> tuple[str, list[Contamination]]:
    """Returns a text without the lines that hold (parts of) items, and what was found in it."""
    found: list[Contamination] = []
    while (one := index.find(text)) is not None:
        found.append(one)
        lines = text.splitlines(keepends=True)
        ends = np.cumsum([len(words_of(line)) for line in lines])
        begins = np.concatenate([[0], ends[:-1]])
        text = "".join(
            line for line, a, b in zip(lines, begins, ends, strict=True) if a == b or b <= one.begin or a >= one.end
        )
    return text, found


def operator(config: CurationConfig) -> Operator:
    """Drops documents that hold items of the evaluation sets `config.decontaminate`, or cuts the items out.

    Where `config.decontaminate_by` is `cut`, a document loses the lines with items, which its lineage then names, and
    is dropped only if less than half of it would be left.
    Drops: `shared_13_gram`, `whole_item`, `similar_item`, with the item and the shared words as detail.
    """
    index = evaluation_index(config.decontaminate)

    def keep(row: Row) -> Row | Drop | None:
        text = str(row["text"])
        found = index.find(text)
        if found is None:
            return None
        if config.decontaminate_by == "cut":
            left, items = cut(text, index)
            if 2 * len(left) >= len(text):
                details = [one.drop().detail for one in items]
                lineage = extend_lineage(cast("str | None", row.get("lineage")), stage=STAGE, cut=details)
                return {**row, "text": left, "lineage": lineage}
        return found.drop()

    return judge(STAGE, keep)
