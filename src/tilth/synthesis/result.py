"""The result of a synthesis run: what was asked, its costs, what passed each gate (`synthesis.json`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tilth.teacher.ledger import Spending

SYNTHESIS = "synthesis.json"
"""File name, in the folder of a run."""


@dataclass(frozen=True, kw_only=True)
class GateCount:
    """What became of the samples at a gate."""

    gate: str
    samples_in: int
    samples_out: int
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    """Reason -> samples dropped for it."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sample to look at."""

    id: str
    part: str
    source_id: str
    source_excerpt: str
    prompt: str
    """The rendered prompt of its last answer."""
    text: str
    """Its beginning."""
    gate: str = ""
    """Which gate dropped it; empty: it was kept."""
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class DiversityPoint:
    """How much was new among the kept samples, when so many were kept."""

    samples: int
    unique_share: float
    """Share of the latest samples, up to 1,000, that are no near duplicate of any before."""
    distinct_4: float
    """Distinct 4-word sequences / all, in the latest samples."""
    opening_share: float
    """Share of the latest samples that begin with their most common five words (template mass)."""
    bytes_per_compressed: float
    """Bytes of the latest samples / their bytes under zstd."""


@dataclass(frozen=True, kw_only=True)
class SynthesisResult:
    """What a run made, of what, for what."""

    recipe: str
    recipe_version: int
    shape: str
    prompts: dict[str, int]
    """Prompt file -> version."""
    teachers: tuple[str, ...]
    documents: int
    """Documents that there were to work on."""
    documents_done: int
    complete: bool
    """False: the budget was spent before all documents were done."""
    gates: tuple[GateCount, ...]
    parts: dict[str, int]
    """Part -> samples kept."""
    spending: tuple[Spending, ...]
    samples_kept: int
    bytes_kept: int
    seconds: float
    kept_examples: tuple[Example, ...] = ()
    rejected_examples: tuple[Example, ...] = ()
    """A few for each gate and reason."""
    diversity: tuple[DiversityPoint, ...] = ()
    stopped_by: str = ""
    """Which budget was spent; empty: none."""
    documents_lost: int = 0
    """Documents of which a request failed after all its tries; what else came of them is kept."""
    samples_lost: int = 0
    """Samples that no critic could judge, because its request failed after all its tries."""
    dataset: str = ""
    """Folder of the source dataset, absolute; empty: there was none."""
    options: dict[str, object] = field(default_factory=dict[str, object])
    """The recipe's options, those at their default too."""
    samples_per_prompt: int | None = None
    """Samples that were drawn of each prompt; None: a result that does not say."""
