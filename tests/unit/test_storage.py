import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.errors import ConfigError, DataError, DependencyError
from tilth.files import atomic_path, clear_temporaries, list_files, open_stream
from tilth.paths import filesystem
from tilth.storage import Dataset, finish_dataset, write_dataset, write_jsonl, write_table
from tilth.types import Document, document_id, documents_table

texts = st.text(st.characters(exclude_categories=["Cs"]))


def make(n: int) -> list[Document]:
    return [Document.make("é" * (i % 50), f"file-{i}", meta={"index": i}) for i in range(n)]


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


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "null",
        "[1]",
        '{"schema_version": 99, "shards": []}',
        '{"schema_version": 1}',
        '{"schema_version": 1, "shards": null}',
        '{"schema_version": 1, "shards": [{"name": "x.parquet"}]}',
        "[" * 100_000,
    ],
    ids=lambda content: content[:30],
)
def test_a_broken_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json"):
        Dataset.open(tmp_path)


def test_a_folder_without_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a dataset"):
        Dataset.open(tmp_path)


def cut(folder: Path) -> None:
    path = folder / "shard-00000.parquet"
    path.write_bytes(path.read_bytes()[:-200])


def swap(folder: Path) -> None:
    first, second = folder / "shard-00000.parquet", folder / "shard-00001.parquet"
    first.rename(folder / "between")
    second.rename(first)
    (folder / "between").rename(second)


def flip(folder: Path) -> None:
    path = folder / "shard-00000.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def lose(folder: Path) -> None:
    (folder / "shard-00000.parquet").unlink()


