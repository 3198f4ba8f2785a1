import gzip
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from real_data import FOLDER, MISSING
from tilth.curation.config import CurationConfig
from tilth.curation.decoding import unpack
from tilth.curation.read import read_file
from tilth.curation.read_result import DeadLetter, Read
from tilth.errors import DataError
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
    assert isinstance(page, Read)
    assert page.row["url"] == "http://a.b/c"


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


def http(body: bytes, *fields: str) -> bytes:
    head = "".join(f"{field}\r\n" for field in ("Content-Type: text/html", *fields))
    payload = f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body
    fields_of_warc = f"WARC-Type: response\r\nContent-Type: application/http\r\nContent-Length: {len(payload)}\r\n\r\n"
    return b"WARC/1.0\r\n" + fields_of_warc.encode() + payload + b"\r\n\r\n"


GOOD = [record(f"<p>page {n} {n * 7919}".encode() * 20) for n in range(200)]
PAYLOAD = b"<p>unpacked"


@pytest.mark.parametrize(
    "bad",
    [
        GOOD[1].replace(b"Content-Length: ", b"Content-Length: 9"),
        GOOD[1].replace(b"Content-Length: ", b"Content-Length: 999999999999"),
        GOOD[1].replace(b"Content-Length: ", b"Content-Length: 9" + b"9" * 5000),
        GOOD[1].replace(b"Content-Length: ", b"Content-Length: -"),
        GOOD[1].replace(b"Content-Length: ", b"X: "),
        GOOD[1][:-100],
        GOOD[1].replace(b"HTTP/1.1 200", b"HTTP/9 x"),
        GOOD[1].replace(b"\r\n\r\n", b"\r\n", 1),
        b"garbage\n" * 1000,
        b"WARC/1.0\r\n" + b"X-Header: x\r\n" * 100_000,
        http(b"5\r\nabcde\r\nzz\r\nabc", "Transfer-Encoding: chunked"),
        http(b"ffffffff\r\nabcde", "Transfer-Encoding: chunked"),
        http(gzip.compress(PAYLOAD)[:-5], "Content-Encoding: gzip"),
        http(b"\x1f\x8b\x08garbage", "Content-Encoding: gzip"),
        http(PAYLOAD, "Content-Encoding: br"),
        http(PAYLOAD, "Content-Encoding: unheard-of"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_record_loses_only_itself(read: Reader, bad: bytes, packed: bool) -> None:
    pieces = [GOOD[0], bad, *GOOD[1:]]
    found = read("a.warc.gz" if packed else "a.warc", b"".join(map(gzip.compress, pieces) if packed else pieces))
    pages = [text for kind, _, text in found if kind == "page"]
    assert len(pages) == 200
    assert {kind for kind, _, _ in found} <= {"page", "dead letter", "reject"}
    assert 1 <= len(found) - len(pages) <= 2


def test_a_false_length_loses_only_what_it_hides(read: Reader) -> None:
    short = GOOD[1].replace(b"Content-Length: ", b"Content-Length: 1")[:-4] + b"xx\r\n\r\n"
    found = read("a.warc", b"".join([GOOD[0], short, *GOOD[1:]]))
    assert sum(kind == "page" for kind, _, _ in found) == 200


def test_a_corrupt_gzip_member_loses_only_itself(read: Reader) -> None:
    members = [gzip.compress(piece) for piece in GOOD]
    for position in (12, 40, -6):
        broken = bytearray(members[1])
        broken[position] ^= 0xFF
        found = read("a.warc.gz", b"".join([members[0], bytes(broken), *members[2:]]))
        assert sum(kind == "page" for kind, _, _ in found) in (199, 200)
        assert [kind for kind, _, _ in found].count("dead letter") in (1, 2)
    found = read("b.warc.gz", b"".join([members[0], b"garbage between members", *members[1:]]))
    assert sum(kind == "page" for kind, _, _ in found) == 200


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda content: zlib.compress(content)[2:-4]),
        ("br", lambda content: bytes(pa.Codec("brotli").compress(content))),
        ("zstd", lambda content: bytes(pa.Codec("zstd").compress(content))),
        ("gzip, gzip", lambda content: gzip.compress(gzip.compress(content))),
        ("gzip", lambda content: content),
    ],
)
def test_content_encodings_are_undone_up_to_the_limit(
    read: Reader, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    chunked = b"%x\r\n" % len(pack(PAYLOAD)) + pack(PAYLOAD) + b"\r\n0\r\n\r\n"
    archive = http(pack(PAYLOAD), f"Content-Encoding: {encoding}") + http(
        chunked, f"Content-Encoding: {encoding}", "Transfer-Encoding: chunked"
    )
    assert [text for _, _, text in read("a.warc", archive)] == [PAYLOAD.decode()] * 2
    bomb = http(pack(b"x" * 100_000), f"Content-Encoding: {encoding}")
    assert read("a.warc", bomb, max_document_bytes=50_000) == [("reject", "a.warc#1", "document_too_long")]


@pytest.mark.skipif(not DATA.exists(), reason=MISSING)
@pytest.mark.parametrize(
    ("name", "pages", "dead_letters"),
    [("warcfile.warc.gz", 16, 0), ("clueweb-quirk.warc.gz", 29, 0), ("warcio_example-trunc.warc", 0, 1)],
)
def test_real_archives(name: str, pages: int, dead_letters: int) -> None:
    found = list(read_file(InputFile(path=str(DATA / name), name=name, bytes=1), CurationConfig()))
    assert sum(isinstance(item, Read) for item in found) == pages
    assert sum(isinstance(item, DeadLetter) for item in found) == dead_letters


def test_many_empty_gzip_members_take_time_that_grows_with_their_number_only() -> None:
    member = gzip.compress(b"", mtime=0)
    packed = member * 400_000 + gzip.compress(b"page")  # 8 MB: it took minutes
    begun = time.process_time()
    assert unpack(packed, "gzip", 1000) == b"page"
    assert time.process_time() - begun < 20
    assert unpack(packed, "gzip", 3) is None
    with pytest.raises(DataError, match="cut"):
        unpack(packed[:-4], "gzip", 1000)
