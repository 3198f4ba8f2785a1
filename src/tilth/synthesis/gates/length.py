"""Gate `length`: fewest and most words of a sample."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.curation.operators import Drop
from tilth.curation.rules import count_words
from tilth.synthesis.gates.gate import Pass
from tilth.types import Document, Sample


@dataclass(frozen=True)
class LengthGate:
    """Counts words as curation does: runs between white space that hold a letter or a digit; two characters in scripts
    that are written without spaces."""

    min_words: int
    max_words: int
    name: str = "length"

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        """Drops: `too_few_words`, `too_many_words`. Measure: words."""
        words = count_words(sample.text, sample.language)
        if words < self.min_words:
            return Drop("too_few_words", f"{words:,} < {self.min_words:,} words", words, self.min_words)
        if words > self.max_words:
            return Drop("too_many_words", f"{words:,} > {self.max_words:,} words", words, self.max_words)
        return Pass(measure=words, limit=self.min_words)
