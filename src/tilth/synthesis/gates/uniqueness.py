"""How much is new among the samples that a run keeps, measured while it runs."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path

import numpy as np
import pyarrow as pa

from tilth.curation.dedup import U64, distinct
from tilth.curation.near_duplicates import NearDuplicateIndex
from tilth.synthesis.gates.text_hashes import hashes_of
from tilth.synthesis.result import DiversityPoint

WINDOW = 1000
"""Samples that a point tells about: the latest."""
POINTS, MOST_APART = 20, 100
"""A point costs as much as 20 samples: the next is due when there are a twentieth more, or `MOST_APART`."""
_LEVEL = 3
_THRESHOLD = 0.7
_SAVED = 5000


class UniquenessMeter:
    """Takes the kept samples in the order of the documents; the points are the same in every run.

    The gate `near_duplicate` has dropped what resembles an earlier sample at its own threshold; here a lower one is
    used, so that a run that begins to repeat itself shows before the gate drops its samples. Memory: one more index of
    near duplicates (`curation.near_duplicates`), with `work` most of it on disk, and the texts of the window.
    """

    def __init__(
        self, every: int = 100, *, threshold: float = _THRESHOLD, window: int = WINDOW, work: Path | None = None
    ) -> None:
        """`every`: fewest samples from one point to the next (`POINTS`); `work`: folder for the index, which may hold
        an earlier one."""
        self.every, self.window, self.work = every, window, work
        self.samples, self._due = 0, every
        self.points: list[DiversityPoint] = []
        self._index = NearDuplicateIndex(threshold)
        self._texts: deque[tuple[bytes, bool, tuple[str, ...], U64]] = deque(maxlen=window)

    def add(self, id: str, text: str) -> DiversityPoint | None:
        """Takes a kept sample; returns the point that is due with it, if one is."""
        hashes = hashes_of(text)
        sketch = self._index.sketch(hashes)
        is_new = self._index.find(sketch) is None
        self._index.add(id, sketch)
        if self.work is not None and len(self._index) % _SAVED == 0:
            self._index.save(self.work)
        n = min(4, len(hashes.words))
        sequences = hashes.sequences(n) if n else np.empty(0, np.uint64)
        self._texts.append((text.encode("utf-8", "replace"), is_new, hashes.opening, sequences))
        self.samples += 1
        if self.samples < self._due:
            return None
        self._due += max(self.every, min(self.samples // POINTS, MOST_APART))
        self.points.append(self.point())
        return self.points[-1]

    def point(self) -> DiversityPoint:
        """Returns what holds of the latest samples now."""
        n = len(self._texts)
        if not n:
            return DiversityPoint(
                samples=0, unique_share=1.0, distinct_4=1.0, opening_share=0.0, bytes_per_compressed=1.0
            )
        sequences = np.concatenate([sequences for _, _, _, sequences in self._texts])
        ((_, most),) = Counter(opening for _, _, opening, _ in self._texts).most_common(1)
        content = b"\n".join(text for text, _, _, _ in self._texts)
        compressed = pa.Codec("zstd", compression_level=_LEVEL).compress(content, asbytes=True)
        return DiversityPoint(
            samples=self.samples,
            unique_share=sum(is_new for _, is_new, _, _ in self._texts) / n,
            distinct_4=len(distinct(sequences)) / len(sequences) if len(sequences) else 1.0,
            opening_share=most / n,
            bytes_per_compressed=len(content) / len(compressed),
        )


def diversity_line(point: DiversityPoint) -> str:
    """Returns a point in one line, for the status."""
    return (
        f"{point.unique_share:.0%} unique, distinct-4 {point.distinct_4:.2f}, most common opening "
        f"{point.opening_share:.1%}, compresses {point.bytes_per_compressed:.1f}x"
    )
