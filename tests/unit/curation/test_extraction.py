import json
import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from tilth.curation import extraction
from tilth.curation.config import CurationConfig
from tilth.curation.extraction import MAX_ATTRIBUTES, MAX_DEPTH, extract
from tilth.types import document_id

PARAGRAPH = "Trees are watered in the morning, because the soil then keeps what it is given through the day. " * 3
PAGE = f"""<html lang="en-GB"><head><title> Water
 and soil </title><link rel="canonical" href="/soil"></head><body><nav><a href="/">Home</a> <a href="/b">Shop</a></nav>
<main><article><h1>Soil</h1><p>{PARAGRAPH}</p><p>{PARAGRAPH}</p></article></main><script>var x = 1</script>
<footer>Cookies</footer></body></html>"""


def test_the_main_text_without_the_boilerplate() -> None:
    page = extract(PAGE.encode(), "http://a.b/c?d")
    assert PARAGRAPH.strip() in page.text
    assert not any(word in page.text for word in ("Shop", "Cookies", "var x"))
    assert (page.title, page.language, page.url) == ("Water and soil", "en", "http://a.b/soil")


def test_utf8_wins_over_a_wrong_declaration_and_declarations_over_guesses() -> None:
    wrong = '<html><head><meta charset="windows-1251"></head><body><p>Grüße, höflich</p></body></html>'
    assert "Grüße, höflich" in extract(wrong.encode()).text
    russian = '<html><head><meta charset="windows-1251"></head><body><p>Привет, мир</p></body></html>'
    assert "Привет, мир" in extract(russian.encode("windows-1251")).text


def test_broken_markup_never_raises() -> None:
    for html in (b"", b"\x00\xff<p>x", b"<" * 1000, b"<html lang=><title>", b'<link rel="canonical" href="http://[x">'):
        assert isinstance(extract(html, "http://a.b").text, str)


def test_batches_keep_documents_and_give_reasons(batch: Callable[..., pa.RecordBatch]) -> None:
    pages = batch(
        ("a.txt", "text", {}),
        ("b.html", PAGE.encode(), {}),
        ("c.html", b"<script>1</script>", {}),
        ("d.html", b"<div>" * (MAX_DEPTH + 1), {}),
        ("e.html", b"<div></div>" * (MAX_DEPTH + 1) + PAGE.encode(), {}),
        ("f.html", b"<div " + b"a=1 " * (2 * MAX_ATTRIBUTES) + b">" + PAGE.encode(), {}),
        score_x=0.5,
    )
    outcome = extraction.operator(CurationConfig()).apply(pages)
    kept = outcome.kept.to_pylist()
    assert [row["source"] for row in kept] == ["a.txt", "b.html", "e.html"]
    assert json.loads(kept[1]["meta"]) == {"kind": "prose", "title": "Water and soil"}
    assert kept[1]["id"] == document_id("", PAGE.encode())
    assert [row["score_x"] for row in kept] == [0.5] * 3
    assert [row["lineage"] for row in kept] == [
        row["lineage"] for row in pages.to_pylist() if row["source"][0] in "abe"
    ]
    assert outcome.rejects["reason"].to_pylist() == ["no_main_text", "nested_too_deep", "too_many_attributes"]


@pytest.mark.parametrize(
    "html",
    [
        b"<pre>" + b" " * 300_000 + b"x</pre>",
        b"<pre>" + b"\t \n" * 100_000 + b"x</pre>",
        b"<p " + b" ".join(b"a%d" % n for n in range(80_000)) + b">x",
        b"<p " + b" ".join(b"a%d='1'" % n for n in range(80_000)) + b">x",
        b"<p " + b"".join(b'a%d="1"' % n for n in range(80_000)) + b">x",
        b"<html " + b" ".join(b"a%d=1" % n for n in range(300_000)) + b">x",
        b"".join(b"<html a%d=1>" % n for n in range(300_000)) + b"x",
        b"<div>" * 300_000,
        b"<b><p>" * 100_000,
    ],
)
def test_pages_that_took_time_with_the_square_of_their_length(
    html: bytes, batch: Callable[..., pa.RecordBatch]
) -> None:
    """In CPU seconds; each of them took from 10 seconds to minutes, and takes well under one."""
    pages = batch(("a.html", html, {}))
    started = time.process_time()
    extraction.operator(CurationConfig()).apply(pages)
    assert time.process_time() - started < 5


def test_attributes_are_counted_outside_of_their_values() -> None:
    image = b'<img src="data:image/png;base64,' + b"iVBO/w0K Gg= o" * 20_000 + b'">'
    assert PARAGRAPH.strip() in extract(PAGE.encode().replace(b"<h1>", image + b"<h1>")).text
    assert not extraction._has_too_many_attributes(image)
