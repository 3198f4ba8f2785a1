"""The proposer: what it may propose, what it is paid for, and that the pay moves it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from tilth.errors import ConfigError, DataError
from tilth.improve.countdown import Countdown
from tilth.improve.family import Reverse
from tilth.improve.fine_tune import one_thread
from tilth.improve.self_play import (
    Outcome,
    Proposer,
    ProposerConfig,
    agreement_rates,
    learnability,
    pass_rates,
    prompt_reader,
)
from tilth.types import Problem
from unit.improve.families import Addition, Last, rollout

FAMILY = Reverse()
CONFIG = ProposerConfig(
    d_model=16, n_layers=1, n_heads=2, base_steps=60, learn_steps=20, max_tokens=12, learning_rate=1e-2
)
EDGE = 5
"""Length at which the solver of these tests is right half of the time."""


def base_prompts() -> list[str]:
    rng = np.random.default_rng(0)
    return [p.prompt for length in range(1, 8) for p in FAMILY.propose(length, 60, rng)]


def solve(problem: Problem) -> float:
    """A solver that is sure below the edge and lost above."""
    return 1 / (1 + math.exp(3 * ((problem.difficulty or 0) - EDGE)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Proposer]:
    folder = tmp_path_factory.mktemp("proposer")
    with one_thread():
        Proposer.make(FAMILY, CONFIG, base_prompts()).save(folder)
    return lambda: Proposer.load(folder, FAMILY, CONFIG, base_prompts())


def rounds(proposer: Proposer, n: int, *, shuffled: bool = False) -> list[float]:
    """Returns the mean distance of new problems from the edge, before and after each of `n` rounds of 200."""
    rng, distances = np.random.default_rng(1), list[float]()
    with one_thread():
        for _ in range(n + 1):
            problems = proposer.propose(200, rng).problems
            distances.append(fmean(abs((p.difficulty or 0) - EDGE) for p in problems))
            rates = [solve(p) for p in problems]
            if shuffled:
                rates = rng.permutation(rates).tolist()
            proposer.learn([Outcome(problem=p, pass_rate=r) for p, r in zip(problems, rates, strict=True)])
    return distances


def test_the_reward_moves_proposals_to_the_edge_and_a_shuffled_one_does_not(made: Callable[[], Proposer]) -> None:
    rewarded, shuffled = rounds(made(), 3), rounds(made(), 3, shuffled=True)
    assert rewarded[0] == shuffled[0] > 1.0
    assert rewarded[-1] < 0.7 * rewarded[0]
    assert shuffled[-1] > 0.85 * shuffled[0]


def test_learnability_is_highest_in_the_middle() -> None:
    assert learnability(0.0) == learnability(1.0) == 0.0 and learnability(0.5) == 1.0
    assert learnability(0.25) == learnability(0.75) == 0.75


def test_what_is_proposed_is_new_valid_and_not_measured(made: Callable[[], Proposer]) -> None:
    proposer = made()
    first = proposer.propose(200, np.random.default_rng(0))
    assert first.written == 200 == len(first.problems) + first.invalid + first.repeats + first.excluded
    assert len({p.prompt for p in first.problems}) == len(first.problems) > 50
    assert first.invalid > 0 and first.repeats > 0 and not {p.prompt for p in first.problems} & {*base_prompts()}
    assert all(p.answer is None and p.difficulty == len(p.prompt) - 1 for p in first.problems)
    assert sum(first.difficulties.values()) == len(first.problems)
    again = proposer.propose(200, np.random.default_rng(0))
    assert again.problems == () and again.repeats == len(first.problems) + first.repeats
    fresh = made()
    fresh.excluded = {p.prompt for p in first.problems[:10]}
    assert fresh.propose(200, np.random.default_rng(0)).excluded == 10


def test_without_reward_nothing_changes_and_strangers_are_refused(made: Callable[[], Proposer]) -> None:
    proposer = made()
    problems = proposer.propose(50, np.random.default_rng(0)).problems
    before = {name: value.clone() for name, value in proposer.model.state_dict().items()}
    assert set(proposer.learn([Outcome(problem=p, pass_rate=float(i % 2)) for i, p in enumerate(problems)])) == {0.0}
    assert all(value.equal(before[name]) for name, value in proposer.model.state_dict().items())
    with pytest.raises(DataError, match="not proposed"):
        proposer.learn([Outcome(problem=Problem.make("zzzzzzzz=", verifier="reverse"), pass_rate=0.5)])


def test_saved_and_continued_it_ends_with_the_same_bytes(made: Callable[[], Proposer], tmp_path: Path) -> None:
    def one_round(proposer: Proposer, seed: int) -> None:
        with one_thread():
            problems = proposer.propose(60, np.random.default_rng(seed)).problems
            proposer.learn([Outcome(problem=p, pass_rate=solve(p)) for p in problems])

    straight, stopped = made(), made()
    one_round(straight, 1)
    one_round(stopped, 1)
    stopped.save(tmp_path / "half")
    continued = Proposer.load(tmp_path / "half", FAMILY, CONFIG, base_prompts())
    for proposer, name in ((straight, "a"), (continued, "b")):
        one_round(proposer, 2)
        proposer.save(tmp_path / name)
    for path in ("proposer.json", "model/model.safetensors"):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert (tmp_path / "a/proposer.json").read_bytes() != (tmp_path / "half/proposer.json").read_bytes()


def test_pass_rates_by_verifier_and_by_agreement() -> None:
    problems = FAMILY.propose(3, 2, np.random.default_rng(0))
    right = [p.prompt[-2::-1] for p in problems]
    drawn = [[rollout(problems[0], text) for text in (right[0], "aaa", "aaa", "aaa")], [rollout(problems[1], right[1])]]
    assert [o.pass_rate for o in pass_rates(FAMILY, problems, drawn)] == [0.25, 1.0]
    assert [o.pass_rate for o in agreement_rates(FAMILY, problems, drawn)] == [0.75, 1.0]
    cut = [[rollout(problems[0], right[0], ended=False)], []]
    assert [o.pass_rate for o in pass_rates(FAMILY, problems, cut)] == [0.0, 0.0]
    assert [o.pass_rate for o in agreement_rates(FAMILY, problems, cut)] == [0.0, 0.0]


def test_prompts_are_read_in_the_form_of_their_family() -> None:
    read = prompt_reader(FAMILY)
    for problem in FAMILY.propose(4, 5, np.random.default_rng(0)):
        assert read(problem.prompt) == replace(problem, answer=None)
    assert [read(text) for text in ("", "=", "abc", "ab=c", "a=b=", "AB=")] == [None] * 6
    add = prompt_reader(Addition())
    for problem in Addition().propose(2, 5, np.random.default_rng(0)):
        assert add(problem.prompt) == replace(problem, answer=None)
    assert [add(text) for text in ("1+22=", "+1=", "12+12", "1+2=3")] == [None] * 4
    assert prompt_reader(Countdown())("1 2 3 = 6") is not None
    with pytest.raises(ConfigError, match="read prompts"):
        prompt_reader(Last())


def test_wrong_settings_are_told() -> None:
    with pytest.raises(DataError, match="base prompts"):
        Proposer.make(FAMILY, CONFIG, [])
    with pytest.raises(DataError, match="12 tokens"):
        Proposer.make(FAMILY, CONFIG, ["abcdefghijk="])
    with pytest.raises(ConfigError, match="replay_share"):
        ProposerConfig(replay_share=1.0)
