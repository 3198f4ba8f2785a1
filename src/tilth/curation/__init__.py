"""Curation: raw files in, clean and deduplicated documents out, with a reason for everything that was dropped.

    read -> operators (extract, language, rules, one's own) -> dedup -> split

`curate` runs the stages over files, in parallel and resumable; each stage is a module that can be used by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.curation import dedup, rules
    from tilth.curation.config import CurationConfig
    from tilth.curation.extraction import Extraction, extract
    from tilth.curation.language import identify
    from tilth.curation.operators import Drop, Operator, Outcome, judge
    from tilth.curation.pipeline import curate
    from tilth.curation.read import read_file
    from tilth.curation.result import Ledger

__getattr__ = attach(
    "tilth.curation",
    {
        "CurationConfig": "tilth.curation.config",
        "Drop": "tilth.curation.operators",
        "Extraction": "tilth.curation.extraction",
        "Ledger": "tilth.curation.result",
        "Operator": "tilth.curation.operators",
        "Outcome": "tilth.curation.operators",
        "curate": "tilth.curation.pipeline",
        "dedup": "tilth.curation.dedup",
        "extract": "tilth.curation.extraction",
        "identify": "tilth.curation.language",
        "judge": "tilth.curation.operators",
        "read_file": "tilth.curation.read",
        "rules": "tilth.curation.rules",
    },
)

__all__ = [
    "CurationConfig",
    "Drop",
    "Extraction",
    "Ledger",
    "Operator",
    "Outcome",
    "curate",
    "dedup",
    "extract",
    "identify",
    "judge",
    "read_file",
    "rules",
]
