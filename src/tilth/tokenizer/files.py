"""Which kind of file a vocabulary is in, and what reads or writes it. Recognized by content and name, never by trial.

Readers and writers are imported when they are needed, so that loading one kind of file does not wait for the others.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilth.errors import ConfigError, DataError, TilthError
from tilth.files import write_bytes
from tilth.tokenizer.gpt2_files import find_files, read_gpt2_files
from tilth.tokenizer.library import LibraryVocabulary
from tilth.tokenizer.names import FILE_NAME, KNOWN
from tilth.tokenizer.normalized import NormalizedVocabulary
from tilth.tokenizer.published import PUBLISHED, cached_files, cached_ranks, not_cached
from tilth.tokenizer.sentencepiece import SentencePieceVocabulary
from tilth.tokenizer.tiktoken_ranks import is_rank_file, read_ranks
from tilth.tokenizer.vocabulary import Vocabulary

_KINDS = "`tokenizer.json`, `*.tiktoken`, `tokenizer.model`, or `vocab.json` with `merges.txt`"


@contextmanager
def names_the_file(path: Path) -> Generator[None]:
    """Whatever goes wrong with a file becomes a TilthError that names it, and the entry that cannot work."""
    try:
        yield
    except TilthError as error:
        if str(path) in error.message:
            raise
        raise type(error)(f"{path}: {error.message}", fix=error.fix) from None
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise DataError(
            f"{path} is broken: {type(error).__name__} {str(error)[:200]}.", fix=f"Readable are {_KINDS}."
        ) from None


def write(directory: Path, vocabulary: Vocabulary, merges: NDArray[np.uint32]) -> None:
    """Writes a vocabulary of any kind as `tokenizer.json`; `merges` are those that it has or that its ranks say.

    Raises: DataError if the file cannot say it.
    """
    if isinstance(vocabulary, SentencePieceVocabulary):
        from tilth.tokenizer.huggingface_pieces import write_pieces

        write_pieces(directory, vocabulary)
    elif isinstance(vocabulary, LibraryVocabulary):
        write_bytes(directory / FILE_NAME, vocabulary.content.encode())
    elif isinstance(vocabulary, NormalizedVocabulary) or type(vocabulary) is Vocabulary:
        from tilth.tokenizer.huggingface import write_vocabulary

        write_vocabulary(directory, vocabulary, merges)
    else:
        raise DataError(f"{directory}: there is no file for a {type(vocabulary).__name__}.")


def read(path: Path, pattern: str | None = None, special_tokens: Mapping[str, int] | None = None) -> Vocabulary:
    """The vocabulary in a file or folder.

    A known name that is no path is looked for where other tools keep the published file.
    Raises: TilthError, not always naming the file (`names_the_file`).
    """
    if str(path) in PUBLISHED and not path.exists():
        return _read_published(str(path), pattern, special_tokens)
    file = _file_in(path) if path.is_dir() else path
    if not file.exists():
        raise DataError(f"{file} does not exist.", fix=f"Readable are {_KINDS}.")
    pair = find_files(file)
    if pair is not None:
        return read_gpt2_files(*pair, pattern=pattern, special_tokens=special_tokens)
    if file.suffix == ".json":
        from tilth.tokenizer.huggingface import read_vocabulary

        _refuse_options(file, pattern, special_tokens)
        return read_vocabulary(file)
    content = file.read_bytes()
    if is_rank_file(content):
        return read_ranks(file, content, pattern=pattern, special_tokens=special_tokens)
    from tilth.tokenizer.sentencepiece_model import is_model, read_model

    if is_model(content):
        _refuse_options(file, pattern, special_tokens)
        return read_model(file, content)
    raise DataError(f"{file} is no tokenizer file of a known kind.", fix=f"Readable are {_KINDS}.")


def _read_published(name: str, pattern: str | None, special_tokens: Mapping[str, int] | None) -> Vocabulary:
    if pattern is not None:
        raise ConfigError(f"{name} says itself how text is cut.", fix="Leave out `pattern`.")
    if (vocabulary := cached_ranks(name, special_tokens)) is not None:
        return vocabulary
    for file in cached_files(name):
        vocabulary = read(file, special_tokens=special_tokens)
        if vocabulary.pattern != KNOWN[name].pattern:
            raise DataError(f"{file} is not {name}: it cuts text by {vocabulary.pattern or 'SentencePiece'}.")
        return vocabulary
    raise not_cached(name)


def _refuse_options(file: Path, pattern: str | None, special_tokens: Mapping[str, int] | None) -> None:
    if pattern is not None or special_tokens is not None:
        raise ConfigError(
            f"{file} says itself how text is cut and which tokens are special.",
            fix="Leave out `pattern` and `special_tokens`.",
        )


def _file_in(folder: Path) -> Path:
    """The file of a folder that says most: `tokenizer.json` first."""
    if (folder / FILE_NAME).exists():
        return folder / FILE_NAME
    if (pair := find_files(folder)) is not None:
        return pair[0]
    if (folder / "tokenizer.model").exists():
        return folder / "tokenizer.model"
    found = sorted(folder.glob("*.tiktoken"))
    if len(found) > 1:
        raise DataError(f"{folder} holds {len(found)} rank files.", fix="Name the one that is meant.")
    return found[0] if found else folder / FILE_NAME
