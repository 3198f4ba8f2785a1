"""HTML pages for screenshots, the text half of WebSight: a document gives the idea of a page, the idea its HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, ParseError, Rejected, recipe
from tilth.synthesis.parse import code_block, prose
from tilth.synthesis.passages import first_characters
from tilth.synthesis.post import at_least
from tilth.teacher.request import GenerationParams
from tilth.types import Document

MAX_HTML_CHARACTERS = 200_000
MIN_BODY_WORDS = 20
_BEGIN = re.compile(r"(?:<!doctype html[^>]{0,200}>\s{0,20})?<html[\s>]", re.IGNORECASE)
MAX_TAGS, MAX_DEPTH, MAX_ATTRIBUTES = 5000, 60, 50
_VOID = frozenset(
    (
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
        "p",
        "li",
        "dt",
        "dd",
        "tr",
        "td",
        "th",
        "option",
    )
)
"""Elements that need no end tag; of the last of them, an end is not waited for."""
_FORBIDDEN = {"script": "script", "iframe": "frame", "frame": "frame", "object": "frame", "embed": "frame"}
_LOADS = ("src", "srcset", "data", "poster", "background")
_CSS_LOADS = re.compile(r"@import\b|\burl\(\s{0,20}[\"']?\s{0,20}(?!data:|#|\s|[\"'])", re.IGNORECASE)
_BLANKS = re.compile(r"[\x00-\x20]+")
"""Browsers drop these within an address (`java&#10;script:`)."""
_FILLER = re.compile(r"\blorem ipsum\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class HtmlPage:
    """Web pages that are complete in one file."""

    characters: int = 2000
    """How much of a document is shown, from its beginning."""

    def __post_init__(self) -> None:
        if self.characters < 1:
            raise ConfigError(f"`characters` is {self.characters}.", fix="Show 1 or more.")


@recipe(
    "html-page",
    version=1,
    shape="text",
    prompts=("concept", "page"),
    options=HtmlPage,
    params=GenerationParams(max_tokens=4096, temperature=0.8, top_p=0.95),
    source="Laurençon et al. 2024, WebSight (its text half: concepts and HTML; screenshots are taken elsewhere)",
)
async def html_page(document: Document, ask: Ask) -> list[Draft]:
    """Self-contained HTML pages from ideas that documents give; for screenshots, or as code."""
    shown = first_characters(document.text, ask.options.characters)
    if not shown.text:
        raise Rejected("empty_document")
    short = GenerationParams(max_tokens=400)
    concept = await ask("concept", {"document": shown.text}, at_least(30, prose), params=short)
    page = await ask("page", {"concept": concept.value}, html)
    return [Draft(text=page.value, replies=(concept, page), span=shown.span, meta={"concept": concept.value})]


def html(answer: str) -> str:
    """Returns the HTML of a whole page that needs nothing from elsewhere.

    Raises: ParseError `not_html`, `cut_off`, `too_long`, `no_title`, `too_little_text`, `script`, `frame`,
    `external_resource`, `filler_text`, `too_many_elements`; as `parse.code_block`.
    """
    text = code_block(answer).strip()
    if len(text) > MAX_HTML_CHARACTERS:
        raise ParseError("too_long", f"{len(text):,} characters")
    if _BEGIN.match(text) is None:
        raise ParseError("not_html", text[:100])
    if not text.lower().endswith("</html>"):
        raise ParseError("cut_off", text[-100:])
    _check_page(text)
    return text


class _Audit(HTMLParser):
    """Reads the tags in linear time and refuses what is forbidden, and what would make the real parser slow."""

    def __init__(self) -> None:
        super().__init__()
        self.tags = 0
        self.open: list[str] = []
        self.style_words = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags += 1
        if tag not in _VOID:
            self.open.append(tag)
        if self.tags > MAX_TAGS or len(self.open) > MAX_DEPTH or len(attrs) > MAX_ATTRIBUTES:
            raise ParseError("too_many_elements", f"{self.tags:,} tags, {len(self.open)} deep, {len(attrs)} attributes")
        _check_element(tag, {name: _BLANKS.sub("", value or "") for name, value in attrs})

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            if _CSS_LOADS.search(data):
                raise ParseError("external_resource", "in a style")
            if "body" in self.open:
                self.style_words += len(data.split())


def _check_page(text: str) -> None:
    audit = _Audit()
    audit.feed(text)
    audit.close()
    title, body = _title_and_text(text)
    if body is None or not title:
        raise ParseError("no_title")
    n_words = len(body.split()) - audit.style_words
    if n_words < MIN_BODY_WORDS:
        raise ParseError("too_little_text", f"{n_words} words < {MIN_BODY_WORDS}")
    if _FILLER.search(body):
        raise ParseError("filler_text")


def _title_and_text(html: str) -> tuple[str, str | None]:
    """Plain text, apart from what raises: a traceback would keep the tree, which must be freed in its own thread."""
    from resiliparse.parse.html import HTMLTree

    tree: Any = HTMLTree.parse(html)
    return (tree.title or "").strip(), None if tree.body is None else tree.body.text


def _check_element(tag: str, attributes: dict[str, str]) -> None:
    if tag in _FORBIDDEN:
        raise ParseError(_FORBIDDEN[tag], tag)
    if any(name.startswith("on") for name in attributes):
        raise ParseError("script", f"a handler of `{tag}`")
    links = [value for name, value in attributes.items() if name in ("href", "xlink:href", "action", "formaction")]
    if any(value.lower().startswith("javascript:") for value in links):
        raise ParseError("script", f"an address of `{tag}`")
    if attributes.get("http-equiv", "").lower() == "refresh":
        raise ParseError("external_resource", tag)
    loaded = [attributes.get(name, "") for name in _LOADS]
    if tag not in ("a", "area"):
        loaded += [attributes.get("href", ""), attributes.get("xlink:href", "")]
    if any(value and not value.lower().startswith(("data:", "#")) for value in loaded):
        raise ParseError("external_resource", tag)
    if _CSS_LOADS.search(attributes.get("style", "")):
        raise ParseError("external_resource", f"the style of `{tag}`")
