"""A full disk, damaged results and recipes that fail to load: a box and exit code 2, and the work can be continued."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.running import ENVIRONMENT, tilth

pytestmark = pytest.mark.slow

RECIPE = '''
import json
from pathlib import Path
from tilth.execute import map_shards
from tilth.steps import Step

def write(kind, inputs, out, context):
    """Writes about a megabyte, as one of the libraries does that tilth writes with."""
    if kind == "python":
        (out / "file").write_bytes(bytes(1_000_000))
    elif kind == "json":
        from tilth.files import write_json
        write_json(out / "file", ["x" * 1000] * 1000)
    elif kind == "parquet":
        from tilth.storage import write_dataset
        from tilth.types import Document
        texts = (Document.make(str(hash(str(n)) ** 9), str(n)) for n in range(10_000))
        write_dataset(out, texts, made_by="test", identity={})
    elif kind == "safetensors":
        import torch
        from safetensors.torch import save_file
        save_file({"x": torch.zeros(250_000)}, out / "file")
    elif kind == "workers":
        list(map_shards(in_worker, [(out, 1), (out, 2)], context))

def in_worker(task):
    folder, number = task
    (folder / str(number)).write_bytes(bytes(600_000))

def recipe(*, kind: str = "python") -> Step:
    return Step("write", write, kind)
'''
LIMITED = """
import resource, runpy, signal, sys
if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    sys.argv = ["tilth", *sys.argv[1:]]
    runpy.run_module("tilth", run_name="__main__")
"""
KINDS = ["python", "parquet", "safetensors", "workers"]


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    folder = tmp_path / "recipes"  # not the working directory, which `python -m` puts before the standard library
    folder.mkdir()
    (folder / "random.py").write_text(RECIPE)  # the name of a module of the standard library
    return f"{folder / 'random.py'}:recipe"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 200 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a small disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def assert_told(done: "subprocess.CompletedProcess[str]", words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert words in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_told_and_the_same_command_continues(
    kind: str, recipe: str, small_disk: Path, tmp_path: Path
) -> None:
    words = ("run", recipe, "--kind", kind, "--runs", str(small_disk / "runs"), "--workers", "2")
    assert_told(tilth(*words, cwd=tmp_path, check=False), "Make room")
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert "done in" in tilth(*words, cwd=tmp_path).stderr
    assert "Everything is cached" in tilth(*words, cwd=tmp_path).stderr


@pytest.mark.parametrize("kind", ["python", "safetensors"])
def test_a_file_that_may_not_grow_is_told(kind: str, recipe: str, tmp_path: Path) -> None:
    (tmp_path / "limited.py").write_text(LIMITED)
    command = [sys.executable, tmp_path / "limited.py", "run", recipe, "--kind", kind, "--workers", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert_told(done, "Make room")


def test_a_recipe_named_like_a_module_maps_over_workers_and_jobs(recipe: str, tmp_path: Path) -> None:
    words = ("run", recipe, "--kind", "workers", "--workers", "2")
    tilth(*words, "--runs", "one", cwd=tmp_path)
    tilth(*words, "--runs", "two", "--jobs", "2", cwd=tmp_path)
    files = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("[12]")}
    assert len(files) == 2
    assert files == {p.relative_to(tmp_path / "two"): p.read_bytes() for p in (tmp_path / "two").rglob("[12]")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("def recipe(:", "mine.py, line 1"),
        ("\n\n1 / 0", "mine.py, line 3: the import fails with ZeroDivisionError"),
        ("def recipe(): return 3", "returned 3, not a step"),
        ("def other(): pass", "no `recipe`"),
    ],
)
def test_a_recipe_that_cannot_be_loaded_is_told(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(content)
    assert_told(tilth("run", "mine.py:recipe", cwd=tmp_path, check=False), words)


def test_check_lists_what_is_damaged(recipe: str, tmp_path: Path) -> None:
    for kind in ("python", "json"):
        tilth("run", recipe, "--kind", kind, cwd=tmp_path)
    assert "2 steps checked" in tilth("check", cwd=tmp_path).stderr
    first, second = sorted((tmp_path / "runs" / "write").glob("????????????????"))
    content = bytearray((first / "file").read_bytes())
    content[500] ^= 1
    (first / "file").write_bytes(content)
    (second / "step.json").write_text("null")
    done = tilth("check", "runs", cwd=tmp_path, check=False)
    assert_told(done, "2 files in 2 of 2 steps are not what was written")
    assert "another content" in done.stdout
    assert_told(tilth("check", str(first), cwd=tmp_path, check=False), "1 files in 1 of 1")
    assert_told(tilth("check", "nowhere", cwd=tmp_path, check=False), "nowhere does not exist")
    assert "unreadable record" in tilth("ls", "--steps", cwd=tmp_path).stdout
