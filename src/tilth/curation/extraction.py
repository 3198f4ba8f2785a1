"""Main text of a web page: resiliparse finds it, in C++, a hundred pages a second and more.

Chosen over trafilatura, which finds a few per cent more of the text, because it is an order of magnitude quicker and
keeps no state. Price: on forums, listings and product pages it takes in navigation, or misses text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import urljoin

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

from tilth.curation.config import CurationConfig
from tilth.curation.operators import Drop, Operator, Row, judge

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}")
MAX_DEPTH = 2000
"""Elements nested deeper are not a page anyone wrote, and take the parser time that grows with their square."""
MAX_ATTRIBUTES = 2000
"""Most attributes of a tag: the parser compares each with all others."""

_NESTING = re.compile(
    rb"<(/?)(?:a|b|big|blockquote|center|div|dl|em|font|i|ol|section|small|span|strong|table|u|ul)\b", re.I
)
_LONG_TAG = re.compile(rb"<[A-Za-z][^<>]{%d,}" % (2 * MAX_ATTRIBUTES))
_QUOTED = re.compile(rb"\"[^\"]*\"|'[^']*'")
_ATTRIBUTE_END = re.compile(rb"[\s/\"]+")
_MANY_ROOTS = re.compile(rb"<(?:html|body)\b", re.I)
_GAPS = re.compile(r"\n{3,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Extraction:
    """What a web page says about itself, without its boilerplate."""

    text: str
    """Main text; paragraphs are separated by a blank line. Empty where none was found."""
    title: str
    language: str | None
    """Primary subtag of the `lang` attribute (`en` for `en-GB`): what the page declares, not what it is."""
    url: str | None
    """The page's canonical address if it names one, else the one it was fetched from."""


def extract(html: bytes, url: str | None = None) -> Extraction:
    """Extracts main text, title and declared language of a page.

    Bytes that are valid UTF-8 are read as UTF-8 whatever the page declares; otherwise its `meta charset`, otherwise
    uchardet decides, and what cannot be decoded becomes U+FFFD: broken markup never raises.
    Source: resiliparse `extract_plain_text(main_content=True)` (Bevendorff et al., ECIR 2018).
    """
    tree = HTMLTree.parse(_decode(html))
    text = extract_plain_text(tree, preserve_formatting=True, main_content=True, alt_texts=False)
    text = _GAPS.sub("\n\n", _without_trailing_spaces(text)).strip()
    declared = _LANGUAGE.match(_attribute(tree, "html", "lang").strip())
    canonical = _attribute(tree, 'link[rel="canonical"]', "href").strip()
    return Extraction(
        text=text,
        title=" ".join((tree.title or "").split()),
        language=declared.group().lower() if declared else None,
        url=_join(url, canonical),
    )


def operator(config: CurationConfig) -> Operator:
    """Replaces the `html` of pages by their main text; rows without HTML pass as they are.

    Drops: `no_main_text`, `nested_too_deep`, `too_many_attributes`.
    """
    return judge("extract", _extract_row)


def _extract_row(row: Row) -> Row | Drop | None:
    html = row.get("html")
    if not isinstance(html, bytes):
        return None
    if _is_nested_too_deep(html):
        return Drop("nested_too_deep", f"over {MAX_DEPTH:,} elements")
    if _has_too_many_attributes(html):
        return Drop("too_many_attributes", f"over {MAX_ATTRIBUTES:,} in a tag")
    url = row.get("url")
    page = extract(html, None if url is None else str(url))
    if not page.text:
        return Drop("no_main_text", f"title: {page.title}" if page.title else "")
    meta = json.loads(str(row["meta"])) | ({"title": page.title} if page.title else {})
    return dict(row) | {
        "text": page.text,
        "url": page.url,
        "language": page.language,
        "meta": json.dumps(meta, ensure_ascii=False, sort_keys=True),
        "html": None,
    }


def _without_trailing_spaces(text: str) -> str:
    # By lines: the pattern `[ \t]+$` takes time with the square of the spaces within a line.
    return "\n".join(line.rstrip(" \t") for line in text.split("\n"))


def _has_too_many_attributes(html: bytes) -> bool:
    for tag in _LONG_TAG.finditer(html):
        bare = _QUOTED.sub(b'"', tag.group())
        if len(_ATTRIBUTE_END.findall(bare)) > MAX_ATTRIBUTES:
            return True
    # A repeated <html> or <body> adds its attributes to the first one.
    return len(_MANY_ROOTS.findall(html)) > MAX_ATTRIBUTES


def _is_nested_too_deep(html: bytes) -> bool:
    if html.count(b"<") <= MAX_DEPTH:
        return False
    depth = 0
    for tag in _NESTING.finditer(html):
        depth = max(depth - 1, 0) if tag.group(1) else depth + 1
        if depth > MAX_DEPTH:
            return True
    return False


def _decode(html: bytes) -> str:
    if b"\x1b" not in html[:4096]:  # ISO-2022-JP and its like are valid ASCII, and so valid UTF-8
        try:
            return html.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    encoding = detect_encoding(html, from_html_meta=True) or "utf-8"
    return bytes_to_str(html, encoding, errors="replace")


def _attribute(tree: HTMLTree, selector: str, name: str) -> str:
    root = tree.document
    node = root.query_selector(selector) if root is not None else None
    return (node.getattr(name) or "") if node is not None else ""


def _join(url: str | None, canonical: str) -> str | None:
    if not canonical:
        return url
    try:
        return urljoin(url or "", canonical)
    except ValueError:  # such as an unclosed bracket in the host
        return url
