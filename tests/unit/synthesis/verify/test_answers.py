"""Verifiers of texts, numbers and expressions, and how they are named."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tilth.errors import ConfigError
from tilth.synthesis.verify import verifier
from tilth.synthesis.verify.arithmetic import ExpressionError, evaluate
from tilth.synthesis.verify.final_answer import final_answer, marked_answer
from tilth.synthesis.verify.number import read_number
from tilth.synthesis.verify.registry import family
from tilth.types import Problem


def verdict(name: str, reference: str | None, answer: str, prompt: str = "?"):
    return verifier(name).verify(Problem.make(prompt, answer=reference, verifier=name), answer)


@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        ("Paris", "paris.", True),
        ("Paris", "I think so.\nAnswer: Paris", True),
        ("Paris", "London", False),
        ("a b", "a   b\n", True),
        ("!", "!", True),
        ("!", "?", False),
        ("caf\u00e9", "cafe\u0301", True),
        ("the cat", "cat", False),
        ("Paris", "<think>Answer: London</think> \\boxed{Paris}", True),
        ("London", "<think>Answer: London</think> \\boxed{Paris}", False),
    ],
)
def test_exact(reference: str, answer: str, right: bool) -> None:
    assert verdict("exact", reference, answer).passed is right


def test_options_of_exact() -> None:
    assert verdict('exact:{"ignore_articles": true}', "the cat", "cat").passed
    assert not verdict('exact:{"ignore_case": false}', "Cat", "cat").passed
    assert not verdict('exact:{"ignore_punctuation": false}', "cat.", "cat").passed
    assert not verdict('exact:{"ignore_white_space": false}', "a b", "a  b").passed
    assert verdict('exact:{"or_else": ["dog"]}', "cat", "dog").passed
    assert not verdict('exact:{"final": false}', "cat", "Answer: cat").passed
    assert verdict("exact", None, "cat").detail == "the problem has no reference answer"


@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        ("She has 3 + 4 = <<3+4=7>>7\n#### 7", "so 3 + 4 = 7", True),
        ("1234567", "1,234,567 dollars", True),
        ("1234567", "\\boxed{1{,}234{,}567}", True),
        ("1/2", "0.5", True),
        ("1/2", "\\frac{1}{2}", True),
        ("1/2", "\\boxed{\\frac{1}{2}}", True),
        ("-1/2", "$-\\frac12$ or -0.5", True),
        ("3/2", "1 1/2", True),
        ("50%", "0.5", True),
        ("50", "50 %", True),
        ("0.5", "50%", True),
        ("5", "50%", False),
        ("2500", "2.5 \\times 10^{3}", True),
        ("2500", "2.5e3", True),
        ("-3", "−3", True),
        ("5", "pages 3-5", True),
        ("5", "The answer is 5 apples and not 6.", True),
        ("6", "The answer is 5 apples and not 6.", False),
        ("18", "Answer: 9 * 2 = 18", True),
        ("$20", "20.00 USD", True),
        ("0.333", "1/3", False),
        ("7", "seven", False),
        ("7", "1/0", False),
        ("0.5", "½", True),
        ("2.5", "2½ hours", True),
        ("1234567", "1.234.567", True),
        ("1234", "1\u202f234", True),
        ("1234", "1'234", True),
        ("3000000", "Answer: 3 million", True),
        ("3", "Answer: 3 million", False),
        ("0.5", "Answer: 50 percent", True),
        ("-5", "Answer: minus 5", True),
        ("12", "Answer: 12 or 13", False),
        ("13", "12 apples or 13", False),
        ("12", "Answer: between 12 and 13", False),
        ("12", "Answer: not 12", False),
        ("5", "Answer: > 5", False),
        ("5", "Answer: 5 ± 1", False),
        ("2", "Answer: 2 + 3", False),
        ("2", "Answer: 2^3", False),
        ("2", "Answer: \\sqrt{2}", False),
        ("3", "Answer: 3x", False),
        ("14", "Answer: 14:30", False),
        ("4", "Answer: x = 3, y = 4", False),
        ("3", "Answer: x = 3", True),
        ("12", "Answer: 12 (rounded from 11.97)", True),
        ("42", "<think>It is 42.</think> I do not know.", False),
        ("42", "<think>It could be 42", False),
        ("42", "<think>41</think> It is 42.", True),
        ("5", "1,5", True),  # a list, not a separator of thousands
        ("15", "1,5", False),
    ],
)
def test_number(reference: str, answer: str, right: bool) -> None:
    assert verdict("number", reference, answer).passed is right


def test_tolerance_and_limits_of_numbers() -> None:
    assert verdict('number:{"relative_tolerance": 0.01}', "0.333", "1/3").passed
    assert verdict('number:{"absolute_tolerance": 0.5}', "10", "10.5").passed
    assert not verdict('number:{"absolute_tolerance": 0.5}', "10", "10.51").passed
    assert read_number("9" * 5000) is None
    assert read_number("1e9999") is None
    assert read_number("1" + "0" * 30) is not None
    with pytest.raises(ConfigError, match="relative_tolerance"):
        verifier('number:{"relative_tolerance": -1}')


def test_marks() -> None:
    assert marked_answer("\\boxed{a{b}c} and \\boxed{d}") == "d"
    assert marked_answer("\\boxed{open") is None
    assert marked_answer("**Final Answer:** 42\nbye") == "42"
    assert marked_answer("nothing") is None
    assert final_answer("one\ntwo\n\n") == "two"
    assert final_answer(" \n ") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("2**3**2", 512),
        ("-2**2", -4),
        ("2**-1*3", Fraction(3, 2)),
        ("7//2 + 7%2", 4),
        ("-7//2", -4),
        ("1 - -1", 2),
        ("0.1+0.2", Fraction(3, 10)),
        ("6÷4×2−1", 2),
        ("2^10", 1024),
        ("1**99999999999", 1),
        ("(-1)**100000000001", -1),
        ("\\left(1+1\\right)\\times 3", 6),
    ],
)
def test_expressions(text: str, value: int | Fraction) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "1+", "*2", "1 2", "(1", "1)", "()", "2(3)", "a+1", "__import__('os')", "1/0", "0**-1", "5%0", "2**0.5"),
        *("9**9**9", "10**5000", "9**99999999999999999999", "(" * 10_000_000 + "1", "(" * 1000, "-" * 1999),
        *("9" * 1_999, "*".join(["999999999"] * 180), "1" + "/97" * 640, "1e9", "1_000", "٣+1"),
    ],
)
def test_no_expression_or_too_large(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ExpressionError):
        evaluate(text)
    assert time.process_time() - start < 2


def test_arithmetic() -> None:
    assert verdict("arithmetic", "6*7", "The result is\n42").passed
    assert verdict("arithmetic", "42", "6 * 7 = 42").passed
    assert not verdict("arithmetic", "42", "6 * 7 = 43").passed
    assert not verdict('arithmetic:{"only_number": true}', "42", "6 * 7").passed
    assert verdict('arithmetic:{"only_number": true}', "-42", "-42").passed
    assert verdict("arithmetic", "42", "os.system('x')").detail == "'o' belongs to no expression"
    assert not verdict("arithmetic", "x", "42").passed


COUNTDOWN = 'countdown:{"numbers": [3, 3, 8, 8], "target": 24}'


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("8 / (3 - 8 / 3)", "reaches the target"),
        ("8/(3-8/3) = 24", "reaches the target"),
        ("24 = 8/(3-8/3)", "reaches the target"),
        ("3*8", "reaches the target"),
        ("24", "uses 24, which is not given"),
        ("3*8+3-3", "uses 3 too often"),
        ("8+8", "makes 16, not 24"),
        ("3**3 - 8", "uses **"),
        ("8/(3-3)", "division by zero"),
        ("3*(8", "a bracket is not closed"),
        ("", "empty"),
    ],
)
def test_countdown(answer: str, detail: str) -> None:
    found = verdict(COUNTDOWN, None, answer)
    assert (found.detail, found.passed) == (detail, detail == "reaches the target")


def test_countdown_reads_its_prompt() -> None:
    problem = family("countdown").propose(2, 1, np.random.default_rng(0))[0]
    assert problem.answer is not None
    assert verifier("countdown").verify(problem, f"Sure.\nAnswer: {problem.answer}").passed
    assert not verifier("countdown").verify(problem, f"{problem.answer} + 0").passed
    assert verdict("countdown", None, "1+1", prompt="What?").detail == "the prompt names no numbers and target"
    assert not verdict('countdown:{"numbers": [1, 2], "target": 2, "use_all": true}', None, "2").passed
    with pytest.raises(ConfigError, match="both"):
        verifier('countdown:{"target": 2}')


def test_names_of_verifiers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Perhaps number"):
        verifier("nummber")
    with pytest.raises(ConfigError, match="no option `nope`"):
        verifier('number:{"nope": 1}')
    with pytest.raises(ConfigError, match="no JSON"):
        verifier("number:{0.1")
    with pytest.raises(ConfigError, match="int where dict|list where dict"):
        verifier("number:[1]")
    with pytest.raises(ConfigError, match="There is no task family"):
        family("nope")
    own = tmp_path / "own_checks.py"
    own.write_text(
        "def even(problem, answer):\n    return int(answer) % 2 == 0\n"
        "def half(problem, answer):\n    return 0.5\n"
        "def bad(problem, answer):\n    return 'yes'\n"
        "three = 3\n"
    )
    assert verdict(f"{own}:even", None, "4").passed
    assert not verdict(f"{own}:even", None, "5").passed
    found = verdict(f"{own}:half", None, "5")
    assert (found.passed, found.score) == (False, 0.5)
    with pytest.raises(ConfigError, match="returned 'yes'"):
        verdict(f"{own}:bad", None, "5")
    with pytest.raises(ConfigError, match="is no verifier"):
        verifier(f"{own}:three")
    with pytest.raises(ConfigError, match="There is no verifier"):
        verifier(f"{own}:even", allow_files=False)


@pytest.mark.parametrize(
    ("reference", "answer"), [("5", "-5"), ("3.14", "314"), ("1/2", "12"), ("50%", "50"), ("12", "1,2")]
)
def test_punctuation_of_numbers_counts(reference: str, answer: str) -> None:
    assert not verdict("exact", reference, answer).passed and not verdict("exact", answer, reference).passed
    assert verdict("exact", f"It is {reference}!", f"it is {reference}").passed


def test_grouped_digits_are_one_number() -> None:
    assert verdict("exact", "1,234,567", "1234567").passed and verdict("exact", "-5", "−5.").passed
    assert verdict("arithmetic", "1234", "1,234").passed and not verdict("arithmetic", "12", "1,2").passed
