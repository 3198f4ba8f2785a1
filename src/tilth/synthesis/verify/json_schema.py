"""JSON that fits a schema, by the package `jsonschema`."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, cast

from tilth.errors import ConfigError, DependencyError
from tilth.synthesis.verify.final_answer import MAX_CHARS
from tilth.synthesis.verify.verdict import Verdict, failed, passed
from tilth.types import Problem

MAX_DEPTH = 64
"""Deepest nesting of lists and objects in an answer."""
MAX_STARTS = 200
"""Brackets in an answer that are tried as the beginning of JSON."""
_FENCE = re.compile(r"^```[ \t]*(?:json\w*)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class JsonSchema:
    """The answer is JSON that fits the schema."""

    schema: dict[str, object] = field(default_factory=dict[str, object])
    """Empty: any JSON. References to other documents are not followed, and `format` is not checked."""
    anywhere: bool = True
    """The JSON may stand in a block of code, or anywhere between other text; else the whole answer must be JSON."""

    def __post_init__(self) -> None:
        if self.schema:
            _ = self._validator

    @cached_property
    def _validator(self) -> Any:
        try:
            import referencing
            from jsonschema.exceptions import SchemaError
            from jsonschema.validators import Draft202012Validator, extend, validator_for
        except ImportError:
            raise DependencyError(
                "Schemas of JSON need the package `jsonschema`.", fix='Install it: pip install "tilth[synthesis]".'
            ) from None
        for pattern in _patterns(self.schema):
            # Python's regular expressions can take for ever on a text that somebody else wrote.
            if len(pattern) > 200 or _repeats(pattern) is None:
                raise ConfigError(
                    f"The pattern {pattern[:80]!r} in the schema may take very long.",
                    fix="Write it without repetitions inside of repetitions.",
                )
        kind = validator_for(self.schema, default=Draft202012Validator)
        try:
            kind.check_schema(self.schema)
        except SchemaError as error:
            raise ConfigError(f"The schema is none: {error.message[:200]}", fix="Correct the schema.") from None
        # An empty registry: a reference is looked up in the schema itself and nowhere else.
        limited = extend(
            kind,
            {
                "uniqueItems": _unique_items,
                "multipleOf": _multiple_of,
                "pattern": _pattern(kind.VALIDATORS["pattern"]),
            },
        )
        return limited(self.schema, registry=cast(Any, referencing.Registry()))

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Finds JSON in the answer, and validates it; the last piece that fits counts."""
        fault = "no JSON"
        for value in _candidates(answer, self.anywhere):
            if _depth(value) > MAX_DEPTH:
                fault = f"nested deeper than {MAX_DEPTH}"
                continue
            found = self._fault(value)
            if not found:
                return passed("fits the schema" if self.schema else "is JSON")
            fault = found
        return failed(fault)

    def _fault(self, value: object) -> str:
        if not self.schema:
            return ""
        from jsonschema.exceptions import ValidationError, best_match

        try:
            error = best_match(self._validator.iter_errors(value))
        except RecursionError:
            return "the schema refers to itself without end"
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("referencing", "jsonschema"):
                raise
            return f"the schema refers to what is not there: {str(error)[:80]}"
        if not isinstance(error, ValidationError):
            return ""
        return f"{error.json_path[:60]}: {error.message[:140]}"


LONGEST = {0: MAX_CHARS, 1: 10_000, 2: 2_000, 3: 300, 4: 80}
"""Unbounded repetitions of a pattern -> characters of the longest text that it is looked for in."""


def _repeats(pattern: str) -> int | None:
    """Returns how many unbounded repetitions a pattern has; None for more than four, and where one is in another."""
    try:
        parsed: Any = importlib.import_module("re._parser").parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    total, pending = 0, [(parsed, False)]
    while pending:
        tree, is_repeated = pending.pop()
        for operation, argument in tree:
            name, inner = str(operation), is_repeated
            if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
                if is_repeated:
                    return None
                total += argument[1] > 50 and argument[1] != argument[0]
                inner = is_repeated or argument[1] > 1
            elif name == "BRANCH" and is_repeated:
                return None
            pending += [(part, inner) for part in _parts(argument)]
    return total if total <= max(LONGEST) else None


