"""Documents from files and Arrow arrays."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.errors import DataError
from tilth.tokenizer import Tokenizer
from tilth.tokenizer.text_files import texts_of_files
from unit.tokenizer import model_files as files

TEXTS = ["the cat", "", "漢字 in the hat"]


@pytest.fixture(params=["bpe", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    if request.param == "bpe":
        return Tokenizer.train(TEXTS * 2, vocab_size=280)
    (tmp_path / "tokenizer.model").write_bytes(files.model())
    return Tokenizer.load(tmp_path / "tokenizer.model")


def test_every_kind_of_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": TEXTS, "n": [1, 2, 3]}), tmp_path / "a.parquet")
    lines = "\n".join([json.dumps({"text": text}) for text in TEXTS] + [""])
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.txt").write_text(TEXTS[2], encoding="utf-8")
    (tmp_path / "d.txt").touch()
    paths = [tmp_path / name for name in ("a.parquet", "b.jsonl.gz", "c.txt", "d.txt")]
    parts = list(tokenizer.encode_files(paths))
    assert [part.source.rpartition("/")[2] for part in parts] == [
        *["a.parquet#1", "a.parquet#2", "a.parquet#3"],
        *["b.jsonl.gz#1", "b.jsonl.gz#2", "b.jsonl.gz#3", "c.txt", "d.txt"],
    ]
    expected = [tokenizer.encode(text) for text in [*TEXTS, *TEXTS, TEXTS[2], ""]]
    assert [part.ids.tolist() for part in parts] == expected
    assert all(part.ends_document and part.ids.dtype == np.uint16 for part in parts)
    assert len(list(texts_of_files(paths))) == 8


def test_a_long_text_file_comes_in_parts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = "the cat in the hat\n" * 150_000
    (tmp_path / "long.txt").write_text(text)
    parts = list(tokenizer.encode_files([tmp_path / "long.txt"]))
    assert [part.ends_document for part in parts] == [False] * (len(parts) - 1) + [True] and len(parts) > 1
    assert np.concatenate([part.ids for part in parts]).tolist() == tokenizer.encode(text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"body": "x"}\n', "line 2 has no text in 'text'"),
        ("a.jsonl", b'{"text": "x"}\n{', "line 2 is not JSON"),
        ("a.jsonl", b"[]", "line 1 has no text"),
        ("a.parquet", b"PAR1", r"a\.parquet"),
        ("a.txt.gz", b"\x1f\x8bxx", r"a\.txt\.gz cannot be read"),
    ],
)
def test_broken_files_are_named(name: str, content: bytes, message: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(tokenizer.encode_files([tmp_path / name]))
    with pytest.raises(DataError, match="does not exist"):
        list(tokenizer.encode_files([tmp_path / "gone.txt"]))


def test_columns_are_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x", None]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column 'text'\.\nIt has body"):
        list(tokenizer.encode_files([tmp_path / "a.parquet"]))
    with pytest.raises(DataError, match="row 2 has no text"):
        list(tokenizer.encode_files([tmp_path / "a.parquet"], column="body"))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary()])
def test_arrow_arrays(kind: pa.DataType, tokenizer: Tokenizer) -> None:
    expected = [tokenizer.encode(text) for text in TEXTS]
    array = pa.array(TEXTS, type=pa.string()).cast(kind)
    assert tokenizer.encode_batch(array) == expected
    assert tokenizer.encode_batch(pa.chunked_array([array, array])) == expected * 2
    assert tokenizer.encode_batch(array[1:], 1) == expected[1:]


def test_arrow_arrays_that_are_no_text_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="Row 1 is null"):
        tokenizer.encode_batch(pa.array(["a", None]))
    with pytest.raises(DataError, match="Arrow array of int64 is no text"):
        tokenizer.encode_batch(pa.array([1]))
