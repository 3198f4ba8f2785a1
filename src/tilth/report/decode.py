"""Parsed JSON into frozen dataclasses, led by their annotations.

The report reads files that other steps wrote, perhaps with another version: a key that is missing or of the
wrong kind must end in a sentence that names the file and the key, not in a `KeyError` inside a template. Keys
that no field names are passed over, so that stages may add figures before the report shows them. Cost: only
the shapes that artefacts have are understood (records, lists, string-keyed maps, plain values, `X | None`).
"""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from tilth.errors import DataError

T = TypeVar("T")

_FIX = "Run the step that wrote it again, or leave it out of the report."


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
    if origin is tuple:
        item = get_args(kind)[0]
        rows = cast("list[object]", _expect(list, value, where))
        return tuple(_value(item, row, f"{where}[{index}]") for index, row in enumerate(rows))
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
    return kind(**found)


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


def _misfit(kind: type, value: object, where: str) -> DataError:
    return DataError(f"`{where}` holds {type(value).__name__} where {kind.__name__} belongs.", fix=_FIX)
