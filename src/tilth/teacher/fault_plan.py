"""Which tries fail, and how: faults on demand for tests, the same for a scripted teacher and a loopback server."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

from tilth.errors import ConfigError

FaultKind = Literal[
    "overloaded",
    "overloaded_date",
    "server_error",
    "time_out",
    "disconnect",
    "cut",
    "malformed",
    "no_choices",
    "slow",
    "empty",
    "over_long",
]
"""429 with Retry-After in seconds, or as a date; 500; no answer until the client gives up; the connection closed
instead of an answer, or in the middle of its body; a body that is not JSON; JSON without choices; an answer that comes
byte by byte; one without text; one of many times the tokens that were asked for."""
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """Fails a share of the tries. What happens to a try follows from the request, the try's number and the seed."""

    rate: float = 0.3
    """Share of the tries that fail."""
    kinds: tuple[FaultKind, ...] = FAULT_KINDS
    """All equally likely."""
    seed: int = 0
    most_in_a_row: int = 4
    """Of the tries at one request only so many fail at the beginning; later ones all succeed."""
    retry_after: float = 0.02
    """Seconds that `overloaded` asks to wait."""
    slow_seconds: float = 0.05
    """How long a slow answer takes."""
    hang_seconds: float = 30.0
    """After so long a server closes a connection on which it was to hang."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"The rate of faults is {self.rate}.", fix="Give a share from 0 to 1.")
        unknown = [kind for kind in self.kinds if kind not in FAULT_KINDS]
        if unknown or not self.kinds:
            raise ConfigError(f"Unknown kinds of faults: {unknown}.", fix=f"There are {', '.join(FAULT_KINDS)}.")

    def decide(self, key: str, attempt: int) -> FaultKind | None:
        """Returns what happens to try number `attempt` (from 0) at the request `key`; None: it succeeds."""
        if attempt >= self.most_in_a_row:
            return None
        digest = hashlib.sha256(f"{self.seed}\0{key}\0{attempt}".encode()).digest()
        if int.from_bytes(digest[:8], "big") / 2**64 >= self.rate:
            return None
        return self.kinds[int.from_bytes(digest[8:16], "big") % len(self.kinds)]
