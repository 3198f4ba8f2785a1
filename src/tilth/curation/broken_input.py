"""Which errors a document can cause, and which it cannot.

A record that cannot be decoded or parsed is a dead letter, and the rest of its file is read. Everything else (a bug in
a rule, a wrong setting, no memory, a disk or network that fails) is no fault of the data and ends the run.
"""

from __future__ import annotations

import gzip
import json
import lzma
import zlib

from tilth.errors import DataError, TilthError

_PARSING = (
    DataError,
    UnicodeError,
    json.JSONDecodeError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,  # a compressed stream that is cut
)


def is_broken_input(error: BaseException) -> bool:
    """Tells whether an error comes from decoding or parsing.

    A panic of a parser that is written in Rust (resiliparse) arrives as a BaseException of its own; pyarrow and bz2
    raise plain OSErrors without an `errno` for corrupt content, those of the operating system have one.
    """
    if isinstance(error, TilthError):
        return isinstance(error, DataError)
    if isinstance(error, _PARSING):
        return True
    if isinstance(error, OSError):
        return type(error) is OSError and error.errno is None
    kind = type(error)
    return kind.__name__ == "PanicException" and kind.__module__ == "pyo3_runtime"


def describe(error: BaseException) -> str:
    """Returns an error as one line that is the same on every machine (no absolute paths)."""
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    said = error.message if isinstance(error, TilthError) else str(error)
    message = " ".join(said.split())[:300]
    if isinstance(error, DataError):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
