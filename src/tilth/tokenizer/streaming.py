"""Long text in parts, with the ids of the whole: streams, counts that stop early, and files with bounded memory.

A text is cut only where the vocabulary's scheme knows that it makes no difference (`Scheme.safe_cut`). With a
custom regex and with vocabularies of the `tokenizers` library no such position is known: the whole text is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tilth.tokenizer.split import to_utf8

if TYPE_CHECKING:
    from tilth.tokenizer.tokenizer import Special, Tokenizer

BLOCK_BYTES = 1 << 16
"""How much text is encoded at a time."""


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
    names = tokenizer.scheme.always_found
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
        cut = tokenizer.scheme.safe_cut(bytes(held[: max(len(held) - longest - 4, 0)]))
        cut = _outside_of(tokenizer.scheme.find(bytes(held), names), cut) if cut and names else cut
        if cut == 0:
            wanted = 2 * len(held)
            continue
        yield tokenizer.encode_part(bytes(held[:cut]), continued=continued, **options)
        del held[:cut]
        continued, wanted = True, block_bytes
    if held:
        yield tokenizer.encode_part(bytes(held), continued=continued, **options)


def _outside_of(matches: Iterable[tuple[int, int, int]], cut: int) -> int:
    """`cut`, or the beginning of the token that it would divide or tear from the space behind it."""
    for _, start, end in matches:
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
