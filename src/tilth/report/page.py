"""Writes the page: results in, one HTML file out.

The file contains its styles, script and charts and loads nothing over a network. Templates escape everything that comes
from data, and a content-security policy lets only our own script run, named by its hash, so that text from a corpus
stays text even where an escape is missed. The page holds no time and no path of its own: equal results, equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tilth.files import write_bytes
from tilth.report import figures
from tilth.report.run import RunResults
from tilth.report.safe_text import visible
from tilth.report.views import cost, curation, header, loop, provenance, samples, surprise, tokenizer, training

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
    | cost.Cost
    | provenance.Provenance
)


@dataclass(frozen=True)
class Section:
    """One section: `key` names its anchor and its template."""

    key: str
    title: str
    view: View


def render(run: RunResults, out: Path) -> Path:
    """Writes the report of a run; returns its path: `out` if that ends in `.html`, else `out/report.html`."""
    return write_page(header.view(run), _sections(run), out if out.suffix == ".html" else out / "report.html")


def write_page(head: header.Header, sections: Sequence[object], target: Path) -> Path:
    """Writes a page of sections (objects with `key`, `title` and `view`), each by the template that its key names."""
    page = _environment().get_template("report.html.j2").render(header=head, sections=sections, **_inlined())
    write_bytes(target, page.encode("utf-8"))
    return target


def _sections(run: RunResults) -> list[Section]:
    views = (
        ("curation", "Curation", curation.view(run)),
        ("tokenizer", "Tokenizer", tokenizer.view(run)),
        ("training", "Training", training.view(run)),
        ("surprise", "Held-out text by token", surprise.view(run)),
        ("samples", "Samples", samples.view(run)),
        ("loop", "Self-improving loop", loop.view([entry.result for entry in run.loops])),
        ("cost", "Cost", cost.view(run)),
        ("provenance", "Provenance", provenance.view(run)),
    )
    return [Section(key, title, view) for key, title, view in views if view is not None]


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters |= {"count": figures.count, "size": figures.size}
    return environment


def _inlined() -> dict[str, str]:
    """The style sheet, the script, and the hash by which the policy allows the script."""
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return {
        "style": Markup("\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in STYLES)),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
    }
