"""The package reasoning-gym as task families; most is skipped where it is not installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tilth.errors import ConfigError, DependencyError
from tilth.synthesis.verify import family, isolation, reasoning_gym, verifier
from tilth.types import Problem

installed = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None or not isolation().layers,
    reason="reasoning-gym is not installed, or there is no isolation",
)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    reasoning_gym._factory.cache_clear()
    monkeypatch.setattr(reasoning_gym.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="reasoning-gym"):
        family("reasoning_gym:countdown")
    with pytest.raises(DependencyError, match="reasoning-gym"):
        verifier('reasoning_gym:countdown:{"level": 0, "seed": 1}')


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("(94*4 - 61) - 6", True),
        ("sin(x) + 3*x**2", True),
        ("__import__('os')", False),
        ("print(1)", False),
        ("().__class__", False),
        ("x.real", True),
        ("[x for x in y]", False),
        ("1" * 3000, False),
    ],
)
def test_what_is_given_to_scorers_that_evaluate(answer: str, expected: bool) -> None:
    assert reasoning_gym.harmless(answer) is (expected and answer != "x.real")


@installed
@pytest.mark.parametrize("name", ["countdown", "basic_arithmetic", "word_sorting"])
def test_families(name: str) -> None:
    reasoning_gym._factory.cache_clear()
    found = family(f"reasoning_gym:{name}")
    problem = found.propose(2, 1, np.random.default_rng(0))[0]
    assert problem == found.propose(2, 1, np.random.default_rng(0))[0]
    assert problem.answer is not None
    unlabelled = Problem(id=problem.id, prompt=problem.prompt, verifier=problem.verifier)
    assert found.verify(unlabelled, problem.answer), verifier(problem.verifier).verify(unlabelled, problem.answer)
    assert not found.verify(unlabelled, "nonsense")
    other = Problem(id="x", prompt="another", verifier=problem.verifier)
    assert not found.verify(other, problem.answer)


@installed
def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="no data set `nope`"):
        family("reasoning_gym:nope")
