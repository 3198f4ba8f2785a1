"""Identities of work: its config as canonical JSON, and claims that store an identity in the folder of the work.

Two configs are one identity if they ask for the same: fields at their default are left out, so that a new option
re-runs nothing, and numbers are written by their declared type, so that `0` and `0.0` are one. A changed default is
therefore invisible here: whoever changes one raises the version of the steps that use it (a golden list of defaults in
`tests/test_surface.py` is the reminder).
"""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import json
import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from tilth.errors import ConfigError, StepError
from tilth.files import read_json, write_json

FINGERPRINT_DIGITS = 16
"""Hex digits of a fingerprint: 64 bits."""


def canonical(value: object, path: str = "config", *, defaults: bool = False, declared: Any = None) -> Any:
    """Returns `value` as plain JSON data, or raises for anything that has no single way to be written.

    `defaults` keeps the fields that are at their default, for people to read. `declared` is the annotated type: an
    object of another class is written with the name of its class; None: nothing is declared, nor is that name needed.
    Raises: StepError naming the field, for paths, sets, NaN, functions and other objects.
    """
    declared = _without_none(declared)
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        return _number(value, path, declared)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value, path, defaults, declared)
    arguments = get_args(declared)
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value)
        if not all(isinstance(key, str) for key in items):
            raise StepError(f"{path} has a key that is not text; a config's mappings need text keys.")
        kind = arguments[1] if len(arguments) == 2 and _is_mapping(declared) else object
        return {
            str(key): canonical(item, f"{path}.{key}", defaults=defaults, declared=kind) for key, item in items.items()
        }
    if isinstance(value, (list, tuple)):
        elements = cast("Sequence[object]", value)
        kinds = _element_types(arguments, len(elements))
        return [
            canonical(item, f"{path}[{i}]", defaults=defaults, declared=kind)
            for i, (item, kind) in enumerate(zip(elements, kinds, strict=True))
        ]
    raise StepError(
        f"{path} is a {type(value).__name__}, which cannot be part of a step's identity.",
        fix="Use numbers, text, lists, mappings or dataclasses; files come in as a `Source`.",
    )


def canonical_json(value: object) -> str:
    """Returns the one JSON text of `value`: sorted keys, no spaces."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint_of(value: object) -> str:
    """Returns the SHA-256 of the canonical JSON of `value`, shortened to `FINGERPRINT_DIGITS`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:FINGERPRINT_DIGITS]


def changes(old: Any, new: Any, path: str = "") -> list[str]:
    """Says in plain lines how two pieces of JSON data differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        lines: list[str] = []
        for key in sorted(before.keys() | after.keys()):
            inner = f"{path}.{key}" if path else key
            if key not in before:
                lines.append(f"{inner} is new: {json.dumps(after[key])}")
            elif key not in after:
                lines.append(f"{inner} is gone (was {json.dumps(before[key])})")
            else:
                lines += changes(before[key], after[key], inner)
        return lines
    return [] if old == new else [f"{path} {json.dumps(old)} -> {json.dumps(new)}"]


def claim(folder: Path, identity: object, *, kind: str, outputs: Sequence[str] = ()) -> bool:
    """Claims `folder` for one piece of work; returns whether it holds some of that work already.

    `identity` is whatever decides about the result (configs, fingerprints of inputs); `kind` names the work
    (`training`); `outputs` are the names that it will write, which must not be there unclaimed. The claim is a small
    hidden file that stays, so a finished folder is recognised by it, too.
    Raises: ConfigError if the folder holds other work, and says what differs.
    """
    path = folder / f".{kind}.claim.json"
    # Through canonical JSON and back, so that what is compared is what is stored.
    wanted = json.loads(json.dumps(canonical(identity, kind, defaults=True)))
    if path.exists():
        differences = changes(read_json(path), wanted)
        if differences:
            raise ConfigError(
                f"{folder} holds the {kind} of another call: {'; '.join(differences[:3])}.",
                fix="Choose another folder, or delete this one.",
            )
        return True
    strangers = [name for name in outputs if (folder / name).exists()]
    if strangers:
        raise ConfigError(
            f"{folder} holds {', '.join(strangers)} of unknown origin, where this {kind} would write.",
            fix="Choose another folder, or delete this one.",
        )
    write_json(path, wanted)
    return False


def _number(value: float, path: str, declared: Any) -> int | float:
    if not math.isfinite(value):
        raise StepError(f"{path} is {value}: a number that is not finite has no identity.")
    if declared is float:
        return float(value) + 0.0  # -0.0 becomes 0.0
    if declared is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _fields(value: Any, path: str, defaults: bool, declared: Any) -> dict[str, Any]:
    hints = get_type_hints(type(value))
    written: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        inner, hint = f"{path}.{field.name}", hints[field.name]
        item = canonical(getattr(value, field.name), inner, defaults=defaults, declared=hint)
        if defaults or item != _default(field, hint):
            written[field.name] = item
    # Of a field that may hold one of several classes, the fields alone do not tell which one it holds.
    if declared is not None and type(value) is not declared:
        if "type" in written:
            raise StepError(
                f"{path}.type cannot be told from the name of its class, {type(value).__name__}.",
                fix="Give the field another name.",
            )
        written["type"] = type(value).__name__
    return written


def _default(field: dataclasses.Field[Any], declared: Any) -> object:
    """Returns a field's default in its canonical form; a field without one gets what no value equals."""
    if field.default is not dataclasses.MISSING:
        return canonical(field.default, declared=declared)
    if field.default_factory is not dataclasses.MISSING:
        return canonical(field.default_factory(), declared=declared)
    return dataclasses.MISSING


def _without_none(declared: Any) -> Any:
    if get_origin(declared) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(declared) if kind is not types.NoneType]
        return kinds[0] if len(kinds) == 1 else declared
    return declared


def _is_mapping(declared: Any) -> bool:
    origin = get_origin(declared)
    return isinstance(origin, type) and issubclass(origin, collections.abc.Mapping)


def _element_types(arguments: tuple[Any, ...], n: int) -> list[Any]:
    if len(arguments) == n and Ellipsis not in arguments:
        return list(arguments)
    return [arguments[0] if arguments else object] * n
