"""Calls from doctests: what is found, how it is varied, and what counts as a right completion."""

from __future__ import annotations

import ast
import itertools
import json
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tilth.errors import DataError
from tilth.improve import doctest_calls as calls_module
from tilth.improve.code_completion import ARROW, CodeCompletion
from tilth.improve.doctest_calls import (
    Call,
    doctest_calls,
    literal_call,
    outputs_of,
    read_calls,
    varied,
    varied_calls,
)
from tilth.improve.family import distinct
from tilth.results import write_result
from tilth.synthesis.verify.sandbox import CodeResult, isolation
from tilth.types import Problem

needs_sandbox = pytest.mark.skipif(len(isolation().layers) < 2, reason="this machine cannot isolate code")
CALLS = (
    Call(module="statistics", function="median", expression="median([2, 5])", output="3.5"),
    Call(module="statistics", function="median", expression="median([3, 4])", output="3.5"),
    Call(module="statistics", function="mean", expression="mean([1, 3])", output="2"),
)
TASK = CodeCompletion(CALLS)


def problem(output: str, begun: str) -> Problem:
    return Problem.make(f"{output}{ARROW}{begun}", verifier=TASK.name)


@needs_sandbox
def test_right_is_what_gives_the_output_whether_or_not_it_is_in_the_data() -> None:
    one = problem("3.5", "median([2")
    assert TASK.verify_many([(one, text) for text in (", 5])", ", 3.5, 9])", ", 6])", ", 5", "] + [5])")]) == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert TASK.verify(problem("2", "mean([1"), ", 3])")
    # The value is the same, but it is no call of the function on literals.
    for text in (", 9]) and 3.5", ", 5]).real", ", *[5]])", ", abs(-5)])", ", 5], __import__('os'))", ")"):
        assert not TASK.verify(one, text)
    assert not TASK.verify(problem("3.5", "3.5"), "") and not TASK.verify(problem("4", "len([1"), ",2,3,4])")


@needs_sandbox
def test_one_bad_expression_does_not_take_the_others_along() -> None:
    wanted = [("", "1 + 1"), ("", "1 / 0"), ("nowhere", "1"), ("", "__import__('os')._exit(0)"), ("math", "sqrt(9.0)")]
    assert outputs_of(wanted) == ["2", None, None, None, "3.0"]
    assert outputs_of([]) == []
    # What ends the run because of those before it is no failure of its own: it is run again, first.
    mark, end = (
        "setattr(__import__('sys'), 'mark', 1)",
        "__import__('os')._exit(0) if hasattr(__import__('sys'), 'mark') else 7",
    )
    assert outputs_of([("", mark), ("", end), ("", "8")]) == ["None", "7", "8"]
    assert outputs_of([("", "'x' * 1000"), ("", "'é'")]) == [None, "'é'"]


def test_a_call_that_had_the_time_of_others_too_is_tried_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_lines(code: str, *, stdin: str, **limits: float) -> CodeResult:
        """A machine on which two calls take all the time, and the call `slow` more than that."""
        lines = [json.dumps(expression) for _, expression in json.loads(stdin)[:2]]
        lines = list(itertools.takewhile(lambda line: "slow" not in line, lines))
        return CodeResult(stdout="".join(f"{line}\n" for line in lines), stderr="", exit_code=None, reason="time")

    monkeypatch.setattr(calls_module, "run_code", two_lines)
    assert outputs_of([("", name) for name in ("a", "b", "c", "slow", "d")]) == ["a", "b", "c", None, "d"]


@needs_sandbox
def test_calls_are_found_run_and_varied(tmp_path: Path) -> None:
    text = '''
        def double(n):
            """Twice.

            >>> double(4)
            8
            >>> double(n=[1, 2])
            [1, 2, 1, 2]
            >>> double(3)
            7
            >>> x = double(2)
            >>> double(x)
            8
            >>> double('a')
            Traceback (most recent call last):
            TypeError: no
            """
            return n * 2
    '''
    text = textwrap.dedent(text)
    (tmp_path / "twice.py").write_text(text)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "other.py").write_text(text)
    found = [("twice", "double(4)", "8"), ("twice", "double(n=[1, 2])", "[1, 2, 1, 2]"), ("twice", "double(3)", "7")]
    assert list(doctest_calls(tmp_path)) == found
    # The sandbox sees the standard library alone, so that nothing of this folder runs there.
    with pytest.raises(DataError, match="No doctest"):
        varied_calls(tmp_path)


