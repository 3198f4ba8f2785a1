from collections.abc import Callable
from pathlib import Path

import pytest
from tilth.curation.found import DeadLetter, Page, Reject

from tilth.curation.config import CurationConfig
from tilth.curation.read import read_file
from tilth.files import InputFile
from tilth.types import Document

Summary = tuple[str, str, str]
Reader = Callable[..., list[Summary]]


def summary(found: Document | Page | Reject | DeadLetter) -> Summary:
    """What was found in a word: (kind, source, text or reason or error)."""
    if isinstance(found, Reject):
        return "reject", str(found.row["source"]), str(found.row["reason"])
    if isinstance(found, DeadLetter):
        return "dead letter", str(found.row["source"]), str(found.row["error"])
    if isinstance(found, Page):
        return "page", found.document.source, found.html.decode()
    return str(found.meta["kind"]), found.source, found.text


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Writes bytes under a name and reads them back as the corpus reader sees them."""

    def run(name: str, content: bytes, **config: int) -> list[Summary]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        file = InputFile(path=str(path), name=name, bytes=len(content))
        return [summary(found) for found in read_file(file, CurationConfig(**config))]

    return run
