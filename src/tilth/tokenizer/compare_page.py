"""A comparison as one HTML file: tables, and the same text cut by each tokenizer in colour, with ids on hover.

The file holds all it needs and no script. Every text from a corpus or vocabulary is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from tilth.files import write_bytes
from tilth.tokenizer.compare import RENYI_ORDER, Comparison, Cut, Excerpt, Group, Measured

_COLOURS = 6
_STYLE = """
:root { --paper:#fbf8f2; --ink:#2a211b; --quiet:#6b5d52; --rule:#e4dacb; --sunk:#f3ece1; --mark:#a8472a;
  --c0:#f6d9c9; --c1:#dfe6c3; --c2:#f4e2b4; --c3:#cfe1e6; --c4:#e6d1de; --c5:#e3d8c8; }
@media (prefers-color-scheme: dark) { :root { --paper:#181310; --ink:#efe6da; --quiet:#b5a494; --rule:#3b312a;
  --sunk:#27201b; --mark:#e58a64;
  --c0:#5a2f1e; --c1:#3d4a1f; --c2:#574213; --c3:#24434d; --c4:#4d2c40; --c5:#463a2c; } }
* { box-sizing:border-box } body { margin:0; background:var(--paper); color:var(--ink);
  font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif }
main { width:min(72rem,100% - 2.5rem); margin:2.5rem auto 5rem }
h1 { font:500 2.4rem/1.15 Georgia,"Liberation Serif",serif; margin:0 0 .4rem }
h2 { font:500 1.6rem/1.2 Georgia,"Liberation Serif",serif; margin:3rem 0 .8rem }
h3 { font-size:1rem; margin:1.8rem 0 .5rem } p { max-width:46rem; margin:.3rem 0 1rem } .quiet { color:var(--quiet) }
.scroll { overflow-x:auto } table { border-collapse:collapse; min-width:100%; font-variant-numeric:tabular-nums }
th,td { text-align:right; padding:.35rem .7rem; border-bottom:1px solid var(--rule); white-space:nowrap }
th { white-space:normal; vertical-align:bottom; line-height:1.25 }
th:first-child,td:first-child { text-align:left; padding-left:0 } th { font-weight:600; color:var(--quiet) }
td.best { color:var(--mark); font-weight:650 } tr.kind th { color:var(--ink); padding-top:1.1rem }
.cuts { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(21rem,100%),1fr)); gap:1rem }
.of4 { grid-template-columns:repeat(auto-fit,minmax(min(30rem,100%),1fr)) }
.parts { table-layout:fixed; width:100%; min-width:calc(18rem + var(--n) * 7rem) } .parts th { overflow-wrap:anywhere }
.parts th:first-child { width:11rem } .parts th:nth-child(2) { width:7rem }
td.bar { background:linear-gradient(to left,var(--sunk) var(--v),transparent 0) }
dl { display:grid; grid-template-columns:max-content 1fr; gap:.15rem 1rem; max-width:58rem; font-size:.88rem;
  color:var(--quiet) } dt { font-weight:600 } dd { margin:0 }
@media (max-width:40rem) { dl { grid-template-columns:1fr } dd { margin-bottom:.4rem } }
summary .quiet { font-weight:400; margin-left:.8rem } .text-of > summary { font-weight:600; padding:.2rem 0 }
figure { margin:0; background:var(--sunk); border-radius:.6rem; padding:.8rem 1rem 1rem; min-width:0 }
figcaption { display:flex; justify-content:space-between; gap:1rem; font-size:.88rem; margin-bottom:.5rem }
.text { font:.88rem/1.75 ui-monospace,Menlo,Consolas,"Liberation Mono",monospace; white-space:pre-wrap;
  overflow-wrap:anywhere; unicode-bidi:isolate }
.t { position:relative; border-radius:.2rem; padding:.08em 0 } .part { color:var(--quiet); font-size:.8em }
.t0{background:var(--c0)} .t1{background:var(--c1)} .t2{background:var(--c2)} .t3{background:var(--c3)}
.t4{background:var(--c4)} .t5{background:var(--c5)}
.t:hover { outline:2px solid var(--mark) } .t:hover::after { content:attr(data-id); position:absolute; left:0;
  bottom:calc(100% + .25rem); z-index:3; background:var(--ink); color:var(--paper); padding:.1rem .45rem;
  border-radius:.3rem; font:.78rem/1.4 system-ui,sans-serif; white-space:nowrap; pointer-events:none }
.nl { color:var(--quiet) } details { margin:.6rem 0 } summary { cursor:pointer }
.chips span { display:inline-block; background:var(--sunk); border-radius:.3rem; padding:.05rem .45rem; margin:.15rem;
  font:.82rem/1.5 ui-monospace,Menlo,Consolas,monospace; white-space:pre; max-width:100%; overflow:hidden;
  text-overflow:ellipsis; vertical-align:bottom }
"""
_MEANINGS = {
    "length at equal bytes": "tokens for the same text, over those of the tokenizer that needs least",
    "tokens per word": "fertility; words are separated by white space, which says little about scripts without it",
    "Rényi efficiency": f"of order {RENYI_ORDER}, 0 to 1: how evenly the vocabulary is used",
    "glitch candidates": "tokens that encoding their own text does not give, so that training may never have met them",
    "MB per CPU second": "first pass, one thread",
}
_OPEN = 3
"""Excerpts that are open when the page is."""
_MOST_ROWS = 40
"""Rows of a kind in the table of parts, the largest first."""
_KINDS = {"kind": "Prose, code, digits", "source": "Source", "script": "Script", "language": "Language"}
_PICTURES: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    **{code: f"‹{code:x}›" for code in (0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF)},
    0x7F: 0x2421,
}
"""What is shown for invisible characters."""


def write_page(path: Path, comparison: Comparison) -> None:
    """Writes the page, whole or not at all."""
    write_bytes(path, page(comparison).encode("utf-8", "replace"))


def page(comparison: Comparison) -> str:
    """The page as text."""
    tokenizers = comparison.tokenizers
    everything = tokenizers[0].groups[0]
    body = [
        "<h1>Tokenizers compared</h1>",
        f'<p class="quiet">{len(tokenizers)} vocabularies on the same {everything.bytes:,} bytes in '
        f"{everything.documents:,} documents. The best of each column or row is highlighted.</p>",
        _overview(tokenizers),
        "<h2>The same text, cut</h2><p class='quiet'>About as many bytes of each. Point at a token to see its id. A "
        "token that holds a part of a character shows its bytes.</p>",
        *(_excerpt(excerpt, i < _OPEN) for i, excerpt in enumerate(comparison.excerpts)),
        "<h2>Bytes per token by part</h2>",
        _parts(tokenizers),
        "<h2>Vocabularies</h2>",
        *(_vocabulary(measured) for measured in tokenizers),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tokenizers compared</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _overview(tokenizers: Sequence[Measured]) -> str:
    columns: list[tuple[str, list[float], str, bool]] = [
        ("vocabulary", [m.vocab_size for m in tokenizers], ",.0f", False),
        ("bytes per token", [m.groups[0].bytes_per_token for m in tokenizers], ".3f", True),
        ("length at equal bytes", [-m.relative_length for m in tokenizers], ".3f", True),
        ("tokens per word", [-m.groups[0].fertility for m in tokenizers], ".2f", True),
        ("vocabulary used", [m.used_tokens / m.vocab_size for m in tokenizers], ".1%", True),
        ("Rényi efficiency", [m.renyi_efficiency for m in tokenizers], ".3f", True),
        ("glitch candidates", [-m.n_unreachable for m in tokenizers], ",.0f", True),
        ("MB per CPU second", [m.megabytes_per_second for m in tokenizers], ".1f", True),
    ]
    head = "".join(f"<th>{escape(title)}</th>" for title, *_ in columns)
    rows: list[str] = []
    for i, measured in enumerate(tokenizers):
        cells = [
            _cell(format(abs(values[i]), form), has_best and len(tokenizers) > 1 and values[i] == max(values))
            for _, values, form, has_best in columns
        ]
        rows.append(f"<tr><td>{escape(measured.name)}</td>{''.join(cells)}</tr>")
    meanings = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in _MEANINGS.items())
    table = f'<div class="scroll"><table><tr><th>tokenizer</th>{head}</tr>{"".join(rows)}</table></div>'
    return f"{table}<dl>{meanings}</dl>"


def _cell(text: str, is_best: bool) -> str:
    return f'<td class="best">{text}</td>' if is_best else f"<td>{text}</td>"


def _bar_cell(value: float, best: float, *, marks_best: bool) -> str:
    kinds = "bar best" if marks_best and value == best else "bar"
    return f'<td class="{kinds}" style="--v:{value / max(best, 1e-9):.1%}">{value:.3f}</td>'


def _parts(tokenizers: Sequence[Measured]) -> str:
    names = "".join(f"<th>{escape(measured.name)}</th>" for measured in tokenizers)
    rows: list[str] = []
    by_key: list[dict[tuple[str, str], Group]] = [{(g.kind, g.name): g for g in m.groups} for m in tokenizers]
    for kind, title in _KINDS.items():
        keys = sorted((k for k in by_key[0] if k[0] == kind), key=lambda k: -by_key[0][k].bytes)[:_MOST_ROWS]
        if not keys:
            continue
        rows.append(f'<tr class="kind"><th colspan="{2 + len(tokenizers)}">{title}</th></tr>')
        for key in keys:
            values = [groups[key].bytes_per_token for groups in by_key]
            cells = [_bar_cell(v, max(values), marks_best=len(values) > 1) for v in values]
            rows.append(f"<tr><td>{escape(key[1])}</td><td>{by_key[0][key].bytes:,}</td>{''.join(cells)}</tr>")
    table = f'<table class="parts" style="--n:{len(tokenizers)}"><tr><th></th><th>bytes</th>{names}</tr>'
    return f'<div class="scroll">{table}{"".join(rows)}</table></div>'


def _excerpt(excerpt: Excerpt, is_open: bool) -> str:
    figures = "".join(_cut(cut) for cut in excerpt.cuts)
    counts = " / ".join(str(len(cut.pieces)) for cut in excerpt.cuts)
    summary = f'<summary>{escape(excerpt.title)}<span class="quiet">{counts} tokens</span></summary>'
    kinds = "cuts of4" if len(excerpt.cuts) == 4 else "cuts"  # two rows of two, not three and one
    return f'<details class="text-of"{" open" * is_open}>{summary}<div class="{kinds}">{figures}</div></details>'


def _cut(cut: Cut) -> str:
    spans = [
        f'<span class="t t{i % _COLOURS}" data-id="{token_id}">{_shown(token)}</span>'
        for i, (token, token_id) in enumerate(cut.pieces)
    ]
    caption = f"<b>{escape(cut.name)}</b><span>{len(cut.pieces)} tokens</span>"
    return f'<figure><figcaption>{caption}</figcaption><div class="text" dir="auto">{"".join(spans)}</div></figure>'


def _shown(token: bytes) -> str:
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return f'<span class="part">‹{token.hex(" ")}›</span>'
    return escape(text.translate(_PICTURES)).replace("\n", '<span class="nl">↵</span>\n')


def _vocabulary(measured: Measured) -> str:
    unused = measured.n_never_used / measured.vocab_size
    facts = [
        f"{measured.used_tokens:,} of {measured.vocab_size:,} tokens are used, {measured.n_never_used:,} ordinary ones "
        f"({unused:.1%}) never",
        f"{measured.n_unreachable:,} cannot come from their own text",
        f"{measured.n_part_of_character:,} are parts of characters",
        "every document comes back from its ids" if measured.is_lossless else "some documents do not come back",
    ]
    lists = [
        ("Longest tokens in use", measured.longest_tokens),
        ("Longest tokens never used", measured.never_used),
        ("Glitch-token candidates: not reached by their own text", measured.unreachable),
    ]
    details = "".join(_list(title, tokens) for title, tokens in lists if tokens)
    return f"<h3>{escape(measured.name)}</h3><p>{'; '.join(facts)}.</p>{details}"


def _list(title: str, tokens: Iterable[str]) -> str:
    chips = "".join(f"<span>{escape(token.translate(_PICTURES)).replace(chr(10), '↵')}</span>" for token in tokens)
    return f'<details><summary>{escape(title)}</summary><div class="chips">{chips}</div></details>'
