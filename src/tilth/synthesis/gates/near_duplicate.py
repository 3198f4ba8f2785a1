"""Gate `near_duplicate`: a sample that resembles one let through before, or a document of an earlier dataset."""

from __future__ import annotations

from pathlib import Path

from tilth.curation.near_duplicates import NearDuplicateIndex, duplicate
from tilth.curation.operators import Drop
from tilth.synthesis.gates.gate import Pass
from tilth.types import Document, Sample


class NearDuplicateGate:
    """Remembers the samples that it lets through, so it is called in the order of the documents.

    A sample that a later gate drops stays remembered: what the critic refused is not let in by a near duplicate, and no
    sample waits for the critic's answer to the one before it.

    To go on with a killed run, call `save` before each shard of samples is written, and make the gate with as many
    parts as there are shards: each part holds what was let through since the one before.
    """

    name = "near_duplicate"

    def __init__(
        self,
        threshold: float | None,
        *,
        folder: Path | None = None,
        parts: int = 0,
        earlier: NearDuplicateIndex | None = None,
    ) -> None:
        """`folder`: where `save` writes; `parts`: how many of its parts to begin with; `earlier`: earlier datasets.

        Raises: DataError if the folder has fewer parts.
        """
        self.threshold, self.folder, self.earlier = threshold, folder, earlier
        if folder is not None and parts:
            self.index = NearDuplicateIndex.load(folder, parts=parts)
        else:
            self.index = NearDuplicateIndex(threshold)

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        """Drops: `exact_duplicate`, `near_duplicate`. Measure: Jaccard similarity to the most similar found."""
        sketch = self.index.sketch(sample.text)
        nearest = 0.0
        for index in (self.index, self.earlier):
            match = None if index is None else index.nearest(sketch)
            if match is None:
                continue
            if match.is_copy or (self.threshold is not None and match.similarity >= self.threshold):
                return duplicate(match, self.threshold)
            nearest = max(nearest, match.similarity)
        self.index.add(sample.id, sketch)
        return Pass(measure=nearest, limit=self.threshold)

    def save(self) -> None:
        """Writes what was let through since the last time as one more part, if there is a folder."""
        if self.folder is not None:
            self.index.save(self.folder)
