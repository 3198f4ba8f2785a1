"""The core as a module: its exceptions are Python's, and it lets other threads run."""

import ast
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tilth import native

PACKAGE = Path(__file__).parents[2] / "src" / "tilth"
BYTES = [bytes([byte]) for byte in range(256)]
NO_MERGES = np.zeros((0, 2), dtype=np.uint32)


def byte_encoder() -> native.BpeEncoder:
    return native.BpeEncoder(BYTES, [], NO_MERGES, False)


def test_only_the_typed_face_imports_the_core() -> None:
    importers = [path.name for path in PACKAGE.rglob("*.py") if "tilth._core" in path.read_text()]
    assert importers == ["native.py"]


def test_the_stub_names_what_the_module_holds() -> None:
    core = sys.modules["tilth._core"]
    stub = ast.parse((PACKAGE / "_core.pyi").read_text())
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            assert methods <= set(dir(getattr(core, node.name)))
    named = {node.name for node in stub.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assert named == {name for name in dir(core) if not name.startswith("_")} == set(native.__all__)


def test_arrays_of_another_type_are_refused_not_copied() -> None:
    with pytest.raises(TypeError):
        byte_encoder().decode(np.array([65], dtype=np.int64))  # type: ignore[arg-type]


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="text must be str or bytes"):
        byte_encoder().encode(3, "gpt2", None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown split pattern 'gpt9'"):
        byte_encoder().encode("a", "gpt9", None)


def test_the_gil_is_released() -> None:
    encoder = byte_encoder()
    text = "word " * 4_000_000
    started, finished = threading.Event(), threading.Event()

    def encode() -> None:
        started.set()
        encoder.encode_to_uint32(text, "llama3", None, 1)
        finished.set()

    thread = threading.Thread(target=encode)
    thread.start()
    started.wait()
    turns_while_encoding = 0
    while not finished.wait(0.001):
        turns_while_encoding += 1
    thread.join()
    assert turns_while_encoding > 0


LIMITED = """
import resource
from tilth import native
import numpy as np
encoder = native.BpeEncoder([bytes([b]) for b in range(256)], [], np.zeros((0, 2), dtype=np.uint32), False)
text = "a" * 20_000_000
def limit(extra):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, -1))
"""


def run_limited(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", LIMITED + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by /proc and RLIMIT_AS")
def test_memory_that_runs_out_is_a_memory_error() -> None:
    code = "limit(1 << 20)\ntry: encoder.encode(text, 'gpt2', None)\nexcept MemoryError: print('MemoryError')"
    assert run_limited(code) == "MemoryError"


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by /proc and RLIMIT_AS")
def test_memory_that_runs_out_in_a_thread_reaches_the_caller() -> None:
    code = (
        "limit(200 << 20)\n"
        "try: encoder.encode_batch([text] * 4, 'gpt2', None, 4)\n"
        "except MemoryError: print('MemoryError')"
    )
    assert run_limited(code) == "MemoryError"


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by /proc and RLIMIT_AS")
def test_a_thread_that_cannot_start_is_a_runtime_error() -> None:
    code = (
        "limit(1 << 20)\n"
        "try: encoder.encode_batch(['a', 'b'], 'gpt2', None, 2)\n"
        "except RuntimeError as error: print('RuntimeError')"
    )
    assert run_limited(code) == "RuntimeError"
