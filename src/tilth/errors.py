"""Every error that tilth raises on purpose.

A user's mistake (a wrong option, a broken file) raises a `TilthError`: the command line shows it in a box,
without a traceback, and exits with code 2. Anything else that escapes is a bug of ours and keeps its traceback.
The message says what was wrong and names the file, record or option; `fix` says what to do about it.
"""


class TilthError(Exception):
    """An error with a message for the user and, where there is one, the way out (`fix`)."""

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        message = _printable(message)
        fix = None if fix is None else _printable(fix)
        # The only argument is the whole text: that is what tyro shows of an error in a config.
        super().__init__(message if fix is None else f"{message}\n{fix}")
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments are lost by the default pickling, and errors are sent back from worker processes.
        return (_rebuild, (type(self), self.message, self.fix))


class ConfigError(TilthError, ValueError):
    """A config field or option has a value that cannot work."""


class DataError(TilthError, ValueError):
    """A file or record cannot be read as what it claims to be."""


class ReadError(TilthError):
    """A file or URL could not be read, after several tries: the disk or the network is at fault, not the data."""


class StepError(TilthError):
    """A step cannot run: locked by another process, unfinished inputs, or a config without an identity."""


class DivergedError(TilthError):
    """A training broke down: its loss or gradient is not finite."""


class DependencyError(TilthError, ImportError):
    """An optional dependency is needed and not installed."""


def _printable(text: str) -> str:
    """Writes what is not Unicode (a byte of a file name) as an escape, so that any terminal shows it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _rebuild(kind: type[TilthError], message: str, fix: str | None) -> TilthError:
    return kind(message, fix=fix)
