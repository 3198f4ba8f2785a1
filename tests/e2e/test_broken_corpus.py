"""A corpus in which almost everything is broken: reasons in the ledger, no traceback, and the rest goes on."""

import gzip
import io
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from e2e.running import tilth

pytestmark = pytest.mark.slow

PROSE = (
    "The old mill stood by the river for more than two hundred years, and the people of the village had long since "
    "stopped wondering who had built it. In the spring the water was high and the wheel turned day and night; in the "
    "summer it stood still, and children climbed on it. That year, however, something was different, and it was the "
    "miller's daughter who noticed it first, because she was the only one with the patience to listen to the stones."
)


def warc(n_records: int) -> bytes:
    out = io.BytesIO()
    for i in range(n_records):
        body = f"<html><head><title>Page {i}</title></head><body><p>{PROSE} This was page {i}.</p></body></html>"
        http = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        head = (
            "WARC/1.0\r\nWARC-Type: response\r\n"
            f"WARC-Target-URI: http://example.org/{i}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
            f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{i:012d}>\r\n"
            f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
        ).encode()
        with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as member:
            member.write(head + http + b"\r\n\r\n")
    return out.getvalue()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "good.txt").write_text(PROSE)
    (corpus / "binary.txt").write_bytes(bytes(range(256)) * 100)
    (corpus / "invalid.txt").write_bytes(PROSE.encode() + b"\xff\xfe\xff broken \x80\x80" * 50)
    (corpus / "empty.txt").write_bytes(b"")
    (corpus / "empty.jsonl").write_bytes(b"")
    lines = "\n".join(json.dumps({"text": f"{PROSE} It was record {i}, and {i * 7} stones."}) for i in range(500))
    (corpus / "cut.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:-3000])
    (corpus / "broken.jsonl").write_text(json.dumps({"text": PROSE + " Fine."}) + '\n{"text": "cut off\n[1, 2]\n{}\n')
    whole = warc(20)
    (corpus / "cut.warc.gz").write_bytes(whole[: len(whole) - 200])
    (corpus / "not.parquet").write_bytes(b"PAR1 this is none")
    (corpus / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with (corpus / "line.txt").open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 1_000_000)
    (corpus / "secret.txt").write_text(PROSE + " Nobody may read this.")
    (corpus / "secret.txt").chmod(0)
    return corpus


def test_nothing_stops_the_rest(corpus: Path, tmp_path: Path) -> None:
    done = tilth("curate", str(corpus), "--out", "out", cwd=tmp_path)
    assert "Traceback" not in done.stderr + done.stdout
    rejects = pq.read_table(sorted((tmp_path / "out" / "rejects").glob("*.parquet"))).to_pylist()
    letters = pq.read_table(sorted((tmp_path / "out" / "dead_letters").glob("*.parquet"))).to_pylist()
    noted = {str(row["source"]).split("#")[0].removeprefix("corpus/") for row in rejects + letters}
    expected = {
        "binary.txt", "empty.txt", "empty.jsonl", "cut.jsonl.gz", "broken.jsonl", "cut.warc.gz", "not.parquet",
        "picture.png", "line.txt",
    }  # fmt: skip
    if os.geteuid() != 0:  # nothing is secret from root
        expected.add("secret.txt")
    assert expected <= noted
    assert all(row["reason"] for row in rejects)
    assert all(row["error"] for row in letters)
    ledger = json.loads((tmp_path / "out" / "ledger.json").read_text())
    kept = ledger["train"]["documents"] + ledger["held_out"]["documents"]
    assert kept > 0
    kept -= ledger["split"]["tails"]  # their beginnings are in train
    assert kept + len(rejects) + len(letters) == ledger["stages"][0]["documents_in"]


def test_a_corpus_with_nothing_in_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "empty.txt").touch()
    done = tilth("curate", "corpus", "--out", "curated", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "empty_file" in done.stderr
    assert "Traceback" not in done.stderr
    assert "ledger.json" in done.stderr.replace("\n", "").replace("│", "").replace(" ", "")
