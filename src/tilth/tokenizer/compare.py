"""Tokenizers side by side on the same text: lengths of sequences, by language and kind of text, and unused tokens.

All figures are per byte of UTF-8, which no tokenizer can change. Fertility (tokens per word) counts as words what
is separated by white space, so it says little about scripts without it.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilth.errors import ConfigError
from tilth.progress import SILENT, Progress
from tilth.tokenizer.corpus import Sample
from tilth.tokenizer.sentencepiece import SentencePieceVocabulary
from tilth.tokenizer.tokenizer import Tokenizer

RENYI_ORDER = 2.5
"""The order that correlated best with translation quality in Zouhar et al. 2023."""
LISTED = 40
"""Tokens that a list shows."""
_EXCERPT_BYTES, _EXCERPTS = 480, 16
_DIGITS = re.compile(r"[\d.,:/-]*\d[\d.,:/-]*")


@dataclass(frozen=True, kw_only=True)
class Group:
    """One tokenizer on one part of the text."""

    kind: str
    """all, source, kind, language or script."""
    name: str
    documents: int
    bytes: int
    words: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        """Bytes of UTF-8 that a token holds on average."""
        return self.bytes / max(self.tokens, 1)

    @property
    def fertility(self) -> float:
        """Tokens per word."""
        return self.tokens / max(self.words, 1)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures of one tokenizer."""

    name: str
    vocab_size: int
    groups: tuple[Group, ...]
    """The first is everything."""
    used_tokens: int
    renyi_efficiency: float
    """Rényi entropy of order 2.5 of the tokens' frequencies over the logarithm of the vocabulary size."""
    relative_length: float
    """Tokens for the same bytes, over those of the tokenizer that needs least."""
    megabytes_per_second: float
    """Of CPU time on one thread, first pass."""
    is_lossless: bool
    """Every document came back from its ids."""
    longest_tokens: tuple[str, ...]
    """Of those that the text uses; here and below, tokens with letters or digits come first."""
    never_used: tuple[str, ...]
    """Longest first; ordinary tokens only."""
    n_never_used: int
    unreachable: tuple[str, ...]
    """Glitch-token candidates: encoding a token's own text gives other tokens, so training may never have met it."""
    n_unreachable: int
    n_part_of_character: int
    """Tokens that are no whole characters."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A text as one tokenizer cuts it: bytes and id of each token."""

    name: str
    pieces: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """The beginning of a document, cut by every tokenizer."""

    title: str
    text: str
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All tokenizers on the same text."""

    tokenizers: tuple[Measured, ...]
    excerpts: tuple[Excerpt, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON has them, with the rates that follow from the counts; without excerpts."""
        rows: list[dict[str, Any]] = []
        for measured in self.tokenizers:
            groups = [
                asdict(group) | {"bytes_per_token": group.bytes_per_token, "fertility": group.fertility}
                for group in measured.groups
            ]
            rows.append(asdict(measured) | {"groups": groups})
        return {"renyi_order": RENYI_ORDER, "tokenizers": rows}


def compare(tokenizers: Mapping[str, Tokenizer], samples: Sequence[Sample], progress: Progress = SILENT) -> Comparison:
    """Measures every tokenizer on `samples`.

    Raises: ConfigError if there is no tokenizer or no text.
    """
    if not tokenizers or not samples:
        raise ConfigError("There is nothing to compare.", fix="Give at least one tokenizer and some text.")
    samples = [*samples, *_numbers(samples)]
    measured: list[Measured] = []
    with progress.bar("comparing", len(tokenizers) * len(samples), "documents") as bar:
        for name, tokenizer in tokenizers.items():
            measured.append(_measure(name, tokenizer, samples))
            bar.advance(len(samples))
    least = min(m.groups[0].tokens for m in measured)
    relative = [replace(m, relative_length=m.groups[0].tokens / max(least, 1)) for m in measured]
    return Comparison(tokenizers=tuple(relative), excerpts=tuple(_excerpts(tokenizers, samples)))


def _numbers(samples: Sequence[Sample]) -> list[Sample]:
    """The numbers of all texts as a kind of text of its own; it counts in no other group."""
    found = [number for sample in samples for number in _DIGITS.findall(sample.text)]
    return [Sample(text="\n".join(found), source="", kind="digits")] if found else []


