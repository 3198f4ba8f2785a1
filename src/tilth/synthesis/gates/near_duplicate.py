"""Gate `near_duplicate`: a sample that resembles one let through before, or a document of an earlier dataset."""

from __future__ import annotations

from pathlib import Path

from tilth.curation.near_duplicates import NearDuplicateIndex, duplicate
from tilth.curation.operators import Drop
from tilth.synthesis.gates.gate import Pass
from tilth.synthesis.gates.text_hashes import hashes_of
from tilth.types import Document, Sample

_SAVED = 5000


class NearDuplicateGate:
    """Remembers the samples that it lets through, so it is called in the order of the documents.

    A sample that a later gate drops stays remembered: what the critic refused is not let in by a near duplicate, and no
    sample waits for the critic's answer to the one before it.

    A run that was killed judges its samples again from the first on, whose answers are in the request cache.
    """

    name = "near_duplicate"

    def __init__(
        self, threshold: float | None, *, folder: Path | None = None, earlier: NearDuplicateIndex | None = None
    ) -> None:
        """`folder`: where most of what it remembers is kept, in place of what an earlier run left there.

        None: all is in memory. One gate at a time may use it. `earlier`: documents of earlier datasets.
        """
        self.threshold, self.folder, self.earlier = threshold, folder, earlier
        self.index = NearDuplicateIndex(threshold)

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        """Drops: `exact_duplicate`, `near_duplicate`. Measure: Jaccard similarity to the most similar found."""
        sketch = self.index.sketch(hashes_of(sample.text))
        nearest = 0.0
        for index in (self.index, self.earlier):
            match = None if index is None else index.nearest(sketch)
            if match is None:
                continue
            if match.is_copy or (self.threshold is not None and match.similarity >= self.threshold):
                return duplicate(match, self.threshold)
            nearest = max(nearest, match.similarity)
        self.index.add(sample.id, sketch)
        if self.folder is not None and len(self.index) % _SAVED == 0:
            self.index.save(self.folder)
        return Pass(measure=nearest, limit=self.threshold)
