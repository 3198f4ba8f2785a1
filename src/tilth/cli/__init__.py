"""The command line: verbs, help, and errors that say what to do.

Only this folder imports tyro and rich. Each verb's module is loaded when the verb is used, so that `tilth --help`
answers at once. A user's mistake (`TilthError`) or a fault of the system (an unreadable file, a full disk) is shown in
a box and exits with 2; Ctrl-C exits with 130 and leaves everything resumable; anything else is a bug of ours and keeps
its traceback.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tilth.errors import TilthError


@dataclass(frozen=True)
class Verb:
    """A command: what it does in a line, and the function that does it (`module:function`)."""

    summary: str
    target: str

    def load(self) -> Callable[[Sequence[str]], None]:
        """Imports the function: it takes the arguments after the verb."""
        module, name = self.target.split(":")
        return getattr(importlib.import_module(module), name)


RECIPES = {
    "run": Verb("Run a recipe: whatever of it is not cached yet", "tilth.cli.recipes:run"),
    "plan": Verb("Say what a recipe would run, and why; run nothing", "tilth.cli.recipes:plan"),
    "why": Verb("Say which value or input made a step new", "tilth.cli.recipes:why"),
    "report": Verb("Write a recipe's report from the steps that are done", "tilth.cli.recipes:report"),
    "ls": Verb("List the runs, or the steps that they are made of", "tilth.cli.records:ls"),
    "show": Verb("Show where a result, or one document, came from", "tilth.cli.records:show"),
    "compare": Verb("Put several runs side by side on one page", "tilth.cli.compare:compare"),
    "check": Verb("Read every finished file again and list what is damaged", "tilth.cli.records:check"),
}
STAGES = {
    "curate": Verb("Read, extract, filter and deduplicate text", "tilth.cli.stages:curate"),
    "tokenize": Verb("Train a tokenizer; encode and show text with one", "tilth.cli.tokenize:tokenize"),
    "synthesize": Verb("Make a dataset with a teacher and a recipe", "tilth.cli.synthesize:synthesize"),
    "train": Verb("Pretrain a model on a dataset, tokenizing on the fly", "tilth.cli.stages:train"),
    "eval": Verb("Measure bits per byte beside a 5-gram and zstd", "tilth.cli.stages:evaluate"),
    "improve": Verb("Run the self-improving loop with its controls", "tilth.cli.improve:improve"),
    "export": Verb("Write a model as a Hugging Face folder", "tilth.cli.stages:export"),
    "chat": Verb("Talk to a model in the terminal", "tilth.cli.chat:chat"),
}
VERBS = RECIPES | STAGES


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code: 0 done, 1 a bug, 2 a mistake of the user's, 130 stopped."""
    raw = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in raw
    words = [word for word in raw if word != "--debug"]
    _print_anything()
    sys.exit(_dispatch(words, debug=debug))


def _print_anything() -> None:
    """Lets names that the terminal's encoding has no characters for (a file's, in another encoding) end no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _dispatch(words: list[str], *, debug: bool) -> int:
    from tilth.cli import terminal

    if not words or words[0] in ("-h", "--help", "help"):
        with suppress(BrokenPipeError):
            terminal.show_help(RECIPES, STAGES)
        return 0
    if words[0] in ("-V", "--version"):
        from tilth.version import __version__

        print(f"tilth {__version__}")
        return 0
    if words[0] not in VERBS:
        terminal.show_error(*_unknown_command(words[0]))
        return 2
    return _call(words[0], words[1:], debug=debug)


def _unknown_command(word: str) -> tuple[str, str | None]:
    from tilth.cli import terminal
    from tilth.recipes import BUILT_IN

    if word in BUILT_IN:
        return f"`{word}` is a recipe, not a command.", f"Run it: `tilth run {word}`."
    return terminal.unknown_word("command", word, VERBS, "tilth --help")


def _call(verb: str, words: list[str], *, debug: bool) -> int:
    from tilth.cli import terminal

    try:
        VERBS[verb].load()(words)
        sys.stdout.flush()
    except TilthError as error:
        if debug:
            raise
        terminal.show_error(error.message, error.fix)
        return 2
    except BrokenPipeError:  # `tilth ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        terminal.say("\nStopped. What is finished is kept: the same command continues with the rest.")
        return 130
    except Exception as error:
        if debug or (message := _fault_of_the_system(error) or _fault_of_a_recipe(error)) is None:
            raise
        terminal.show_error(*message)
        return 2
    return 0


def _fault_of_a_recipe(error: Exception) -> tuple[str, str | None] | None:
    """Returns message and fix for an error that came out of a user's own file; None for any other error."""
    from tilth.user_code import position_of

    position = position_of(error)
    if position is None:
        return None
    text = " ".join(f"{type(error).__name__}: {error}".split())
    where = f"{_short_path(position.file)}, line {position.line}, in {position.function}"
    return f"{where}: {text}\n    {position.text}", "Correct the file; `--debug` shows the traceback."


def _short_path(path: str) -> str:
    """Returns a path relative to the working directory, where it is in that."""
    here = f"{Path.cwd()}{os.sep}"
    return path.removeprefix(here)


_DENIED = "Change the permissions of it, or name another path (`--runs`, `--out`)."
_OTHER_PATH = "Name another path: a file has this one, or one above it, where a folder is needed."
_FIXES = {
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EEXIST: _OTHER_PATH,
    errno.ENOTDIR: _OTHER_PATH,
    errno.ENOENT: "Check the path: it, or a folder on the way to it, does not exist.",
    errno.ENAMETOOLONG: "Name a shorter path.",
    errno.EMFILE: "Allow more open files (`ulimit -n`), or use fewer `--workers` or a smaller `--max-in-flight`.",
}

_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|File too large|StorageFull|"
    r"PytorchStreamWriter failed writing|could not be written$|"
    r"\bos error (28|122|30|27)\b|\bcode: (28|122|30|27)\b"
)
"""What libraries that write files by themselves (safetensors, torch) say in errors of their own kinds."""


def _fault_of_the_system(error: Exception) -> tuple[str, str | None] | None:
    """Returns message and fix for an error of the operating system; None for any other error."""
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, ImportError):
        name = f"{error.filename}: " if error.filename else ""
        text = f"{name}{error.strerror or text or type(error).__name__}."
    elif not _FULL.search(text):
        return None
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or _FULL.search(text):
        return text, "Make room where tilth writes (`--runs`, `--out`); the same command continues from here."
    number = error.errno if isinstance(error, OSError) else None
    return text, _FIXES.get(number or 0, "Check the path and the disk; `--debug` shows the traceback.")
