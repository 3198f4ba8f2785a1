"""zstd's bits per byte, beside those of the `zstd` command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tilth.errors import DataError
from tilth.evaluation import zstd_bits_per_byte

TEXT = Path(pytest.__file__).read_text(encoding="utf-8") + "".join(
    file.read_text(encoding="utf-8") for file in sorted(Path(shutil.__file__).parent.glob("[a-c]*.py"))
)


def test_agrees_with_the_command(tmp_path: Path) -> None:
    command = shutil.which("zstd")
    if command is None:
        pytest.skip("the `zstd` command is not installed")
    (tmp_path / "text").write_bytes(TEXT.encode())
    subprocess.run([command, "-19", "-q", "text"], cwd=tmp_path, check=True)
    size = (tmp_path / "text.zst").stat().st_size
    assert zstd_bits_per_byte([TEXT]) == pytest.approx(8 * size / len(TEXT.encode()), rel=0.01)


def test_documents_are_one_frame() -> None:
    assert zstd_bits_per_byte(["grow small things. "] * 100) < 0.5
    assert zstd_bits_per_byte([TEXT[:1000], TEXT[1000:]]) == zstd_bits_per_byte([TEXT])


def test_needs_text() -> None:
    with pytest.raises(DataError, match="no text"):
        zstd_bits_per_byte([""])
