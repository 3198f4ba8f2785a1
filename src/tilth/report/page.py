"""Writes the page: results in, one HTML file out.

The file contains its styles, script and charts and loads nothing over a network. Templates escape everything that comes
from data, and a content-security policy lets only our own script run, named by its hash, so that text from a corpus
stays text even where an escape is missed. The page holds no time and no path of its own: equal results, equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tilth.files import write_bytes
from tilth.report import figures
from tilth.report.run import RunResults
from tilth.report.views import cost, curation, header, loop, provenance, samples, tokenizer, training

TEMPLATES = Path(__file__).parent / "templates"

View = (
    curation.Curation
    | tokenizer.Tokenizer
    | training.Training
    | samples.Samples
    | loop.Loop
    | cost.Cost
    | provenance.Provenance
)

# Control characters are forbidden in HTML; as their pictures (U+2400 on) they can be seen. Lone surrogates
# have no UTF-8, and overrides of the writing direction (U+202D, U+202E) show text as what it is not.
_UNSAFE = (*range(0x80, 0xA0), *range(0xD800, 0xE000), 0x202D, 0x202E, 0xFFFE, 0xFFFF)
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}
_VISIBLE = _PICTURES | {0x7F: 0x2421} | dict.fromkeys(_UNSAFE, 0xFFFD)


@dataclass(frozen=True)
class Section:
    """One section: `key` names its anchor and its template."""

    key: str
    title: str
    view: View


def render(run: RunResults, out: Path | str) -> Path:
    """Writes the report of a run; returns its path: `out` if that ends in `.html`, else `out/report.html`."""
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(header=header.view(run), sections=_sections(run), **_inlined())
    )
    out = Path(out)
    target = out if out.suffix == ".html" else out / "report.html"
    write_bytes(target, page.encode("utf-8"))
    return target


def _sections(run: RunResults) -> list[Section]:
    views = (
        ("curation", "Curation", curation.view(run)),
        ("tokenizer", "Tokenizer", tokenizer.view(run)),
        ("training", "Training", training.view(run)),
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


def visible(value: object) -> object:
    """Returns text with the characters that HTML or UTF-8 forbids replaced by visible ones."""
    if isinstance(value, Markup):
        return Markup(value.translate(_VISIBLE))
    return value.translate(_VISIBLE) if isinstance(value, str) else value


def _inlined() -> dict[str, str]:
    """The style sheet, the script, and the hash by which the policy allows the script."""
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return {
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
    }
