"""Code as an answer: run in the sandbox, its results compared here.

The code gets arguments or standard input and gives back results. What is expected never enters its process, so it can
neither be read nor forged there: printing that all tests passed, or leaving early, gives no results.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from tilth.errors import ConfigError
from tilth.synthesis.verify.final_answer import MAX_CHARS
from tilth.synthesis.verify.sandbox import CodeResult, Limits, run_code
from tilth.synthesis.verify.verdict import Verdict, excerpt, failed, passed
from tilth.types import Problem

FLOAT_TOLERANCE = 1e-9
"""Relative and absolute, between floats."""
_FENCE = re.compile(r"^```[ \t]*(?P<language>[\w+-]*)[^\n]*\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
_DRIVER = """
import json, os, sys
_out = os.dup(1)
os.dup2(2, 1)
def _encode(value, depth=0):
    kind = type(value)
    if depth > 100:
        return {"!": "too deep"}
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple):
        return [_encode(item, depth + 1) for item in value]
    if kind in (set, frozenset):
        return {"set": sorted((_encode(item, depth + 1) for item in value), key=repr)}
    if kind is dict:
        return {"dict": [[_encode(key, depth + 1), _encode(item, depth + 1)] for key, item in value.items()]}
    return {"!": "a " + kind.__name__}
_name, _calls = json.loads(sys.stdin.read())
_space = {"__name__": "solution"}
exec(compile(open("solution.py", encoding="utf-8").read(), "solution.py", "exec"), _space)
for _arguments in _calls:
    try:
        _line = json.dumps(_encode(_space[_name](*_arguments)))
    except Exception as error:
        _line = json.dumps({"!": (type(error).__name__ + ": " + str(error))[:200]})
    _data = (_line + "\\n").encode()
    while _data:
        _data = _data[os.write(_out, _data):]
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test: arguments and a result, or standard input and output."""

    args: tuple[object, ...] = ()
    result: object = None
    """JSON; a tuple of the code counts as a list, a set as `{"set": [sorted items]}`."""
    stdin: str | None = None
    stdout: str | None = None
    """White space at the ends of lines and of the whole does not count."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """The answer is Python code that gives the right results in the sandbox; the score is the share of right cases."""

    function: str | None = None
    """Name of the function that cases with `args` call; None: cases have `stdin` and `stdout`."""
    cases: tuple[Case, ...] = ()
    seconds: float = 5.0
    """CPU seconds: of all calls together, or of each run with standard input."""
    memory_bytes: int = 1 << 29

    def __post_init__(self) -> None:
        if not self.cases:
            raise ConfigError(
                "The verifier `code` has no cases.", fix='Give `cases`, such as [{"args": [1], "result": 2}].'
            )
        if self.function is None and any(case.stdin is None or case.stdout is None for case in self.cases):
            raise ConfigError("A case lacks `stdin` or `stdout`.", fix="Give both, or name the `function` to call.")
        if self.function is not None and any(case.stdin is not None for case in self.cases):
            raise ConfigError("A case has `stdin` beside a function.", fix="Give `args` and `result`.")
        Limits(seconds=self.seconds, memory_bytes=self.memory_bytes)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Runs the answer's last block of code, or all of it. Raises: StepError where there is no isolation."""
        code = code_in(answer)
        if code is None:
            return failed("no code")
        faults = self._call(code) if self.function is not None else [self._run(code, case) for case in self.cases]
        right = sum(not fault for fault in faults)
        if right == len(faults):
            return passed(f"{right} of {right} cases")
        first = next(index for index, fault in enumerate(faults) if fault)
        return failed(f"{right} of {len(faults)} cases; case {first + 1}: {faults[first]}", right / len(faults))

    def _call(self, code: str) -> list[str]:
        """Returns what is wrong with the result of each call, empty where nothing is."""
        calls = json.dumps([self.function, [case.args for case in self.cases]])
        done = run_code(
            _DRIVER, stdin=calls, files={"solution.py": code}, seconds=self.seconds, memory_bytes=self.memory_bytes
        )
        ending = _ending(done)
        lines = done.stdout.split("\n")[:-1]
        if len(lines) > len(self.cases):
            return ["more results than calls"] * len(self.cases)
        faults = [_fault(line, case.result) for line, case in zip(lines, self.cases, strict=False)]
        return faults + [ending or "no result"] * (len(self.cases) - len(lines))

    def _run(self, code: str, case: Case) -> str:
        done = run_code(code, stdin=case.stdin or "", seconds=self.seconds, memory_bytes=self.memory_bytes)
        if not done.ok:
            return _ending(done)
        if _lines(done.stdout) == _lines(case.stdout or ""):
            return ""
        return f"printed {excerpt(done.stdout)}, not {excerpt(case.stdout or '')}"


def code_in(text: str) -> str | None:
    """Returns the last block of Python in a text, else its last block, else all of it; None where it is empty."""
    text = text[-MAX_CHARS:]
    blocks = [(match["language"].lower(), match["code"]) for match in _FENCE.finditer(text)]
    python = [code for language, code in blocks if language in ("python", "py", "python3")]
    if python or blocks:
        return (python or [code for _, code in blocks])[-1]
    return text if text.strip() else None


def _ending(done: CodeResult) -> str:
    return "" if done.ok else f"{done.reason}: {done.detail}"[:200]


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().split("\n")]


def _fault(line: str, wanted: object) -> str:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        return "the result is no JSON"
    if isinstance(given, dict) and "!" in given:
        return str(cast("dict[str, object]", given)["!"])
    return "" if same(given, _encoded(wanted)) else f"gave {excerpt(line)}, not {excerpt(json.dumps(wanted))}"


def _encoded(value: object) -> object:
    """Writes an expected result as the driver writes results."""
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        if list(entries) in (["set"], ["dict"]):
            return entries
        return {"dict": [[key, _encoded(item)] for key, item in entries.items()]}
    return value


def same(given: object, wanted: object) -> bool:
    """Whether two results are equal: floats nearly, and True is not 1."""
    if isinstance(given, bool) or isinstance(wanted, bool):
        return given is wanted
    if isinstance(given, int | float) and isinstance(wanted, int | float):
        if isinstance(given, int) and isinstance(wanted, int):
            return given == wanted
        return _near(given, wanted)
    if isinstance(given, list) and isinstance(wanted, list):
        left, right = cast("list[object]", given), cast("list[object]", wanted)
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(given, dict) and isinstance(wanted, dict):
        return _same_tagged(cast("dict[str, object]", given), cast("dict[str, object]", wanted))
    return given == wanted


def _same_tagged(given: dict[str, object], wanted: dict[str, object]) -> bool:
    if list(given) != list(wanted) or len(given) != 1:
        return False
    (tag,) = given
    left, right = given[tag], wanted[tag]
    if tag == "dict" and isinstance(left, list) and isinstance(right, list):  # the order of keys does not count
        left, right = sorted(cast("list[object]", left), key=repr), sorted(cast("list[object]", right), key=repr)
    return same(left, right)


def _near(given: float, wanted: float) -> bool:
    try:
        return math.isclose(given, wanted, rel_tol=FLOAT_TOLERANCE, abs_tol=FLOAT_TOLERANCE) or (
            math.isnan(given) and math.isnan(wanted)
        )
    except OverflowError:
        return False
