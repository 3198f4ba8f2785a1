import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.errors import DataError, DependencyError
from tilth.files import atomic_path, clear_temporaries, list_files, open_stream
from tilth.storage import Dataset, write_dataset, write_jsonl
from tilth.types import Document, document_id

texts = st.text(st.characters(exclude_categories=["Cs"]))


def make(n: int) -> list[Document]:
    return [Document.make("é" * (i % 50), f"file-{i}", meta={"place": i}) for i in range(n)]


def test_a_dataset_reads_back_as_it_was_written(tmp_path: Path) -> None:
    documents = make(3000)
    dataset = write_dataset(tmp_path / "d", documents, made_by="test", shard_bytes=20_000)
    assert len(dataset.shards) > 1
    assert Dataset.open(tmp_path / "d") == dataset
    assert list(dataset.documents()) == documents
    assert dataset.n_documents == 3000
    assert dataset.n_bytes == sum(len(d.text.encode()) for d in documents)
    plain = pq.read_table(sorted((tmp_path / "d").glob("*.parquet")))
    assert plain.num_rows == 3000


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_dataset(tmp_path / name, make(100), made_by="test")
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("first", [0, 1, 1023, 1024, 1025, 2999, 3000, 5000])
def test_batches_start_at_any_row(tmp_path: Path, first: int) -> None:
    dataset = write_dataset(tmp_path, make(3000), made_by="test")
    sources = [s for b in dataset.batches(0, ["source"], first_row=first, rows=100) for s in b["source"].to_pylist()]
    assert sources == [f"file-{i}" for i in range(first, 3000)]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"

    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert list(target.parent.iterdir()) == []
    (target.parent / ".file.1234.tmp").write_text("left by a killed process")
    clear_temporaries(tmp_path)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("content", ["{", '{"schema_version": 99, "shards": []}'])
def test_a_broken_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json"):
        Dataset.open(tmp_path)


def test_a_folder_without_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a dataset"):
        Dataset.open(tmp_path)


def test_a_cut_shard_is_named(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, make(2000), made_by="test")
    path = dataset.path(0)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="shard-00000"):
        list(dataset.documents())


def test_files_are_listed_by_name_and_excluded_by_glob(tmp_path: Path) -> None:
    for name in ("b.txt", "a/x.txt", "a/test/y.txt", ".hidden/z.txt", "a/__pycache__/c.pyc", "a/.dot"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("12345")
    assert [f.name for f in list_files(str(tmp_path))] == ["a/test/y.txt", "a/x.txt", "b.txt"]
    files = list_files(str(tmp_path), exclude=("*/test/*",))
    assert [(f.name, f.bytes) for f in files] == [("a/x.txt", 5), ("b.txt", 5)]
    assert [f.name for f in list_files(str(tmp_path / "b.txt"))] == ["b.txt"]


def test_missing_and_unreadable_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        list_files(str(tmp_path / "nowhere"))
    with pytest.raises(DependencyError, match="nosuchscheme"):
        list_files("nosuchscheme://bucket/x")


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2", ".xz"])
def test_streams_decompress_by_name(tmp_path: Path, suffix: str) -> None:
    import bz2
    import lzma

    content = b"some text\n" * 10_000
    packed = {
        "": content,
        ".gz": gzip.compress(content),
        ".zst": pa.Codec("zstd").compress(content, asbytes=True),
        ".bz2": bz2.compress(content),
        ".xz": lzma.compress(content),
    }[suffix]
    path = tmp_path / f"file{suffix}"
    path.write_bytes(packed)
    with open_stream(str(path)) as stream:
        assert stream.read() == content


@given(st.lists(texts, max_size=20))
def test_jsonl_round_trips(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "x.jsonl.gz"
    assert write_jsonl(path, ({"text": t} for t in lines)) == len(lines)
    with open_stream(str(path)) as stream:
        assert [json.loads(line)["text"] for line in stream] == lines


@given(texts, texts, texts, texts)
def test_ids_depend_on_source_and_text_alone(s1: str, t1: str, s2: str, t2: str) -> None:
    assert document_id(s1, t1) == document_id(s1, t1)
    if "\0" not in s1 + s2:
        assert (document_id(s1, t1) == document_id(s2, t2)) == ((s1, t1) == (s2, t2))
