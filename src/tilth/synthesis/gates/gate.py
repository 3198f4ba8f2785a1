"""What a gate is: it lets a sample through, with what it measured, or drops it for a reason.

The order is fixed (`ORDER`), so that cheap checks spare the dear ones. Every verdict goes into the sample's lineage,
every drop into the rejects, with the sample's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tilth.curation.operators import Drop
from tilth.teacher.request import Asker
from tilth.types import Document, Sample

ORDER = (
    "parsed",
    "length",
    "language",
    "copy",
    "near_duplicate",
    "decontamination",
    "critic",
    "verifier",
)
"""Names of the gates. `parsed` is counted where answers are parsed and post rules applied."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """A sample goes through."""

    measure: float | None = None
    """What was measured, in the unit of the gate's limit."""
    limit: float | None = None
    detail: str = ""


class Gate(Protocol):
    """Judges samples one by one, without a teacher. Judging the same sample twice gives the same verdict, except that
    `near_duplicate` remembers what it let through: it is called in the order of the documents."""

    @property
    def name(self) -> str:
        """One of `ORDER`."""
        ...

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        """Returns the verdict; `seed` is the document that the sample was made from."""
        ...


class CriticGate(Protocol):
    """Judges samples with a teacher."""

    @property
    def name(self) -> str:
        """`critic`."""
        ...

    async def judge(self, sample: Sample, seed: Document, asker: Asker) -> Drop | Pass:
        """Returns the verdict. Raises: what `asker.ask` raises."""
        ...
