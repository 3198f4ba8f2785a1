"""Mathematical answers: what is equal, what is not, and what would hang."""

from __future__ import annotations

import importlib.util
import json

import pytest

import real_data
from tilth.errors import ConfigError, DependencyError
from tilth.synthesis.verify import math_answer, verifier
from tilth.synthesis.verify.final_answer import final_answer
from tilth.synthesis.verify.math_expression import NoExpressionError, read_expression
from tilth.types import Problem

sympy = pytest.mark.skipif(importlib.util.find_spec("sympy") is None, reason="sympy is not installed")


def verdict(reference: str, answer: str, name: str = "math"):
    return verifier(name).verify(Problem.make("?", answer=reference, verifier=name), answer)


@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        ("\\frac{1}{2}", "0.5", True),
        ("\\frac12", "The answer is $\\boxed{\\dfrac{2}{4}}$.", True),
        ("1,000", "1000", True),
        ("10\\text{ cm}^2", "10", True),
        ("90^\\circ", "90", True),
        ("2\\frac{1}{2}", "2.5", True),
        ("x = 5", "5", True),
        ("\\text{Evelyn}", "evelyn", True),
        ("\\text{Evelyn}", "Devon", False),
        ("(1, 2)", "\\left( 1, \\frac{4}{2} \\right)", True),
        ("(1, 2)", "(2, 1)", False),
        ("\\{1, 2\\}", "\\{2, 1\\}", True),
        ("\\{1, 2\\}", "\\{1, 1\\}", False),
        ("[0, 1)", "[0, 1)", True),
        ("[0, 1)", "[0, 1]", False),
        ("(-3, 1)\\cup(2, 4)", "(2,4) \\cup (-3,1)", True),
        ("\\begin{pmatrix} 1 \\\\ 1/2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 0.5 \\end{pmatrix}", True),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 & 2 \\end{pmatrix}", False),
        ("-3", "3", False),
        ("1/3", "0.333", False),
        ("3", "__import__('os').system('true')", False),
        ("3", "", False),
    ],
)
def test_without_sympy(reference: str, answer: str, right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_answer, "_worker", lambda: pytest.fail("sympy was asked"))
    assert verdict(reference, answer).passed is right


@sympy
@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        ("|x|", "x", False),
        ("\\sqrt{x^2}", "x", False),
        ("\\sqrt{x^2}", "|x|", True),
        ("\\ln(x^2)", "2\\ln x", True),
        ("\\frac{\\sqrt{3}}{3}", "1/\\sqrt3", True),
        ("2\\sqrt{2}", "\\sqrt{8}", True),
        ("2\\sqrt{2}", "2.828427", False),
        ("(x+1)^2", "x^2+2x+1", True),
        ("(x+1)^2", "x^2+2x+2", False),
        ("\\frac{x^2-1}{x-1}", "x+1", True),
        ("\\sin^2 x + \\cos^2 x", "1", True),
        ("\\frac{\\pi}{6}", "π/6", True),
        ("e^{i\\pi}", "-1", True),
        ("\\log_2 8", "3", True),
        ("5!", "120", True),
        ("|{-3}|", "3", True),
        ("3 + 4i", "4i + 3", True),
        ("[0, \\infty)", "[0, \\infty)", True),
        ("(-\\infty, \\sqrt{4})", "(-\\infty, 2)", True),
        ("y = 2x + 3", "2x+3", True),
        ("x + y = 1", "x + y = 1.0", True),
        ("xy", "yx", True),
        ("\\sqrt[3]{27}", "3", True),
        ("-x", "x", False),
    ],
)
def test_with_sympy(reference: str, answer: str, right: bool) -> None:
    assert verdict(reference, answer).passed is right


@sympy
@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("9^{9^{9^9}}", "a number is too large"),
        ("2^{3^{1024}}", "a number is too large"),
        ("99999999!", "a number is too large"),
        ("e^{10^{100}}", "a number is too large"),
        ("1/0 \\cdot x", "'1/0"),
    ],
)
def test_hostile_expressions(answer: str, detail: str) -> None:
    found = verdict("x^2", answer)
    assert not found.passed and found.detail.startswith(detail)


@sympy
def test_a_comparison_that_takes_too_long_fails() -> None:
    terms = "+".join(f"\\sin^{{{n}}}({n}x+y)" for n in range(2, 9))
    found = verdict(
        f"({terms})^{{40}}", f"({terms}+0\\cdot z)^{{40}}\\cdot\\frac{{z}}{{z}}+z-1", 'math:{"seconds": 0.001}'
    )
    assert (found.passed, found.detail) == (False, "the comparison took too long")
    assert verdict("2\\sqrt{2}", "\\sqrt{8}").passed  # and the next one is answered


@sympy
def test_the_worker_is_started_again() -> None:
    assert verdict("2\\sqrt{2}", "\\sqrt{8}").passed
    process = math_answer._worker()._process
    assert process is not None
    process.kill()
    process.wait()
    assert verdict("2\\sqrt{2}", "\\sqrt{8}").passed


@pytest.mark.parametrize(
    "text", ["", "x +", "(1", "{" * 200, "(" * 200, "^" * 50, "-" * 400 + "x", "hello", "\\foo", "1 2"]
)
def test_no_expressions(text: str) -> None:
    try:
        tree = read_expression(text)
    except NoExpressionError:
        return
    assert text.startswith("-") and tree == ["symbol", "x"]


def test_settings_and_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="seconds"):
        verifier('math:{"seconds": 0}')
    assert verdict("", "1").detail == "the problem has no reference answer"
    monkeypatch.setattr(math_answer, "_WORKERS", {})
    monkeypatch.setattr(math_answer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="sympy"):
        verdict("2\\sqrt{2}", "\\sqrt{8}")


def test_answers_of_a_competition() -> None:
    path = real_data.FOLDER / "math" / "competition_math_5k.jsonl.zst"
    if not path.exists():
        pytest.skip(real_data.MISSING)
    import pyarrow as pa

    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        rows = [json.loads(line) for line in stream.read().decode().splitlines()[:500]]
    answers = [final_answer(row["answer"]) or "" for row in rows]
    readable = 0
    for row, answer in zip(rows, answers, strict=True):
        assert verdict(row["answer"], f"Thus \\boxed{{{answer}}}").passed
        try:
            readable += read_expression(answer) != []
        except NoExpressionError:
            continue
    assert readable > 0.96 * len(rows)
