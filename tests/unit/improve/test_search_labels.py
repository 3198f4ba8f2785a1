"""Labellers that search, on a model whose answers are sampled from what it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from tilth.errors import ConfigError
from tilth.improve.answering import Answerer, answer_bits, parsed, training_flops_per_token
from tilth.improve.countdown import Countdown
from tilth.improve.family import distinct
from tilth.improve.pseudo_labels import PseudoLabel
from tilth.improve.search_labels import (
    SEARCH_LABELS,
    SearchParams,
    keep_by_bits,
    label_best_of_n,
    search_labeller,
    with_noise,
)
from tilth.model import ModelConfig, Transformer
from tilth.types import Problem, Rollout
from unit.improve.families import Last, rollout

LAST = Last()
COUNTDOWN = Countdown(highest=5, highest_target=20)
PROBLEMS = distinct(LAST, 3, 20, np.random.default_rng(0))


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    return Answerer(untrained(LAST.tokenizer.vocab_size), LAST)


def untrained(vocab_size: int) -> Transformer:
    torch.manual_seed(0)
    shape = ModelConfig(vocab_size=vocab_size, d_model=16, n_layers=1, n_heads=2, d_ff=16, context_length=32)
    model = Transformer(shape).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def test_samples_do_not_depend_on_order_or_batches(answerer: Answerer) -> None:
    together = answerer.sample(PROBLEMS, 3, 5, seed=1)
    backwards = answerer.sample(PROBLEMS[::-1], 3, 5, seed=1)[::-1]
    alone = [answerer.sample([problem], 3, 5, seed=1)[0] for problem in PROBLEMS]
    tokens = [[one.tokens for one in rollouts] for rollouts in together]
    assert tokens == [[one.tokens for one in rollouts] for rollouts in backwards]
    assert tokens == [[one.tokens for one in rollouts] for rollouts in alone]
    more = answerer.sample(PROBLEMS, 3, 7, seed=1)
    assert tokens == [[one.tokens for one in rollouts[:5]] for rollouts in more]
    assert tokens != [[one.tokens for one in rollouts] for rollouts in answerer.sample(PROBLEMS, 3, 5, seed=2)]
    assert [one.problem_id for one in together[3]] == [PROBLEMS[3].id] * 5


def test_everything_that_is_generated_is_counted(answerer: Answerer) -> None:
    counted = replace(answerer, flops=0.0, answers=0)
    rollouts = counted.sample(PROBLEMS, 3, 4)
    tokens = sum(len("abc=") + len(one.tokens) - 1 for group in rollouts for one in group)
    forward = training_flops_per_token(counted.model, len("abc=") + LAST.answer_tokens(3) + 2) / 3
    assert counted.flops == pytest.approx(tokens * forward) and counted.answers == 80
    searched = replace(answerer, flops=0.0, answers=0)
    searched.beam(PROBLEMS, 3, 3)
    assert searched.flops > len(PROBLEMS) * len("abc=") * forward and searched.answers == 60
    with pytest.raises(ConfigError, match="0 samples"):
        counted.sample(PROBLEMS, 3, 0)


def test_accepted_samples_are_right_different_and_capped(answerer: Answerer) -> None:
    params = SearchParams(samples=64, per_problem=1)
    labels = search_labeller("samples", LAST, params, 0)(answerer, PROBLEMS, 3)
    assert labels and all(LAST.verify(label.problem, label.rollout.text) for label in labels)
    assert max(Counter(label.problem.id for label in labels).values()) == 1
    assert all(label.problem.answer is None and label.rollout.reward == 1.0 for label in labels)
    drawn = answerer.sample(PROBLEMS, 3, 64, seed=0)
    solvable = [
        problem.id
        for problem, rollouts in zip(PROBLEMS, drawn, strict=True)
        if any(parsed(LAST, one) == problem.prompt[-2] for one in rollouts)
    ]
    assert [label.problem.id for label in labels] == solvable


def test_the_tree_keeps_several_answers_of_a_problem_up_to_the_cap() -> None:
    model = Answerer(untrained(COUNTDOWN.tokenizer.vocab_size), COUNTDOWN)
    problems = distinct(COUNTDOWN, 1, 10, np.random.default_rng(0))
    params = SearchParams(tree_tokens=2000, tree_width=None, per_problem=1)
    solvable = {problem.id: len(COUNTDOWN.solutions(problem)) for problem in problems}
    for cap in (1, 3):
        labels = search_labeller("tree", COUNTDOWN, replace(params, per_problem=cap), 0)(model, problems, 1)
        assert all(COUNTDOWN.verify(label.problem, label.rollout.text) for label in labels)
        assert len({(label.problem.id, label.rollout.text) for label in labels}) == len(labels)
        assert Counter(label.problem.id for label in labels) == {key: min(cap, n) for key, n in solvable.items()}
    assert max(solvable.values()) > 1


def test_the_beam_accepts_the_right_ones_of_its_ends(answerer: Answerer) -> None:
    labels = search_labeller("beam", LAST, SearchParams(n_beams=30), 0)(answerer, PROBLEMS, 3)
    assert labels and all(LAST.verify(label.problem, label.rollout.text) for label in labels)
    ends = answerer.beam(PROBLEMS, 3, 30)
    right = [p.id for p, found in zip(PROBLEMS, ends, strict=True) if p.prompt[-2] in {one.text for one in found}]
    assert [label.problem.id for label in labels] == right


def test_the_vote_takes_the_commonest_and_asks_no_checker(answerer: Answerer) -> None:
    class Unasked(Last):
        def verify(self, problem: Problem, answer: str) -> bool:
            raise AssertionError

    given = {problem.id: ["a"] * 5 + ["b"] * 3 if index % 2 else ["a", "b", "c", "d"] * 2 for index, problem in
             enumerate(PROBLEMS)}  # fmt: skip

    class Scripted(Answerer):
        def sample(
            self, problems: Sequence[Problem], difficulty: int, n: int, *, temperature: float = 1.0, seed: int = 0
        ) -> list[list[Rollout]]:
            return [[rollout(problem, text) for text in given[problem.id]] for problem in problems]

    scripted = Scripted(answerer.model, LAST)
    params = SearchParams(samples=8, min_agreement=0.5)
    labels = search_labeller("vote", Unasked(), params, 0)(scripted, PROBLEMS, 3)
    assert [label.problem.id for label in labels] == [problem.id for problem in PROBLEMS[1::2]]
    assert {(label.rollout.text, label.rollout.reward) for label in labels} == {("a", 5 / 8)}
    assert search_labeller("vote", LAST, replace(params, min_agreement=0.7), 0)(scripted, PROBLEMS, 3) == []


def test_best_of_n_takes_the_highest_score(answerer: Answerer) -> None:
    params = SearchParams(samples=16)
    drawn = answerer.sample(PROBLEMS, 3, 16, seed=0)
    answered = [[one for one in group if parsed(LAST, one) is not None] for group in drawn]
    likeliest = [max(group, key=lambda one: sum(one.logprobs)).text for group in answered if group]
    labels = search_labeller("best_of_n", LAST, params, 0)(answerer, PROBLEMS, 3)
    assert [label.rollout.text for label in labels] == likeliest
    by_letter = label_best_of_n(LAST, params, 0, lambda problem, one: -ord(one.text[0]))
    found = [label.rollout.text for label in by_letter(answerer, PROBLEMS, 3)]
    assert found == [min(one.text for one in group) for group in answered if group]
    assert found != likeliest


def test_bits_are_the_models_and_the_selection_keeps_the_most(answerer: Answerer) -> None:
    accept = search_labeller("samples", LAST, SearchParams(samples=64), 0)
    labels = accept(answerer, PROBLEMS, 3)
    bits = answer_bits(answerer.model, LAST, [(one.problem, one.rollout) for one in labels])
    assert bits == pytest.approx([-sum(one.rollout.logprobs) / math.log(2) for one in labels], abs=1e-4)
    before = answerer.flops
    kept = keep_by_bits(accept, 0.25)(answerer, PROBLEMS, 3)
    labelling = answerer.flops - before
    accept(answerer, PROBLEMS, 3)
    # The forward pass that it selects by is spent, too.
    assert labelling > (answerer.flops - before - labelling) > 0
    assert len(kept) == math.ceil(len(labels) / 4)
    chosen = {one.problem.id for one in kept}
    least = min(b for b, one in zip(bits, labels, strict=True) if one.problem.id in chosen)
    assert all(b <= least for b, one in zip(bits, labels, strict=True) if one.problem.id not in chosen)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_noise_spoils_the_stated_share_and_the_same_ones(answerer: Answerer, share: float) -> None:
    problems = distinct(LAST, 3, 100, np.random.default_rng(1))

    def give_right(answer: object, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        return [PseudoLabel(problem=p, rollout=rollout(p, p.prompt[-2])) for p in problems]

    spoil = with_noise(give_right, LAST, share, 3)
    labels = spoil(answerer, problems, 3)
    wrong = [one for one in labels if not LAST.verify(one.problem, one.rollout.text)]
    assert len(wrong) == pytest.approx(100 * share, abs=15 * (share not in (0, 1)))
    for one in wrong:
        assert LAST.parse(one.rollout.text) and one.rollout.tokens[-1] == 0 and one.rollout.logprobs == ()
        assert LAST.tokenizer.decode(one.rollout.tokens) == one.rollout.text
    assert spoil(answerer, problems[::-1], 3)[::-1] == labels


def test_wrong_uses_are_told(answerer: Answerer) -> None:
    with pytest.raises(ConfigError, match="cannot check partial answers"):
        search_labeller("tree", LAST, SearchParams(), 0)
    with pytest.raises(ConfigError, match="no labeller"):
        search_labeller("magic", LAST, SearchParams(), 0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="returns one"):
        search_labeller("samples", LAST, SearchParams(), 0)(lambda problems, difficulty: [], PROBLEMS, 3)
    with pytest.raises(ConfigError, match="noise_share"):
        SearchParams(noise_share=2.0)
    assert "samples" in SEARCH_LABELS
