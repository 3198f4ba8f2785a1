"""Recipes: functions that tie stages into steps. They read top to bottom, with one dial that derives the rest.

A run has the name of its recipe, and lies beside the folders of all steps: no step is named as a recipe is.
"""

from __future__ import annotations

import ast
import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilth.errors import ConfigError
from tilth.steps import Step
from tilth.user_code import load_object


@dataclass(frozen=True)
class BuiltIn:
    """A recipe that comes with tilth."""

    summary: str
    target: str
    """`module:function`"""


BUILT_IN = {
    "easy-to-hard": BuiltIn(
        "Small models that teach themselves longer strings and sums than they were given answers to",
        "tilth.recipes.easy_to_hard:easy_to_hard",
    ),
    "quickstart": BuiltIn(
        "From the text of this machine's Python (or `--corpus`) to a model, a self-improving loop, and a report",
        "tilth.recipes.quickstart:quickstart",
    ),
    "language": BuiltIn(
        "Whether a small model's own texts, written from its corpus, are worth training on: measured, then tried",
        "tilth.recipes.language:language",
    ),
    "countdown": BuiltIn(
        "Countdown: a model learns from what search with a checker finds, beside its controls",
        "tilth.recipes.countdown:countdown",
    ),
    "code-tasks": BuiltIn(
        "Small expressions checked by running them in the sandbox: what search finds, beside its controls",
        "tilth.recipes.code_tasks:code_tasks",
    ),
    "plateau": BuiltIn(
        "Does a model's own text still help it, plain or verified, where new real text does?",
        "tilth.recipes.plateau:plateau",
    ),
    "collapse": BuiltIn(
        "Models trained on text of the model before, generation after generation: collapse, and what prevents it",
        "tilth.recipes.collapse:collapse",
    ),
    "curriculum": BuiltIn(
        "Broad text, then narrow text with replay, against both at once: what is gained, and what is forgotten",
        "tilth.recipes.curriculum:curriculum",
    ),
}


def load_recipe(name: str) -> Callable[..., Step]:
    """Returns the built-in recipe of that name, or the function that `path/to/file.py:function` names.

    A call of it raises ConfigError if it returns anything but a Step.
    Raises: ConfigError if there is none.
    """
    if name.endswith(".py"):
        raise ConfigError(
            f"`{name}` names a file, but no function in it.", fix=f"Write `{name}:FUNCTION`.{_functions(Path(name))}"
        )
    if name not in BUILT_IN and ":" not in name:
        close = difflib.get_close_matches(name, BUILT_IN, n=1)
        raise ConfigError(
            f"There is no recipe called `{name}`.",
            fix=(f"Did you mean `{close[0]}`? " if close else "")
            + f"Built-in recipes: {', '.join(BUILT_IN)}. Your own: `path/to/file.py:function`.",
        )
    recipe = load_object(BUILT_IN[name].target if name in BUILT_IN else name)
    if not callable(recipe):
        raise ConfigError(f"`{name}` is {recipe!r:.60}, not a function.", fix="Name a function that returns a `Step`.")
    return _returning_step(name, recipe)


def _functions(file: Path) -> str:
    """Says which functions a file defines, where it can be read."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, ValueError, SyntaxError):
        return ""
    names = [item.name for item in body if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")]
    return f" It defines {', '.join(names[:8])}." if names else ""


def _returning_step(name: str, recipe: Callable[..., object]) -> Callable[..., Step]:
    @functools.wraps(recipe)
    def checked(*arguments: Any, **fields: Any) -> Step:
        target = recipe(*arguments, **fields)
        if not isinstance(target, Step):
            raise ConfigError(
                f"The recipe `{name}` returned {target!r:.60}, not a step.",
                fix="A recipe returns its last `Step`; that one names all others as its inputs.",
            )
        return target

    return checked


__all__ = ["BUILT_IN", "BuiltIn", "load_recipe"]
