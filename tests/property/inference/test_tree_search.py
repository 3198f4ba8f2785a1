"""What best-first search must always hold, against trying every text of a tiny vocabulary."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.errors import ConfigError, DataError
from tilth.inference.tree_search import TreeParams, TreeResult, search_tree
from tilth.model import ModelConfig, Transformer

VOCABULARY = 5
"""0 ends a text."""
ALL = [
    "".join(map(str, tokens))
    for length in range(4)
    for tokens in itertools.product(range(1, VOCABULARY), repeat=length)
]


@dataclass
class Accepted:
    """Accepts the given texts; its `possible` is exact, or always True."""

    texts: frozenset[str]
    prunes: bool
    asked: list[str] = field(default_factory=list[str])

    def possible(self, prefix: str) -> bool:
        self.asked.append(prefix)
        return not self.prunes or any(text.startswith(prefix) for text in self.texts)

    def solved(self, text: str) -> bool:
        return text in self.texts


def decode(tokens: Sequence[int]) -> str:
    return "".join(map(str, tokens))


def model(seed: int, **changes: float | None) -> Transformer:
    torch.manual_seed(seed)
    shape = {"vocab_size": VOCABULARY, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 16, "context_length": 16}
    made = Transformer(ModelConfig(**{**shape, **changes})).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return made


def search(
    seed: int, prompts: Sequence[Sequence[int]], checkers: Sequence[Accepted], **changes: int
) -> list[TreeResult]:
    params = TreeParams(**{"budget": 1000, "max_tokens": 4, "stop_token": 0, **changes})  # type: ignore[arg-type]
    return search_tree(model(seed), prompts, checkers, decode, params)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    texts=st.lists(st.frozensets(st.sampled_from(ALL), max_size=6), min_size=1, max_size=3),
    prunes=st.booleans(),
    budget=st.integers(1, 120),
)
def test_search_agrees_with_trying_everything(
    seed: int, texts: list[frozenset[str]], prunes: bool, budget: int
) -> None:
    prompts = [[1 + index] * (index + 1) for index in range(len(texts))]
    full = search(seed, prompts, [Accepted(wanted, prunes) for wanted in texts])
    for result, wanted in zip(full, texts, strict=True):
        assert {solution.text for solution in result.solutions} == wanted
        assert len(result.solutions) == len(wanted) and result.exhausted
    tight = search(seed, prompts, [Accepted(wanted, prunes) for wanted in texts], budget=budget)
    for result, everything, wanted in zip(tight, full, texts, strict=True):
        assert result.tokens_spent <= budget
        assert {solution.text for solution in result.solutions} <= wanted
        # The likeliest come first, whatever the budget.
        found = [solution.text for solution in result.solutions]
        assert found == [solution.text for solution in everything.solutions][: len(found)]
        assert result.exhausted == (everything.tokens_spent <= budget)
        if result.exhausted:
            assert set(found) == wanted
    totals = [[sum(solution.logprobs) for solution in result.solutions] for result in full]
    assert all(a >= b - 1e-5 for total in totals for a, b in itertools.pairwise(total))


def test_pruning_finds_the_same_for_fewer_tokens() -> None:
    wanted = frozenset(("12", "431"))
    (pruned,), (blind,) = (search(1, [[1, 2]], [Accepted(wanted, prunes)]) for prunes in (True, False))
    assert {s.text for s in pruned.solutions} == {s.text for s in blind.solutions} == wanted
    # The prompt's 2 and the beginnings 1, 12, 4, 43, 431.
    assert pruned.tokens_spent == 7 and blind.tokens_spent == 2 + 4 + 16 + 64
    assert pruned.rejected < blind.rejected == len(ALL) - 2


@pytest.mark.parametrize("rope_theta", [10_000.0, None])
def test_logprobs_are_the_models_own(rope_theta: float | None) -> None:
    made = model(2, rope_theta=rope_theta)
    prompts = [[1, 2, 3], [4]]
    params = TreeParams(budget=500, max_tokens=4, stop_token=0)
    checkers = [Accepted(frozenset(("123", "4")), False), Accepted(frozenset(("222", "")), False)]
    for prompt, result in zip(prompts, search_tree(made, prompts, checkers, decode, params), strict=True):
        assert len(result.solutions) == 2
        for solution in result.solutions:
            ids = torch.tensor([[*prompt, *solution.tokens]])
            own = made(ids).log_softmax(-1)[0, len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0]
            assert solution.logprobs == pytest.approx(own.tolist(), abs=1e-5)
            assert solution.tokens[-1] == 0 and solution.text == decode(solution.tokens[:-1])


def test_max_solutions_and_width() -> None:
    everything = frozenset(ALL)
    (full,) = search(3, [[1]], [Accepted(everything, False)])
    (few,) = search(3, [[1]], [Accepted(everything, False)], max_solutions=3)
    assert few.solutions == full.solutions[:3] and not few.exhausted
    assert few.tokens_spent < full.tokens_spent
    (narrow,) = search(3, [[1]], [Accepted(everything, False)], width=2)
    assert 0 < len(narrow.solutions) < len(full.solutions) and narrow.exhausted


def test_a_prompt_beyond_the_budget_and_wrong_calls() -> None:
    (long, short) = search(4, [[1, 2, 3], [1]], [Accepted(frozenset(("",)), False)] * 2, budget=2)
    assert long.tokens_spent == 0 and long.solutions == () and not long.exhausted
    assert short.tokens_spent <= 2
    with pytest.raises(DataError, match="2 prompts and 1 checkers"):
        search(4, [[1], [2]], [Accepted(frozenset(), False)])
    with pytest.raises(ConfigError, match="budget is 0"):
        TreeParams(budget=0, max_tokens=2, stop_token=0)
    assert math.isclose(len(ALL), 85)


def test_ids_that_the_tokenizer_lacks_are_never_written() -> None:
    params = TreeParams(budget=1000, max_tokens=3, stop_token=0)
    everything = Accepted(frozenset(ALL), prunes=False)
    (result,) = search_tree(model(0), [[1, 2]], [everything], decode, params, n_tokens=3)
    assert result.exhausted and {one.text for one in result.solutions} == {
        text for text in ALL if len(text) < 3 and set(text) <= {"1", "2"}
    }
