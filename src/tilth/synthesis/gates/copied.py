"""Gate `copy`: a sample that repeats its own source document, or the instruction that it was made by."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tilth.curation.dedup import U64, distinct, sequence_hashes, word_hashes, words_of
from tilth.curation.operators import Drop
from tilth.synthesis.gates.gate import Pass
from tilth.synthesis.gates.text_hashes import hashes_of
from tilth.types import Document, Sample

SEQUENCE = 8
"""Words of a sequence."""
ECHO = 12
"""Words in a row of a prompt file that a sample may not repeat."""
APPENDS_SOURCE = "appends_source"
"""`meta` of a sample that holds (a part of) its source on purpose: judged on the rest."""
QUOTES_PROMPT = "quotes_prompt"
"""`meta` of a sample that holds the text of its prompt on purpose, such as a chat's system message."""

_MARKUP = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)


class CopyGate:
    """Compares 8-word sequences of sample and source (words as in `curation.dedup`: NFC, lower case, no punctuation; a
    sample of fewer words is one sequence).

    A sample whose `meta["appends_source"]` is true is judged without the longest span that it has of its source. A
    sample that is its source, annotated or edited (`Draft.keeps_id`), passes.
    """

    name = "copy"

    def __init__(self, max_copied: float, instructions: Sequence[str] = ()) -> None:
        """`instructions`: the recipe's prompt files, in which Jinja's markup separates the texts."""
        self.max_copied = max_copied
        parts = [word_hashes(words_of(part)) for text in instructions for part in _MARKUP.split(text)]
        sequences = [sequence_hashes(part, ECHO) for part in parts if len(part) >= ECHO]
        self._instructions = distinct(np.concatenate([np.empty(0, np.uint64), *sequences]))
        self._source = _Source("")

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        """Drops: `copies_source` (measure: share of sequences), `only_source`, `echoes_instruction` (words)."""
        if sample.id == seed.id:
            return Pass(detail="the source itself")
        hashes = hashes_of(sample.text)
        if not sample.meta.get(QUOTES_PROMPT):
            echo = longest_run(_among(hashes.sequences(ECHO), self._instructions), ECHO)[0]
            if echo:
                return Drop("echoes_instruction", f"{echo} words in a row of its prompt ≥ {ECHO}", echo, ECHO)
        if self._source.text != seed.text:  # the samples of a document come one after another
            self._source = _Source(seed.text)
        source, words = self._source, hashes.words
        if sample.meta.get(APPENDS_SOURCE):
            words = _without_longest(words, source)
            if not len(words):
                return Drop("only_source", "nothing beside the source", 1.0, self.max_copied)
        if not len(words):
            return Pass(measure=0.0, limit=self.max_copied)
        n = min(SEQUENCE, len(words))
        sequences = hashes.sequences(n) if words is hashes.words else sequence_hashes(words, n)
        copied = _among(sequences, source.sequences(n))
        share, (span, _) = float(copied.mean()), longest_run(copied, n)
        detail = f"the longest span has {span} words" if span else ""
        if share > self.max_copied:
            of = f"{share:.1%} > {self.max_copied:.0%} of its {n}-word sequences are its source's, {detail}"
            return Drop("copies_source", of, share, self.max_copied)
        return Pass(measure=share, limit=self.max_copied, detail=detail)


def longest_run(hits: npt.NDArray[np.bool_], n: int) -> tuple[int, int]:
    """Returns words and begin of the longest run of words that sequences of `n` cover without a gap; (0, 0): none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hits.astype(np.int8), [0]])))
    if not len(edges):
        return 0, 0
    begins, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - begins))
    return int(ends[longest] - begins[longest]) + n - 1, int(begins[longest])


class _Source:
    """A source document's sequences, sorted, each length made once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._words = word_hashes(words_of(text))
        self._sequences: dict[int, U64] = {}

    def sequences(self, n: int) -> U64:
        if n not in self._sequences:
            self._sequences[n] = distinct(sequence_hashes(self._words, n))
        return self._sequences[n]


def _among(hashes: U64, of: U64) -> npt.NDArray[np.bool_]:
    """Which of the hashes are among others, which are sorted."""
    if not len(of):
        return np.zeros(len(hashes), np.bool_)
    return of[np.minimum(np.searchsorted(of, hashes), len(of) - 1)] == hashes


def _without_longest(hashes: U64, source: _Source) -> U64:
    if not len(hashes):
        return hashes
    n = min(SEQUENCE, len(hashes))
    words, begin = longest_run(_among(sequence_hashes(hashes, n), source.sequences(n)), n)
    return np.concatenate([hashes[:begin], hashes[begin + words :]])
