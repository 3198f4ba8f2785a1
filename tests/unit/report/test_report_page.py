"""The page as a whole: what is on it, that data stays text, that it is self-contained and always the same."""

from __future__ import annotations

import base64
import copy
import errno
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tilth.report import RunResults, collect, render
from unit.report.made_up_run import RUN, Files, collected, with_seeds, write_run

TITLES = {
    "curation": "Curation",
    "tokenizer": "Tokenizer",
    "training": "Training",
    "surprise": "Held-out text by token",
    "samples": "Samples",
    "loop": "Self-improving loop",
    "cost": "Cost",
    "provenance": "Provenance",
}
SECTION_OF = {
    "ledger.json": "curation",
    "statistics.json": "tokenizer",
    "summary.json": "training",
    "metrics.jsonl": "training",
    "baselines.json": "training",
    "surprise.json": "surprise",
    "samples.json": "samples",
    "improve.json": "loop",
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


def page_of(run: RunResults, tmp_path: Path) -> Page:
    return Page(render(run, tmp_path).read_text(encoding="utf-8"))


def only(*names: str) -> Files:
    """The made-up run with only the files of these names."""
    kept = {folder: {name: value for name, value in files.items() if name in names} for folder, files in RUN.items()}
    return {folder: files for folder, files in kept.items() if files}


def test_whole_run_shows_every_section(whole_run: RunResults, tmp_path: Path) -> None:
    html = render(whole_run, tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert page.sections == list(TITLES)
    assert [re.sub(r"^<span>\d+</span>", "", title) for title in re.findall(r"<h2[^>]*>(.*?)</h2>", html)] == list(
        TITLES.values()
    )
    assert page.open == [] and page.crossed == []
    assert "tilth chat runs/export/7777" in page.text
    for fact in ("5b1c0c7e9f", "cpu: 2 cores", "pyarrow 18.0.0", "torch 2.5.1"):
        assert fact in page.text


def test_empty_run_shows_a_page_without_sections(tmp_path: Path) -> None:
    page = page_of(RunResults(name="nothing"), tmp_path)
    assert page.sections == [] and page.open == [] and page.crossed == []
    assert "nothing" in page.text


def test_command_is_shown_where_it_is_known(run_files: Files, tmp_path: Path) -> None:
    folders = write_run(run_files, tmp_path / "runs")
    known = page_of(collect(folders, name="mine", run_command="tilth run mine.py:recipe --depth 2"), tmp_path)
    assert "tilth run mine.py:recipe --depth 2" in known.text
    assert "tilth run" not in page_of(collect(folders), tmp_path).text


@pytest.mark.parametrize("name", SECTION_OF)
def test_section_needs_only_one_of_its_files(name: str, tmp_path: Path) -> None:
    assert page_of(collected(only(name), tmp_path / "runs"), tmp_path).sections == [SECTION_OF[name]]


def test_records_alone_show_cost_and_provenance(tmp_path: Path) -> None:
    assert page_of(collected(only("step.json"), tmp_path / "runs"), tmp_path).sections == ["cost", "provenance"]


@pytest.mark.parametrize("folder", RUN)
def test_partial_run_leaves_out_the_section(folder: str, run_files: Files, tmp_path: Path) -> None:
    del run_files[folder]
    missing = {"curate": "curation", "improve": "loop", "baselines": "surprise"}.get(folder, folder)
    expected = [key for key in TITLES if key != missing]
    page = page_of(collected(run_files, tmp_path / "runs"), tmp_path)
    assert page.sections == expected and page.open == [] and page.crossed == []


def test_two_seeds_and_two_tokenizers_share_charts(tmp_path: Path) -> None:
    run = collected(with_seeds(RUN), tmp_path / "runs")
    html = render(run, tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == [] and page.crossed == [] and page.sections == list(TITLES)
    html = html.split('id="loop"')[0]
    charts = re.findall(r'<figure class="chart".*?</figure>', html, re.S)
    assert len(charts) == 4
    for chart in charts:
        assert re.findall(r'<i class="key (\w+)"></i>(seed \d)', chart) == [("clay", "seed 0"), ("slate", "seed 1")]
        assert re.findall(r'<text class="label"[^>]*>(seed \d)', chart) == ["seed 0", "seed 1"]
        paths = re.findall(r'<path class="line (?:clay|slate)" d="([^"]*)"', chart)
        assert len(paths) == 2
    assert re.findall(r'<th scope="row"><i class="key \w+"></i>([^<]*)</th>', html.split('id="loop"')[0]) == [
        "tokenizer",
        "tokenizer of 4096",
        "seed 0",
        "seed 1",
    ]
    assert "model, seed 1" in page.text and "model, seed 0" in page.text
    assert page.text.count("Level 19 with") == 1, "a predictor with equal figures is shown once"


def test_two_corpora_are_listed_and_shown_one_by_one(run_files: Files, tmp_path: Path) -> None:
    run_files["curate 2"] = copy.deepcopy(run_files["curate"])
    run_files["curate 2"]["step.json"] |= {"label": "second corpus", "fingerprint": "e" * 16}
    html = render(collected(run_files, tmp_path / "runs"), tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == [] and page.crossed == []
    assert "2 corpora: of 6,824 documents read, 4,022 (59%) were kept." in page.text
    assert re.findall(r'<details class="corpus"[^>]*>\s*<summary>([^<]*)</summary>', html) == [
        "curate",
        "second corpus",
    ]
    assert html.count('<ol class="funnel">') == 2


def test_text_of_a_corpus_stays_text(whole_run: RunResults, tmp_path: Path) -> None:
    html = render(whole_run, tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == ["application/json", None]
    assert "<script>alert('x')</script> & \"quotes\"" in page.text
    assert "&lt;b&gt; {{ 7*7 }}" in page.text, "data must be neither unescaped twice nor run as a template"
    assert "␀" in page.text and "\x00" not in html and "\x1b" not in html
    assert "\u202e" not in html, "an override of the writing direction would garble what follows"


def test_names_and_commands_are_escaped_too(tmp_path: Path) -> None:
    evil = "\"><img src=x onerror='alert(1)'>"
    run_files = with_seeds(RUN)
    ledger = run_files["curate"]["ledger.json"]
    ledger["inputs"][0]["name"] = ledger["rejects"][0]["reason"] = ledger["stages"][0]["stage"] = evil
    ledger["split"]["by"] = ledger["rejects"][0]["stage"] = evil
    ledger["languages"][evil] = 3
    run_files["tokenizer"]["statistics.json"]["example"]["pieces"][0]["text"] = evil
    for folder in ("baselines", "baselines 2"):
        run_files[folder]["baselines.json"]["bits_per_byte"][evil] = 2.0
        run_files[folder]["baselines.json"]["notes"][evil] = evil
    arms = run_files["improve"]["improve.json"]["seeds"][0]["arms"]
    arms[evil] = arms["vote"]
    for name, files in run_files.items():
        files["step.json"] |= {"name": evil, "label": f"{evil} {name}", "fingerprint": evil + name, "git_commit": evil}
        files["step.json"] |= {"device": evil, "libraries": {evil: evil}, "config": {evil: evil}}
    folders = write_run(run_files, tmp_path / "runs")
    page = page_of(collect(folders, name=evil, chat_command=evil, run_command=evil), tmp_path)
    assert page.open == [] and page.crossed == []
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_page_loads_nothing(whole_run: RunResults, tmp_path: Path) -> None:
    html = render(whole_run, tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    loading = {"link", "img", "iframe", "object", "embed", "audio", "video", "source", "base", "image", "use"}
    assert not loading & {tag for tag, _ in page.tags}
    links = [v for _, attributes in page.tags for k, v in attributes.items() if k in ("src", "href", "action")]
    assert links and all(link is not None and link.startswith("#") for link in links)
    style = "".join(re.findall(r"<style>(.*?)</style>", html, re.S))
    assert "url(" not in style and "@import" not in style
    assert "http" not in style + "".join(re.findall(r"<script>(.*?)</script>", html, re.S))


def test_links_lead_to_elements_of_the_page(whole_run: RunResults, tmp_path: Path) -> None:
    page = page_of(whole_run, tmp_path)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = {(attributes["href"] or "")[1:] for tag, attributes in page.tags if tag == "a"}
    assert len(ids) == len(set(ids))
    assert links <= set(ids)


def test_policy_names_the_hash_of_the_script(whole_run: RunResults, tmp_path: Path) -> None:
    html = render(whole_run, tmp_path).read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        attributes["content"] for tag, attributes in Page(html).tags if tag == "meta" and "http-equiv" in attributes
    ]
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_same_data_gives_same_bytes(whole_run: RunResults, tmp_path: Path) -> None:
    first = render(whole_run, tmp_path / "a").read_bytes()
    assert render(whole_run, tmp_path / "b").read_bytes() == first
    assert render(whole_run, tmp_path / "a").read_bytes() == first


def test_name_of_the_file_can_be_chosen(whole_run: RunResults, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert render(whole_run, out / "deep" / "mine.html") == out / "deep" / "mine.html"
    assert render(whole_run, out / "folder") == out / "folder" / "report.html"
    assert sorted(p.name for p in out.rglob("*.*")) == ["mine.html", "report.html"]


def test_a_page_that_cannot_be_written_leaves_the_old_one_and_no_rest(
    whole_run: RunResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = render(whole_run, tmp_path / "page.html")
    old = page.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        render(RunResults(name="new"), page)
    assert page.read_bytes() == old
    assert [path for path in tmp_path.iterdir() if path.is_file()] == [page]


def test_numbers_that_are_none_never_reach_the_drawings(run_files: Files, tmp_path: Path) -> None:
    for line in run_files["pretrain"]["metrics.jsonl"][300:]:
        line |= {key: None for key in line if key not in ("step", "tokens")}
    run_files["pretrain"]["summary.json"] |= {"bits_per_byte_after": None, "flops": float("inf")}
    run_files["baselines"]["baselines.json"]["bits_per_byte"]["model"] = None
    run_files["improve"]["improve.json"]["seeds"][0]["arms"]["vote"]["accuracy"][3][4] = None
    html = render(collected(run_files, tmp_path / "runs"), tmp_path).read_text(encoding="utf-8")
    drawn = " ".join(re.findall(r'(?:\bd|\bx|\by|cx|cy|x1|x2|y1|y2|width|height|style)="([^"]*)"', html))
    assert not re.search(r"nan|inf", drawn, re.I)
    assert "Training diverged" in Page(html).text