def _measure(name: str, tokenizer: Tokenizer, samples: Sequence[Sample]) -> Measured:
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    sums: dict[tuple[str, str], list[int]] = {("all", "all"): [0, 0, 0, 0]}
    is_lossless = True
    seconds = 0.0
    for sample in samples:
        started = time.process_time()
        ids = tokenizer.encode_to_numpy(sample.text, disallowed_special=())
        seconds += time.process_time() - started
        is_number = sample.kind == "digits"
        groups = [("kind", "digits")] if is_number else [("all", "all"), *sample.groups()]
        figures = (1, len(sample.text.encode()), len(sample.text.split()), len(ids))
        for key in groups:
            sums[key] = [a + b for a, b in zip(sums.get(key, [0] * 4), figures, strict=True)]
        if not is_number:
            counts += np.bincount(ids, minlength=tokenizer.vocab_size)
            is_lossless = is_lossless and tokenizer.decode(ids) == sample.text
    groups = [
        Group(kind=kind, name=group, documents=s[0], bytes=s[1], words=s[2], tokens=s[3])
        for (kind, group), s in sums.items()
    ]
    total = sum(len(sample.text.encode()) for sample in samples)
    return Measured(
        name=name,
        vocab_size=tokenizer.vocab_size,
        groups=tuple(groups),
        used_tokens=int((counts > 0).sum()),
        renyi_efficiency=renyi_efficiency(counts),
        relative_length=1.0,
        megabytes_per_second=total / 1e6 / max(seconds, 1e-9),
        is_lossless=is_lossless,
        **_vocabulary_facts(tokenizer, counts),
    )


def renyi_efficiency(counts: NDArray[np.int64], order: float = RENYI_ORDER) -> float:
    """Rényi entropy of `counts` (by id, shape (vocab_size,)) over that of equal use of the whole vocabulary: 0 to 1.

    Source: Zouhar et al. 2023, "Tokenization and the noiseless channel".
    """
    total = int(counts.sum())
    if total == 0 or len(counts) < 2:
        return 0.0
    shares = counts[counts > 0] / total
    return float(np.log((shares**order).sum()) / (1 - order) / math.log(len(counts)))


def _vocabulary_facts(tokenizer: Tokenizer, counts: NDArray[np.int64]) -> dict[str, Any]:
    special = set(tokenizer.special_tokens.values())
    vocabulary = tokenizer.vocabulary
    tokens = vocabulary.tokens
    byte_ids = frozenset(vocabulary.byte_ids if isinstance(vocabulary, SentencePieceVocabulary) else ())
    ordinary = [i for i, token in enumerate(tokens) if token and i not in special]
    whole: dict[int, str] = {}
    for i in ordinary:
        if i in byte_ids:  # it means a byte, never the character that is written so
            continue
        try:
            whole[i] = tokens[i].decode()
        except UnicodeDecodeError:
            continue
    # Those with letters first: every vocabulary has the same long lines of spaces and dashes.
    by_length = sorted(whole, key=lambda i: (not any(map(str.isalnum, whole[i])), -len(whole[i]), i))
    longest = [i for i in by_length if counts[i]]
    unused = [i for i in by_length if not counts[i]]
    # Only what the text does not use needs the test: what it uses was reached.
    inside: dict[str, Any] = {"continued": True, "allowed_special": (), "disallowed_special": ()}
    unreachable = [i for i in unused if i not in tokenizer.encode_part(tokens[i], **inside)]
    return {
        "longest_tokens": tuple([whole[i] for i in longest[:LISTED]]),
        "never_used": tuple([whole[i] for i in unused[:LISTED]]),
        "n_never_used": sum(1 for i in ordinary if not counts[i]),
        "unreachable": tuple([whole[i] for i in unreachable[:LISTED]]),
        "n_unreachable": len(unreachable),
        "n_part_of_character": len(ordinary) - len(whole),
    }


def _excerpts(tokenizers: Mapping[str, Tokenizer], samples: Sequence[Sample]) -> list[Excerpt]:
    """The beginnings of texts at equal bytes: of each source and kind first, then of each script, by size."""
    chosen: dict[str, Sample] = {}
    sizes: Counter[str] = Counter()
    for sample in samples:
        title = ", ".join(part for part in (sample.source, sample.script, sample.kind) if part)
        sizes[title] += len(sample.text)
        if title not in chosen or len(chosen[title].text) < _EXCERPT_BYTES <= len(sample.text):
            chosen[title] = sample
    by_size = [title for title, _ in sizes.most_common()]
    main = {(chosen[title].source, chosen[title].kind): title for title in reversed(by_size)}
    order = [title for title in by_size if title in main.values()]
    order += [title for title in by_size if title not in main.values() and chosen[title].script]
    return [_excerpt(title, chosen[title].text, tokenizers) for title in order[:_EXCERPTS]]


def _excerpt(title: str, whole: str, tokenizers: Mapping[str, Tokenizer]) -> Excerpt:
    text = whole.encode()[:_EXCERPT_BYTES].decode("utf-8", "ignore")
    cuts = [
        Cut(name=name, pieces=tuple([(tokenizer.token_bytes(i), i) for i in tokenizer.encode_ordinary(text)]))
        for name, tokenizer in tokenizers.items()
    ]
    return Excerpt(title=title, text=text, cuts=tuple(cuts))
