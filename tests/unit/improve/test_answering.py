"""Rollouts and the share of them that is right."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tilth.improve import Reverse
from tilth.improve.answering import Answerer, accuracy, parsed, share_right
from tilth.model import ModelConfig, Transformer
from unit.improve.families import PlainReverse, right, rollout

FAMILY = Reverse()
PROBLEMS = FAMILY.propose(4, 20, np.random.default_rng(0))


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(vocab_size=28, d_model=32, n_layers=2, n_heads=2, d_ff=64, rope_theta=None)).eval()


def test_accuracy_falls_with_every_corrupted_answer() -> None:
    rollouts = right(PROBLEMS, 4)
    assert share_right(FAMILY, PROBLEMS, rollouts) == 1.0
    for corrupted in range(1, 4):
        rollouts[corrupted] = replace(rollouts[corrupted], text="aaaa")
        assert share_right(FAMILY, PROBLEMS, rollouts) == pytest.approx(1 - corrupted / 20)
    assert math.isnan(share_right(FAMILY, [], []))


def test_right_means_the_whole_answer_and_its_end() -> None:
    problem = PROBLEMS[0]
    answer = problem.prompt[-2::-1]
    for wrong in (rollout(problem, answer[:-1]), rollout(problem, answer + "a"), rollout(problem, answer, ended=False)):
        assert share_right(FAMILY, [problem], [wrong]) == 0.0


def test_accuracy_is_measured_for_each_difficulty(model: Transformer) -> None:
    class KnowsTwo(PlainReverse):
        """Accepts anything at difficulty 2: the model's answers are what they are, the family decides."""

        def __init__(self) -> None:
            super().__init__()
            self.parse, self.verify = (lambda text: text), (lambda problem, answer: problem.difficulty == 2)

    rng = np.random.default_rng(0)
    problems = {1: FAMILY.propose(1, 5, rng), 2: FAMILY.propose(2, 5, rng), 3: []}
    ended = [r.finish_reason == "stop" for r in Answerer(model, FAMILY)(problems[2], 2)]
    shares = accuracy(model, KnowsTwo(), problems)
    assert shares[0] == 0.0 and shares[1] == sum(ended) / 5 and math.isnan(shares[2])


def test_rollouts_end_or_are_cut(model: Transformer) -> None:
    answerer = Answerer(model, FAMILY)
    rollouts = answerer(PROBLEMS, 4)
    assert [r.problem_id for r in rollouts] == [p.id for p in PROBLEMS]
    most = FAMILY.answer_tokens(4) + 2
    for r in rollouts:
        assert len(r.tokens) == len(r.logprobs) <= most
        assert (r.tokens[-1] == 0) == (r.finish_reason == "stop")
        assert len(r.tokens) == most or r.finish_reason == "stop"
        assert r.text == FAMILY.tokenizer.decode(r.tokens)
        assert parsed(FAMILY, r) is None or r.finish_reason == "stop"
    tokens = sum(len(p.prompt) + len(r.tokens) - 1 for p, r in zip(PROBLEMS, rollouts, strict=True))
    # Forward: 2 for each parameter, 4 for each layer, width and position that may be attended to.
    attention = 4 * model.config.n_layers * model.config.d_model * (len("abcd=") + most)
    assert answerer.flops == pytest.approx(tokens * (2 * model.config.n_params + attention))


def test_nothing_to_answer(model: Transformer) -> None:
    assert Answerer(model, FAMILY)([], 3) == []
