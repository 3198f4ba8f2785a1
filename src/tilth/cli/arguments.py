"""What tyro lacks: counts such as `10k`, options that are given several times, and unions that read as a list."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from tilth.errors import ConfigError

_COUNT = re.compile(r"([+-]?\d[\d_]*(?:\.\d+)?(?:e\+?\d{1,2})?)([kmgbt]?)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}

REGISTRY = ConstructorRegistry()
"""How values are read, in addition to tyro's own rules."""


def count(text: str) -> int:
    """Reads a whole number: `10k`, `1e5`, `1.5M` and `10_000` are such.

    Raises: ValueError for a fraction, or for what is no number.
    """
    known = _COUNT.fullmatch(text.strip())
    if known is None:
        raise ValueError(f"{text!r} is not a whole number: give one such as 500, 10_000, 10k, 1e5 or 1.5M")
    value = Decimal(known[1].replace("_", "")) * _FACTORS[known[2].lower()]
    if value != value.to_integral_value():
        raise ValueError(f"{text!r} is a fraction: give a whole number such as 500, 10_000, 10k, 1e5 or 1.5M")
    return int(value)


@REGISTRY.primitive_rule
def _count_rule(type_info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if type_info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: count(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


@REGISTRY.primitive_rule
def _optional_count_rule(type_info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int | None] | None:
    """`int | None`: tyro's own rule for unions tells two errors where there is one."""
    if get_origin(type_info.type) not in (Union, types.UnionType) or {*get_args(type_info.type)} != {int, type(None)}:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{None}|INT",
        instance_from_str=lambda words: None if words[0] == "None" else count(words[0]),
        is_instance=lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool)),
        str_from_instance=lambda value: [str(value)],
    )


def annotated(fn: Callable[..., object]) -> list[inspect.Parameter]:
    """Returns the named parameters of a function as tyro takes them.

    One without an annotation has the type of its default, or is text; `*args` and `**kwargs` are left out.
    """
    hints = get_type_hints(fn, include_extras=True)
    found: list[inspect.Parameter] = []
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        default = parameter.default
        guess = str if default in (inspect.Parameter.empty, None) else cast("Any", type(default))
        found.append(parameter.replace(annotation=as_list(hints.get(parameter.name, guess))))
    return found


def as_list(annotation: Any) -> Any:
    """Returns `tuple[X, ...]` for a union with it, such as `str | tuple[str, ...]`: a command line gives lists."""
    if get_origin(annotation) in (Union, types.UnionType):
        lists = [part for part in get_args(annotation) if get_origin(part) is tuple]
        return lists[0] if lists else annotation
    return annotation


def merged(words: Sequence[str], fn: Callable[..., object]) -> list[str]:
    """Returns the words with all values of an option that takes several behind its first name.

    Raises: ConfigError where an option that takes one value is given twice.
    """
    takes_several = dict(_options(fn))
    groups: list[list[str]] = [[]]
    by_name: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0] != "--":
        word = rest.pop(0)
        if not word.startswith("--"):
            groups[-1].append(word)
            continue
        option, equals, value = word.partition("=")
        name = f"--{option[2:].replace('_', '-')}"
        if name in by_name and not takes_several[name]:
            raise ConfigError(f"`{name}` is given twice.", fix=f"Give `{name}` once: it takes one value.")
        if name in by_name:  # its values follow those that are there: it becomes the last group
            group = by_name[name]
            groups = [other for other in groups if other is not group]
        else:
            group = [name] if name in takes_several else [option]
        if name in takes_several:
            by_name[name] = group
        groups.append(group)
        if equals:
            # A value that begins with a dash is one only behind `=`.
            group[-1:] = [group[-1], value] if takes_several.get(name) else [f"{group[-1]}={value}"]
    return [word for group in groups for word in group] + rest


def _options(fn: Callable[..., object]) -> Iterator[tuple[str, bool]]:
    """Yields the name of each option of a function, and whether it takes several values."""
    hints = get_type_hints(fn)
    for name in inspect.signature(fn).parameters:
        yield from _option(name, hints.get(name, str))


def _option(name: str, hint: Any) -> Iterator[tuple[str, bool]]:
    if isinstance(hint, type) and is_dataclass(hint):
        inner = get_type_hints(hint)
        for field in fields(hint):
            for option, several in _option(field.name, inner[field.name]):
                yield option, several
                yield f"--{name.replace('_', '-')}.{option[2:]}", several  # where its name is not left out
        return
    yield f"--{name.replace('_', '-')}", _takes_several(hint)


def _takes_several(hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_takes_several(part) for part in get_args(hint))
    kind = cast("object", origin or hint)
    return isinstance(kind, type) and issubclass(kind, tuple | list | set | frozenset | dict | Mapping)
