"""Sets the page: artefacts in, one HTML file out.

The file holds all it needs (styles, a little script, charts) and asks for nothing over a network. Everything
that comes from data is escaped by the templates, and a content-security policy lets only our own script run,
named by its hash, so that text from a corpus stays text even if an escape were missed. The page holds no
clock and no machine: same artefacts, same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tilth.report import figures
from tilth.report.artefacts import RunArtefacts, RunData
from tilth.report.load import load
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
    """One section: `key` names its anchor and its template, `stage` the stage it tells about."""

    key: str
    stage: str
    title: str
    view: View


def render(run: RunArtefacts, out: Path) -> Path:
    """Writes the report of a run; returns its path: `out` if that ends in `.html`, else `out/report.html`.

    Raises: DataError naming the file and key, where an artefact cannot be read.
    """
    data = load(run)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(header=header.view(run, data), sections=_sections(run, data), **_inlined())
    )
    target = out if out.suffix == ".html" else out / "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(page.encode("utf-8"))
    partial.replace(target)
    return target


def _sections(run: RunArtefacts, data: RunData) -> list[Section]:
    views = (
        ("curation", "Curation", "The soil", curation.view(data)),
        ("tokenizer", "Tokenizer", "The alphabet", tokenizer.view(data)),
        ("training", "Training", "The growth", training.view(data)),
        ("samples", "Samples", "The voice", samples.view(data)),
        ("loop", "The loop", "Growing on its own", loop.view(data)),
        ("cost", "Cost", "The bill", cost.view(run, data)),
        ("provenance", "Provenance", "The record", provenance.view(run, data)),
    )
    return [Section(key, stage, title, view) for key, stage, title, view in views if view is not None]


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
    """Returns text with characters that HTML or UTF-8 cannot carry replaced by ones that can be seen."""
    if isinstance(value, Markup):
        return Markup(value.translate(_VISIBLE))
    return value.translate(_VISIBLE) if isinstance(value, str) else value


def _inlined() -> dict[str, str]:
    """The style sheet and the script as they stand, and the hash under which a browser may run the script."""
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return {
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
    }
