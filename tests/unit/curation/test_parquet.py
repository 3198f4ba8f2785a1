"""Parquet files that stand for far more than they hold, and row groups that are broken."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.curation import parquet
from tilth.curation.config import CurationConfig
from tilth.curation.parquet import expanded_bytes
from tilth.curation.read import read_file
from tilth.curation.read_result import Read
from tilth.files import InputFile
from tilth.types import DOCUMENT_SCHEMA

MEMORY = """
import sys
from collections import Counter
from pathlib import Path
from tilth.curation.config import CurationConfig
from tilth.curation.read import read_file
from tilth.curation.read_result import Read
from tilth.files import InputFile
path = Path(sys.argv[1])
kinds = Counter()
for result in read_file(InputFile(path=str(path), name=path.name, bytes=path.stat().st_size), CurationConfig()):
    kinds["read" if isinstance(result, Read) else result.row.get("reason") or "dead letter"] += 1
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(dict(kinds), int(peak) // 1024)
"""


def memory_of_reading(path: Path) -> tuple[dict[str, int], int]:
    """Reads a file in a process of its own; returns counts of what it gave, and its peak of memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    counts, megabytes = done.stdout.rsplit(" ", 1)
    return eval(counts), int(megabytes)


def repeated(value: str, rows: int, **columns: object) -> pa.Table:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [value])
    return pa.table({"text": column, **columns})


def test_one_long_value_that_all_rows_repeat_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(repeated("x" * 9_000_000, 20_000), path, compression="zstd")
    assert path.stat().st_size < 5_000
    counts, megabytes = memory_of_reading(path)
    assert counts == {"read": 1, "repeated_value": 19_999}
    assert megabytes < 700


@pytest.mark.parametrize("field", ["text", "other"])
def test_values_over_the_limit_are_not_made(tmp_path: Path, field: str) -> None:
    path = tmp_path / "bomb.parquet"
    table = repeated("y" * 30_000_000, 1000)
    if field == "other":
        table = table.rename_columns(["other"]).append_column("text", pa.array(["short"] * 1000))
    pq.write_table(table, path, compression="zstd")
    counts, megabytes = memory_of_reading(path)
    assert counts == {"document_too_long": 1000}
    assert megabytes < 700


def test_a_list_that_repeats_a_long_value_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    inner = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["z" * 100_000])
    tags = pa.ListArray.from_arrays(pa.array([0, 100_000], pa.int32()), inner)
    pq.write_table(pa.table({"text": ["short"], "tags": tags}), path, compression="zstd")
    counts, megabytes = memory_of_reading(path)
    assert counts == {"document_too_long": 1}
    assert megabytes < 700


def test_a_page_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    texts = pa.array([f"{n}" + "x" * 9_000_000 for n in range(16)])
    pq.write_table(pa.table({"text": texts}), path, compression="zstd", use_dictionary=False, data_page_size=1 << 30)
    del texts
    assert path.stat().st_size < 100_000
    counts, megabytes = memory_of_reading(path)
    assert counts == {"dead letter": 1}
    assert megabytes < 700


def test_values_that_share_a_long_beginning_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    texts = pa.array(["x" * 4_000_000 + str(n) for n in range(24)])
    encoding = {"text": "DELTA_BYTE_ARRAY"}
    pq.write_table(pa.table({"text": texts}), path, compression="zstd", use_dictionary=False, column_encoding=encoding)
    del texts
    counts, megabytes = memory_of_reading(path)
    assert counts == {"read": 24}
    assert megabytes < 700


def three_groups() -> tuple[bytearray, pq.FileMetaData]:
    sink = io.BytesIO()
    texts = [f"text {n} {n * 7919}" for n in range(30)]
    pq.write_table(pa.table({"text": texts}), sink, row_group_size=10, compression="zstd", use_dictionary=False)
    return bytearray(sink.getvalue()), pq.read_metadata(io.BytesIO(sink.getvalue()))


