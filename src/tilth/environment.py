"""Facts of this machine and installation for the record of a step. Nothing heavy is imported to learn them."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tilth

LIBRARIES = (
    "torch", "numpy", "pyarrow", "fsspec", "filelock", "safetensors", "regex", "jinja2", "tyro", "rich", "fastwarc",
    "resiliparse", "py3langid", "aiohttp", "tokenizers", "transformers", "huggingface_hub", "ray",
    "bm25s", "scikit-learn", "jsonschema",
)  # fmt: skip
"""Packages whose versions a record names where they are installed: what tilth depends on, and what it can use."""


@cache
def library_versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages among `LIBRARIES`."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_used(asked: str) -> str:
    """Returns the device that a step used: what it was asked for, `auto` resolved if torch was loaded."""
    torch = sys.modules.get("torch")
    if asked == "cpu" or torch is None:
        return "cpu"
    if asked not in ("auto", "cuda"):
        return asked
    cuda: Any = torch.cuda
    if cuda.is_available():
        return f"cuda ({cuda.get_device_name()})"
    return "mps" if asked == "auto" and torch.backends.mps.is_available() else "cpu"


def threads_used() -> int:
    """Returns the threads that numeric work of this process uses."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else os.cpu_count() or 1


@cache
def git_commit(folder: Path | None = None) -> str | None:
    """Returns the commit of tilth's own source, with `+` where files are changed; None if that is in no repository.

    An installed copy below somebody's repository is not part of it: its files must be tracked there.
    """
    source = folder or Path(tilth.__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