@pytest.mark.parametrize("damage", [cut, swap, lose])
def test_a_shard_of_another_size_is_named_when_the_dataset_is_opened(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    write_dataset(tmp_path, make(2000), made_by="test", shard_bytes=30_000)
    damage(tmp_path)
    with pytest.raises(DataError, match="shard-00000"):
        Dataset.open(tmp_path)


@pytest.mark.parametrize("read", [lambda d: list(d.documents()), lambda d: list(d.batches(0)), lambda d: d.verify()])
def test_a_flipped_byte_is_named_before_a_row_is_used(tmp_path: Path, read: Callable[[Dataset], object]) -> None:
    write_dataset(tmp_path, make(2000), made_by="test")
    dataset = Dataset.open(tmp_path, verify=True)
    flip(tmp_path)
    assert Dataset.open(tmp_path) == dataset  # the size is the same
    with pytest.raises(DataError, match=r"shard-00000.*damaged"):
        read(dataset)
    with pytest.raises(DataError, match="shard-00000"):
        Dataset.open(tmp_path, verify=True)


def test_a_dataset_is_not_written_over_another(tmp_path: Path) -> None:
    old = write_dataset(tmp_path, make(40), made_by="test", shard_bytes=100)
    with pytest.raises(ConfigError, match="holds a dataset already"):
        write_dataset(tmp_path, make(5), made_by="test")
    assert Dataset.open(tmp_path) == old
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(ConfigError, match="holds shards"):
        write_dataset(tmp_path, make(5), made_by="test")


def test_the_same_claimed_work_is_written_anew_and_nothing_old_is_left(tmp_path: Path) -> None:
    write_dataset(tmp_path, make(40), made_by="test", shard_bytes=100, identity={"seed": 1})
    again = write_dataset(tmp_path, make(5), made_by="test", identity={"seed": 1})
    assert again.n_documents == 5
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    assert list(Dataset.open(tmp_path).documents()) == make(5)
    with pytest.raises(ConfigError, match="seed 1 -> 2"):
        write_dataset(tmp_path, make(5), made_by="test", identity={"seed": 2})


def test_a_manifest_is_not_written_over_strangers(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", make(5), made_by="test")
    (tmp_path / "a" / "shard-00000.parquet").rename(tmp_path / "mine.parquet")
    write_table(tmp_path / "shard-00000.parquet", documents_table(make(3)))
    with pytest.raises(ConfigError, match="mine.parquet"):
        finish_dataset(tmp_path, shards=["shard-00000.parquet"], made_by="test")
    (tmp_path / "mine.parquet").unlink()
    assert finish_dataset(tmp_path, shards=["shard-00000.parquet"], made_by="test").n_documents == 3


def test_columns_that_stages_added_are_kept(tmp_path: Path) -> None:
    table = documents_table(make(3)).append_column("score_x", pa.array([0.5, 1.0, 2.0]))
    write_table(tmp_path / "shard-00000.parquet", table)
    dataset = finish_dataset(tmp_path, shards=["shard-00000.parquet"], made_by="test")
    assert next(dataset.batches(0)).column("score_x").to_pylist() == [0.5, 1.0, 2.0]


def test_a_dataset_is_written_to_a_url_and_read_from_it() -> None:
    url = "memory://remote/dataset"
    dataset = write_dataset(url, make(300), made_by="test", shard_bytes=3000)
    fs, inner = filesystem(url)
    assert len(dataset.shards) > 1
    assert sorted(p.rpartition("/")[2] for p in fs.ls(inner, detail=False)) == sorted(
        ["dataset.json", *(shard.name for shard in dataset.shards)]
    )
    again = Dataset.open(url, verify=True)
    assert again == dataset
    assert list(again.documents()) == make(300)
    with pytest.raises(ConfigError, match="already"):
        write_dataset(url, make(3), made_by="test")
    content = bytearray(fs.cat_file(f"{inner}/shard-00000.parquet"))
    content[len(content) // 2] ^= 1
    fs.pipe_file(f"{inner}/shard-00000.parquet", bytes(content))
    with pytest.raises(DataError, match="shard-00000"):
        list(Dataset.open(url).documents())
    assert write_jsonl("memory://remote/rows.jsonl.gz", [{"a": 1}]) == 1
    with open_stream("memory://remote/rows.jsonl.gz") as stream:
        assert stream.read() == b'{"a": 1}\n'
    fs.rm("/remote", recursive=True)


def test_files_are_listed_by_name_and_excluded_by_glob(tmp_path: Path) -> None:
    for name in ("b.txt", "a/x.txt", "a/test/y.txt", ".hidden/z.txt", "a/__pycache__/c.pyc", "a/.dot"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("12345")
    assert [f.name for f in list_files(str(tmp_path))] == ["a/test/y.txt", "a/x.txt", "b.txt"]
    files = list_files(str(tmp_path), exclude=("*/test/*",))
    assert [(f.name, f.bytes) for f in files] == [("a/x.txt", 5), ("b.txt", 5)]
    assert [f.name for f in list_files(str(tmp_path / "b.txt"))] == ["b.txt"]


def test_a_missing_path_and_an_unknown_scheme_are_named(tmp_path: Path) -> None:
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


@settings(deadline=None)  # each example is flushed to disk
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


def test_a_dataset_is_a_sequence_of_documents(tmp_path: Path) -> None:
    documents = make(3000)
    write_dataset(tmp_path / "d", documents, made_by="test", shard_bytes=20_000)
    dataset = Dataset.open(str(tmp_path / "d"))
    assert dataset == Dataset.open(tmp_path / "d") and len(dataset.shards) > 2
    assert len(dataset) == 3000 and list(dataset) == documents
    for index in (0, 5, 1023, 1024, 2999, -1, -3000):
        assert dataset[index] == documents[index]
    for part in (slice(3), slice(995, 1010), slice(None, None, 700), slice(-5, None), slice(20, 10), slice(50, 3, -7)):
        assert dataset[part] == documents[part]
    for beyond in (3000, -3001):
        with pytest.raises(IndexError, match=f"3,000 documents.* has no document {beyond}"):
            dataset[beyond]
    with pytest.raises(TypeError, match="not str"):
        dataset["text"]  # type: ignore[call-overload]
    assert repr(dataset).startswith(f"<Dataset '{tmp_path / 'd'}': 3,000 documents, ") and len(repr(dataset)) < 200


def test_a_folder_that_is_not_there_says_how_to_make_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        Dataset.open(str(tmp_path / "gone"))
    assert caught.value.fix is not None and "tilth curate" in caught.value.fix
