"""Text to measure tokenizers on, with what is known of it: source, language, script, prose or code.

Language and kind are taken from what datasets say (`language`, `meta.kind`) and from file names; the script is the one
most letters belong to. Nothing is guessed beyond that: a language that no one wrote down has no row of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import regex

from tilth import storage
from tilth.errors import ConfigError, DataError
from tilth.files import list_files, open_stream
from tilth.tokenizer.split import to_utf8
from tilth.tokenizer.text_files import texts_of_files

_SCRIPTS = (
    "Latin", "Cyrillic", "Greek", "Han", "Hiragana", "Katakana", "Hangul", "Arabic", "Hebrew", "Devanagari", "Bengali",
    "Tamil", "Telugu", "Thai", "Georgian", "Armenian", "Ethiopic", "Khmer", "Myanmar", "Sinhala",
)  # fmt: skip
_SCRIPT = regex.compile("|".join(rf"(?P<{name}>\p{{{name}}}+)" for name in _SCRIPTS))
_LETTERS_LOOKED_AT = 4000
_CODE_SUFFIXES = frozenset(
    (".c", ".cc", ".cpp", ".cs", ".cu", ".go", ".h", ".hpp", ".html", ".java", ".jl", ".js", ".kt", ".lua", ".php",
     ".pl", ".py", ".r", ".rb", ".rs", ".scala", ".sh", ".sql", ".swift", ".ts")
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A document to measure on."""

    text: str
    source: str
    """The corpus it comes from, as named."""
    language: str | None = None
    script: str | None = None
    kind: str = "prose"
    """prose or code."""

    def groups(self) -> Iterator[tuple[str, str]]:
        """Kind and name of each group that the document belongs to."""
        yield "source", self.source
        yield "kind", self.kind
        if self.language:
            yield "language", self.language
        if self.script:
            yield "script", self.script


def script_of(text: str) -> str | None:
    """The script of most letters near the beginning; None if there are none. Kana makes a text Japanese."""
    counts: Counter[str] = Counter()
    for match in _SCRIPT.finditer(text[:_LETTERS_LOOKED_AT]):
        counts[str(match.lastgroup)] += match.end() - match.start()
    if not counts:
        return None
    main = counts.most_common(1)[0][0]
    kana = counts["Hiragana"] + counts["Katakana"]
    return "Japanese" if main in ("Han", "Hiragana", "Katakana") and kana * 10 > counts["Han"] else main


def read_corpus(paths: Iterable[str], max_bytes: int) -> list[Sample]:
    """Documents from datasets, folders and files, up to `max_bytes` of text from each of `paths`.

    Raises: DataError if a path does not exist or holds no text; ConfigError if `max_bytes` is not positive.
    """
    if max_bytes < 1:
        raise ConfigError(f"max_bytes is {max_bytes}.", fix="Give a positive number.")
    samples: list[Sample] = []
    for path in paths:
        size = 0
        for sample in _samples(path):
            if not sample.text:
                continue
            data = to_utf8(sample.text)[: max_bytes - size]
            size += len(data)
            samples.append(replace(sample, text=data.decode("utf-8", "ignore")))
            if size >= max_bytes:
                break
        if size == 0:
            raise DataError(f"{path} holds no text.", fix="Give a dataset, or Parquet, JSONL or text files.")
    return samples


def _samples(path: str) -> Iterator[Sample]:
    name = PurePosixPath(path.rstrip("/")).name
    folder = Path(path)
    if (folder / storage.MANIFEST).exists():
        for document in storage.Dataset.open(folder).documents():
            kind = "code" if document.meta.get("kind") == "code" else "prose"
            yield _sample(document.text, name, document.language, kind)
        return
    for file in list_files(path):
        if file.skipped:
            continue
        kind = "code" if PurePosixPath(file.name.lower()).suffix in _CODE_SUFFIXES else "prose"
        if file.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
            yield from _json_samples(file.path, name)
            continue
        for _, text in texts_of_files([file.path]):
            yield _sample(text if isinstance(text, str) else text.decode("utf-8", "replace"), name, None, kind)


def _json_samples(path: str, name: str) -> Iterator[Sample]:
    with open_stream(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                row: Any = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}: line {number} is not JSON: {error}.") from None
            text = row.get("text") if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise DataError(f"{path}: line {number} has no text in 'text'.")
            language = row.get("language") or row.get("lang")
            yield _sample(text, name, language if isinstance(language, str) else None, "prose")


def _sample(text: str, source: str, language: str | None, kind: str) -> Sample:
    return Sample(text=text, source=source, language=language, script=script_of(text), kind=kind)
