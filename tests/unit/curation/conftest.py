from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tilth.curation.columns import BASE_SCHEMA, batch_of
from tilth.curation.config import CurationConfig
from tilth.curation.operators import kind
from tilth.curation.read import read_file
from tilth.curation.read_result import DeadLetter, FileReading, Read, ReadResult, Reject
from tilth.files import InputFile

Summary = tuple[str, str, str]
Reader = Callable[..., list[Summary]]
BatchMaker = Callable[..., pa.RecordBatch]


def summary(result: ReadResult) -> Summary:
    """A read result in a word: (kind, source, text or reason or error)."""
    source = str(result.row["source"])
    if isinstance(result, Reject):
        return "reject", source, str(result.row["reason"])
    if isinstance(result, DeadLetter):
        return "dead letter", source, str(result.row["error"])
    html = result.row.get("html")
    if isinstance(html, bytes):
        return "page", source, html.decode()
    return kind(result.row), source, str(result.row["text"])


@pytest.fixture
def batch() -> BatchMaker:
    """Makes a batch of documents `(source, text or HTML, meta)` as operators get it."""

    def make(*documents: tuple[str, str | bytes, dict[str, object]], **columns: object) -> pa.RecordBatch:
        reads: list[Read] = []
        for source, content, meta in documents:
            reading = FileReading(InputFile(path="", name=source, bytes=0), CurationConfig())
            if isinstance(content, bytes):
                read = reading.page(content, meta=meta)
            else:
                read = reading.document(content, size=0, meta=meta)
            assert isinstance(read, Read)
            row = read.row | columns
            reads.append(
                Read(
                    row,
                    {name: pa.scalar(value).type for name, value in columns.items() if name not in BASE_SCHEMA.names},
                )
            )
        return batch_of(reads)

    return make


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Writes bytes under a name and reads them back as the corpus reader sees them."""

    def run(name: str, content: bytes, **config: int) -> list[Summary]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        file = InputFile(path=str(path), name=name, bytes=len(content))
        return [summary(result) for result in read_file(file, CurationConfig(**config))]

    return run


@pytest.fixture(autouse=True)
def kept_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the process of the operators from test to test: starting it takes most of a small curation's time."""
    monkeypatch.setattr("tilth.curation.pipeline.stop_guard", lambda: None)
