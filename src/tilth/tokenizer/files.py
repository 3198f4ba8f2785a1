"""Which kind of file a tokenizer is in, and the class that reads it. Told by content and name, never by trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tilth.errors import ConfigError, DataError, TilthError
from tilth.tokenizer.gpt2_files import find_files, read_gpt2_files
from tilth.tokenizer.huggingface import FILE_NAME, read_vocabulary
from tilth.tokenizer.library import LibraryTokenizer, LibraryVocabulary
from tilth.tokenizer.normalized import NormalizedTokenizer, NormalizedVocabulary
from tilth.tokenizer.sentencepiece import SentencePieceTokenizer, SentencePieceVocabulary
from tilth.tokenizer.sentencepiece_model import is_model, read_model
from tilth.tokenizer.superwords import SuperwordTokenizer, has_superwords
from tilth.tokenizer.tiktoken_ranks import is_rank_file, read_ranks
from tilth.tokenizer.tokenizer import Tokenizer
from tilth.tokenizer.vocabulary import Vocabulary

_KINDS = "`tokenizer.json`, `*.tiktoken`, `tokenizer.model`, or `vocab.json` with `merges.txt`"


def load(path: Path, pattern: str | None = None, special_tokens: Mapping[str, int] | None = None) -> Tokenizer:
    """The tokenizer in a file or folder.

    Raises: TilthError naming the file, and the entry that cannot work.
    """
    try:
        return tokenizer_of(_read(path, pattern, special_tokens))
    except TilthError as error:
        if str(path) in error.message:
            raise
        raise type(error)(f"{path}: {error.message}", fix=error.fix) from None
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise DataError(
            f"{path} is broken: {type(error).__name__} {str(error)[:200]}.", fix=f"Readable are {_KINDS}."
        ) from None


def tokenizer_of(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer of a vocabulary, of the class that its kind needs."""
    if isinstance(vocabulary, SentencePieceVocabulary):
        return SentencePieceTokenizer(vocabulary)
    if isinstance(vocabulary, LibraryVocabulary):
        return LibraryTokenizer(vocabulary)
    if isinstance(vocabulary, NormalizedVocabulary):
        return NormalizedTokenizer(vocabulary)
    if has_superwords(vocabulary):
        return SuperwordTokenizer(vocabulary)
    return Tokenizer(vocabulary)


def _read(path: Path, pattern: str | None, special_tokens: Mapping[str, int] | None) -> Vocabulary:
    file = _file_in(path) if path.is_dir() else path
    if not file.exists():
        raise DataError(f"{file} does not exist.", fix=f"Readable are {_KINDS}.")
    pair = find_files(file)
    if pair is not None:
        return read_gpt2_files(*pair, pattern=pattern, special_tokens=special_tokens)
    if file.suffix == ".json":
        _refuse_options(file, pattern, special_tokens)
        return read_vocabulary(file)
    content = file.read_bytes()
    if is_rank_file(content):
        return read_ranks(file, content, pattern=pattern, special_tokens=special_tokens)
    if is_model(content):
        _refuse_options(file, pattern, special_tokens)
        return read_model(file, content)
    raise DataError(f"{file} is no tokenizer file of a known kind.", fix=f"Readable are {_KINDS}.")


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
