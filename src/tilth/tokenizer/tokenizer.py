"""The tokenizer: text to ids and back, exactly, with tiktoken's rules for special tokens.

`str` and `bytes` are both text. Bytes that are not UTF-8 are kept: a byte that starts no valid sequence
counts as one character that is neither letter, digit nor space, so `decode_bytes(encode(data)) == data` for
all data. A tokenizer is read-only: threads share it, and it goes to worker processes by fork or by pickle.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tilth.errors import ConfigError, DataError
from tilth.progress import SILENT, Progress
from tilth.tokenizer.arrow import as_texts
from tilth.tokenizer.bpe import byte_level_bpe
from tilth.tokenizer.config import END_OF_TEXT, TieBreak, TokenizerConfig
from tilth.tokenizer.files import names_the_file, read, write
from tilth.tokenizer.library import LibraryScheme, LibraryVocabulary
from tilth.tokenizer.normalized import NormalizedBpe, NormalizedVocabulary
from tilth.tokenizer.scheme import Scheme
from tilth.tokenizer.sentencepiece import SentencePieceBpe, SentencePieceVocabulary
from tilth.tokenizer.split import to_utf8
from tilth.tokenizer.stream import StreamDecoder
from tilth.tokenizer.streaming import count, encode_stream
from tilth.tokenizer.superwords import SuperwordBpe, has_superwords
from tilth.tokenizer.vocabulary import Vocabulary, tokens_by_id

if TYPE_CHECKING:
    from tilth.tokenizer.counting import Weighted
    from tilth.tokenizer.text_files import EncodedPart

Special = Literal["all"] | Collection[str]
"""A set of special tokens: all of them, or those named."""


class Tokenizer:
    """Encodes and decodes with a vocabulary. Made by `train`, `load` or `from_ranks`.

    What depends on the kind of vocabulary (byte-level BPE, SentencePiece, ...) is in its `scheme`.
    """

    def __init__(self, vocabulary: Vocabulary, scheme: Scheme | None = None) -> None:
        """`scheme` says how text becomes ids; None: as the vocabulary's kind asks for.

        Raises: DataError naming the token or merge that cannot work.
        """
        self.vocabulary = vocabulary
        self.scheme = _scheme_of(vocabulary) if scheme is None else scheme
        self._special_names = frozenset(vocabulary.special_tokens)

    @classmethod
    def train(
        cls,
        texts: Iterable[Weighted],
        *,
        vocab_size: int,
        pattern: str = "llama3",
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        tie_break: TieBreak = "huggingface",
        min_frequency: int = 1,
        max_token_length: int | None = None,
        max_training_bytes: int | None = None,
        weights: Sequence[str] = (),
        superwords_from: int | None = None,
        byte_fallback: bool = False,
        character_coverage: float = 0.9995,
        extend: Tokenizer | None = None,
        threads: int | None = 1,
        progress: Progress = SILENT,
    ) -> Tokenizer:
        """Trains on `texts`, a `(text, weight)` among which counts `weight` times; `weights` weigh `Document`s.

        The fields mean what `TokenizerConfig` says of them. Counting runs on `threads` threads (None: one for each
        core that this process may use).

        With `extend`, a tokenizer of plain byte-level BPE, training continues from its tokens, which keep their ids, as
        its special tokens do; new ones follow, then the special tokens that it lacks. The old merges come first: ids
        of a text change only where new tokens replace several old ones (and where it contains a new special
        token). With `superwords_from`, too, text is no longer cut at words, which may change what old tokens meet in.

        Deterministic: the order of texts and the machine do not matter, only how often each piece occurs.
        Raises: ConfigError for a value that cannot work.
        """
        config = TokenizerConfig(
            vocab_size=vocab_size,
            pattern=pattern,
            special_tokens=tuple(special_tokens),
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            max_training_bytes=max_training_bytes,
            weights=tuple(weights),
            superwords_from=superwords_from,
            byte_fallback=byte_fallback,
            character_coverage=character_coverage,
        )
        from tilth.tokenizer.training import (
            train_vocabulary,  # here, as below: a tokenizer that is only used starts fast
        )

        old = extend.vocabulary if extend is not None else None
        return Tokenizer(train_vocabulary(texts, config, progress, threads=_resolved(threads), extend=old))

    @classmethod
    def load(
        cls, path: str | Path, *, pattern: str | None = None, special_tokens: Mapping[str, int] | None = None
    ) -> Tokenizer:
        """Reads a tokenizer: a file, its folder, or a known name (gpt2, cl100k, llama3, ...).

        `tokenizer.json` (byte-level and SentencePiece-style BPE; Unigram and WordPiece if `tokenizers` is installed),
        tiktoken's rank files, SentencePiece's `tokenizer.model` (BPE), GPT-2's `vocab.json` with `merges.txt`. A rank
        file that is not known by its content needs `pattern`, which may be a known name (`names.KNOWN`). A known name
        as `path` means the published file, if tiktoken or the Hugging Face hub has put it on this machine.
        Raises: DataError naming the file and the part that is missing, broken or not supported; ConfigError if
        `pattern` is needed, or given where the file says it; DependencyError if `tokenizers` is needed.
        """
        with names_the_file(Path(path)):
            return Tokenizer(read(Path(path), pattern, special_tokens))

    @classmethod
    def from_ranks(
        cls, ranks: Mapping[bytes, int], *, pattern: str, special_tokens: Mapping[str, int] | None = None
    ) -> Tokenizer:
        """A tokenizer from ranks as tiktoken has them: bytes to id, where the lower id merges first.

        Raises: DataError if two tokens share an id or a byte has no token; ConfigError for a broken pattern.
        """
        specials = dict(special_tokens or {})
        tokens = tokens_by_id("ranks", ranks, specials)
        return Tokenizer(Vocabulary(tokens=tokens, merges=None, pattern=pattern, special_tokens=specials))

    def save(self, directory: str | Path) -> None:
        """Writes `tokenizer.json` and `tokenizer_config.json`, which `tokenizers` and `transformers` load.

        The same tokenizer writes the same bytes.
        Raises: DataError if the vocabulary has something that the format cannot express.
        """
        write(Path(directory), self.vocabulary, self.merges)

    def save_ranks(self, path: str | Path) -> None:
        """Writes a rank file for tiktoken; pattern and special tokens are not part of it.

        Raises: DataError if ranks alone would not give the same ids.
        """
        from tilth.tokenizer.conversion import write_rank_file

        write_rank_file(Path(path), self.vocabulary, self.merges)

    def encode(
        self, text: str | bytes, *, allowed_special: Special = (), disallowed_special: Special = "all"
    ) -> list[int]:
        """The ids of `text`.

        A special token in `allowed_special` that occurs in the text becomes its id, the longest where several
        begin. One in `disallowed_special` ("all": every one that is not allowed) is an error, so that text
        from outside cannot pass for markup unnoticed. One in neither is ordinary text.
        Raises: DataError if a disallowed special token occurs in the text.
        """
        return self.scheme.encode_to_list(text, self._found(text, allowed_special, disallowed_special))

    def encode_ordinary(self, text: str | bytes) -> list[int]:
        """The ids of `text`, special tokens in it as ordinary text."""
        return self.scheme.encode_to_list(text, _NONE)

    def encode_to_numpy(
        self,
        text: str | bytes,
        out: NDArray[Any] | None = None,
        dtype: DTypeLike | None = None,
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
        threads: int | None = 1,
    ) -> NDArray[Any]:
        """The ids of `text` as an array, shape (tokens,).

        With `out`, writes to its beginning and returns that part of it. `dtype` is uint16 where every id
        fits, otherwise uint32, unless given. A text of more than half a megabyte is cut for `threads` threads
        (None: one for each core that this process may use) where that changes no id.
        Raises: DataError as `encode`; ConfigError if `out` is too short or ids do not fit its type.
        """
        found = self._found(text, allowed_special, disallowed_special)
        target = self._target(out.dtype if out is not None else dtype)
        if out is None:
            return self.scheme.encode(text, found, threads=_resolved(threads)).astype(target, copy=False)
        if out.ndim != 1:
            raise ConfigError(f"Ids do not fit an array of shape {out.shape}.", fix="Give one of one dimension.")
        n = self.scheme.encode_into(text, found, out, _resolved(threads))
        if n > len(out):
            raise ConfigError(
                f"{n} ids do not fit an array of shape {out.shape}.", fix="A text gives at most one id a byte."
            )
        return out[:n]

    def encode_batch(
        self,
        texts: Sequence[str | bytes],
        threads: int | None = None,
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
    ) -> list[list[int]]:
        """`encode` of every text, on `threads` threads (None: one for each core that this process may use).

        An Arrow array of strings is taken as well. Making millions of Python integers takes longer than encoding:
        `encode_batch_to_numpy` is faster.
        Raises: DataError as `encode`, naming the text; RuntimeError if a thread cannot start.
        """
        batch, found = self._batch(texts, allowed_special, disallowed_special)
        return self.scheme.encode_batch(batch, found, _resolved(threads))

    def encode_batch_to_numpy(
        self,
        texts: Sequence[str | bytes],
        threads: int | None = None,
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """`encode_batch` without lists: the ids of all texts, shape (tokens,), and offsets, shape (texts + 1,).

        The ids of text i are `ids[offsets[i] : offsets[i + 1]]`, as in an Arrow list array.
        Raises: as `encode_batch`.
        """
        batch, found = self._batch(texts, allowed_special, disallowed_special)
        ids, offsets = self.scheme.encode_batch_to_numpy(batch, found, _resolved(threads))
        return ids.astype(self.dtype, copy=False), offsets

    def encode_iterable(
        self,
        parts: Iterable[str | bytes],
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
    ) -> Iterator[int]:
        """The ids of the text that `parts` join up to, as they become certain: those of `encode` of the whole.

        Holds about 64 KB of text. With a custom regex (for which no position is known to be the end of a piece) and
        with vocabularies of the `tokenizers` library, it holds the whole text before the first id.
        Raises: DataError as `encode`, when the disallowed special token is reached.
        """
        for ids in encode_stream(self, parts, allowed_special, disallowed_special):
            yield from ids.tolist()

    def encode_files(
        self, paths: Iterable[str | Path], *, column: str = "text", allowed_special: Special = ()
    ) -> Iterator[EncodedPart]:
        """The ids of documents in Parquet (rows of `column`), JSONL (fields of that name) and text (a file each).

        Memory is bounded by a Parquet row group, a JSON line, and 1 MB of a text file, which may come in several
        parts; by a whole text file where `encode_iterable` holds the whole text. Special tokens that are not allowed
        are ordinary text.
        Raises: DataError naming file and row if a text is missing or the file is broken.
        """
        from tilth.tokenizer.text_files import encode_files

        return encode_files(self, paths, column, allowed_special)

    def encode_with_dropout(
        self, text: str | bytes, dropout: float, *, seed: int, allowed_special: Special = ()
    ) -> list[int]:
        """Ids of `text` with merges left out at random, each with probability `dropout` (BPE-dropout).

        They decode to the text all the same. 0 gives the ids of `encode`, 1 single bytes or characters; the same seed
        the same ids. Special tokens that are not allowed are ordinary text.
        Raises: ConfigError if `dropout` is not between 0 and 1.
        Source: Provilkov et al. 2020; as in `tokenizers`, a merge that passes by comes up again after the next.
        """
        if not 0 <= dropout <= 1:
            raise ConfigError(f"dropout is {dropout}.", fix="Give a probability from 0 to 1.")
        if dropout == 0:
            return self.encode(text, allowed_special=allowed_special, disallowed_special=())
        return self.scheme.encode_with_dropout(to_utf8(text), self._found(text, allowed_special, ()), dropout, seed)

    def offsets(
        self, text: str | bytes, *, allowed_special: Special = (), disallowed_special: Special = "all"
    ) -> NDArray[np.int64]:
        """The position in `text` of each id of `encode` with these options: start and end in bytes, shape (tokens, 2).

        Bytes are those of the UTF-8 of `text`. A space that SentencePiece puts in front has no width.
        Raises: DataError as `encode`, or if the vocabulary's normalization changes the text.
        """
        return self.scheme.offsets(to_utf8(text), self._found(text, allowed_special, disallowed_special))

    def count(self, text: str | bytes, limit: int | None = None) -> int:
        """How many ids `text` has, special tokens in it as ordinary text.

        With `limit`, the count stops soon after it and gives `limit` + 1 for every text that has more.
        """
        return count(self, text, limit)

    def encode_part(
        self, data: bytes, *, continued: bool, allowed_special: Special, disallowed_special: Special
    ) -> NDArray[Any]:
        """Ids of a part of a text that begins at a `safe_cut` (`continued`) or at the text's beginning."""
        found = self._found(data, allowed_special, disallowed_special)
        return self.scheme.encode(data, found, continued=continued).astype(self.dtype, copy=False)

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD.

        Raises: DataError naming an id that is no token.
        """
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int] | NDArray[Any]) -> bytes:
        """The bytes of `ids`, exactly.

        Raises: DataError naming an id that is no token.
        """
        array = np.asarray(ids)
        if array.size == 0:
            return b""
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise DataError(f"Ids are an array of {array.dtype} of shape {array.shape}, not a sequence of integers.")
        least, most = int(array.min()), int(array.max())
        if least < 0 or most >= self.vocab_size:
            raise self._no_token(least if least < 0 else most)
        try:
            return self.scheme.decode(np.ascontiguousarray(array, dtype=np.uint32))
        except IndexError as error:
            raise self._no_token(error.args[0]) from None

    def with_template(self, ids: Sequence[int]) -> list[int]:
        """`ids` with the special tokens around them that the vocabulary's file asks for (`<s>`, `[CLS]`)."""
        before, after = self.vocabulary.template
        return [*before, *ids, *after]

    def stream_decoder(self) -> StreamDecoder:
        """A decoder that takes ids one at a time and never gives half a character."""
        return self.scheme.stream_decoder(self.token_bytes)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token; a special token's are the UTF-8 of its text.

        Raises: DataError if `token_id` is no token.
        """
        if not 0 <= token_id < self.vocab_size or not self.vocabulary.tokens[token_id]:
            raise self._no_token(token_id)
        return self.vocabulary.tokens[token_id]

    @property
    def vocab_size(self) -> int:
        """One more than the greatest id."""
        return len(self.vocabulary.tokens)

    @property
    def merges(self) -> NDArray[np.uint32]:
        """Pairs of ids that merge, shape (merges, 2), first to last; none where merging goes by rank."""
        return self.scheme.merges

    @property
    def pattern(self) -> str:
        """How text is cut before merging: a known pattern's name (gpt2, cl100k, llama3) or a regex."""
        return self.vocabulary.pattern

    @property
    def special_tokens(self) -> dict[str, int]:
        """Ids of the special tokens by their text, in the order of ids."""
        return dict(sorted(self.vocabulary.special_tokens.items(), key=lambda item: item[1]))

    @property
    def end_of_text(self) -> int | None:
        """The id of `<|endoftext|>`, or None."""
        return self.vocabulary.special_tokens.get(END_OF_TEXT)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest of uint16 and uint32 that holds every id."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of vocabulary, merges, pattern, special tokens: all that decides the ids."""
        return self.vocabulary.fingerprint(self.merges)

    def __repr__(self) -> str:
        pattern = f", pattern={self.pattern!r}" if self.pattern else ""
        return f"Tokenizer(vocab_size={self.vocab_size}, scheme={type(self.scheme).__name__}{pattern})"

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Vocabulary]]:
        return (type(self), (self.vocabulary,))

    def _no_token(self, token_id: int) -> DataError:
        return DataError(f"{token_id} is no token: the vocabulary has {self.vocab_size} ids.")

    def _target(self, dtype: DTypeLike | None) -> np.dtype[Any]:
        """The type of an array of ids, which must hold every one."""
        if dtype is None:
            return self.dtype
        target = np.dtype(dtype)
        bits = 8 * target.itemsize - (target.kind == "i")
        if target.kind not in "iu" or self.vocab_size > 1 << bits:
            raise ConfigError(
                f"Ids up to {self.vocab_size - 1} do not fit {target}.", fix=f"Use {self.dtype} or wider."
            )
        return target

    def _batch(
        self, texts: Sequence[str | bytes], allowed_special: Special, disallowed_special: Special
    ) -> tuple[list[str | bytes], frozenset[str]]:
        """The texts and the allowed special tokens, after checking that no text contains a disallowed one."""
        batch = list(as_texts(texts))
        found = self._found(b"", allowed_special, disallowed_special)
        for i, text in enumerate(batch if disallowed_special else ()):
            try:
                self._found(text, allowed_special, disallowed_special)
            except DataError as error:
                raise DataError(f"Text {i}: {error.message}", fix=error.fix) from None
        return batch, found

    def _found(self, text: str | bytes, allowed_special: Special, disallowed_special: Special) -> frozenset[str]:
        """The allowed special tokens, after checking that `text` contains no disallowed one."""
        names = self._special_names
        allowed = _among(names, allowed_special) if allowed_special else _NONE
        if disallowed_special == "all":
            disallowed = names - allowed if allowed else names
        else:
            disallowed = frozenset(disallowed_special)
        matcher = self.scheme.matcher(disallowed)
        if matcher is not None and (match := matcher.find(text)) is not None:
            found = to_utf8(text)[match[0] : match[1]].decode()
            raise DataError(
                f"The text holds the special token {found!r} at byte {match[0]}.",
                fix="Allow it with `allowed_special`, or take it as plain text: `disallowed_special=()`.",
            )
        return allowed


_NONE: frozenset[str] = frozenset()


def _among(names: frozenset[str], wanted: Special) -> frozenset[str]:
    return names if wanted == "all" else names & frozenset(wanted)


def _scheme_of(vocabulary: Vocabulary) -> Scheme:
    if isinstance(vocabulary, SentencePieceVocabulary):
        return SentencePieceBpe(vocabulary)
    if isinstance(vocabulary, LibraryVocabulary):
        return LibraryScheme(vocabulary)
    if isinstance(vocabulary, NormalizedVocabulary):
        return NormalizedBpe(vocabulary)
    return SuperwordBpe(vocabulary) if has_superwords(vocabulary) else byte_level_bpe(vocabulary)


def _resolved(threads: int | None) -> int:
    return max(1, threads if threads is not None else available_cores())


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
