"""Writes the page: results in, one HTML file out.

The file contains its styles, script and charts and loads nothing over a network. Templates escape everything that comes
from data, and a content-security policy lets only our own script run, named by its hash, so that text from a corpus
stays text even where an escape is missed. In the page of a run at work our script may load others (`strict-dynamic`,
which excludes those in markup), because the newest state comes as a script. The final page holds no time and no path of
its own: equal results, equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tilth.files import write_bytes
from tilth.report import figures
from tilth.report.run import RunResults
from tilth.report.safe_text import visible
from tilth.report.views import (
    cost,
    curation,
    experiments,
    header,
    loop,
    provenance,
    samples,
    surprise,
    tokenizer,
    training,
)
from tilth.run_record import RunRecord

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("page.js", "charts.js", "drops.js", "surprise.js")
"""Joined in this order into the one script of the page."""
STYLES = ("style.css", "surprise.css")

View = (
    curation.Curation
    | tokenizer.Tokenizer
    | training.Training
    | surprise.TokenBits
    | samples.Samples
    | loop.Loop
    | experiments.Experiments
    | cost.Cost
    | provenance.Provenance
)


@dataclass(frozen=True)
class Section:
    """One section: `key` names its anchor and its template."""

    key: str
    title: str
    view: View


def render(run: RunResults, out: Path | str) -> Path:
    """Writes the report of a run; returns its path: `out` if that ends in `.html`, else `out/report.html`."""
    out = Path(out)
    target = out if out.suffix == ".html" else out / "report.html"
    write_bytes(target, page_text(run).encode("utf-8"))
    return target


def write_page(head: header.Header, sections: Sequence[object], target: Path) -> Path:
    """Writes a page of sections (objects with `key`, `title` and `view`), each by the template that its key names."""
    write_bytes(target, _text(head, sections).encode("utf-8"))
    return target


@dataclass(frozen=True, kw_only=True)
class LivePart:
    """What the page of a run at work has on top: the parts of a region that a script replaces."""

    parts: Mapping[str, str]
    """Key of each part -> its markup, from `live_part`."""
    run: RunRecord
    page: int
    """Counts how often the page was written."""
    updated: float
    """Seconds since 1970."""
    every_seconds: float
    """Between refreshes, at least."""


def page_text(run: RunResults, *, live: LivePart | None = None) -> str:
    """Returns the page; with `live`, that of a run which is at work."""
    return _text(header.view(run), _sections(run), unfinished=run.unfinished, live=live and _live(live))


def _text(
    head: header.Header,
    sections: Sequence[object],
    *,
    unfinished: str = "",
    live: Mapping[str, object] | None = None,
) -> str:
    template = environment().get_template("report.html.j2")
    return template.render(header=head, sections=sections, unfinished=unfinished, live=live, **_inlined())


def live_part(key: str, view: object) -> str:
    """Returns a part of the region of a run at work as markup; its template is `live_<key>.html.j2`."""
    return environment().get_template(f"live_{key}.html.j2").render(view=view)


def _live(live: LivePart) -> Mapping[str, object]:
    script, digest = _script("live.js")
    added = {
        "begun": live.run.started_at.replace("T", " ")[:16] + " UTC",
        "command": live.run.command,
        "parts": {key: Markup(part) for key, part in live.parts.items()},
        "script": script,
        "script_hash": digest,
        "style": Markup((TEMPLATES / "live.css").read_text(encoding="utf-8")),
    }
    return vars(live) | added


def _sections(run: RunResults) -> list[Section]:
    views = (
        ("curation", "Curation", curation.view(run)),
        ("tokenizer", "Tokenizer", tokenizer.view(run)),
        ("training", "Training", training.view(run)),
        ("surprise", "Held-out text by token", surprise.view(run)),
        ("samples", "Samples", samples.view(run)),
        ("loop", "Self-improving loop", loop.view([entry.result for entry in run.loops])),
        ("experiments", "Experiments", experiments.view([entry.result for entry in run.experiments])),
        ("cost", "Cost", cost.view(run)),
        ("provenance", "Provenance", provenance.view(run)),
    )
    return [Section(key, title, view) for key, title, view in views if view is not None]


@cache
def environment() -> Environment:
    """Returns the environment that the page's templates are rendered in."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    made.filters |= {"count": figures.count, "size": figures.size}
    return made


def _inlined() -> dict[str, str]:
    """The style sheet, the script, and the hash by which the policy allows the script."""
    script, digest = _script(*SCRIPTS)
    style = Markup("\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in STYLES))
    return {"style": style, "script": script, "script_hash": digest}


def _script(*names: str) -> tuple[Markup, str]:
    """Returns scripts as one, and its hash as a policy names it."""
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return Markup(script), f"sha256-{digest}"
