import bz2
import codecs
import gzip
import json
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth import storage
from tilth.curation import read as read_module
from tilth.curation import records
from tilth.curation.broken_input import describe
from tilth.curation.config import CurationConfig
from tilth.curation.decoding import lines, printable
from tilth.curation.read import read_file
from tilth.curation.read_result import Read
from tilth.files import InputFile
from tilth.types import Document, document_id

Reader = Callable[..., list[tuple[str, str, str]]]


def replace_open_stream(monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], object]) -> None:
    for module in (read_module, records):
        monkeypatch.setattr(module, "open_unpacked", opened)


LINES = b"".join(json.dumps({"text": f"record {n}", "id": n}).encode() + b"\n" for n in range(2000))


def test_prose_code_and_pages_are_told_by_their_suffix(read: Reader) -> None:
    assert read("a.txt", b"prose") == [("prose", "a.txt", "prose")]
    assert read("README", b"prose") == [("prose", "README", "prose")]
    assert read("x/b.py", b"x = 1\r\n") == [("code", "x/b.py", "x = 1")]
    assert read("c.html", b"<p>x") == [("page", "c.html", "<p>x")]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", pa.Codec("zstd").compress)],
)
def test_packed_files_are_read_as_what_is_inside(read: Reader, suffix: str, pack: Callable[[bytes], object]) -> None:
    packed = bytes(memoryview(pack(LINES)))
    assert read(f"a.jsonl.{suffix}", packed)[-1] == ("prose", f"a.jsonl.{suffix}#2000", "record 1999")
    assert read(f"a.py.{suffix}", bytes(memoryview(pack(b"x = 1")))) == [("code", f"a.py.{suffix}", "x = 1")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.so", b"\x7fELF\0\0", "binary_file"),
        ("a.txt", b"abc\0def", "binary_file"),
        ("a.py", b"\0", "binary_file"),
        ("a.csv", b"a,b", "no_documents"),
        ("a.xls", b"a,b", "unsupported_type"),
        ("a.txt", b"", "empty_file"),
        ("a.bin", b"", "empty_file"),
        ("a.py", b" \n\n", "empty_file"),
        ("a.txt", b" \n \n", "no_documents"),
        ("a.jsonl", b"\n\n", "no_documents"),
        ("a.txt", b"\xff\xfe", "no_documents"),
        ("a.txt", b"\x01\x02\x03\x04" * 10, "not_text"),
        ("a.html", b"x" * 101, "document_too_long"),
        ("a.py", b"x" * 101, "document_too_long"),
        ("a.txt", b"x" * 101, "line_too_long"),
    ],
)
def test_what_is_no_document_has_a_reason(read: Reader, name: str, content: bytes, reason: str) -> None:
    assert read(name, content, max_document_bytes=100) == [("reject", name, reason)]


def test_encodings(read: Reader) -> None:
    german = "Größere Bäume müssen öfter gewässert werden, sagt Frau Müller über die Gärten. " * 3
    assert read("a.txt", german.encode("latin-1"))[0][2] == german.strip()
    assert read("b.txt", codecs.BOM_UTF16_LE + german.encode("utf-16-le"))[0][2] == german.strip()
    assert read("c.txt", codecs.BOM_UTF8 + german.encode())[0][2] == german.strip()
    assert read("d.py", "# -*- coding: koi8-r -*-\nx = 'Привет'".encode("koi8-r"))[0][2].endswith("'Привет'")


def test_a_line_of_200_mb_is_never_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        left = 200_000_000
        largest = 0

        def read(self, size: int = -1) -> bytes:
            type(self).largest = max(self.largest, size)
            given = min(size, self.left)
            self.left -= given
            return b"x" * given

        def __enter__(self) -> "Endless":
            return self

        def __exit__(self, *exc: object) -> None:
            pass

    replace_open_stream(monkeypatch, lambda path: Endless())
    for name, reason in (("a.jsonl", "line_too_long"), ("a.txt", "line_too_long"), ("a.py", "document_too_long")):
        found = list(
            read_file(InputFile(path="x", name=name, bytes=200_000_000), CurationConfig(max_document_bytes=10**6))
        )
        assert len(found) == 1
        assert found[0].row["reason"] == reason  # type: ignore[union-attr]
        assert len(str(found[0].row["excerpt"])) <= 400  # type: ignore[union-attr]
    assert Endless.largest <= 1_000_001


