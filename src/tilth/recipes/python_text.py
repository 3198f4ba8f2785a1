"""Documentation that a Python installation holds besides its source: language topics, docstrings of C modules.

Modules written in C (`math`, `itertools`, `_json`) have no source on the machine, but they have docstrings; the
reference of the language itself is in `pydoc_data`. Both become plain text files, one a topic or module.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tilth.files import write_bytes

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
PRIVATE_TESTS = ("_test", "_xx", "xx")
"""Modules of these names exist for the interpreter's own tests."""


def write_python_text(folder: Path) -> int:
    """Writes the texts below `folder` and returns how many."""
    written = 0
    for name, text in (*topics(), *extension_docs()):
        write_bytes(folder / f"{name}.txt", text.encode("utf-8"))
        written += 1
    return written


def topics() -> Iterator[tuple[str, str]]:
    """Yields name and text of the language reference's topics (`help("for")` shows one of them)."""
    try:
        from pydoc_data.topics import topics as texts  # pyright: ignore[reportMissingModuleSource]
    except ImportError:  # some distributions package the documentation apart
        return
    for name in sorted(texts):
        yield f"topics/{name}", str(texts[name])


def extension_docs() -> Iterator[tuple[str, str]]:
    """Yields name and documentation of the standard library's modules that are written in C."""
    for name in sorted(sys.stdlib_module_names):
        if name.startswith(PRIVATE_TESTS) or not _is_extension(name):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                module = importlib.import_module(name)
        except ImportError:  # built without the library it wraps
            continue
        text = module_text(module)
        if text.count("\n") > 10:
            yield f"modules/{name}", text


def _is_extension(name: str) -> bool:
    if name in sys.builtin_module_names:
        return True
    spec = importlib.util.find_spec(name)
    return isinstance(spec and spec.loader, importlib.machinery.ExtensionFileLoader)


def module_text(module: ModuleType) -> str:
    """Returns a module's documentation as text: its own, then that of its functions, classes and their methods."""
    parts = [f"Module {module.__name__}", inspect.getdoc(module) or ""]
    for name, member in sorted(vars(module).items()):
        if name.startswith("_") or inspect.ismodule(member) or not callable(member):
            continue
        parts.append(_entry(f"{module.__name__}.{name}", member))
        if inspect.isclass(member):
            parts += [
                _entry(f"{member.__name__}.{method}", function)
                for method, function in sorted(vars(member).items())
                if not method.startswith("_") and callable(function)
            ]
    return ADDRESS.sub("", "\n\n".join(part for part in parts if part)) + "\n"


def _entry(name: str, member: object) -> str:
    documentation = inspect.getdoc(member)
    if not documentation:
        return ""
    # The text that C functions carry, not `inspect.signature`: that evaluates their defaults, which may raise anything.
    signature = re.sub(r"\$\w+(, /)?(, )?", "", getattr(member, "__text_signature__", None) or "")
    return f"{name}{signature}\n{documentation}"
