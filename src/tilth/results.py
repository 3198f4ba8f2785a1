"""Results of stages on disk: frozen dataclasses to JSON and back, led by their annotations.

Each stage owns the dataclass of its result (`result.py` in its folder); whoever reads the file reads that class. A file
may come from another version: a key that is missing or of the wrong kind ends in an error that names the file and the
key. Keys that no field names are passed over, so that an older reader takes a newer file. Only the shapes that results
have are understood: dataclasses, lists, string-keyed maps, plain values, literals, `X | None`.
"""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from tilth.errors import DataError, TilthError
from tilth.files import read_json, write_json

T = TypeVar("T")

_FIX = "Run the step that wrote it again, or leave it out."


def write_result(path: Path, result: object) -> None:
    """Writes a dataclass (or a list of them) as JSON, whole or not at all; nan becomes null."""
    value = (
        [asdict(cast(Any, item)) for item in result] if isinstance(result, list | tuple) else asdict(cast(Any, result))
    )
    write_json(path, without_nan(value))


def read_result(kind: type[T], path: Path) -> T:
    """Reads what `write_result` wrote.

    Raises: DataError naming the file and the key, where it is missing, no JSON, or does not fit.
    """
    return decode(kind, read_json(path), str(path))


def decode(kind: type[T], value: object, where: str) -> T:
    """Returns `value` (as `json.load` gives it) as a `kind`; `where` names the file in errors.

    A null where a float is asked for reads as nan: JSON has no other word for it.
    Raises: DataError naming the file and the key, where the value does not fit.
    """
    return cast("T", _value(kind, value, where))


def _value(kind: Any, value: object, where: str) -> object:
    if kind is object:
        return value
    if isinstance(kind, type) and is_dataclass(kind):
        return _record(kind, value, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (part for part in get_args(kind) if part is not types.NoneType)
        return None if value is None else _value(inner, value, where)
    if origin is Literal:
        if value not in get_args(kind):
            raise DataError(f"`{where}` is {value!r}, not one of {', '.join(map(repr, get_args(kind)))}.", fix=_FIX)
        return value
    if origin is tuple:
        rows = cast("list[object]", _expect(list, value, where))
        items = get_args(kind) if Ellipsis not in get_args(kind) else (get_args(kind)[0],) * len(rows)
        if len(items) != len(rows):
            raise DataError(f"`{where}` holds {len(rows)} values where {len(items)} belong.", fix=_FIX)
        return tuple(
            _value(item, row, f"{where}[{index}]") for index, (item, row) in enumerate(zip(items, rows, strict=True))
        )
    if origin is dict:
        item = get_args(kind)[1]
        entries = cast("dict[str, object]", _expect(dict, value, where))
        return {key: _value(item, entry, f"{where}.{key}") for key, entry in entries.items()}
    return _plain(kind, value, where)


def _record(kind: type, value: object, where: str) -> object:
    entries = cast("dict[str, object]", _expect(dict, value, where))
    hints = get_type_hints(kind)
    found: dict[str, object] = {}
    for field in fields(kind):
        if field.name in entries:
            found[field.name] = _value(hints[field.name], entries[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise DataError(f"`{where}` has no `{field.name}`.", fix=_FIX)
    try:
        return kind(**found)
    except TilthError as error:  # the class checks more than types
        raise DataError(f"`{where}`: {error.message}", fix=_FIX) from None


def _plain(kind: type, value: object, where: str) -> object:
    if kind is float and (value is None or isinstance(value, int | float)) and not isinstance(value, bool):
        return math.nan if value is None else float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is int and isinstance(value, bool):
        raise _misfit(kind, value, where)
    return _expect(kind, value, where)


def _expect(kind: type, value: object, where: str) -> object:
    if not isinstance(value, kind):
        raise _misfit(kind, value, where)
    return value


def without_nan(value: Any) -> Any:
    """Returns JSON data with null for numbers that are not finite, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in cast("list[Any]", value)]
    return value


def _misfit(kind: type, value: object, where: str) -> DataError:
    return DataError(f"`{where}` holds {type(value).__name__} where {kind.__name__} belongs.", fix=_FIX)
