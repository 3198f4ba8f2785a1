import pyarrow as pa
from tilth.curation.ledger import RAW_SCHEMA

from tilth.curation.extraction import MAX_DEPTH, extract, extract_batch
from tilth.types import Document

PARAGRAPH = "Trees are watered in the morning, because the soil then keeps what it is given through the day. " * 3
PAGE = f"""<html lang="en-GB"><head><title> Water
 and soil </title><link rel="canonical" href="/soil"></head><body><nav><a href="/">Home</a> <a href="/b">Shop</a></nav>
<main><article><h1>Soil</h1><p>{PARAGRAPH}</p><p>{PARAGRAPH}</p></article></main><script>var x = 1</script>
<footer>Cookies</footer></body></html>"""


def test_the_main_text_without_the_furniture() -> None:
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


def test_batches_keep_documents_and_give_reasons() -> None:
    rows = [
        Document.make("text", "a.txt").row() | {"html": None},
        Document.make("", "b.html", meta={"kind": "prose"}).row() | {"html": PAGE.encode()},
        Document.make("", "c.html").row() | {"html": b"<script>1</script>"},
        Document.make("", "d.html").row() | {"html": b"<div>" * (MAX_DEPTH + 1)},
        Document.make("", "e.html").row() | {"html": b"<div></div>" * (MAX_DEPTH + 1) + PAGE.encode()},
    ]
    outcome = extract_batch(pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA))
    kept = outcome.kept.to_pylist()
    assert [row["source"] for row in kept] == ["a.txt", "b.html", "e.html"]
    page = Document.from_row(kept[1])
    assert page.meta == {"kind": "prose", "title": "Water and soil"}
    assert page.id == Document.make(page.text, "b.html").id
    assert outcome.rejects["reason"].to_pylist() == ["no_main_text", "nested_too_deep"]
