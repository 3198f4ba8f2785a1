"""What must hold of every family and every verifier, whatever the difficulty, the seed and the answer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tilth.errors import ConfigError
from tilth.improve import TaskFamily
from tilth.synthesis.verify import FAMILIES, Verdict, family, isolation, verifier
from tilth.synthesis.verify.arithmetic import ExpressionError, evaluate, parse_expression
from tilth.synthesis.verify.code_tests import code_in
from tilth.synthesis.verify.final_answer import final_answer
from tilth.synthesis.verify.instruction_checks import CHECKS, count_sentences
from tilth.synthesis.verify.instruction_family import _DRAWS, constraints_of
from tilth.synthesis.verify.number import read_number
from tilth.types import Problem

SANDBOXED = {"code_tasks"}
QUICK = sorted(set(FAMILIES) - SANDBOXED)
WRONG = ("", "no", "{}", "-1", "12345678987654321", "zzzzzzzzzzzz", "1/0", "None")
isolated = pytest.mark.skipif(
    not {"landlock", "seccomp"} <= {layer.split()[0] for layer in isolation().layers}, reason="no isolation here"
)
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def propose(name: str, difficulty: int, seed: int) -> Problem:
    found: TaskFamily = family(name)
    return found.propose(difficulty, 1, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("name", QUICK)
@few
@given(difficulty=st.integers(1, 12), seed=st.integers(0, 2**32))
def test_the_reference_passes_and_others_fail(name: str, difficulty: int, seed: int) -> None:
    problem, found = propose(name, difficulty, seed), family(name)
    assert problem.answer is not None and problem.difficulty == difficulty
    parsed = found.parse(problem.answer)
    assert parsed is not None
    assert found.verify(problem, parsed), (problem, found.judge(problem, parsed))
    unlabelled = Problem(id=problem.id, prompt=problem.prompt, verifier=problem.verifier)
    assert found.judge(unlabelled, parsed).passed
    assert verifier(problem.verifier).verify(unlabelled, problem.answer).passed
    assert len(found.tokenizer.encode_ordinary(problem.prompt)) == len(problem.prompt) or name == "instructions"
    assert len(problem.answer) < found.answer_tokens(difficulty)
    rng = np.random.default_rng(seed)
    assert problem == found.propose(difficulty, 1, rng)[0]
    if name != "instructions":
        passing = [text for text in WRONG if text != parsed and found.verify(problem, text)]
        assert not passing, (problem, passing)
        other = propose(name, difficulty, seed + 1)
        assert other.answer is not None
        if other.prompt != problem.prompt and name not in ("dates", "strings", "word_problems"):
            answer = found.parse(other.answer)
            assert answer is not None
            assert not found.verify(problem, answer) or name == "countdown" or answer == parsed
    else:
        assert not found.verify(problem, "") and len(constraints_of(problem)) == min(difficulty, 8)


@isolated
def test_code_tasks() -> None:
    found = family("code_tasks")
    for difficulty in (1, 3, 6):
        problem = propose("code_tasks", difficulty, difficulty)
        assert problem.answer is not None
        assert found.verify(problem, problem.answer), found.judge(problem, problem.answer)
        assert verifier(problem.verifier).verify(problem, f"```python\n{problem.answer}\n```").passed
        wrong = problem.answer.replace("return ", "return None and ")
        assert not found.verify(problem, wrong)
        assert "result" not in problem.prompt


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_problems_differ_and_difficulties_are_checked(name: str) -> None:
    found = family(name)
    problems = found.propose(3, 30, np.random.default_rng(0))
    assert len({problem.id for problem in problems}) > 20
    assert found.n_problems(3) > 30
    with pytest.raises(ConfigError, match="start at 1"):
        found.propose(0, 1, np.random.default_rng(0))
    stranger = Problem.make("What is this?", verifier=name)
    assert not found.verify(stranger, "42")


@pytest.mark.parametrize("name", ["countdown", "json", "multi_digit_arithmetic", "sorting", "strings"])
def test_harder_problems_are_longer(name: str) -> None:
    lengths = [
        np.mean([len(problem.prompt) for problem in family(name).propose(difficulty, 40, np.random.default_rng(1))])
        for difficulty in (1, 4, 8)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


TEXTS = st.text(max_size=200) | st.text("0123456789+-*/()^=.,%$ \\{}frac\n", max_size=200)


@few
@given(text=TEXTS)
@example("(" * 5000)
@example("\\boxed{" * 5000)
@example("[" * 90_000)
@example("{" * 50_000 + "}" * 50_000)
@example("9" * 90_000)
@example(" \t" * 50_000)
@example("\n" * 90_000)
@example("- " * 50_000)
@example("*" * 90_000)
@example("```\n" * 20_000)
@example("<answer>" * 10_000)
@example("1/" * 40_000)
@example("\ud800")
def test_reading_never_raises(text: str) -> None:
    final_answer(text)
    read_number(text)
    code_in(text)
    count_sentences(text)
    for name in FAMILIES:
        found = family(name).parse(text)
        assert found is None or isinstance(found, str)


NAMES = [
    "exact",
    "number",
    "arithmetic",
    'countdown:{"numbers": [1, 2, 3], "target": 6}',
    'json_schema:{"schema": {"type": "object", "required": ["zz"]}}',
    'instructions:{"constraints": [{"id": "keywords:existence", "keywords": ["zzzyyy"]}, '
    '{"id": "detectable_format:title"}]}',
]


@pytest.mark.parametrize("name", NAMES)
@few
@given(text=TEXTS)
@example("9**9**9")
@example("(" * 90_000)
@example("[" * 90_000)
@example('{"a":' * 20_000)
@example("\ud800")
@example("-" * 1999 + "1")
def test_verifiers_are_total_and_deterministic(name: str, text: str) -> None:
    problem = Problem.make("?", answer="5040", verifier=name)
    found = verifier(name).verify(problem, text)
    assert isinstance(found, Verdict)
    assert 0 <= found.score <= 1 and found.passed == (found.score == 1) and (found.detail or found.passed)
    assert found == verifier(name).verify(problem, text)


EXPRESSIONS = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda p: f"({p[0]}{p[1]}{p[2]})")
        | inner.map(lambda p: f"-{p}")
    ),
    max_leaves=12,
)


@few
@given(text=EXPRESSIONS)
def test_expressions_have_the_value_that_python_gives_them(text: str) -> None:
    assert evaluate(text) == eval(text)  # the text is this test's own


@few
@given(text=st.text("0123456789+-*/%()^. ", max_size=60))
def test_hostile_expressions_end(text: str) -> None:
    try:
        value = parse_expression(text).value
    except ExpressionError:
        return
    assert value.numerator.bit_length() <= 4096


def test_every_kind_of_instruction_is_drawn() -> None:
    assert set(_DRAWS) == set(CHECKS)
    rng = np.random.default_rng(0)
    seen = {
        str(constraint["id"])
        for problem in family("instructions").propose(2, 400, rng)
        for constraint in json.loads(problem.verifier.partition(":")[2])["constraints"]
    }
    assert seen == set(CHECKS)
