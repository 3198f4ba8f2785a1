"""What belongs to a corpus: regular files within it; everything else is listed with the reason why it is not read."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tilth.errors import DataError
from tilth.files import list_files, open_binary, write_json
from tilth.sources import Source


def reasons(root: Path, *, follow_links: bool = False) -> dict[str, str]:
    return {file.name: file.skipped for file in list_files(str(root), follow_links=follow_links)}


def test_only_regular_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")
    os.mkfifo(tmp_path / "fifo.txt")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.txt")
        found = reasons(tmp_path)
    assert found == {
        "a.txt": "",
        "fifo.txt": "a FIFO",
        "gone.txt": "a link that leads nowhere",
        "socket.txt": "a socket",
        "zero.txt": "a link that leaves the corpus",
    }
    assert reasons(tmp_path, follow_links=True)["zero.txt"] == "a device"
    assert len(Source(str(tmp_path)).fingerprint(tmp_path / ".runs")) == 16  # it would hang on the FIFO
    with pytest.raises(DataError, match="a FIFO"):
        list_files(str(tmp_path / "fifo.txt"))


def test_links_stay_in_the_corpus_unless_asked(tmp_path: Path) -> None:
    outside, corpus = tmp_path / "outside", tmp_path / "corpus"
    for folder in (outside, corpus / "sub"):
        folder.mkdir(parents=True)
        (folder / "x.txt").write_text("x")
    (corpus / "file.txt").symlink_to(outside / "x.txt")
    (corpus / "folder").symlink_to(outside)
    (corpus / "inner.txt").symlink_to("sub/x.txt")
    (corpus / "sub" / "loop").symlink_to(corpus)
    left = "a link that leaves the corpus"
    assert reasons(corpus) == {
        "file.txt": left, "folder": left, "inner.txt": "", "sub/loop": "a loop of links", "sub/x.txt": "",
    }  # fmt: skip
    assert reasons(corpus, follow_links=True) == {
        "file.txt": "", "folder/x.txt": "", "inner.txt": "", "sub/loop": "a loop of links", "sub/x.txt": "",
    }  # fmt: skip
    (tmp_path / "link").symlink_to(corpus)  # the corpus itself may be one
    assert reasons(tmp_path / "link") == reasons(corpus)
    assert [f.name for f in Source(str(corpus), follow_links=True).files() if not f.skipped][1] == "folder/x.txt"


def test_a_few_links_do_not_make_many_files(tmp_path: Path) -> None:
    for level in range(12):
        (tmp_path / f"level-{level:02}").mkdir()
        for number in range(8 if level < 11 else 0):
            (tmp_path / f"level-{level:02}" / f"link-{number}").symlink_to(f"../level-{level + 1:02}")
    (tmp_path / "level-11" / "x.txt").write_text("x")
    found = reasons(tmp_path)
    assert found["level-11/x.txt"] == found["level-10/link-0/x.txt"] == ""
    assert found["level-10/link-1"] == "a second link to a folder"
    assert len(found) < 1000  # it was 8^11


def test_folders_may_be_nested_deeper_than_python_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    Path("x.txt").write_text("x")
    try:
        assert list(reasons(tmp_path)) == ["d/" * 1200 + "x.txt"]
    finally:
        os.chdir(tmp_path)
        subprocess.run(["rm", "-r", "d"], check=True)  # shutil.rmtree calls itself


def test_colons_in_a_name_are_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("wrong")
    Path("a::b.txt").write_text("right")
    Path("memory:").mkdir()
    Path("memory:/x.txt").write_text("also right")
    for name, content in (("a::b.txt", b"right"), (str(tmp_path / "a::b.txt"), b"right"), ("memory:/x.txt", b"also r")):
        with open_binary(name) as stream:
            assert stream.read(6) == content[:6]
    assert [file.name for file in list_files("a::b.txt")] == ["a::b.txt"]


def test_a_name_that_is_not_utf8_is_listed_hashed_opened_and_stored(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "good.txt").write_text("good")
    with Path(os.fsdecode(os.fsencode(corpus) + b"/caf\xe9.txt")).open("wb") as file:
        file.write(b"coffee")
    first, _ = files = list_files(str(corpus))
    assert [file.name for file in files] == ["caf\\xe9.txt", "good.txt"]
    with open_binary(first.path) as stream:
        assert stream.read() == b"coffee"
    write_json(tmp_path / "names.json", [[file.path, file.name] for file in files])
    assert json.loads((tmp_path / "names.json").read_text()) == [[file.path, file.name] for file in files]
    before = Source(str(corpus)).fingerprint(tmp_path / "runs")
    assert Source(str(corpus)).fingerprint(tmp_path / "runs") == before
    Path(first.path).write_bytes(b"tea")
    assert Source(str(corpus)).fingerprint(tmp_path / "runs") != before
    assert "caf\\udce9" in str(DataError(f"{first.path} is broken."))
    str(DataError(first.path, fix=first.path)).encode()  # any terminal can show it