@pytest.mark.parametrize("offset", [0, 2, -5])
def test_a_broken_row_group_loses_only_itself(tmp_path: Path, offset: int) -> None:
    content, metadata = three_groups()
    column = metadata.row_group(1).column(0)
    position = column.data_page_offset + (offset if offset >= 0 else column.total_compressed_size + offset)
    content[position : position + 3] = b"\xff\xff\xff"
    (tmp_path / "a.parquet").write_bytes(content)
    file = InputFile(path=str(tmp_path / "a.parquet"), name="a.parquet", bytes=1)
    found = list(read_file(file, CurationConfig()))
    texts = [result.row["text"] for result in found if isinstance(result, Read)]
    assert texts == [f"text {n} {n * 7919}" for n in [*range(10), *range(20, 30)]]
    (letter,) = [result for result in found if not isinstance(result, Read)]
    assert str(letter.row["error"]).startswith("rows 11 to 20: ")
    assert letter.row["source"] == "a.parquet#11"


def test_a_row_of_a_wrong_kind_loses_only_itself(tmp_path: Path) -> None:
    columns = ["id", "text", "url", "source", "language", "meta"]
    rows = [dict.fromkeys(columns, "x") | {"id": f"{n}", "meta": "{}"} for n in range(5)]
    rows[1]["meta"] = "[1,2]"
    rows[2]["meta"] = "{broken"
    rows[3]["id"] = ""
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    file = InputFile(path=str(tmp_path / "a.parquet"), name="a.parquet", bytes=1)
    found = list(read_file(file, CurationConfig()))
    assert [isinstance(result, Read) for result in found] == [True, False, False, False, True]
    errors = [str(result.row["error"]) for result in found if not isinstance(result, Read)]
    assert [error[:9] for error in errors] == ["`meta` is", "`meta` is", "`id` is e"]


def test_page_headers_say_what_pages_unpack_to() -> None:
    sink = io.BytesIO()
    texts = [f"{n}" * 1000 for n in range(2000)]
    pq.write_table(pa.table({"text": texts}), sink, data_page_size=10_000, write_batch_size=10, compression="zstd")
    column = pq.read_metadata(io.BytesIO(sink.getvalue())).row_group(0).column(0)
    sizes = list(parquet.page_sizes(io.BytesIO(sink.getvalue()), column))
    assert len(sizes) > 10
    assert column.total_uncompressed_size / 2 < sum(sizes) < column.total_uncompressed_size


def test_rows_with_maps_are_read(tmp_path: Path) -> None:
    maps = pa.array([[("k", "v")], None, [], [("k", "v" * 50_000)]], pa.map_(pa.string(), pa.string()))
    table = pa.table({"text": [f"text {row}" for row in range(4)], "facts": maps})
    pq.write_table(table, tmp_path / "a.parquet")
    file = InputFile(path=str(tmp_path / "a.parquet"), name="a.parquet", bytes=1)
    found = list(read_file(file, CurationConfig(max_document_bytes=20_000)))
    assert [type(item).__name__ for item in found] == ["Read"] * 4
    assert json.loads(str(found[0].row["meta"]))["facts"] == [["k", "v"]]
    assert expanded_bytes(maps.slice(3)) > 50_000 > 100 > expanded_bytes(maps.slice(0, 3))
    stored = pa.table({name: ["x"] * 4 for name in DOCUMENT_SCHEMA.names if name != "meta"} | {"meta": ["{}"] * 4})
    pq.write_table(stored.append_column("facts", maps), tmp_path / "a.parquet")
    first, *_ = (item for item in read_file(file, CurationConfig()) if isinstance(item, Read))
    assert first.types["facts"] == pa.map_(pa.string(), pa.string())


@pytest.mark.parametrize("kind", [pa.timestamp("ns", "UTC"), pa.duration("ns"), pa.time64("ns")])
def test_times_in_nanoseconds_are_read_in_microseconds(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({name: ["x"] for name in DOCUMENT_SCHEMA.names if name != "meta"} | {"meta": ["{}"]})
    pq.write_table(table.append_column("at", pa.array([1_234_567], kind)), tmp_path / "a.parquet")
    (found,) = read_file(InputFile(path=str(tmp_path / "a.parquet"), name="a.parquet", bytes=1), CurationConfig())
    assert isinstance(found, Read)
    assert pa.scalar(found.row["at"], found.types["at"]).cast(pa.int64()).as_py() == 1234
