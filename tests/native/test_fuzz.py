"""Runs the fuzzer of the native tokenizer under the sanitizers, where a compiler has them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_random_texts_under_the_sanitizers(tmp_path: Path) -> None:
    compiler = os.environ.get("CXX", "g++")
    (tmp_path / "empty.cpp").write_text("int main() {}")
    probe = [compiler, "-fsanitize=address,undefined", str(tmp_path / "empty.cpp"), "-o", str(tmp_path / "empty")]
    if not shutil.which("make") or not shutil.which(compiler) or subprocess.run(probe, check=False).returncode != 0:
        pytest.skip(f"no make, or {compiler} has no AddressSanitizer")
    command = ["make", "-C", str(ROOT), "native-test", f"CXX={compiler}", "FUZZ_SECONDS=5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no difference" in done.stdout
