"""Verifiers and families by name.

    verifier("number")                                  # a built-in one
    verifier('number:{"relative_tolerance": 0.01}')     # with options
    verifier("countdown")                               # the verifier of a task family's problems
    verifier("my_checks.py:palindrome")                 # your own

A problem names its verifier in this way, so that it can be checked wherever it travels.
"""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, cast

from tilth.errors import ConfigError, DataError, TilthError
from tilth.results import decode
from tilth.synthesis.verify.family_base import Family, FamilyVerifier
from tilth.synthesis.verify.verdict import Verdict, Verifier
from tilth.types import Problem

_HERE = "tilth.synthesis.verify"
VERIFIERS: dict[str, str] = {
    "exact": f"{_HERE}.exact:Exact",
    "number": f"{_HERE}.number:Number",
    "arithmetic": f"{_HERE}.arithmetic:Arithmetic",
    "countdown": f"{_HERE}.countdown:Countdown",
    "code": f"{_HERE}.code_tests:Code",
    "json_schema": f"{_HERE}.json_schema:JsonSchema",
    "instructions": f"{_HERE}.instructions:Instructions",
}
"""Name -> `module:class`; the class's fields are the options, and its module is loaded when it is used."""
FAMILIES: dict[str, str] = {
    "code_tasks": f"{_HERE}.code_family:CodeFamily",
    "countdown": f"{_HERE}.countdown:CountdownFamily",
    "dates": f"{_HERE}.text_families:Dates",
    "instructions": f"{_HERE}.instruction_family:InstructionFamily",
    "json": f"{_HERE}.text_families:JsonFamily",
    "multi_digit_arithmetic": f"{_HERE}.arithmetic_families:MultiDigitArithmetic",
    "sorting": f"{_HERE}.text_families:Sorting",
    "strings": f"{_HERE}.text_families:Strings",
    "word_problems": f"{_HERE}.arithmetic_families:WordProblems",
}
"""Name of a task family -> `module:class`."""
REASONING_GYM = "reasoning_gym:"
"""Prefix of families from the package `reasoning-gym`."""


@lru_cache(maxsize=1024)
def verifier(name: str, *, allow_files: bool = True) -> Verifier:
    """Returns the verifier of that name.

    `allow_files=False` refuses `path/to/file.py:name`, which runs code: for names that come out of a dataset.
    Raises: ConfigError for an unknown name or option; DependencyError where an optional package is needed.
    """
    head, colon, rest = name.partition(":")
    if head in VERIFIERS:
        return _with_options(head, rest if colon else "")
    if head in FAMILIES:
        return FamilyVerifier(family(head))
    if name.startswith(REASONING_GYM):
        return FamilyVerifier(family(name))
    if colon and allow_files:
        return _own(name)
    known = sorted({*VERIFIERS, *FAMILIES})
    close = difflib.get_close_matches(head, known, n=2)
    raise ConfigError(
        f"There is no verifier `{name[:80]}`.",
        fix=f"{'Perhaps ' + ' or '.join(close) + '. ' if close else ''}Built in: {', '.join(known)}; "
        "your own: `path/to/file.py:name`.",
    )


def family(name: str) -> Family:
    """Returns the task family of that name; of the package `reasoning-gym`, as `reasoning_gym:NAME`.

    Raises: ConfigError for an unknown name; DependencyError where the package is not installed.
    """
    if name.startswith(REASONING_GYM):
        module = importlib.import_module(f"{_HERE}.reasoning_gym")
        return module.ReasoningGym(name.removeprefix(REASONING_GYM))
    if name in FAMILIES:
        return _load(FAMILIES[name])()
    if ":" in name:
        from tilth.user_code import load_object

        found: Any = load_object(name)
        return found() if isinstance(found, type) else found
    raise ConfigError(
        f"There is no task family `{name[:80]}`.",
        fix=f"Built in: {', '.join(sorted(FAMILIES))}; `reasoning_gym:NAME`; your own: `path/to/file.py:name`.",
    )


def _with_options(name: str, text: str) -> Verifier:
    kind: type = _load(VERIFIERS[name])
    if not text:
        return kind()
    try:
        options: object = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(
            f"The options of the verifier `{name}` are no JSON: {text[:80]!r}.", fix=f'Write `{name}:{{"option": 1}}`.'
        ) from None
    names = {field.name for field in fields(cast(Any, kind))}
    unknown = sorted(set(cast("dict[str, object]", options)) - names) if isinstance(options, dict) else []
    if unknown:
        raise ConfigError(
            f"The verifier `{name}` has no option `{unknown[0]}`.", fix=f"It has: {', '.join(sorted(names)) or 'none'}."
        )
    try:
        return decode(kind, options, f"options of `{name}`")
    except DataError as error:
        if isinstance(error.__context__, TilthError):  # the class's own check says more
            raise error.__context__ from None
        raise ConfigError(
            error.message, fix=f"The verifier `{name}` has the options {', '.join(sorted(names))}."
        ) from None


def _load(spec: str) -> Any:
    module, _, attribute = spec.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class _OwnFunction:
    """A user's function as a verifier."""

    function: Callable[[Problem, str], object]

    def verify(self, problem: Problem, answer: str) -> Verdict:
        result = self.function(problem, answer)
        if isinstance(result, Verdict):
            return result
        if isinstance(result, bool | int | float) and 0 <= result <= 1:
            return Verdict(result == 1, float(result))
        raise ConfigError(
            f"Your verifier returned {result!r}.", fix="Return True or False, a score from 0 to 1, or a `Verdict`."
        )


def _own(name: str) -> Verifier:
    from tilth.user_code import load_object

    found: Any = load_object(name)
    if isinstance(found, type):
        found = found()
    if callable(getattr(found, "verify", None)):
        return found
    if callable(found):
        return _OwnFunction(found)
    raise ConfigError(
        f"`{name}` is no verifier.", fix="Name a function of (problem, answer), or an object with `verify`."
    )
