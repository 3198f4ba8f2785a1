"""One self-contained HTML page that tells what a run did, from raw text to a model, and what it cost.

`artefacts` is what stages leave behind, `load` reads it, `views` turns each part into what a section shows
(with a sentence computed from the numbers), `charts` draws, `templates` set the page, `page` ties them
together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.report.artefacts import RunArtefacts
    from tilth.report.page import render

__all__ = ["RunArtefacts", "render"]

__getattr__ = attach(
    __name__,
    {"RunArtefacts": "tilth.report.artefacts", "render": "tilth.report.page"},
)
