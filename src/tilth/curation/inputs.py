"""What `curate` is given: files that were listed, or the paths and URLs to list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tilth.errors import ConfigError
from tilth.files import InputFile, list_files
from tilth.paths import is_url

Texts = str | Path | Sequence[str | Path | InputFile]
"""A path or URL, or several; files that `list_files` listed may be among them."""


def input_files(texts: Texts) -> list[InputFile]:
    """Returns all files at or below `texts`; the last component of a path is the name of its corpus, which enters the
    ids of its documents, as on the command line.

    Raises: DataError if a path does not exist; ConfigError if two of them have one name.
    """
    listed = [texts] if isinstance(texts, str | Path) else list(texts)
    files: list[InputFile] = []
    paths: dict[str, str] = {}
    for item in listed:
        if isinstance(item, InputFile):
            files.append(item)
            continue
        name, path = _corpus_name(item), str(item)
        if name in paths:
            raise ConfigError(
                f"Two corpora are called `{name}`: {paths[name]} and {path}.",
                fix="Rename a folder, or curate them apart: the name enters the ids of documents.",
            )
        paths[name] = path
        files += [replace(file, corpus=name) for file in list_files(path)]
    return files


def _corpus_name(path: str | Path) -> str:
    last = str(path).rstrip("/").rpartition("/")[2] if is_url(path) else Path(path).absolute().resolve().name
    return last or "corpus"
