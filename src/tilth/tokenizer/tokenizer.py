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
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tilth import native
from tilth.errors import ConfigError, DataError
from tilth.progress import SILENT, Progress
from tilth.tokenizer.arrow import as_texts
from tilth.tokenizer.config import END_OF_TEXT, TieBreak, TokenizerConfig
from tilth.tokenizer.counting import Weighted
from tilth.tokenizer.split import Splitter, pattern_name, to_utf8
from tilth.tokenizer.stream import StreamDecoder
from tilth.tokenizer.streaming import count, encode_stream, last_known_cut, offsets_of
from tilth.tokenizer.text_files import EncodedPart, encode_files
from tilth.tokenizer.training import train_vocabulary
from tilth.tokenizer.vocabulary import Vocabulary, place_tokens

_MAX_MATCHERS = 64

Special = Literal["all"] | Collection[str]
"""A set of special tokens: all of them, or those named."""


class Tokenizer:
    """Byte-level BPE. Made by `train`, `load` or `from_ranks`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Raises: DataError naming the token or merge that cannot work."""
        self.vocabulary = vocabulary
        self._encoder = _encoder(vocabulary)
        name = pattern_name(vocabulary.pattern)
        self._pattern = name or ""
        self._splitter = None if name else Splitter(vocabulary.pattern)
        self._special_names = frozenset(vocabulary.special_tokens)
        self._matchers: dict[frozenset[str], native.SpecialTokens] = {}
        self._dropout: native.BpeDropout | None = None

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

        With `extend`, a tokenizer of plain byte-level BPE, training goes on from its tokens, which keep their ids, as
        its special tokens do; new ones follow, then the special tokens that it lacks. The old merges come first: ids
        of a text change only where new tokens stand for several old ones (and where a new special token stands in
        it). With `superwords_from`, too, text is no longer cut at words, which may change what old tokens meet in.

        Deterministic: the order of texts and the machine do not matter, only how often each piece occurs.
        Raises: ConfigError for a value that cannot work.
        """
        from tilth.tokenizer.files import tokenizer_of

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
        n_threads = max(1, threads if threads is not None else available_cores())
        old = extend.vocabulary if extend is not None else None
        return tokenizer_of(train_vocabulary(texts, config, progress, threads=n_threads, extend=old))

    @classmethod
    def load(
        cls, path: str | Path, *, pattern: str | None = None, special_tokens: Mapping[str, int] | None = None
    ) -> Tokenizer:
        """Reads a tokenizer: a file, or the folder it lies in.

        `tokenizer.json` (byte-level and SentencePiece-style BPE; Unigram and WordPiece if `tokenizers` is installed),
        tiktoken's rank files, SentencePiece's `tokenizer.model` (BPE), GPT-2's `vocab.json` with `merges.txt`. A rank
        file that is not known by its content needs `pattern`, which may be a known name (`names.KNOWN`).
        Raises: DataError naming the file and the part that is missing, broken or not supported; ConfigError if
        `pattern` is needed, or given where the file says it; DependencyError if `tokenizers` is needed.
        """
        from tilth.tokenizer.files import load

        return load(Path(path), pattern, special_tokens)

    @classmethod
    def from_ranks(
        cls, ranks: Mapping[bytes, int], *, pattern: str, special_tokens: Mapping[str, int] | None = None
    ) -> Tokenizer:
        """A tokenizer from ranks as tiktoken has them: bytes to id, where the lower id merges first.

        Raises: DataError if two tokens share an id or a byte has no token; ConfigError for a broken pattern.
        """
        specials = dict(special_tokens or {})
        tokens = place_tokens("ranks", ranks, specials)
        return cls(Vocabulary(tokens=tokens, merges=None, pattern=pattern, special_tokens=specials))

    def save(self, directory: str | Path) -> None:
        """Writes `tokenizer.json` and `tokenizer_config.json`, which `tokenizers` and `transformers` load.

        The same tokenizer writes the same bytes.
        """
        from tilth.tokenizer.huggingface import write_vocabulary

        write_vocabulary(Path(directory), self.vocabulary, self.merges)

    def save_ranks(self, path: str | Path) -> None:
        """Writes a rank file for tiktoken; pattern and special tokens have no place in it.

        Raises: DataError if ranks alone would not give the same ids.
        """
        from tilth.tokenizer.conversion import write_rank_file

        write_rank_file(Path(path), self)

    def encode(
        self, text: str | bytes, *, allowed_special: Special = (), disallowed_special: Special = "all"
    ) -> list[int]:
        """The ids of `text`.

        A special token in `allowed_special` that stands in the text becomes its id, the longest where several
        begin. One in `disallowed_special` ("all": every one that is not allowed) is an error, so that text
        from outside cannot pass for markup unnoticed. One in neither is ordinary text.
        Raises: DataError if a disallowed special token stands in the text.
        """
        return self._encode(text, self._matcher_for(text, allowed_special, disallowed_special))

    def encode_ordinary(self, text: str | bytes) -> list[int]:
        """The ids of `text`, special tokens in it as ordinary text."""
        return self._encode(text, None)

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
        matcher = self._matcher_for(text, allowed_special, disallowed_special)
        target = out.dtype if out is not None else np.dtype(dtype if dtype is not None else self.dtype)
        if target.kind not in "iu" or np.iinfo(str(target)).max < self.vocab_size - 1:
            raise ConfigError(
                f"Ids up to {self.vocab_size - 1} do not fit {target}.", fix=f"Use {self.dtype} or wider."
            )
        n_threads = max(1, threads if threads is not None else available_cores())
        if out is None:
            return self._ids_array(text, matcher, n_threads).astype(target, copy=False)
        if out.ndim == 1 and out.flags.c_contiguous and target.name in ("uint16", "uint32") and self._splitter is None:
            n = self._encoder.encode_into(text, self._pattern, matcher, out, n_threads)
        else:
            ids = self._ids_array(text, matcher, n_threads)
            n = len(ids)
            if out.ndim == 1 and n <= len(out):
                out[:n] = ids
        if out.ndim != 1 or len(out) < n:
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

        An Arrow array of strings is taken as well.
        Raises: DataError as `encode`, naming the text; RuntimeError if a thread cannot start.
        """
        texts = as_texts(texts)
        matcher = self._matcher_for_all(texts, allowed_special, disallowed_special)
        if self._splitter is not None:
            return [self._encode(text, matcher) for text in texts]
        threads = threads if threads is not None else available_cores()
        return self._encoder.encode_batch(list(texts), self._pattern, matcher, max(1, threads))

    def encode_iterable(
        self,
        parts: Iterable[str | bytes],
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
    ) -> Iterator[int]:
        """The ids of the text that `parts` join up to, as they become certain: those of `encode` of the whole.

        Holds about 64 KB of text; all of it with a pattern of one's own, which says nothing about where it cuts.
        Raises: DataError as `encode`, when the disallowed special token is reached.
        """
        for ids in encode_stream(self, parts, allowed_special, disallowed_special):
            yield from ids.tolist()

    def encode_files(
        self, paths: Iterable[str | Path], *, column: str = "text", allowed_special: Special = ()
    ) -> Iterator[EncodedPart]:
        """The ids of documents in Parquet (rows of `column`), JSONL (fields of that name) and text (a file each).

        Memory is bounded by a Parquet row group, a JSON line, and 1 MB of a text file, which may come in several
        parts. Special tokens that are not allowed are ordinary text.
        Raises: DataError naming file and row if a text is missing or the file is broken.
        """
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
        if self._dropout is None:
            special_ids = list(self.vocabulary.special_tokens.values())
            self._dropout = native.BpeDropout(list(self.vocabulary.tokens), special_ids, self.merges)
        data, start = to_utf8(text), 0
        ids: list[int] = []
        matcher = self._matcher_for(text, allowed_special, ())
        while matcher is not None and (match := matcher.find(data, start)) is not None:
            ids += self._dropout.encode_pieces(self._pieces(data[start : match[0]]), dropout, seed + len(ids)).tolist()
            ids.append(match[2])
            start = match[1]
        return ids + self._dropout.encode_pieces(self._pieces(data[start:]), dropout, seed + len(ids)).tolist()

    def offsets(
        self, text: str | bytes, *, allowed_special: Special = (), disallowed_special: Special = "all"
    ) -> NDArray[np.int64]:
        """Where each id of `encode` with these options stands in `text`: start and end in bytes, shape (tokens, 2).

        Bytes are those of the UTF-8 of `text`. A space that SentencePiece puts in front has no width.
        Raises: DataError as `encode`, or if the vocabulary's normalization changes the text.
        """
        ids = self.encode_to_numpy(text, allowed_special=allowed_special, disallowed_special=disallowed_special)
        return offsets_of(self.token_lengths[ids])

    def count(self, text: str | bytes, limit: int | None = None) -> int:
        """How many ids `text` has, special tokens in it as ordinary text.

        With `limit`, the count stops soon after it and gives `limit` + 1 for every text that has more.
        """
        return count(self, text, limit)

    @cached_property
    def token_lengths(self) -> NDArray[np.int64]:
        """Bytes of each token, shape (vocab_size,)."""
        return np.array([len(token) for token in self.vocabulary.tokens], dtype=np.int64)

    @property
    def always_found(self) -> Collection[str]:
        """Tokens that are not special and are found in the text before it is cut."""
        return ()

    def safe_cut(self, data: bytes) -> int:
        """The last byte of `data` where it can be cut so that the parts have the ids of the whole; 0: nowhere."""
        return last_known_cut(self.vocabulary.pattern, data)

    def find_tokens(self, data: bytes, names: Collection[str]) -> Iterator[tuple[int, int]]:
        """Start and end of the special tokens `names` in `data`."""
        matcher, end = self._matcher(frozenset(names)), 0
        while (match := matcher.find(data, end)) is not None:
            end = match[1]
            yield match[0], end

    def encode_part(
        self, data: bytes, *, continued: bool, allowed_special: Special, disallowed_special: Special
    ) -> NDArray[Any]:
        """Ids of a part of a text that begins at a `safe_cut` (`continued`) or at the text's beginning."""
        return self.encode_to_numpy(data, allowed_special=allowed_special, disallowed_special=disallowed_special)

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
            return self._encoder.decode(np.ascontiguousarray(array, dtype=np.uint32))
        except IndexError as error:
            raise self._no_token(int(str(error))) from None

    def with_template(self, ids: Sequence[int]) -> list[int]:
        """`ids` with the special tokens around them that the vocabulary's file asks for (`<s>`, `[CLS]`)."""
        before, after = self.vocabulary.template
        return [*before, *ids, *after]

    def stream_decoder(self) -> StreamDecoder:
        """A decoder that takes ids one at a time and never gives half a character."""
        return StreamDecoder(self.token_bytes)

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
        """Pairs of ids that merge, shape (merges, 2), first to last."""
        return self._encoder.merges()

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

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest of uint16 and uint32 that holds every id."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of vocabulary, merges, pattern, special tokens: all that decides the ids."""
        return self.vocabulary.fingerprint(self._encoder.merges())

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, pattern={self.pattern!r})"

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Vocabulary]]:
        return (type(self), (self.vocabulary,))

    def _no_token(self, token_id: int) -> DataError:
        return DataError(f"{token_id} is no token: the vocabulary has {self.vocab_size} ids.")

    def _pieces(self, data: bytes) -> list[str | bytes]:
        if self._splitter is not None:
            return [*self._splitter.pieces(data)]
        ends = native.piece_ends(data, self._pattern).tolist()
        return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _ids_array(
        self, text: str | bytes, matcher: native.SpecialTokens | None, threads: int
    ) -> NDArray[np.uint16] | NDArray[np.uint32]:
        if self._splitter is not None:
            return np.array(self._encode(text, matcher), dtype=np.uint32)
        if self.dtype == np.uint16:
            return self._encoder.encode_to_uint16(text, self._pattern, matcher, threads)
        return self._encoder.encode_to_uint32(text, self._pattern, matcher, threads)

    def _encode(self, text: str | bytes, matcher: native.SpecialTokens | None) -> list[int]:
        if self._splitter is None:
            return self._encoder.encode(text, self._pattern, matcher)
        data = to_utf8(text)
        ids: list[int] = []
        start = 0
        while matcher is not None and (match := matcher.find(data, start)) is not None:
            ids += self._encoder.encode_pieces([*self._splitter.pieces(data[start : match[0]])])
            ids.append(match[2])
            start = match[1]
        return ids + self._encoder.encode_pieces([*self._splitter.pieces(data[start:])])

    def _matcher_for(
        self, text: str | bytes, allowed_special: Special, disallowed_special: Special
    ) -> native.SpecialTokens | None:
        """The matcher for the allowed special tokens, once no disallowed one stands in `text`."""
        names = self._special_names
        allowed = names if allowed_special == "all" else names & frozenset(allowed_special)
        disallowed = names - allowed if disallowed_special == "all" else frozenset(disallowed_special)
        if disallowed and (match := self._matcher(disallowed).find(text)) is not None:
            found = to_utf8(text)[match[0] : match[1]].decode()
            raise DataError(
                f"The text holds the special token {found!r} at byte {match[0]}.",
                fix="Allow it with `allowed_special`, or take it as plain text: `disallowed_special=()`.",
            )
        return self._matcher(allowed) if allowed else None

    def _matcher_for_all(
        self, texts: Sequence[str | bytes], allowed_special: Special, disallowed_special: Special
    ) -> native.SpecialTokens | None:
        matcher = None
        for i, text in enumerate(texts):
            try:
                matcher = self._matcher_for(text, allowed_special, disallowed_special)
            except DataError as error:
                raise DataError(f"Text {i}: {error.message}", fix=error.fix) from None
        return matcher

    def _matcher(self, names: frozenset[str]) -> native.SpecialTokens:
        if names not in self._matchers:
            if len(self._matchers) >= _MAX_MATCHERS:
                self._matchers.clear()
            ids = self.vocabulary.special_tokens
            self._matchers[names] = native.SpecialTokens([(name, ids.get(name, 0)) for name in sorted(names)])
        return self._matchers[names]


def _encoder(vocabulary: Vocabulary) -> native.BpeEncoder:
    special_ids = list(vocabulary.special_tokens.values())
    try:
        if vocabulary.merges is None:
            return native.BpeEncoder.from_ranks(list(vocabulary.tokens), special_ids)
        return native.BpeEncoder(
            list(vocabulary.tokens),
            special_ids,
            np.ascontiguousarray(vocabulary.merges),
            vocabulary.ignore_merges,
        )
    except ValueError as error:
        raise DataError(f"The vocabulary cannot work: {error}.") from None


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
