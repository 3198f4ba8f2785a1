"""Gate `copy`: a sample that repeats its own source document, or the instruction that it was made by."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tilth.curation.dedup import U64, sequence_hashes, word_hashes, words_of
from tilth.curation.operators import Drop
from tilth.synthesis.gates.gate import Pass
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
        self._instructions = np.unique(np.concatenate([np.empty(0, np.uint64), *sequences]))
        self._source = _Source("")

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        """Drops: `copies_source` (measure: share of sequences), `only_source`, `echoes_instruction` (words)."""
        if sample.id == seed.id:
            return Pass(detail="the source itself")
        hashes = word_hashes(words_of(sample.text))
        if not sample.meta.get(QUOTES_PROMPT):
            echo = longest_run(np.isin(sequence_hashes(hashes, ECHO), self._instructions), ECHO)[0]
            if echo:
                return Drop("echoes_instruction", f"{echo} words in a row of its prompt ≥ {ECHO}", echo, ECHO)
        if self._source.text != seed.text:  # a long document has thousands of samples, one after another
            self._source = _Source(seed.text)
        if sample.meta.get(APPENDS_SOURCE):
            hashes = _without_longest(hashes, self._source)
            if not len(hashes):
                return Drop("only_source", "nothing beside the source", 1.0, self.max_copied)
        if not len(hashes):
            return Pass(measure=0.0, limit=self.max_copied)
        copied, n = self._source.sequences_in(hashes)
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
    """The sequences of a source document, by their number of words."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._hashes = word_hashes(words_of(text))
        self._sequences: dict[int, U64] = {}

    def sequences_in(self, hashes: U64) -> tuple[npt.NDArray[np.bool_], int]:
        """Returns which sequences of a text the source has, given the hashes of its words, and their words."""
        n = min(SEQUENCE, len(hashes))
        if n not in self._sequences:
            self._sequences[n] = np.unique(sequence_hashes(self._hashes, n))
        known, asked = self._sequences[n], sequence_hashes(hashes, n)
        if not len(known):
            return np.zeros(len(asked), np.bool_), n
        places = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return known[places] == asked, n


def _without_longest(hashes: U64, source: _Source) -> U64:
    if not len(hashes):
        return hashes
    copied, n = source.sequences_in(hashes)
    words, begin = longest_run(copied, n)
    return np.concatenate([hashes[:begin], hashes[begin + words :]])
