import json
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tilth import reading
from tilth.errors import DataError, DependencyError, ReadError
from tilth.files import open_binary
from tilth.sources import HASHES, Source


def test_content_is_hashed_once_and_again_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, runs = tmp_path / "corpus", tmp_path / "runs"
    corpus.mkdir()
    (corpus / "a.txt").write_text("one")
    first = Source(str(corpus)).fingerprint(runs)
    opened: list[str] = []
    monkeypatch.setattr("tilth.sources.open_binary", lambda path: opened.append(path) or open_binary(path))
    assert Source(str(corpus)).fingerprint(runs) == first
    assert opened == []
    (corpus / "a.txt").write_text("other")
    assert Source(str(corpus)).fingerprint(runs) != first
    assert opened == [str(corpus / "a.txt")]


def test_names_count_and_paths_do_not(tmp_path: Path) -> None:
    for folder, name in (("x", "a.txt"), ("y", "a.txt"), ("z", "b.txt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("same")
    x, y, z = (Source(str(tmp_path / f)).fingerprint(tmp_path / "runs") for f in "xyz")
    assert x == y != z


def test_a_file_that_cannot_be_read_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "broken").symlink_to(tmp_path / "gone")
    (tmp_path / "c" / "a.txt").write_text("x")
    assert len(Source(str(tmp_path / "c")).fingerprint(tmp_path / "runs")) == 16


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        Source(str(tmp_path / "nowhere")).fingerprint(tmp_path)


@pytest.mark.parametrize("content", ["{", "null", "[1]", '{"a": 3}', "[" * 100_000], ids=lambda content: content[:9])
def test_broken_memory_aids_are_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("x")
    source, runs = Source(str(tmp_path / "corpus")), tmp_path / "runs"
    before = source.fingerprint(runs)
    (runs / HASHES).write_text(content)
    assert source.fingerprint(runs) == before
    assert len(json.loads((runs / HASHES).read_text())) == 1
    (runs / ".sources" / f"{before}.json").write_text(content)
    assert source.changes_since(before, runs) == [f"{source.path}: 1 files added: a.txt"]


def test_a_change_after_the_listing_is_seen(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)
    source = Source(str(tmp_path))
    listing = source.listing(tmp_path / ".runs")
    assert listing.basis == "content"
    assert source.changed_since(listing) == []
    (tmp_path / "a.txt").write_text("longer")
    (tmp_path / "b.txt").unlink()
    (tmp_path / "d.txt").write_text("new")
    assert source.changed_since(listing) == ["a.txt", "b.txt", "d.txt"]


class _Server(SimpleHTTPRequestHandler):
    """Serves files with an ETag, and notes which were asked for by GET."""

    got: list[str]
    etag: str

    def do_GET(self) -> None:
        if not self.path.endswith("/"):
            self.got.append(self.path)
        super().do_GET()

    def end_headers(self) -> None:
        if self.etag:
            self.send_header("ETag", self.etag)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, type[_Server]]]:
    pytest.importorskip("aiohttp", reason="reads https:// URLs")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.txt").write_text("remote text")
    handler = type("Handler", (_Server,), {"got": [], "etag": '"one"'})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "served"))) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}/a.txt", handler
        httpd.shutdown()


def test_a_served_file_is_known_by_its_etag_and_not_downloaded(
    server: tuple[str, type[_Server]], tmp_path: Path
) -> None:
    url, handler = server
    listing = Source(url).listing(tmp_path / "runs")
    assert listing.basis == "ETag"
    assert handler.got == []
    assert Source(url).changed_since(listing) == []
    handler.etag = '"two"'
    assert Source(url).changed_since(listing) == ["a.txt"]
    assert Source(url).fingerprint(tmp_path / "runs") != listing.fingerprint
    assert handler.got == []


class _Remote(MemoryFileSystem):
    """A store in memory that counts how often content was opened, and may know versions."""

    protocol = "counted"
    opened = 0
    version: str | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("counted://", "memory://"))

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        type(self).opened += mode == "rb"
        return super().open(path, mode, **options)

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        facts = super().info(path, **options)
        return facts | {"ETag": self.version} if self.version and facts["type"] == "file" else facts


@pytest.fixture
def remote() -> Iterator[type[_Remote]]:
    fsspec.register_implementation("counted", _Remote, clobber=True)
    fs = _Remote()
    fs.pipe_file("/corpus/a.txt", b"one")
    fs.pipe_file("/corpus/b/c.txt", b"two")
    yield _Remote
    _Remote.version, _Remote.opened = None, 0
    fs.rm("/corpus", recursive=True)


def test_a_remote_corpus_is_known_by_size_and_time_and_not_opened(tmp_path: Path, remote: type[_Remote]) -> None:
    source = Source("counted://corpus")
    listing = source.listing(tmp_path)
    assert listing.basis == "size and time"
    assert list(listing.stamps) == ["a.txt", "b/c.txt"]
    assert source.changed_since(listing) == []
    remote().pipe_file("/corpus/a.txt", b"six")  # the same size, later
    assert source.changed_since(listing) == ["a.txt"]
    assert source.changes_since(listing.fingerprint, tmp_path) == ["counted://corpus: 1 files changed: a.txt"]
    assert remote.opened == 0


def test_a_remote_corpus_is_known_by_its_versions_where_it_has_some(tmp_path: Path, remote: type[_Remote]) -> None:
    remote.version = "v1"
    source = Source("counted://corpus")
    listing = source.listing(tmp_path)
    assert listing.basis == "ETag"
    assert set(listing.stamps.values()) == {"ETag=v1"}
    remote().pipe_file("/corpus/a.txt", b"one")  # written again, and still the same version
    assert source.changed_since(listing) == []
    remote.version = "v2"
    assert source.fingerprint(tmp_path) != listing.fingerprint
    assert remote.opened == 0


def test_a_hub_that_cannot_be_reached_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(reading, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ReadError, match="hf://datasets/nobody/tales cannot be read after 4 tries") as raised:
        Source("hf://datasets/nobody/tales").listing(tmp_path)
    assert "Check the network" in str(raised.value.fix)


def test_without_the_hub_s_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "hf", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DependencyError) as raised:
        Source("hf://datasets/nobody/tales").listing(tmp_path)
    assert 'pip install "tilth[hub]"' in str(raised.value.fix)


def test_a_source_takes_a_path_and_one_glob(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md"):
        (tmp_path / name).touch()
    source = Source(tmp_path, "*.md")  # pyright: ignore[reportArgumentType]
    assert [file.name for file in source.files()] == ["a.txt"]
    assert source == Source(str(tmp_path), ("*.md",))
