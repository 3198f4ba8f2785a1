"""What a run has come to so far, counted as documents are committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tilth.errors import DataError
from tilth.synthesis.judge import Counts, Judged, count

FEW_LOST = 10
"""So many lost documents are no reason to fail, as long as some are not."""


@dataclass
class Tally:
    """Documents that went through the gates, and what was kept of them."""

    counts: Counts = field(default_factory=Counts)
    done: int = 0
    documents_lost: int = 0
    samples_lost: int = 0
    kept: int = 0
    bytes: int = 0
    parts: Counter[str] = field(default_factory=Counter[str])
    scores: set[str] = field(default_factory=set[str])
    messages: bool = False
    """Whether a sample has a conversation, whatever the recipe's shape is."""
    errors: Counter[str] = field(default_factory=Counter[str])

    def add(self, judged: Judged, gates: Sequence[str]) -> None:
        """Counts a complete document; `gates` are the names of those that judge, in order."""
        count(judged, self.counts, gates)
        self.done += 1
        self.documents_lost += bool(judged.made.lost)
        self.samples_lost += len(judged.lost)
        self.errors.update(part.error for part in judged.made.lost)
        self.kept += len(judged.kept)
        for candidate in judged.kept:
            self.bytes += len(candidate.sample.text.encode())
            self.parts[candidate.part] += 1
            self.scores |= candidate.sample.scores.keys()
            self.messages |= bool(candidate.sample.messages)

    def check_lost(self, total: int, limit: float) -> None:
        """Raises DataError where more of `total` documents lost a request than the share `limit`."""
        lost = self.documents_lost
        all_lost = lost == self.done and lost >= min(FEW_LOST, total) and limit < 1
        if not all_lost and (lost <= FEW_LOST or lost <= limit * total):
            return
        error, n_same = self.errors.most_common(1)[0]
        raise DataError(
            f"{lost:,} of {self.done:,} documents got no answer to a request after all tries, more than the share of "
            f"{limit:g} that `max_dead_letters` allows. The most frequent error, {n_same:,} times: {error}",
            fix="Look at the teacher, then run the same command again: the answers that came are in the cache. "
            "`--max-dead-letters` allows more.",
        )
