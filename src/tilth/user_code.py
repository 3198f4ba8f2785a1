"""Objects that a user names: `path/to/file.py:name` or `package.module:name`.

A file is loaded as a module of its own unique name, so that `random.py` does not replace the standard library's
`random`. That name is importable: in this process by a finder, and in worker processes once they were given
`loaded_files()` (`execute` and `steps` pass it on), so that functions and classes from such a file can be pickled.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from tilth.errors import ConfigError, TilthError

_FILES: dict[str, str] = {}
"""Module name -> absolute path of its file."""
_CONTENTS: dict[str, bytes] = {}
"""Module name -> what its file held when it was loaded."""


def load_object(spec: str) -> object:
    """Returns the object that `path/to/file.py:name` or `package.module:name` names.

    Modules are looked up as Python does, and in the working directory last.
    Raises: ConfigError if there is no such file, module or name, or if its import fails; it names file and line.
    """
    target, colon, name = spec.rpartition(":")
    if not colon or not target or not name:
        raise ConfigError(f"`{spec}` names no object.", fix="Write `path/to/file.py:name` or `package.module:name`.")
    module = _load_file(Path(target)) if target.endswith(".py") else _load_module(target, spec)
    if not hasattr(module, name):
        names = [key for key, value in vars(module).items() if _may_be_meant(value) and key[0] != "_"]
        close = difflib.get_close_matches(name, names, n=2)
        raise ConfigError(
            f"{target} has no `{name}`.",
            fix=f"The part after `:` is a name that the file defines{': ' if names else '.'}"
            + (f"{', '.join(f'`{key}`' for key in close or names[:8])}." if names else ""),
        )
    return getattr(module, name)


def loaded_files() -> dict[str, str]:
    """Returns the modules that were loaded from files, with their paths: what a worker gets for `install_files`."""
    return dict(_FILES)


def install_files(files: Mapping[str, str]) -> None:
    """Makes modules that another process loaded from files importable here, too."""
    _FILES.update(files)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def module_name(path: Path) -> str:
    """Returns the name under which a file is loaded: unique to its absolute path."""
    absolute = str(path.absolute().resolve())
    digest = hashlib.sha256(absolute.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"tilth_user_{digest}_{re.sub(r'[^A-Za-z0-9]', '_', path.stem)}"


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is now: stored bytecode knows times to the second only."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        _CONTENTS[fullname] = self.get_data(path)
        return self.source_to_code(_CONTENTS[fullname], path)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _FILES:
            return None
        file = _FILES[fullname]
        return importlib.util.spec_from_file_location(fullname, file, loader=_Loader(fullname, file))


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"The file {path} does not exist.", fix="Give the path of a Python file.")
    name = module_name(path)
    if name in sys.modules and _CONTENTS.get(name) != path.read_bytes():
        del sys.modules[name]
        linecache.checkcache(_FILES[name])
    install_files({name: str(path.absolute().resolve())})
    return _import(name, str(path))


def _may_be_meant(value: object) -> bool:
    """Whether a file's name may be what a command is given: a function, a class, or an object of tilth (a recipe)."""
    return callable(value) or type(value).__module__.startswith("tilth")


def _load_module(name: str, spec: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ConfigError(
            f"There is no module `{name}` (from `{spec}`).",
            fix="Name an installed module, one in this folder, or a file: `path/to/file.py:name`.",
        )
    return _import(name, found.origin or name)


def _import(name: str, file: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except TilthError:
        raise
    except SyntaxError as error:
        line = f"\n    {error.text.strip()}" if error.text else ""
        where = file if error.filename in (None, _FILES.get(name)) else error.filename
        raise ConfigError(f"{where}, line {error.lineno}: {error.msg}.{line}", fix="Correct the file.") from error
    except Exception as error:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILES.get(name, file)]
        line, text = (f", line {own[-1].lineno}", f"\n    {own[-1].line}") if own else ("", "")
        fix = "Correct the file."
        if isinstance(error, ModuleNotFoundError) and error.name:
            fix = f"Install what has the module `{error.name}`, or correct the file."
            if (Path(file).parent / f"{error.name}.py").is_file():
                fix = f"A file is loaded by itself: set `PYTHONPATH={Path(file).parent}` for what is beside it."
        raise ConfigError(
            f"{file}{line}: the import fails with {type(error).__name__}: {error}.{text}", fix=fix
        ) from error


_FRAME = re.compile(r'^ +File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)


@dataclass(frozen=True)
class Position:
    """Where an error came out of a user's file."""

    file: str
    line: int
    function: str
    text: str
    """The line."""


def position_of(error: BaseException) -> Position | None:
    """Returns the last line of a user's file that an error passed, in this process or a worker; None if none did."""
    own = set(_FILES.values())
    # As text, since that is what comes from a worker: as a note of the error.
    frames = [frame for frame in _FRAME.finditer("".join(traceback.format_exception(error))) if frame["file"] in own]
    if not frames:
        return None
    last = frames[-1]
    line = int(last["line"])
    return Position(last["file"], line, last["function"], linecache.getline(last["file"], line).strip())
