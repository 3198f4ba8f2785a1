"""Long text in parts, with the ids of the whole: streams, counts that stop early, and files with bounded memory.

A text is cut only where every known pattern ends a piece whatever stands around: between a letter and a space or
newline, and between a Han character and a full stop or comma; where words may be joined, behind a number. A pattern
of one's own gives no such promise, so with it (and with vocabularies of the `tokenizers` library) the whole text is
held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import regex
from numpy.typing import NDArray

from tilth.tokenizer.split import superword_digits, to_utf8

if TYPE_CHECKING:
    from tilth.tokenizer.tokenizer import Special, Tokenizer

BLOCK_BYTES = 1 << 16
"""How much text is encoded at a time."""

# Read from the right, so that the last place comes first.
_LAST_CUT = regex.compile(r"(?r)(?<=\p{L})(?=[ \n])|(?<=\p{Han})(?=[。，])")

# Where words may be joined, a number still ends a piece.
_LAST_SUPERWORD_CUT = regex.compile(r"(?r)(?<=\p{N})(?=[\p{L} \n])")

_CUT_AT_LETTERS = frozenset(["gpt2", "cl100k", "llama3", "o200k", "qwen2", "smollm2"])


def last_known_cut(pattern: str, data: bytes) -> int:
    """The last byte of `data` before which a piece ends, whatever stands around; 0 if there is none."""
    cut = _LAST_CUT if pattern in _CUT_AT_LETTERS else _LAST_SUPERWORD_CUT
    if cut is _LAST_SUPERWORD_CUT and superword_digits(pattern) is None:
        return 0
    text = data.decode("utf-8", "surrogateescape")
    found = cut.search(text)
    return len(text[: found.start()].encode("utf-8", "surrogateescape")) if found else 0


def encode_stream(
    tokenizer: Tokenizer,
    parts: Iterable[str | bytes],
    allowed_special: Special,
    disallowed_special: Special,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[NDArray[Any]]:
    """Ids of the text that `parts` join up to, an array at a time; about `block_bytes` of text are held.

    Raises: DataError as `Tokenizer.encode`; what came before a disallowed special token has been given by then.
    """
    names = frozenset(tokenizer.always_found)
    for given in (allowed_special, disallowed_special):
        names |= frozenset(tokenizer.special_tokens if given == "all" else given)
    longest = max((len(to_utf8(name)) for name in names), default=1)
    options: dict[str, Any] = {"allowed_special": allowed_special, "disallowed_special": disallowed_special}
    held = bytearray()
    continued = False
    wanted = block_bytes
    for part in parts:
        held += to_utf8(part)
        if len(held) < wanted:
            continue
        # The last bytes wait: a special token or a character may begin in them.
        cut = tokenizer.safe_cut(bytes(held[: max(len(held) - longest - 4, 0)]))
        cut = _outside_of(tokenizer.find_tokens(bytes(held), names), cut) if cut and names else cut
        if cut == 0:
            wanted = 2 * len(held)
            continue
        yield tokenizer.encode_part(bytes(held[:cut]), continued=continued, **options)
        del held[:cut]
        continued, wanted = True, block_bytes
    if held:
        yield tokenizer.encode_part(bytes(held), continued=continued, **options)


def _outside_of(matches: Iterable[tuple[int, int]], cut: int) -> int:
    """`cut`, or the beginning of the token that it would divide or tear from the space behind it."""
    for start, end in matches:
        if start >= cut:
            break
        if cut <= end:
            return start
    return cut


def blocks(text: str | bytes, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The bytes of `text`, `size` at a time."""
    data = to_utf8(text)
    for start in range(0, len(data), size):
        yield data[start : start + size]


def count(tokenizer: Tokenizer, text: str | bytes, limit: int | None) -> int:
    """How many ids `text` has; `limit` + 1 as soon as it is known that there are more than `limit`."""
    if limit is None:
        return len(tokenizer.encode_to_numpy(text, disallowed_special=()))
    total = 0
    size = min(max(1024, 8 * limit), BLOCK_BYTES)
    for ids in encode_stream(tokenizer, blocks(text, size), (), (), size):
        total += len(ids)
        if total > limit:
            return limit + 1
    return total


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Start and end of each token, shape (tokens, 2), from the tokens' lengths."""
    ends = np.cumsum(lengths)
    return np.stack([ends - lengths, ends], axis=1) if len(ends) else np.zeros((0, 2), dtype=np.int64)
