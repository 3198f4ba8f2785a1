"""Lines that the user types: with line editing and history on a terminal, plain from a pipe or a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_MOST_LINES = 1000


def is_interactive() -> bool:
    """Tells whether someone sits at a terminal, both to read and to type."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def history_file(name: str) -> Path:
    """Returns the file of a history, under the user's state folder (`XDG_STATE_HOME`)."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "tilth" / name


def read_lines(prompt: str) -> Iterator[str]:
    """Yields lines until the input ends (Ctrl-D)."""
    if not is_interactive():
        for line in sys.stdin:
            yield line.rstrip("\r\n")
        return
    while True:
        print()
        try:
            yield input(prompt)
        except EOFError:
            print()
            return


@contextmanager
def line_editing(history: Path, words: Sequence[str] = ()) -> Generator[None]:
    """Line editing and history while its block runs, where it is interactive and Python has `readline`.

    Tab completes `words` at the beginning of a line. The history can be read by its owner only; where it cannot be
    written, there is none.
    """
    try:
        import readline
    except ImportError:  # a Python without it, as on Windows: lines can be typed all the same
        yield
        return
    if not is_interactive():
        yield
        return

    def complete(text: str, state: int) -> str | None:
        matches = [word for word in words if text and word.startswith(text)]
        return matches[state] + " " if state < len(matches) else None

    readline.set_completer_delims(" ")
    readline.set_completer(complete)
    # libedit, which takes the name of readline on a Mac, has commands of its own.
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    readline.clear_history()
    with suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(_MOST_LINES)
    try:
        yield
    finally:
        readline.set_completer(None)
        with suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(history, os.O_CREAT | os.O_WRONLY, 0o600))
            history.chmod(0o600)
            readline.write_history_file(history)
            history.chmod(0o600)
