"""Calls in the doctests of Python's standard library, varied: expressions with the outputs that running them gives.

Doctests are read, not run, in this process. A call counts if all its arguments are literals and the sandbox gives what
its doctest promises. Its variants have other numbers, letters and lengths in the same places; their outputs come from
the sandbox, many in one run, since a start takes longer than a thousand calls.
"""

from __future__ import annotations

import ast
import doctest
import json
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tilth.errors import DataError
from tilth.files import read_json
from tilth.results import decode, write_result
from tilth.synthesis.verify.sandbox import run_code

CALLS = "calls.json"
VARIANTS = 600
"""Variants that are tried of each call."""
MAX_EXPRESSION, MAX_OUTPUT = 36, 14
"""Characters; longer ones are left out."""
MIN_OUTPUTS = 8
"""Different outputs that the variants of a call must have: a constant is nothing to learn."""
_SKIPPED = ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "distutils", "turtledemo")
_BATCH = 2000
_SECONDS = 20.0
_DRIVER = """
import importlib, json, os, sys
out = os.dup(1)
os.dup2(2, 1)
for module, expression in json.loads(sys.stdin.read()):
    try:
        space = dict(vars(importlib.import_module(module))) if module else {}
        shown = repr(eval(expression, space))
        line = json.dumps(shown if len(shown) <= 200 else None)
    except BaseException:
        line = "null"
    data = (line + "\\n").encode("ascii", "replace")
    while data:
        data = data[os.write(out, data):]
"""


@dataclass(frozen=True, kw_only=True)
class Call:
    """An expression with the output that running it gives."""

    module: str
    """What is imported for it; its names are those of the module."""
    function: str
    expression: str
    output: str
    """The value's `repr`."""


def outputs_of(calls: Sequence[tuple[str, str]]) -> list[str | None]:
    """Returns the `repr` of each `(module, expression)`, run in the sandbox; None where it fails or takes too long.

    Raises: StepError where code cannot be isolated on this machine.
    """
    found: list[str | None] = []
    while len(found) < len(calls):
        batch = calls[len(found) : len(found) + _BATCH]
        done = run_code(_DRIVER, stdin=json.dumps(batch), seconds=_SECONDS, output_bytes=1 << 24)
        lines = done.stdout.split("\n")[:-1]
        found += [_output(line) for line in lines[: len(batch)]]
        if not lines:
            # This one alone took the whole time, or all memory. Where others were before it, it is tried again alone:
            # whether it fails must not depend on what they took.
            found.append(None)
    return found


def _output(line: str) -> str | None:
    try:
        value: object = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def literal_call(text: str) -> ast.Call | None:
    """Returns a text as a call of a named function on literals, which is all that is ever run; None for other text."""
    if len(text) > 200:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            return None
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(argument)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return call


def doctest_calls(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yields `(module, expression, promised output)` of calls on literals in the docstrings below a folder."""
    parser = doctest.DocTestParser()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if any(part in _SKIPPED for part in parts):
            continue
        try:
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text) if ">>> " in text else ast.Module([], [])
        except (UnicodeDecodeError, SyntaxError):
            continue
        module = ".".join(parts).removesuffix(".__init__")
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
                try:
                    examples = parser.get_examples(ast.get_docstring(node) or "")
                except ValueError:
                    continue
                for example in examples:
                    call = literal_call(example.source.strip())
                    if call is not None and not example.exc_msg:
                        yield module, ast.unparse(call), example.want.strip()


def varied(expression: str, rng: np.random.Generator) -> str:
    """Returns a call with other literals of the same kinds: numbers up to 20, other letters, other lengths of lists."""
    return ast.unparse(ast.fix_missing_locations(_Varied(rng).visit(ast.parse(expression, mode="eval"))))


class _Varied(ast.NodeTransformer):
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def visit_List(self, node: ast.List) -> ast.AST:
        """Draws a length, and elements of the kinds that there are."""
        if node.elts:
            n = int(self.rng.integers(1, 5))
            node.elts = [node.elts[int(self.rng.integers(len(node.elts)))] for _ in range(n)]
            # Copies: an element that is drawn twice is varied twice.
            node.elts = [self.visit(ast.parse(ast.unparse(element), mode="eval").body) for element in node.elts]
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Draws a number, or other letters."""
        value: object = node.value
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return node
        if isinstance(value, str):
            return ast.Constant("".join(self._letter(character) for character in value))
        drawn = int(self.rng.integers(0, 21))
        return ast.Constant(drawn if isinstance(value, int) else drawn / 2)

    def _letter(self, character: str) -> str:
        if not (character.isascii() and character.isalpha()):
            return character
        letter = "abcde"[int(self.rng.integers(5))]
        return letter.upper() if character.isupper() else letter


def varied_calls(root: Path, seed: int = 0) -> list[Call]:
    """Returns the calls below a folder and their variants, with their outputs.

    Raises: StepError where code cannot be isolated; DataError if no doctest gives what it promises.
    """
    promised = list(dict.fromkeys(doctest_calls(root)))
    shown = outputs_of([(module, expression) for module, expression, _ in promised])
    kept = [(m, e) for (m, e, want), output in zip(promised, shown, strict=True) if output == want]
    rng = np.random.default_rng(seed)
    tried = [
        (module, text)
        for module, expression in dict.fromkeys(kept)
        for text in dict.fromkeys(varied(expression, rng) for _ in range(VARIANTS))
        if len(text) <= MAX_EXPRESSION and text.isascii()
    ]
    by_function: dict[tuple[str, str], dict[str, Call]] = {}
    for (module, text), output in zip(tried, outputs_of(tried), strict=True):
        if output is not None and len(output) <= MAX_OUTPUT and output.isascii():
            function = text.partition("(")[0]
            call = Call(module=module, function=function, expression=text, output=output)
            by_function.setdefault((module, function), {})[text] = call
    found = [
        call
        for calls in by_function.values()
        if len({call.output for call in calls.values()}) >= MIN_OUTPUTS
        for call in calls.values()
    ]
    if not found:
        raise DataError(
            f"No doctest below {root} gives calls to learn from.", fix="Use a complete Python installation."
        )
    return found


def write_calls(folder: Path) -> dict[str, int]:
    """Writes the varied calls of this Python's standard library; returns how many calls and functions there are."""
    calls = varied_calls(Path(sysconfig.get_path("stdlib")))
    write_result(folder / CALLS, calls)
    return {"calls": len(calls), "functions": len({(call.module, call.function) for call in calls})}


def read_calls(folder: Path) -> list[Call]:
    """Returns what `write_calls` wrote. Raises: DataError naming the entry that is no call."""
    path = folder / CALLS
    return list(decode(tuple[Call, ...], read_json(path), str(path)))
