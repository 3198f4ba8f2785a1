"""Dropped documents on the page: which are there, that the sample is always the same, that their text stays text."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.curation.result import KeptExample, LanguageChoice, Ledger, Split
from tilth.errors import DataError
from tilth.report import RunResults, collect, render
from tilth.report.drops import DroppedDocument, Drops, read_drops, shares
from tilth.report.run import Entry
from tilth.report.views import curation, drops
from tilth.results import read_result
from unit.report.made_up_run import HOSTILE, Files, write_run

Row = dict[str, Any]


def row(number: int, reason: str = "too_few_words", **fields: Any) -> Row:
    return {
        "id": f"{number:08x}",
        "source": f"folder/{number}.txt",
        "stage": "rules",
        "reason": reason,
        "detail": f"{number} words < 50",
        "excerpt": f"text {number}",
        "bytes": number,
    } | fields


def write(folder: Path, *files: Sequence[Row]) -> Path:
    (folder / "rejects").mkdir(parents=True)
    for number, rows in enumerate(files):
        pq.write_table(pa.Table.from_pylist(list(rows)), folder / "rejects" / f"{number:05d}.parquet")
    return folder


def counts(found: Drops) -> Counter[str]:
    return Counter(one.reason for one in found.documents)


def test_all_of_a_small_corpus_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path, [row(1), row(2, "binary", stage="read")], [row(3, detail=None, measure=0.222, limit=0.15)])
    found = read_drops(folder)
    assert found is not None and found.total == 3
    assert [(one.stage, one.reason, one.source, one.detail) for one in found.documents] == [
        ("read", "binary", "folder/2.txt", "2 words < 50"),
        ("rules", "too_few_words", "folder/1.txt", "1 words < 50"),
        ("rules", "too_few_words", "folder/3.txt", "0.222 > 0.15"),
    ]


def test_a_sample_has_some_of_every_reason_whatever_the_order_of_files(tmp_path: Path) -> None:
    rows = [row(n) for n in range(3000)] + [row(n, "rare") for n in range(3000, 3060)] + [row(9999, "once")]
    found = read_drops(write(tmp_path / "a", rows[:1000], rows[1000:]), most=400)
    assert found is not None and found.total == 3061 and len(found.documents) <= 400
    assert counts(found)["once"] == 1 and 50 <= counts(found)["rare"] <= 60
    assert counts(found)["too_few_words"] > 300
    random.Random(0).shuffle(rows)
    assert read_drops(write(tmp_path / "b", rows[:20], rows[20:]), most=400) == found


@pytest.mark.parametrize("most", [10, 400, 5000])
def test_shares_of_a_sample(most: int) -> None:
    everything = {("rules", f"reason {n}"): 7**n for n in range(6)}
    given = shares(everything, most)
    assert sum(given.values()) <= max(most, 6)
    assert all(1 <= given[key] <= count for key, count in everything.items())


def test_columns_that_are_not_there_are_left_empty(tmp_path: Path) -> None:
    found = read_drops(write(tmp_path, [{"stage": "read", "reason": "empty"}]))
    assert found == Drops(total=1, documents=(DroppedDocument(source="", stage="read", reason="empty"),))
    assert read_drops(tmp_path / "absent") is None


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, [{"id": "1", "reason": "empty"}])
    with pytest.raises(DataError, match=r"00000\.parquet has no column `stage`"):
        read_drops(folder)
    (folder / "rejects" / "00000.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(DataError, match=r"00000\.parquet cannot be read"):
        read_drops(folder)


def data_of(view: drops.DropsView | None) -> dict[str, Any]:
    assert view is not None
    assert "<" not in view.data and ">" not in view.data and "&" not in view.data
    return json.loads(view.data)


def test_text_cannot_leave_the_script_element() -> None:
    evil = "</script><script>alert(1)</script><!-- & \u2028" + HOSTILE
    one = DroppedDocument(source=evil, stage=evil, reason=evil, detail=evil, excerpt=evil[:200], id=evil)
    data = data_of(drops.view(Drops(total=1, documents=(one,))))
    (found,) = data["rows"]
    assert found[0] == 0 and found[1].startswith("</script><script>alert(1)</script><!-- & ")
    assert "\x00" not in json.dumps(data, ensure_ascii=False) and "\u202e" not in found[1]
    assert data["groups"][0]["reason"].startswith("</script>")


def test_excerpts_are_shortened_where_the_page_would_grow() -> None:
    documents = tuple(
        DroppedDocument(source=str(n), stage="rules", reason="r", excerpt="<&语言" * 100) for n in range(300)
    )
    whole, short = (drops.view(Drops(total=300, documents=documents), most_bytes=most) for most in (10**7, 60_000))
    assert whole is not None and short is not None
    assert len(whole.data.encode()) > 300_000 and len(short.data.encode()) <= 60_000
    assert len(data_of(short)["rows"]) == 300
    assert data_of(short)["rows"][0][4].endswith("…")


def test_the_page_says_which_of_the_drops_it_holds() -> None:
    one = DroppedDocument(source="a", stage="rules", reason="r")
    sentences = [
        view.sentence if (view := drops.view(given)) else ""
        for given in (
            Drops(total=1, documents=(one,)),
            Drops(total=3100, documents=(one, one)),
            Drops(total=3100, documents=(one,), only_examples=True),
            Drops(total=0, documents=()),
        )
    ]
    assert sentences == [
        "The only document that was dropped.",
        "2 of the 3,100 documents that were dropped: a sample with some of every reason.",
        "1 of the 3,100 documents that were dropped: the first of each reason.",
        "",
    ]


def test_rejects_beside_a_ledger_are_on_the_page(run_files: Files, tmp_path: Path) -> None:
    (folder,) = write_run({"curate": run_files["curate"]}, tmp_path / "runs")
    write(folder, [row(n) for n in range(30)], [row(31, "binary", source=HOSTILE.replace("\ud800", ""))])
    run = collect([folder])
    assert [(entry.label, entry.result.total) for entry in run.drops] == [("curate", 31)]
    html = render(run, tmp_path).read_text(encoding="utf-8")
    assert "All 31 documents that were dropped." in html
    assert '<option value="1">too few words, rules (30)</option>' in html
    assert "folder/17.txt" in html and html.count("<script") == 2
    assert render(collect([folder]), tmp_path / "again").read_bytes() == html.encode()


def test_a_large_corpus_stays_below_two_megabytes(run_files: Files, tmp_path: Path) -> None:
    (folder,) = write_run({"curate": run_files["curate"]}, tmp_path / "runs")
    text = "<div class='x'>语言模型</div> & " * 12
    write(folder, [row(n, f"reason_{n % 9}", excerpt=text, source=f"a/very/long/path/{n}" * 20) for n in range(9000)])
    page = render(collect([folder]), tmp_path)
    assert 500_000 < page.stat().st_size < 2_000_000


def test_kept_documents_and_languages_are_shown(run_files: Files, tmp_path: Path) -> None:
    (folder,) = write_run({"curate": run_files["curate"]}, tmp_path / "runs")
    ledger = replace(
        read_result(Ledger, folder / "ledger.json"),
        code_languages={"Python": 1400, "C": 144},
        cut_files=6,
        cut_documents=14,
        language_choice=LanguageChoice(kept=("de", "en"), shares={"de": 0.81, "en": 0.19}),
        split=Split(by="document", threshold=0.0, seed=0, tails=2, line="The ends of 2 documents are held out."),
        kept_examples=(
            KeptExample(source="b.md", id="1", excerpt=HOSTILE, bytes=1200, split="held_out", language="de"),
        ),
    )
    run = RunResults(ledgers=(Entry("curate", ledger),))
    view = curation.view(run)
    assert view is not None
    (corpus,) = view.corpora
    assert corpus.reading == (
        "6 long files were cut into 14 documents. The main languages of the corpus are kept: de (81% of the prose) and "
        "en (19% of the prose)."
    )
    assert [title for title, _ in corpus.shares] == ["Languages of prose", "Programming languages", "Code and prose"]
    html = render(run, tmp_path).read_text(encoding="utf-8")
    assert "The ends of 2 documents are held out." in html
    assert "de · 1.20 kB · held out" in html and "<b>b.md</b>" in html and "Python" in html
    assert "Width: share of the kept documents of code; full width: 100%." in html