def _parts(argument: Any) -> list[Any]:
    """The patterns within an operation of a parsed pattern."""
    if hasattr(argument, "getwidth"):
        return [argument]
    return [part for item in argument for part in _parts(item)] if isinstance(argument, list | tuple) else []


def _pattern(check: Any) -> Any:
    def limited(validator: Any, pattern: str, instance: object, schema: object) -> Iterator[Any]:
        from jsonschema.exceptions import ValidationError

        if isinstance(instance, str) and len(instance) > LONGEST[_repeats(pattern) or 0]:
            yield ValidationError(f"a text of {len(instance):,} characters is too long for the pattern {pattern!r}")
        else:
            yield from check(validator, pattern, instance, schema) or ()

    return limited


def _unique_items(validator: Any, wanted: object, instance: object, schema: object) -> Iterator[Any]:
    """`uniqueItems` in linear time; the package compares each object of a list with each other one."""
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(instance, list):
        items = cast("list[object]", instance)
        if len({_key(item) for item in items}) < len(items):
            yield ValidationError("the list has an item twice")


def _multiple_of(validator: Any, step: float, instance: object, schema: object) -> Iterator[Any]:
    """`multipleOf` by the digits that are written: 0.3 is a multiple of 0.1, which floats do not say."""
    from jsonschema.exceptions import ValidationError

    is_number = isinstance(instance, int | float) and not isinstance(instance, bool)
    if is_number and (Fraction(str(instance)) / Fraction(str(step))).denominator != 1:
        yield ValidationError(f"{instance!r} is not a multiple of {step!r}")


def _key(value: object) -> object:
    """A value that is equal for equal JSON: 1 and 1.0 are, 1 and true are not, and the order of keys is nothing."""
    if isinstance(value, dict):
        return ("object", frozenset((key, _key(item)) for key, item in cast("dict[str, object]", value).items()))
    if isinstance(value, list):
        return ("list", tuple(_key(item) for item in cast("list[object]", value)))
    return (isinstance(value, bool), value)


def json_in(text: str) -> object:
    """Returns the JSON that a text holds; the whole text, else a block of code, else the last longest piece.

    Raises: ValueError where there is none.
    """
    for value in _candidates(text, True):
        return value
    raise ValueError("no JSON")


def _candidates(text: str, anywhere: bool) -> Iterator[object]:
    yield from _parsed(text)
    if not anywhere:
        return
    text = text[-MAX_CHARS:]
    for block in reversed(_FENCE.findall(text)):
        yield from _parsed(block)
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    found: list[object] = []
    at = tried = 0
    while tried < MAX_STARTS:
        match = re.compile(r"[\[{]").search(text, at)
        if match is None:
            break
        tried, at = tried + 1, match.end()
        try:
            value, at = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        found.append(value)
    yield from reversed(found)


def _parsed(text: str) -> Iterator[object]:
    try:
        yield json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _depth(value: object) -> int:
    """How deeply lists and objects are nested; counts without recursion."""
    deepest, pending = 0, [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, dict | list):
            deepest = max(deepest, depth)
            children = (
                cast("dict[str, object]", item).values() if isinstance(item, dict) else cast("list[object]", item)
            )
            pending += [(child, depth + 1) for child in children]
    return deepest


def _patterns(schema: object) -> Iterator[str]:
    pending = [schema]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            entries = cast("dict[str, object]", item)
            if isinstance(entries.get("pattern"), str):
                yield str(entries["pattern"])
            if isinstance(entries.get("patternProperties"), dict):
                yield from cast("dict[str, object]", entries["patternProperties"])
            pending += entries.values()
        elif isinstance(item, list):
            pending += cast("list[object]", item)
