"""One self-contained HTML page on a run: its data, tokenizers, models and loops, and what they cost.

`load` collects the results in the folders of the steps into `run`'s dataclasses, `views` turns each kind into the
figures and sentences of a section, `charts` draws, `templates` holds the markup, `page` writes the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.report.load import collect
    from tilth.report.page import render
    from tilth.report.run import RunResults

__all__ = ["RunResults", "collect", "render"]

__getattr__ = attach(
    __name__,
    {
        "RunResults": "tilth.report.run",
        "collect": "tilth.report.load",
        "render": "tilth.report.page",
    },
)
