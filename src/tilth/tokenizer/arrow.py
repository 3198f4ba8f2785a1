"""Text from Arrow arrays: a column of strings as a list of texts, without a Python string for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from tilth.errors import DataError


def as_texts(texts: Any) -> Sequence[str | bytes]:
    """A list of texts as it is, an Arrow array (or chunked array) of strings as the UTF-8 of its values.

    Raises: DataError for an array of another type, or a null in it.
    """
    if type(texts).__module__.partition(".")[0] != "pyarrow":
        return texts if isinstance(texts, Sequence) else list(cast("Iterable[str | bytes]", texts))
    import pyarrow as pa

    kinds = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view())
    if texts.type not in kinds:
        raise DataError(f"An Arrow array of {texts.type} is no text.", fix="Give a column of strings.")
    if texts.null_count:
        row = texts.is_null().to_pylist().index(True)
        raise DataError(f"Row {row} is null.", fix="Drop the nulls first: `array.drop_null()`.")
    is_view = texts.type == pa.string_view()
    return texts.cast(pa.string()).cast(pa.binary()).to_pylist() if is_view else _binary(texts, pa).to_pylist()


def _binary(texts: Any, pa: Any) -> Any:
    large = texts.type in (pa.large_string(), pa.large_binary())
    return texts.cast(pa.large_binary() if large else pa.binary())
