"""Text from tokens as they are made: never half a character."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class StreamDecoder:
    """Turns ids into text one at a time; what `push` and `finish` return joins up to `decode` of all ids."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that is certain now; "" while a character is unfinished."""
        return self._decoder.decode(self._token_bytes(token_id))

    def finish(self) -> str:
        """What is left: "", or U+FFFD for an incomplete character. Resets the decoder."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
