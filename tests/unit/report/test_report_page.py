"""The page as a whole: what is on it, that data stays text, that it is self-contained and always the same."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import tilth.report
from tilth.report import RunArtefacts, render

SECTIONS = ["curation", "tokenizer", "training", "samples", "loop", "cost", "provenance"]
FIELDS = {
    "ledger": {"curation"},
    "tokenizer": {"tokenizer"},
    "samples": {"samples"},
    "improve": {"loop"},
    "recipes": {"cost", "provenance"},
}
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Tags with their attributes, visible text, and what was left open or closed wrongly."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data

    @property
    def sections(self) -> list[str | None]:
        return [attributes["id"] for tag, attributes in self.tags if tag == "section"]


def page_of(run: RunArtefacts, tmp_path: Path) -> Page:
    return Page(render(run, tmp_path).read_text(encoding="utf-8"))


def test_whole_run_shows_every_section(whole_run: RunArtefacts, tmp_path: Path) -> None:
    page = page_of(whole_run, tmp_path)
    assert page.sections == SECTIONS
    assert page.open == [] and page.crossed == []
    assert "tilth chat runs/export/06060606" in page.text
    assert "tilth run quickstart" in page.text


def test_empty_run_shows_a_page_without_sections(tmp_path: Path) -> None:
    page = page_of(RunArtefacts(name="nothing"), tmp_path)
    assert page.sections == [] and page.open == [] and page.crossed == []
    assert "nothing" in page.text


@pytest.mark.parametrize("field", FIELDS)
def test_section_goes_with_its_data(field: str, artefacts: dict[str, Any], tmp_path: Path) -> None:
    only = page_of(RunArtefacts(**{field: artefacts[field]}), tmp_path)
    without = page_of(RunArtefacts(**{**artefacts, field: None if field != "recipes" else ()}), tmp_path)
    assert set(only.sections) == FIELDS[field]
    assert set(without.sections) == set(SECTIONS) - FIELDS[field]


@pytest.mark.parametrize("field", ["metrics", "training", "baselines"])
def test_training_section_needs_only_one_of_its_files(field: str, artefacts: dict[str, Any], tmp_path: Path) -> None:
    assert page_of(RunArtefacts(**{field: artefacts[field]}), tmp_path).sections == ["training"]


def test_text_of_a_corpus_stays_text(whole_run: RunArtefacts, tmp_path: Path) -> None:
    html = render(whole_run, tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "<script>alert('x')</script> & \"quotes\"" in page.text
    assert "&lt;b&gt; {{ 7*7 }}" in page.text, "data must be neither unescaped twice nor run as a template"
    assert "␀" in page.text and "\x00" not in html and "\x1b" not in html
    assert "\u202e" not in html, "an override of the writing direction would garble what follows"


def test_names_and_commands_are_escaped_too(artefacts: dict[str, Any], tmp_path: Path) -> None:
    evil = "\"><img src=x onerror='alert(1)'>"
    artefacts |= {"name": evil, "chat_command": evil, "run_command": evil}
    artefacts["ledger"]["inputs"][0]["name"] = evil
    artefacts["ledger"]["drops"][0]["reason"] = evil
    artefacts["ledger"]["stages"][0]["stage"] = evil
    artefacts["ledger"]["languages"][evil] = 3
    artefacts["tokenizer"]["example"]["pieces"][0]["text"] = evil
    artefacts["baselines"]["bits_per_byte"][evil] = 2.0
    artefacts["baselines"]["notes"][evil] = evil
    artefacts["improve"]["arms"][evil] = artefacts["improve"]["arms"]["vote"]
    artefacts["recipes"][0] |= {"name": evil, "fingerprint": evil, "git_commit": evil}
    page = page_of(RunArtefacts(**artefacts), tmp_path)
    assert page.open == [] and page.crossed == []
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_page_loads_nothing(whole_run: RunArtefacts, tmp_path: Path) -> None:
    html = render(whole_run, tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    loading = {"link", "img", "iframe", "object", "embed", "audio", "video", "source", "base", "image", "use"}
    assert not loading & {tag for tag, _ in page.tags}
    links = [v for _, attributes in page.tags for k, v in attributes.items() if k in ("src", "href", "action")]
    assert links and all(link is not None and link.startswith("#") for link in links)
    style = "".join(re.findall(r"<style>(.*?)</style>", html, re.S))
    assert "url(" not in style and "@import" not in style
    assert "http" not in style + "".join(re.findall(r"<script>(.*?)</script>", html, re.S))


def test_links_lead_to_places_on_the_page(whole_run: RunArtefacts, tmp_path: Path) -> None:
    page = page_of(whole_run, tmp_path)
    places = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = {(attributes["href"] or "")[1:] for tag, attributes in page.tags if tag == "a"}
    assert len(places) == len(set(places))
    assert links <= set(places)


def test_policy_names_the_hash_of_the_script(whole_run: RunArtefacts, tmp_path: Path) -> None:
    html = render(whole_run, tmp_path).read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        attributes["content"] for tag, attributes in Page(html).tags if tag == "meta" and "http-equiv" in attributes
    ]
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_same_data_gives_same_bytes(whole_run: RunArtefacts, tmp_path: Path) -> None:
    first = render(whole_run, tmp_path / "a").read_bytes()
    assert render(whole_run, tmp_path / "b").read_bytes() == first
    assert render(whole_run, tmp_path / "a").read_bytes() == first


def test_files_and_parsed_json_give_the_same_page(artefacts: dict[str, Any], tmp_path: Path) -> None:
    paths: dict[str, Any] = dict(artefacts)
    for field in ("ledger", "tokenizer", "training", "samples", "baselines", "improve"):
        paths[field] = tmp_path / f"{field}.json"
        paths[field].write_text(json.dumps(artefacts[field]), encoding="utf-8")
    paths["metrics"] = tmp_path / "metrics.jsonl"
    paths["metrics"].write_text("".join(json.dumps(line) + "\n" for line in artefacts["metrics"]))
    assert (
        render(RunArtefacts(**paths), tmp_path / "a").read_bytes()
        == render(RunArtefacts(**artefacts), tmp_path / "b").read_bytes()
    )


def test_name_of_the_file_can_be_chosen(whole_run: RunArtefacts, tmp_path: Path) -> None:
    assert render(whole_run, tmp_path / "deep" / "mine.html") == tmp_path / "deep" / "mine.html"
    assert render(whole_run, tmp_path / "folder") == tmp_path / "folder" / "report.html"
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["mine.html", "report.html"]


def test_numbers_that_are_none_never_reach_the_drawings(artefacts: dict[str, Any], tmp_path: Path) -> None:
    for line in artefacts["metrics"][300:]:
        line |= {key: float("nan") for key in line if key not in ("step", "tokens")}
    artefacts["training"] |= {"bits_per_byte_after": float("nan"), "flops": float("inf")}
    artefacts["baselines"]["bits_per_byte"]["model"] = float("nan")
    artefacts["improve"]["arms"]["vote"]["accuracy"][3][4] = None
    html = render(RunArtefacts(**artefacts), tmp_path).read_text(encoding="utf-8")
    drawn = " ".join(re.findall(r'(?:\bd|\bx|\by|cx|cy|x1|x2|y1|y2|width|height|style)="([^"]*)"', html))
    assert not re.search(r"nan|inf", drawn, re.I)
    assert "Training diverged" in Page(html).text


def test_cached_column_is_left_out_where_not_known(artefacts: dict[str, Any], tmp_path: Path) -> None:
    known = page_of(RunArtefacts(**artefacts), tmp_path).text
    unknown = page_of(RunArtefacts(**(artefacts | {"cached": None})), tmp_path).text
    assert "This run" in known and "came from the cache" in known
    assert "This run" not in unknown and "came from the cache" not in unknown


def test_public_names() -> None:
    assert sorted(tilth.report.__all__) == ["RunArtefacts", "render"]
