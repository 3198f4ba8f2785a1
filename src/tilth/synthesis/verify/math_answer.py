"""Mathematical answers: equal as texts, as exact numbers, or as expressions by sympy.

Simple answers never need sympy. For the others it runs in a process of its own that is given trees instead of text,
with limits of CPU time and memory, because simplifying can take for ever; it is started once and kept.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tilth.errors import ConfigError, DependencyError
from tilth.synthesis.verify.final_answer import final_answer
from tilth.synthesis.verify.math_expression import NoExpressionError, Tree, cleaned, exact_value, read_expression
from tilth.synthesis.verify.verdict import NO_REFERENCE, Verdict, excerpt, failed, passed
from tilth.types import Problem

_WORKER = Path(__file__).with_name("math_worker.py")
_WALL_FACTOR, _START_SECONDS = 10, 60
"""A question may take ten times its CPU seconds, and a minute for the start, before the process is ended."""
MAX_ITEMS = 64


@dataclass(frozen=True, kw_only=True)
class Math:
    """The answer is the same mathematical object as the reference: number, expression, tuple, set, interval, equation.

    Units, degrees and percent signs are passed over. Sets, and lists without brackets, are compared without their
    order. Raises: DependencyError where sympy is needed and not installed.
    """

    seconds: float = 5.0
    """CPU seconds for one comparison."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 600:
            raise ConfigError(f"`seconds` is {self.seconds}.", fix="Give a number above 0, at most 600.")

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Compares the marked answer, or the last line, with that of the reference."""
        wanted, given = final_answer(problem.answer or ""), final_answer(answer)
        if wanted is None:
            return NO_REFERENCE
        if given is None:
            return failed("no answer")
        if _as_text(wanted) == _as_text(given):
            return passed("equal as text")
        try:
            left, right = read_expression(given), read_expression(wanted)
        except NoExpressionError as error:
            return failed(f"not the same text, and no expression: {error}"[:120])
        except RecursionError:
            return failed("nested too deeply")
        word = self._compare(left, right)
        if word == "equal":
            return passed("equal")
        return failed(f"{excerpt(given)} is not {excerpt(wanted)}" if word == "different" else word)

    def _compare(self, left: Tree, right: Tree) -> str:
        if str(left[0]) != str(right[0]) and {left[0], right[0]} & _CONTAINERS:
            return "different"
        if left[0] in _CONTAINERS:
            items, others = cast("list[Tree]", left[1:]), cast("list[Tree]", right[1:])
            if len(items) != len(others) or len(items) > MAX_ITEMS:
                return "different"
            if left[0] == "set":
                return self._compare_sets(items, others)
            words = (self._compare(item, other) for item, other in zip(items, others, strict=True))
            return next((word for word in words if word != "equal"), "equal")
        a, b = exact_value(left), exact_value(right)
        if a is not None and b is not None:
            return "equal" if a == b else "different"
        return _worker().ask({"left": left, "right": right, "seconds": self.seconds}, self.seconds)

    def _compare_sets(self, items: list[Tree], others: list[Tree]) -> str:
        left = list(others)
        for item in items:
            match = next((other for other in left if self._compare(item, other) == "equal"), None)
            if match is None:
                return "different"
            left.remove(match)
        return "equal"


_CONTAINERS = {"tuple", "matrix", "set", "equation", "interval ()", "interval [)", "interval (]", "interval []"}


def _as_text(text: str) -> str:
    return cleaned(text).replace(" ", "").casefold()


class _Worker:
    """The process with sympy; one question at a time."""

    def __init__(self) -> None:
        if importlib.util.find_spec("sympy") is None:
            raise DependencyError(
                "Comparing this answer needs the package `sympy`.", fix="Install it: pip install sympy."
            )
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def ask(self, question: dict[str, object], seconds: float) -> str:
        """Returns what the process answers."""
        with self._lock:
            fresh = self._process is None or self._process.poll() is not None
            process = self._start() if fresh else cast("subprocess.Popen[bytes]", self._process)
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
                line = self._line(process, _WALL_FACTOR * seconds + (_START_SECONDS if fresh else 0))
            except OSError:
                line = None
            except BaseException:
                self.close()  # an answer that nobody reads must not be taken for the next one's
                raise
            if line is None:
                self.close()
                return "the comparison took too long"
            return str(json.loads(line))

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        self.close()
        self._pending = b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Nothing of this environment concerns it; without a fixed seed, sympy's order of terms may differ.
            env={"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            bufsize=0,
        )
        return self._process

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
        assert process.stdout is not None
        while b"\n" not in self._pending:
            ready, _, _ = select.select([process.stdout], [], [], seconds)
            data = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
            if not data:
                return None
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line


_WORKERS: dict[int, _Worker] = {}
"""One for each process: a forked child does not talk to its parent's."""


def _worker() -> _Worker:
    if os.getpid() not in _WORKERS:
        _WORKERS.clear()
        _WORKERS[os.getpid()] = _Worker()
        atexit.register(_WORKERS[os.getpid()].close)
    return _WORKERS[os.getpid()]
