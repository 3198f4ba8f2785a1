"""A MemoryError leaves encoders and counts as they were: the next call works, and gives the right ids."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("little_memory.py")

needs_limits = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux only")


@needs_limits
@pytest.mark.parametrize("mebibytes", [2, 9])  # tables grow fourfold: each limit ends another growth
@pytest.mark.parametrize("kind", ["ranks", "merges", "sentencepiece", "counts"])
def test_calls_after_a_memory_error_are_right(kind: str, mebibytes: int) -> None:
    # In a process of its own: a limit would hit this one too, and a crash would end it.
    command = [sys.executable, str(PROGRAM), kind, str(mebibytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    assert int(done.stdout) > 0, "the limit was too wide to meet"