def test_variants_keep_the_form() -> None:
    rng = np.random.default_rng(0)
    seen = {varied("f([1, 2.5], 'Ab-c', k=True)", rng) for _ in range(50)}
    assert len(seen) > 30
    for text in seen:
        call = literal_call(text)
        assert call is not None and isinstance(call.args[0], ast.List) and 1 <= len(call.args[0].elts) <= 4
        name = ast.literal_eval(call.args[1])
        assert len(name) == 4 and name[0].isupper() and name[2] == "-" and text.endswith("k=True)")
    assert varied("f([3, 3, 3, 3])", np.random.default_rng(1)) == varied("f([3, 3, 3, 3])", np.random.default_rng(1))


@pytest.mark.parametrize("text", ["f(x)", "f(1", "a.f(1)", "f(1)(2)", "f(1) + 1", "f(*[1])", "f(" * 150, "f([" * 60])
def test_other_texts_are_no_calls_on_literals(text: str) -> None:
    assert literal_call(text) is None


def test_problems_are_cut_in_one_place_and_read_back(tmp_path: Path) -> None:
    drawn = TASK.propose(1, 200, np.random.default_rng(0))
    assert len({one.prompt for one in drawn}) <= len(CALLS)
    for one in drawn:
        output, _, begun = one.prompt.rpartition(ARROW)
        assert (
            one.answer
            and Call(
                module="statistics", function=begun.partition("(")[0], expression=begun + one.answer, output=output
            )
            in CALLS
        )
        assert one.answer in TASK.solutions(one)
        assert TASK.tokenizer.decode(TASK.tokenizer.encode_ordinary(one.prompt)) == one.prompt
    share = sum("mean(" in one.prompt for one in drawn) / 200
    assert 0.22 < share < 0.45
    write_result(tmp_path / "calls.json", CALLS)
    assert CodeCompletion.read(tmp_path).calls == tuple(read_calls(tmp_path)) == CALLS
    (tmp_path / "calls.json").write_text("[{")
    with pytest.raises(DataError, match=r"calls\.json"):
        read_calls(tmp_path)


def test_no_answer_to_a_prompt_is_a_call_that_is_cut_elsewhere() -> None:
    expressions = [f"mean([{a}, {b}])" for a in range(13) for b in range(13)]
    task = CodeCompletion(
        tuple(Call(module="statistics", function="mean", expression=text, output="6") for text in expressions)
    )
    problems = {one.prompt: one for one in task.propose(1, 3000, np.random.default_rng(0))}
    assert len(problems) == task.n_problems(1) < len(expressions)
    whole = [prompt.rpartition(ARROW)[2] + text for prompt, one in problems.items() for text in task.solutions(one)]
    assert sorted(whole) == sorted(expressions)
    assert task.solutions(problem("6", "mean([")) == [] or f"6{ARROW}mean([" in problems


def test_other_calls_are_another_task() -> None:
    assert CodeCompletion(CALLS).fingerprint == TASK.fingerprint != CodeCompletion(CALLS[:2]).fingerprint


def test_a_rare_function_is_in_every_part_as_often() -> None:
    """Test problems are drawn first: they must not use up a function with few calls."""
    names = ["rare"] * 40 + ["common"] * 1160
    calls = [
        Call(module="m", function=name, expression=f"{name}([{i}, {i + 1}, {i + 2}])", output=str(i))
        for i, name in enumerate(names)
    ]
    task = CodeCompletion(tuple(calls))
    test = distinct(task, 1, 300, np.random.default_rng(0))
    labelled = distinct(task, 1, 600, np.random.default_rng(1), {one.prompt for one in test})
    rare = [sum("rare" in one.prompt for one in part) / len(part) for part in (test, labelled)]
    assert max(rare) < 0.07 and min(rare) > 0.01
