"""Paths and URLs: which is which, and the fsspec filesystem of a URL."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, cast

from tilth.errors import ConfigError, DependencyError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")


def is_url(path: Path | str) -> bool:
    """Returns whether `path` is a URL. Everything else is a local path, `::` and `:` in it included."""
    return isinstance(path, str) and _URL.match(path) is not None and not path.startswith("file://")


def check_local(folder: Path) -> None:
    """Raises ConfigError if a URL was given where a local folder is written to: it would become one called `s3:`."""
    if is_url(re.sub(r"^([^/:]{2,}):/", r"\1://", str(folder))):  # a Path has one of the slashes left
        raise ConfigError(f"{folder} is a URL: steps write to local folders.", fix="Name a local folder, and copy it.")


def local_path(path: str) -> Path:
    """Returns a path that is no URL as a Path; `file://` is taken off."""
    return Path(path.removeprefix("file://"))


def filesystem(url: str) -> tuple[Any, str]:
    """Returns the fsspec filesystem of a URL, and the path within it.

    Raises: DependencyError if the URL's scheme needs a package that is not installed.
    """
    import fsspec

    try:
        fs, inner = cast("tuple[Any, str]", fsspec.url_to_fs(url))
    except (ImportError, ValueError) as error:
        scheme = url.split("://", 1)[0]
        package = {
            "hf": '"tilth[hub]"',
            "s3": "s3fs",
            "gs": "gcsfs",
            "http": "aiohttp",
            "https": "aiohttp",
        }
        raise DependencyError(
            f"Cannot read {url}: {error}.",
            fix=f"Install what reads {scheme}:// with `pip install {package.get(scheme, scheme)}`.",
        ) from None
    return fs, inner


def printable_name(name: str) -> str:
    """Returns a file name as valid Unicode: bytes that are not UTF-8 become `\\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
