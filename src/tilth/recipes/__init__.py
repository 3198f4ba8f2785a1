"""Recipes: functions that tie stages into steps. They read top to bottom, with one dial that derives the rest."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tilth.errors import ConfigError
from tilth.steps import Step


@dataclass(frozen=True)
class BuiltIn:
    """A recipe that comes with tilth."""

    summary: str
    target: str
    """`module:function`"""


BUILT_IN = {
    "quickstart": BuiltIn(
        "From the text of this machine's Python (or `--corpus`) to a model, a self-improving loop, and a report",
        "tilth.recipes.quickstart:quickstart",
    ),
}


def load_recipe(name: str) -> Callable[..., Step]:
    """Returns the recipe of that name, or the function that `path/to/file.py:function` names.

    Raises: ConfigError if there is none.
    """
    if name in BUILT_IN:
        module, function = BUILT_IN[name].target.split(":")
        return getattr(importlib.import_module(module), function)
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        close = difflib.get_close_matches(name, BUILT_IN, n=1)
        raise ConfigError(
            f"There is no recipe called `{name}`.",
            fix=(f"Did you mean `{close[0]}`? " if close else "")
            + f"Built-in recipes: {', '.join(BUILT_IN)}. Your own: `path/to/file.py:function`.",
        )
    return _from_file(Path(path), function)


def _from_file(path: Path, function: str) -> Callable[..., Step]:
    if not path.exists():
        raise ConfigError(f"The recipe file {path} does not exist.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    if not callable(getattr(module, function, None)):
        raise ConfigError(f"{path} has no function called `{function}`.")
    return getattr(module, function)


__all__ = ["BUILT_IN", "BuiltIn", "load_recipe"]