def test_a_long_line_does_not_take_its_neighbours_along(read: Reader) -> None:
    content = b'{"text": "one"}\n{"text": "' + b"x" * 1000 + b'"}\n{"text": "three"}'
    assert read("a.jsonl", content, max_document_bytes=100) == [
        ("prose", "a.jsonl#1", "one"),
        ("reject", "a.jsonl#2", "line_too_long"),
        ("prose", "a.jsonl#3", "three"),
    ]


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("zst", pa.Codec("zstd").compress)])
def test_records_before_a_cut_are_kept(read: Reader, suffix: str, pack: Callable[[bytes], object]) -> None:
    noisy = b"".join(json.dumps({"text": f"{n * 7919 % 10007} {n**3}"}).encode() + b"\n" for n in range(20_000))
    packed = bytes(memoryview(pack(noisy)))
    found = read(f"a.jsonl.{suffix}", packed[: len(packed) // 2])
    assert len(found) > 5_000
    assert {kind for kind, _, _ in found[:-1]} == {"prose"}
    assert found[-1][0] == "dead letter"


def test_a_stream_that_is_corrupt_is_a_dead_letter(read: Reader) -> None:
    assert read("a.txt.gz", b"not gzip at all")[0][0] == "dead letter"
    assert read("a.txt.xz", b"\xfd7zXZ\0garbage")[0][0] == "dead letter"


def test_an_xz_that_asks_for_gigabytes_of_memory_is_a_dead_letter(read: Reader) -> None:
    packed = bytearray(lzma.compress(b"text " * 100))
    block = packed[12 : 12 + (packed[12] + 1) * 4]
    assert block[2:4] == b"\x21\x01"  # LZMA2, one byte of properties: the dictionary
    block[4] = 40  # 4 GB
    block[-4:] = zlib.crc32(block[:-4]).to_bytes(4, "little")
    packed[12 : 12 + len(block)] = block
    ((kind, _, error),) = read("a.txt.xz", bytes(packed))
    assert (kind, error) == ("dead letter", "LZMAError: Memory usage limit exceeded")
    assert read("b.txt.xz", lzma.compress(b"one ") + lzma.compress(b"two")) == [("prose", "b.txt.xz", "one two")]


def test_no_permission_is_a_dead_letter_without_the_machines_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    replace_open_stream(monkeypatch, refuse)
    found = list(read_file(InputFile(path="/secret/a.txt", name="a.txt", bytes=5), CurationConfig()))
    assert [item.row["error"] for item in found] == ["PermissionError: Permission denied"]  # type: ignore[union-attr]


def test_a_remote_file_that_is_refused_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "the token has expired", path)

    replace_open_stream(monkeypatch, refuse)
    with pytest.raises(PermissionError, match="expired"):
        list(read_file(InputFile(path="s3://bucket/a.txt", name="a.txt", bytes=5), CurationConfig()))


def test_the_wish_to_stop_is_no_broken_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(path: str) -> None:
        raise KeyboardInterrupt

    replace_open_stream(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        list(read_file(InputFile(path="a.txt", name="a.txt", bytes=5), CurationConfig()))


def test_a_file_that_vanished_ends_the_run_and_is_named(tmp_path: Path) -> None:
    file = InputFile(path=str(tmp_path / "gone.py"), name="gone.py", bytes=1, corpus="c")
    with pytest.raises(FileNotFoundError) as error:
        list(read_file(file, CurationConfig()))
    assert "while reading c/gone.py" in error.value.__notes__


def test_json_lines(read: Reader) -> None:
    content = (
        b'{"content": "from content"}\n'
        b'{"text": broken}\n'
        b'{"title": "x", "n": 1}\n'
        b"[1, 2]\n"
        b'{"text": null}\n'
        b'{"text": "   "}\n'
        b'{"text": "lone \\ud800 surrogate, pair \\ud83d\\ude00"}\n'
        b'{"html": "<p>page"}\n' + b"[" * 100_000 + b"\n"
    )
    found = read("a.jsonl", content)
    assert [(kind, what) for kind, _, what in found[:1] + found[2:8]] == [
        ("prose", "from content"),
        ("reject", "no_text_field"),
        ("reject", "no_text_field"),
        ("reject", "empty_record"),
        ("reject", "empty_record"),
        ("prose", "lone \ufffd surrogate, pair 😀"),
        ("page", "<p>page"),
    ]
    assert found[1][:2] == ("dead letter", "a.jsonl#2")
    assert found[1][2].startswith("malformed JSON: ")
    assert found[8][0] == "dead letter"


def test_a_json_file_may_hold_lines_an_array_or_one_object(read: Reader) -> None:
    assert read("a.json", b'{"text": "one"}\n{"text": "two"}')[1] == ("prose", "a.json#2", "two")
    assert read("b.json", b'[{"text": "one"},\n {"text": "two"}]')[1] == ("prose", "b.json#2", "two")
    assert read("c.json", b'{\n "text": "one"\n}') == [("prose", "c.json", "one")]
    assert read("d.ndjson", b'{"body": "one"}') == [("prose", "d.ndjson#1", "one")]
    found = read("e.json", b'[{"text": "one"}, {"text": 2}, {"text": "three"}, {broken, {"text": "five"}]')
    assert [kind for kind, _, _ in found] == ["prose", "reject", "prose", "dead letter"]
    assert read("f.json", b'[{"text": "one"}] more')[-1][0] == "dead letter"


def test_parquet_and_the_columns_it_has(read: Reader, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["x", "y"], "raw_content": ["one", None], "n": [1, 2]}), tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    assert read("t.parquet", content) == [("prose", "t.parquet#1", "one"), ("reject", "t.parquet#2", "empty_record")]
    assert read("cut.parquet", content[:-20])[0][0] == "dead letter"
    pq.write_table(pa.table({"title": ["x"], "words": ["y"]}), tmp_path / "u.parquet")
    file = InputFile(path=str(tmp_path / "u.parquet"), name="u.parquet", bytes=9)
    (rejected,) = read_file(file, CurationConfig())
    assert (rejected.row["reason"], rejected.row["detail"]) == (  # type: ignore[union-attr]
        "no_text_field",
        "no text field among: title, words; `--text-field NAME` says which one it is",
    )


def test_our_own_datasets_come_back_as_they_were(tmp_path: Path) -> None:
    document = Document.make("x = 1", "c/a.py", corpus="c", url="http://a.b", meta={"kind": "code", "stars": 3})
    storage.write_dataset(tmp_path, [document], made_by="test")
    path = tmp_path / "shard-00000.parquet"
    file = InputFile(path=str(path), name=path.name, bytes=1, corpus="again")
    (again,) = read_file(file, CurationConfig())
    assert isinstance(again, Read)
    assert Document.from_row(again.row) == document
    lineage = [{"stage": "read", "corpus": "again", "source": "again/shard-00000.parquet#1"}]
    assert json.loads(str(again.row["lineage"])) == lineage


def test_foreign_records_keep_scores_and_lineage_as_columns_and_the_rest_in_meta(tmp_path: Path) -> None:
    earlier = [{"stage": "teacher"}]
    row = {"text": "one", "id": 7, "score_a": 1, "lineage": json.dumps(earlier), "tags": ["x"], "meta": {"k": 1}}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        file = InputFile(path=str(tmp_path / name), name=name, bytes=1, corpus="c")
        (read,) = read_file(file, CurationConfig())
        assert isinstance(read, Read)
        assert read.row["score_a"] == 1.0
        assert json.loads(str(read.row["lineage"]))[:1] == earlier
        assert json.loads(str(read.row["meta"])) == {"kind": "prose", "id": 7, "tags": ["x"], "k": 1}
        assert read.row["id"] == document_id("c", "one")


def test_lines_are_those_of_split_for_any_chunking() -> None:
    class Chunks:
        def __init__(self, chunks: list[bytes]) -> None:
            self.chunks = chunks

        def read(self, size: int = -1) -> bytes:
            return self.chunks.pop(0) if self.chunks else b""

    assert list(lines(Chunks([b"a", b"b\n", b"\nc", b"d\ne"]), 10)) == [  # type: ignore[arg-type]
        (b"ab", 2),
        (b"", 0),
        (b"cd", 2),
        (b"e", 1),
    ]
    assert [size for _, size in lines(Chunks([b"x" * 900, b"x" * 900 + b"\ny"]), 500)] == [1800, 1]  # type: ignore[arg-type]


def test_names_that_are_no_unicode_become_printable(tmp_path: Path) -> None:
    name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    (tmp_path / name).write_text("text")
    (found,) = read_file(InputFile(path=str(tmp_path / name), name=name, bytes=4), CurationConfig())
    assert found.row["source"] == printable(name) == "caf\ufffd.txt"


def test_errors_read_the_same_on_every_machine() -> None:
    assert describe(FileNotFoundError(2, "No such file", "/home/x")) == "FileNotFoundError: No such file"
    assert describe(EOFError()) == "EOFError"
