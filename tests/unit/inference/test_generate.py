"""Generation: batches, stops, the context's wall, and draws that can be repeated."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.inference import Generation, SamplingParams, generate_tokens
from tilth.inference.sampling import draw, truncated_probabilities
from tilth.model import ModelConfig, Transformer

CONTEXT = 32
CONFIGS = {
    "rope": ModelConfig(vocab_size=40, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, context_length=CONTEXT),
    "nope": ModelConfig(vocab_size=40, d_model=32, n_layers=2, n_heads=4, rope_theta=None, context_length=CONTEXT),
}


def model_of(kind: str) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(CONFIGS[kind]).eval()
    with torch.no_grad():
        # A new model has zeros where it writes to the stream, and here every part of it is to count.
        for weight in model.parameters():
            if weight.ndim == 2:
                torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return model


def prompts_of(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 40, (length,), generator=generator).tolist() for length in lengths]


def greedy_without_cache(model: Transformer, prompt: list[int], n: int) -> list[int]:
    ids = list(prompt)
    for _ in range(n):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("kind", CONFIGS)
def test_greedy_equals_a_loop_without_a_cache(kind: str) -> None:
    model, prompts = model_of(kind), prompts_of(3, 9, 3, 1, 14)
    results = generate_tokens(model, prompts, SamplingParams(max_tokens=12, temperature=0))
    for prompt, result in zip(prompts, results, strict=True):
        assert list(result.tokens) == greedy_without_cache(model, prompt, 12)
        assert result.finish_reason == "length"


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(max_tokens=40, temperature=0, stop_tokens=(1, 2)),
        SamplingParams(max_tokens=40, seed=7, stop_tokens=(1, 2, 3, 4)),
        SamplingParams(max_tokens=20, temperature=0.7, top_k=10, top_p=0.9, stop_tokens=(5,)),
    ],
    ids=["greedy", "sampled", "truncated"],
)
def test_a_batch_gives_what_each_prompt_gives_alone(kind: str, params: SamplingParams) -> None:
    model, prompts = model_of(kind), prompts_of(5, 1, 30, 12, 12, 2, 31, 20)
    together = generate_tokens(model, prompts, params)
    for batch_size in (1, 3):
        apart = generate_tokens(model, prompts, params, batch_size=batch_size)
        assert [r.tokens for r in apart] == [r.tokens for r in together]
        assert [r.finish_reason for r in apart] == [r.finish_reason for r in together]
        for a, b in zip(apart, together, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_logprobs_are_the_models_own() -> None:
    model, prompt = model_of("rope"), prompts_of(6)[0]
    params = SamplingParams(max_tokens=10, temperature=0.5, top_k=5)
    result = generate_tokens(model, [prompt], params)[0]
    ids = torch.tensor([[*prompt, *result.tokens]])
    with torch.no_grad():
        logprobs = model(ids)[0].log_softmax(-1)
    expected = [logprobs[5 + i, token].item() for i, token in enumerate(result.tokens)]
    assert result.logprobs == pytest.approx(expected, abs=1e-4)


def test_seed_and_place_decide_what_is_drawn() -> None:
    model, prompt = model_of("nope"), [1, 2, 3]

    def tokens(seed: int) -> list[tuple[int, ...]]:
        return [r.tokens for r in generate_tokens(model, [prompt] * 4, SamplingParams(max_tokens=15, seed=seed))]

    assert tokens(0) == tokens(0)
    assert tokens(0) != tokens(1)
    assert len(set(tokens(0))) == 4


def test_stop_token_ends_and_stays_as_the_last() -> None:
    model, prompt = model_of("nope"), [1, 2, 3]
    free = generate_tokens(model, [prompt], SamplingParams(max_tokens=10, temperature=0))[0].tokens
    stop = free[4]
    result = generate_tokens(model, [prompt], SamplingParams(max_tokens=10, temperature=0, stop_tokens=(stop,)))[0]
    end = free.index(stop) + 1
    assert result.tokens == free[:end] and len(result.logprobs) == end
    assert result.finish_reason == "stop"


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_context_is_a_wall(kind: str) -> None:
    model = model_of(kind)
    results = generate_tokens(model, prompts_of(CONTEXT - 3, 4, CONTEXT - 1), SamplingParams(max_tokens=1000))
    assert [len(r.tokens) for r in results] == [3, CONTEXT - 4, 1]
    assert {r.finish_reason for r in results} == {"length"}
    with pytest.raises(DataError, match="Prompt 1 has 32 tokens"):
        generate_tokens(model, prompts_of(4, CONTEXT), SamplingParams())
    with pytest.raises(DataError, match="Prompt 0 is empty"):
        generate_tokens(model, [[]], SamplingParams())


def test_no_prompts_no_results() -> None:
    results: list[Generation] = generate_tokens(model_of("nope"), [], SamplingParams())
    assert results == []


@pytest.mark.parametrize(
    "fields", [{"max_tokens": 0}, {"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"seed": -1}]
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        SamplingParams(**fields)


def test_truncation_keeps_the_likeliest() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = truncated_probabilities(logits, SamplingParams(top_k=3))
    torch.testing.assert_close(kept, torch.tensor([[0.5, 0.3, 0.15, 0.0]]) / 0.95)
    kept = truncated_probabilities(logits, SamplingParams(top_p=0.7))
    torch.testing.assert_close(kept, torch.tensor([[0.5, 0.3, 0.0, 0.0]]) / 0.8)
    kept = truncated_probabilities(logits, SamplingParams(top_p=1e-9))
    assert kept.tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_draws_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2])
    uniform = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    ids, _ = draw(probabilities.log().expand(10_000, 4), SamplingParams(), uniform)
    shares = torch.bincount(ids, minlength=4) / 10_000
    torch.testing.assert_close(shares, probabilities, atol=2e-4, rtol=0)
    edge, _ = draw(probabilities.log()[None], SamplingParams(), torch.tensor([1.0], dtype=torch.float64))
    assert 0 <= int(edge) < 4
