"""Beam search against trying every sequence, and what must not change it."""

from __future__ import annotations

import itertools

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.inference.beam import BeamParams, beam_search
from tilth.model import ModelConfig, Transformer


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    made = Transformer(ModelConfig(vocab_size=5, d_model=16, n_layers=2, n_heads=2, d_ff=16, context_length=10))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return made.eval()


def test_wide_enough_it_finds_the_likeliest_of_all(model: Transformer) -> None:
    prompt = [3, 1]
    sequences = [
        sequence
        for length in (1, 2, 3)
        for sequence in itertools.product(range(5), repeat=length)
        if 0 not in sequence[:-1] and (length == 3 or sequence[-1] == 0)
    ]
    totals: dict[tuple[int, ...], float] = {}
    for sequence in sequences:
        ids = torch.tensor([[*prompt, *sequence]])
        own = model(ids).log_softmax(-1)[0, len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])
        totals[sequence] = own.sum().item()
    best = sorted(totals, key=lambda sequence: -totals[sequence])
    params = BeamParams(n_beams=100, max_tokens=3, length_penalty=0.0, stop_tokens=(0,))
    (result,) = beam_search(model, [prompt], params)
    assert [one.tokens for one in result.hypotheses] == best[:100]
    assert [one.score for one in result.hypotheses] == pytest.approx([totals[one] for one in best[:100]], abs=1e-4)
    assert all((one.finish_reason == "stop") == (one.tokens[-1] == 0) for one in result.hypotheses)


def test_one_beam_is_greedy_and_batches_do_not_matter(model: Transformer) -> None:
    prompts = [[3, 1], [2], [4, 4, 1], [1, 2]]
    params = BeamParams(n_beams=3, max_tokens=6, stop_tokens=(0,))
    together, alone = beam_search(model, prompts, params), beam_search(model, prompts, params, batch_size=1)
    for a, b in zip(together, alone, strict=True):
        assert [one.tokens for one in a.hypotheses] == [one.tokens for one in b.hypotheses]
        assert a.tokens_spent == b.tokens_spent
    (greedy,) = beam_search(model, [[3, 1]], BeamParams(n_beams=1, max_tokens=4))
    ids = [3, 1]
    for _ in range(4):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert list(greedy.hypotheses[0].tokens) == ids[2:]
    # The prompt's two tokens, and three of the four: the last one goes through no more.
    assert greedy.tokens_spent == 5 and greedy.hypotheses[0].finish_reason == "length"


def test_ids_that_the_tokenizer_lacks_are_never_written(model: Transformer) -> None:
    params = BeamParams(n_beams=20, max_tokens=3, stop_tokens=(0,))
    (result,) = beam_search(model, [[1, 2]], params, n_tokens=3)
    found = {one.tokens for one in result.hypotheses}
    assert {token for tokens in found for token in tokens} == {0, 1, 2}
    assert {one.tokens: one.logprobs for one in beam_search(model, [[1, 2]], params)[0].hypotheses}.items() & {
        one.tokens: one.logprobs for one in result.hypotheses
    }.items()


def test_the_context_is_a_limit_and_wrong_settings_are_told(model: Transformer) -> None:
    (result,) = beam_search(model, [[1] * 8], BeamParams(n_beams=2, max_tokens=50))
    assert {len(one.tokens) for one in result.hypotheses} == {2}
    with pytest.raises(DataError, match="no room"):
        beam_search(model, [[1] * 10], BeamParams())
    with pytest.raises(ConfigError, match="n_beams is 0"):
        BeamParams(n_beams=0)
    with pytest.raises(ConfigError, match="length_penalty"):
        BeamParams(length_penalty=float("nan"))
