"""Curation: raw files in, clean and deduplicated documents out, with a reason for everything that was dropped.

    read -> extract -> language -> rules -> dedup -> split

`curate` runs the chain over files, in parallel and resumable; each link is a module that can be used by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.curation import dedup, rules
    from tilth.curation.config import CurationConfig
    from tilth.curation.extraction import Extraction, extract
    from tilth.curation.language import identify
    from tilth.curation.ledger import Ledger
    from tilth.curation.pipeline import curate
    from tilth.curation.read import read_file

__getattr__ = attach(
    "tilth.curation",
    {
        "CurationConfig": "tilth.curation.config",
        "Extraction": "tilth.curation.extraction",
        "Ledger": "tilth.curation.ledger",
        "curate": "tilth.curation.pipeline",
        "dedup": "tilth.curation.dedup",
        "extract": "tilth.curation.extraction",
        "identify": "tilth.curation.language",
        "read_file": "tilth.curation.read",
        "rules": "tilth.curation.rules",
    },
)

__all__ = [
    "CurationConfig",
    "Extraction",
    "Ledger",
    "curate",
    "dedup",
    "extract",
    "identify",
    "read_file",
    "rules",
]
