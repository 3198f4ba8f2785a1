"""Corpora made to hang, crash or fill the memory: each ends in seconds, and the rest of the corpus is there."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from e2e.running import ENVIRONMENT, tilth

pytestmark = pytest.mark.slow

PROSE = (
    "The old mill stood by the river for more than two hundred years, and the people of the village had long since "
    "stopped wondering who had built it. In the spring the water was high and the wheel turned day and night; in the "
    "summer it stood still, and children climbed on it. That year, however, something was different, and it was the "
    "miller's daughter who noticed it first, because she was the only one with the patience to listen to the stones."
)
MEMORY = 3 << 30
"""Bytes of address space for a run: reading what is here without bounds takes more."""


def curate(folder: Path, *words: str) -> tuple[list[dict[str, object]], list[dict[str, object]], list[str]]:
    """Curates `folder/corpus` within bounds of memory and time; returns rejects, dead letters and kept sources."""
    limit = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))"
    command = "import sys; sys.argv = ['tilth', *sys.argv[1:]]; runpy.run_module('tilth', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", f"{limit}; {command}", "curate", "corpus", "--out", "out", "--workers", "1", *words],
        cwd=folder,
        env=ENVIRONMENT | {"ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    rejects, letters, train, held_out = (
        [row for path in sorted((folder / "out" / name).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
        for name in ("rejects", "dead_letters", "train", "held_out")
    )
    trained_on = [str(row["source"]) for row in train]
    whole = [str(row["source"]) for row in held_out if row["source"] not in trained_on]  # not the end of one of them
    return rejects, letters, sorted(trained_on + whole)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two good files, before and after all others."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "0good.txt").write_text(PROSE)
    (folder / "zgood.jsonl").write_text(json.dumps({"text": PROSE[::1] + " And that was how all of it began."}) + "\n")
    return folder


GOOD = ["corpus/0good.txt", "corpus/zgood.jsonl#1"]
UNIQUE = ("--near-duplicate-threshold", "None")


def test_what_is_no_regular_file(corpus: Path, tmp_path: Path) -> None:
    os.mkfifo(corpus / "fifo.txt")
    (corpus / "zero.txt").symlink_to("/dev/zero")
    (tmp_path / "outside.txt").write_text(PROSE + " This is outside.")
    (corpus / "leaves.txt").symlink_to(tmp_path / "outside.txt")
    (corpus / "broken.txt").symlink_to("nowhere")
    (corpus / "loop.txt").symlink_to("loop.txt")
    (corpus / "up").symlink_to("..")
    rejects, letters, kept = curate(tmp_path, *UNIQUE)
    assert kept == GOOD
    noted = {str(row["source"]).removeprefix("corpus/") for row in rejects + letters}
    assert {"fifo.txt", "zero.txt", "leaves.txt", "broken.txt", "loop.txt"} <= noted
    assert {str(row["reason"]) for row in rejects} == {"not_read"}


def test_names_that_are_no_unicode_or_look_like_urls(corpus: Path, tmp_path: Path) -> None:
    (corpus / "a").write_text("not this one")
    names = [b"caf\xe9.txt", b"a::b.txt", b"new\nline.txt", b"simplecache::x.txt", b"100%25.txt", b"#1.txt", b"[b].txt"]
    for index, name in enumerate(names):
        (corpus / os.fsdecode(name)).write_text(PROSE + f" This is number {index}, and {index * 7}.")
    _, letters, kept = curate(tmp_path, *UNIQUE)
    assert not letters
    assert len(kept) == len(names) + 2
    assert "corpus/a::b.txt" in kept


def test_broken_files_of_every_kind(corpus: Path, tmp_path: Path) -> None:
    packers: dict[str, Callable[[bytes], object]] = {
        "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": pa.Codec("zstd").compress,
    }  # fmt: skip
    lines = "".join(json.dumps({"text": f"{PROSE} Number {n}, {n * 7919}."}) + "\n" for n in range(300)).encode()
    for suffix, pack in packers.items():
        packed = bytes(memoryview(pack(lines)))  # type: ignore[arg-type]
        (corpus / f"cut.jsonl.{suffix}").write_bytes(packed[: len(packed) // 2])
        (corpus / f"no.txt.{suffix}").write_bytes(b"this is not packed at all")
        (corpus / f"empty.txt.{suffix}").touch()
        (corpus / f"empty.{suffix}").touch()
    for suffix in ("txt", "py", "html", "warc", "warc.gz", "json", "jsonl", "parquet", "wet"):
        (corpus / f"zero.{suffix}").touch()
        (corpus / f"binary.{suffix}").write_bytes(bytes(range(256)) * 20)
    (corpus / "huge.jsonl").write_bytes(b"[" * 200_000 + b"\n" + b'{"text": 1' + b"0" * 5000 + b"}\n")
    rejects, letters, kept = curate(tmp_path, *UNIQUE, "--max-dead-letters", "1")
    assert set(GOOD) <= set(kept)
    noted = {str(row["source"]).split("#")[0] for row in rejects + letters}
    names = {f"corpus/{path.name}" for path in corpus.iterdir()}
    assert names - noted <= {*GOOD, "corpus/zgood.jsonl"} | {source.split("#")[0] for source in kept}


def packed_html(pack: Callable[[bytes], bytes], encoding: str, size: int) -> bytes:
    body = pack(b"<p>" + b"x" * size)
    payload = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: {encoding}\r\n\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload + b"\r\n\r\n"


def test_small_files_that_unpack_to_gigabytes(corpus: Path, tmp_path: Path) -> None:
    def brotli(content: bytes) -> bytes:
        return bytes(memoryview(pa.Codec("brotli").compress(content)))  # type: ignore[arg-type]

    size = 60_000_000
    bombs = [
        packed_html(gzip.compress, "gzip", size),
        packed_html(zlib.compress, "deflate", size),
        packed_html(brotli, "br", size),
        packed_html(lambda content: gzip.compress(gzip.compress(content)), "gzip, gzip", size),
    ]
    for index, bomb in enumerate(bombs):
        (corpus / f"bomb{index}.warc.gz").write_bytes(gzip.compress(bomb))
    zeros = io.BytesIO()
    with gzip.GzipFile(fileobj=zeros, mode="wb") as stream:
        for _ in range(20):
            stream.write(b"x" * 10_000_000)
    for name in ("bomb.txt.gz", "bomb.jsonl.gz", "bomb.html.gz", "bomb.py.gz", "bomb.warc.gz", "bomb.json.gz"):
        (corpus / name).write_bytes(zeros.getvalue())
    (corpus / "bomb.txt.bz2").write_bytes(bz2.compress(b"x" * size))
    (corpus / "bomb.txt.xz").write_bytes(lzma.compress(b"x" * size))
    (corpus / "bomb.txt.zst").write_bytes(bytes(memoryview(pa.Codec("zstd").compress(b"x" * size))))  # type: ignore[arg-type]
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), ["y" * 9_000_000])
    pq.write_table(pa.table({"text": column}), corpus / "bomb.parquet", compression="zstd")
    rejects, letters, kept = curate(tmp_path, *UNIQUE, "--max-dead-letters", "1")
    assert kept == GOOD
    noted = {str(row["source"]).split("#")[0].removeprefix("corpus/") for row in rejects + letters}
    assert {path.name for path in corpus.iterdir()} - noted == {"0good.txt", "zgood.jsonl"}
    assert [row["reason"] for row in rejects if "bomb0" in str(row["source"])] == ["document_too_long"]


def test_pages_that_take_the_parser_long_and_a_rule_that_hangs(corpus: Path, tmp_path: Path) -> None:
    pages = {
        "spaces": b"<pre>" + b" " * 300_000 + b"x</pre>",
        "attributes": b"<p " + b" ".join(b"a%d=1" % n for n in range(80_000)) + b">x",
        "html": b"<html " + b" ".join(b"a%d=1" % n for n in range(300_000)) + b">x",
        "deep": b"<div>" * 300_000,
    }
    for name, page in pages.items():
        (corpus / f"{name}.html").write_bytes(page)
    (corpus / "marks.txt").write_text("the of and " * 40 + "a" + "\u0301\u0316" * 300_000)
    (corpus / "hangs.txt").write_text(PROSE + " " + "a" * 60 + "b is where a pattern runs for ever.")
    rule = (
        "import re\nfrom tilth.curation import Drop, judge\n"
        "def factory(config):\n"
        "    slow = re.compile(r'\\b(a+)+\\b(?!b)$')\n"
        "    return judge('slow', lambda row: Drop('match') if slow.search(row['text']) or "
        "re.search('(a+)+c', row['text']) else None)\n"
    )
    (tmp_path / "rule.py").write_text(rule)
    words = ("--operators", "extract", "language", "rule.py:factory", "--document-seconds", "2")
    rejects, letters, kept = curate(tmp_path, *UNIQUE, *words)
    assert set(GOOD) <= set(kept)
    errors = {str(row["source"]): str(row["error"]) for row in letters}
    assert errors["corpus/hangs.txt"] == "it took more than 2 CPU seconds"
    assert len(rejects) >= 3


def test_a_bug_in_a_rule_ends_with_its_traceback_and_an_outage_is_no_dead_letter(corpus: Path, tmp_path: Path) -> None:
    rule = (
        "from tilth.curation import judge\ndef factory(config):\n    return judge('bug', lambda row: row['text'] + 1)\n"
    )
    (tmp_path / "rule.py").write_text(rule)
    words = ("curate", "corpus", "--out", "out", "--operators", "rule.py:factory")
    done = tilth(*words, "--debug", cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert "TypeError" in done.stderr
    assert "rule.py" in done.stderr
    assert "corpus/0good.txt" in done.stderr
    assert not (tmp_path / "out").exists()
    done = tilth("curate", "corpus", "--out", "other", "--operators", "rule.py:no_factory", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
