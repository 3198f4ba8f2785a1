"""Bits per byte of zstd at level 19: a general compressor on the same text.

It starts with an empty window, no dictionary, and never sees the training text, so a model should reach far fewer
bits; on a short text it has little to look back on. One difference from the models: the documents are joined without
separators, so it does not encode where they end.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from tilth.errors import DataError

LEVEL = 19
"""The highest level of the `zstd` command without `--ultra`."""


def zstd_bits_per_byte(texts: Iterable[str]) -> float:
    """Returns the bits that one frame over all texts takes, for each byte of UTF-8.

    Raises: DataError if there is no text.
    """
    content = b"".join(text.encode("utf-8", "surrogatepass") for text in texts)
    if not content:
        raise DataError("There is no text to compress.", fix="Give at least one document with text.")
    compressed = pa.Codec("zstd", compression_level=LEVEL).compress(content)
    return 8 * compressed.size / len(content)
