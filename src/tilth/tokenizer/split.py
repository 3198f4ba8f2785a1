"""How text is cut into pieces before merging: the known patterns by name, any other by the `regex` library.

The known ones, and those for superwords, run in the native core, with the character classes of Unicode 16.0. A custom
regex runs in Python: slower by two orders of magnitude, and with the Unicode version of the installed `regex`. It has a
time limit, because it may backtrack for ever.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING

from tilth import native
from tilth.errors import ConfigError

if TYPE_CHECKING:
    import regex

_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"

PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # The model's files cut off every digit first and then the rest as GPT-2: this is both in one.
    "smollm2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+",
    "llama3": rf"{_CONTRACTIONS}|{_WORDS}|{_SPACES}",
    "qwen2": rf"{_CONTRACTIONS}|{_WORDS.replace('{1,3}', '')}|{_SPACES}",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",
    # tiktoken writes `\s++$` and possessive counts; Oniguruma reads both differently, so this is the same in
    # words that every engine reads alike.
    "cl100k": rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_WORDS}|\s+(?![\s\S])|\s*[\r\n]|\s+(?!\S)|\s",
}
"""The patterns that the native core knows, as regexes that `tokenizers`, `regex` and PCRE read alike."""

_OTHER_WRITINGS = {
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s": "gpt2",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
    r"|\s*[\r\n]|\s+(?!\S)|\s": "cl100k",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
    r"|\s+(?!\S)|\s+": "llama3",
}
_NAMES = {writing: name for name, writing in PATTERNS.items()} | _OTHER_WRITINGS | {name: name for name in PATTERNS}


_NOT_JOINED = r"| ?[^\s\p{L}\p{N}]{2,}[\r\n/]*| +(?!\S)"
_SUPERWORDS = {
    r" ?\p{N}+" + _NOT_JOINED: 0,
    r"\p{N}" + _NOT_JOINED: 1,
    r"\p{N}{1,3}" + _NOT_JOINED: 3,
}
"""How text is cut where words may be joined, and how many digits stay together then (0: any number)."""
_DIGITS = {"gpt2": 0, "smollm2": 1, "qwen2": 1}


def superword_pattern(pattern: str) -> str:
    """The regex that cuts text where words may be joined: apart are numbers, as in `pattern`, and runs of symbols.

    Source: Liu et al. 2025 (SuperBPE), as their training scripts have it.
    """
    if pattern in _SUPERWORDS:
        return pattern
    digits = _DIGITS.get(pattern_name(pattern) or "", 3)
    return next(regex for regex, most in _SUPERWORDS.items() if most == digits)


def superword_digits(pattern: str) -> int | None:
    """How many digits stay together in a pattern that `superword_pattern` gives (0: any number); None for another."""
    return _SUPERWORDS.get(pattern)


def pattern_name(pattern: str) -> str | None:
    """The name of a known pattern, given by name or as one of the regexes in use for it; None for another."""
    return _NAMES.get(pattern)


# Read from the right, so that the last position comes first.
_LAST_CUT = r"(?r)(?<=\p{L})(?=[ \n])|(?<=\p{Han})(?=[。，])"
_LAST_SUPERWORD_CUT = r"(?r)(?<=\p{N})(?=[\p{L} \n])"


def last_cut(data: bytes) -> int:
    """The last byte of `data` before which all of `PATTERNS` end a piece in every context; 0: there is none.

    That is so between a letter and a space or newline, and between a Han character and a full stop or comma.
    """
    return _last(_LAST_CUT, data)


def last_superword_cut(data: bytes) -> int:
    """The same where words may be joined: behind a number that is followed by a letter, space or newline."""
    return _last(_LAST_SUPERWORD_CUT, data)


def _last(cut: str, data: bytes) -> int:
    text = data.decode("utf-8", "surrogateescape")
    found = _compiled(cut).search(text)
    return len(text[: found.start()].encode("utf-8", "surrogateescape")) if found else 0


TIME_LIMIT_SECONDS = 5.0
"""How long a custom regex may take on any text, in seconds of its thread's CPU time."""
TIME_LIMIT_SECONDS_PER_MEGABYTE = 20.0
"""How much longer it may take for each megabyte of text; a regex without nested counts needs about half a second."""
_EXCERPT_CHARACTERS = 40


class Splitter:
    """Cuts text by a custom regex, or for superwords. Text that the regex does not match is a piece too."""

    def __init__(self, pattern: str) -> None:
        """Raises: ConfigError if `pattern` is no regex."""
        self._pattern = pattern
        self._regex = _compiled(pattern)
        self._superword_digits = superword_digits(pattern)

    def pieces(self, text: bytes) -> list[bytes]:
        """The pieces of `text`, which join up to it.

        Invalid UTF-8 is kept: each bad byte is a character that is no letter, digit or space.
        Raises: ConfigError if the regex takes longer than the limit, which grows with the text: one that backtracks
        may need time that doubles with each character.
        """
        if self._superword_digits is not None:
            ends = native.superword_ends(text, self._superword_digits).tolist()
            return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        characters = text.decode("utf-8", "surrogateescape")
        limit = TIME_LIMIT_SECONDS + TIME_LIMIT_SECONDS_PER_MEGABYTE * len(text) / 1e6
        started, used = time.thread_time(), 0.0
        pieces: list[str] = []
        end = 0
        # `regex` measures the CPU time of all threads of the process together. Where other threads have used up its
        # time limit, matching continues from the last match.
        while True:
            try:
                for match in self._regex.finditer(characters, end, timeout=limit - used):
                    pieces += [characters[end : match.start()], match.group()]
                    end = match.end()
                break
            except TimeoutError:
                used = time.thread_time() - started
                if used > 0.9 * limit:  # not all of it: with many threads, what is left would shrink without an end
                    raise self._too_slow(characters, end, limit) from None
        pieces.append(characters[end:])
        return [piece.encode("utf-8", "surrogateescape") for piece in pieces if piece]

    def _too_slow(self, characters: str, start: int, limit: float) -> ConfigError:
        n_bytes = len(characters[:start].encode("utf-8", "surrogateescape"))
        n_total = len(characters.encode("utf-8", "surrogateescape"))
        excerpt = characters[start : start + _EXCERPT_CHARACTERS].encode("utf-8", "surrogateescape")
        return ConfigError(
            f"The split pattern {self._pattern!r} was stopped after {limit:.1f} seconds on one text, at byte {n_bytes} "
            f"of {n_total}: {excerpt.decode('utf-8', 'replace')!r}.",
            fix="Rewrite the pattern without nested counts such as `(a+)+`, or with possessive ones (`a++`).",
        )


def to_utf8(text: str | bytes) -> bytes:
    """UTF-8 of `text`; as in tiktoken, surrogate pairs become their character and lone surrogates U+FFFD."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


@lru_cache(maxsize=32)
def _compiled(pattern: str) -> regex.Pattern[str]:
    import regex  # which takes a tenth of the start-up, and known patterns do without it

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ConfigError(
            f"The split pattern {pattern!r} is not a regex: {error}.",
            fix=f"Use one of {', '.join(PATTERNS)}, or a regex of the `regex` library.",
        ) from None
