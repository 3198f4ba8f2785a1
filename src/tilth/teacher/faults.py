"""What can go wrong when a teacher is asked, and what each fault asks of the gateway."""

from __future__ import annotations

from tilth.errors import StepError, TilthError
from tilth.teacher.request import Usage


class TeacherFault(Exception):
    """One try failed. `raw` is what came back, as far as it came; never a key."""

    retryable = True
    """Whether another try can help."""

    def __init__(self, message: str, *, raw: str = "") -> None:
        super().__init__(message)
        self.message, self.raw = message, raw


class Overloaded(TeacherFault):
    """The server asks for fewer requests (429, 503): the concurrency goes down, and the request is tried again."""

    def __init__(self, message: str, *, retry_after: float | None = None, raw: str = "") -> None:
        """`retry_after`: seconds that the server asks to wait."""
        super().__init__(message, raw=raw)
        self.retry_after = retry_after


class ServerFault(TeacherFault):
    """The server failed (5xx)."""


class ConnectionFault(TeacherFault):
    """No connection, or one that broke off, before or within the answer."""


class TimedOut(TeacherFault):
    """No answer, or no end of it, in the time allowed."""


class BadAnswer(TeacherFault):
    """What came back is no answer of the API: not JSON, no choices, no text."""

    usage: Usage | None = None
    """What it cost all the same, where it says so."""


class RequestRefused(TeacherFault):
    """The server refuses this request (400, 413, 422, a prompt beyond the context): another try would not help."""

    retryable = False


class AccessRefused(TilthError):
    """The server refuses the user (401, 403, 404, no such model): all requests would fail, so the run ends."""


class DeadLetter(Exception):
    """A request failed after all its tries. It holds the last fault, with the raw answer."""

    def __init__(self, fault: TeacherFault, *, tries: int, key: str, teacher: str) -> None:
        super().__init__(f"{fault.message} ({tries} {'try' if tries == 1 else 'tries'})")
        self.fault, self.tries, self.key, self.teacher = fault, tries, key, teacher


class BudgetSpent(StepError):
    """A request would go beyond the budget: nothing was sent. What was answered is kept."""
