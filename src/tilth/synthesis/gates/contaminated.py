"""Gate `decontamination`: a sample that holds an item of an evaluation set."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.curation.decontamination import GRAM, EvaluationIndex
from tilth.curation.operators import Drop
from tilth.synthesis.gates.gate import Pass
from tilth.types import Document, Sample


@dataclass(frozen=True)
class DecontaminationGate:
    """Looks for items as the curation operator `decontaminate` does."""

    index: EvaluationIndex
    name: str = "decontamination"

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        """Drops: `shared_13_gram`, `whole_item`, `similar_item`. Measure: longest shared sequence in words."""
        longest, found = self.index.search(sample.text)
        return Pass(measure=longest, limit=GRAM) if found is None else found.drop()
