import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from tilth.curation.found import DeadLetter, Page

from real_data import FOLDER, MISSING
from tilth.curation.config import CurationConfig
from tilth.curation.read import read_file
from tilth.files import InputFile

Reader = Callable[..., list[tuple[str, str, str]]]
DATA = FOLDER / "warc"


def record(body: bytes, url: str = "http://a.b/", status: str = "200 OK", kind: str = "text/html") -> bytes:
    http = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:12345678-1234-1234-1234-123456789abc>\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return head.encode() + http + b"\r\n\r\n"


def test_responses_become_pages_and_the_rest_has_reasons(read: Reader) -> None:
    archive = (
        record(b"<p>one")
        + record(b"gone", status="404 Not Found")
        + record(b"\x89PNG", kind="image/png")
        + record(b"plain words", kind="text/plain; charset=utf-8")
        + record(b"<p>" + b"x" * 5000)
    )
    expected = [
        ("page", "#1", "<p>one"),
        ("reject", "#2", "http_status"),
        ("reject", "#3", "not_text"),
        ("prose", "#4", "plain words"),
        ("reject", "#5", "document_too_long"),
    ]
    for name, content in (("a.warc", archive), ("a.warc.gz", gzip.compress(archive))):
        found = read(name, content, max_document_bytes=2000)
        assert found == [(kind, name + source, what) for kind, source, what in expected]


def test_the_address_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(record(b"<p>x", url="http://a.b/c"))
    (page,) = read_file(InputFile(path=str(tmp_path / "a.warc"), name="a.warc", bytes=1), CurationConfig())
    assert isinstance(page, Page)
    assert page.document.url == "http://a.b/c"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("share", [0.55, 0.70, 0.85, 0.99])
def test_a_cut_archive_keeps_what_came_before_and_says_so(read: Reader, share: float, packed: bool) -> None:
    pieces = [record(f"<p>page {n} {n * 7919}".encode() * 20) for n in range(10)]
    whole = b"".join(gzip.compress(piece) if packed else piece for piece in pieces)
    found = read("a.warc.gz" if packed else "a.warc", whole[: int(len(whole) * share)])
    assert [kind for kind, _, _ in found] == ["page"] * (len(found) - 1) + ["dead letter"]
    assert len(found) - 1 == int(10 * share) or (packed and abs(len(found) - 1 - 10 * share) < 2)


def test_a_file_that_is_no_archive_is_a_dead_letter(read: Reader) -> None:
    assert [kind for kind, _, _ in read("a.warc", b"garbage\n" * 100)] == ["dead letter"]
    assert read("b.warc", b"") == [("reject", "b.warc", "empty_file")]


@pytest.mark.skipif(not DATA.exists(), reason=MISSING)
@pytest.mark.parametrize(
    ("name", "pages", "dead_letters"),
    [("warcfile.warc.gz", 16, 0), ("clueweb-quirk.warc.gz", 29, 0), ("warcio_example-trunc.warc", 1, 1)],
)
def test_real_archives(name: str, pages: int, dead_letters: int) -> None:
    found = list(read_file(InputFile(path=str(DATA / name), name=name, bytes=1), CurationConfig()))
    assert sum(isinstance(item, Page) for item in found) == pages
    assert sum(isinstance(item, DeadLetter) for item in found) == dead_letters
