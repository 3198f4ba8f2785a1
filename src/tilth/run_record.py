"""What a command asked for: `runs/<name>/run.json`, beside the page of the run.

It names the run and says which steps it is made of. None of it enters the identity of a step, so the same steps may
belong to many runs. `runs/latest` is a link to the folder of the run that was begun last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

RUN = "run.json"
PAGE = "report.html"
"""The page of a run, in its folder: written when the run begins, and again as it goes."""
LIVE = "live"
"""Folder, in that of the run, of what is only looked at while a step is at work (`Context.live`)."""
LATEST = "latest"
"""Link, in `runs`, to the folder of the newest run."""

RunStatus = Literal["running", "finished", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One call of `tilth run`."""

    name: str
    """Given by `--name`, else made from the corpus or the recipe; the name of its folder."""
    recipe: str
    """`quickstart`, or `path/to/file.py:function`."""
    command: str
    """The command line, quoted for a shell."""
    fields: dict[str, str] = field(default_factory=dict[str, str])
    """Fields of the recipe that were given -> their values as text."""
    corpora: tuple[str, ...] = ()
    """Paths and URLs of the sources, as they were given."""
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str | None = None
    status: RunStatus = "running"
    error: str = ""
    """Why it failed."""
    steps: dict[str, str] = field(default_factory=dict[str, str])
    """Label of each step that is done -> its folder, relative to `runs`."""
