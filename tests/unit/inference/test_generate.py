"""Generation: against a reference without cache or batches; stops, the context's limit, draws that can be repeated."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.inference import Generation, SamplingParams, generate, generate_tokens
from tilth.inference.generate import FIRST_TOKENS, Decoding
from tilth.inference.sampling import draw, penalized, truncated_probabilities, uniforms
from tilth.model import KVCache, ModelConfig, Transformer

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


@torch.no_grad()
def alone_without_cache(model: Transformer, index: int, prompt: list[int], params: SamplingParams) -> Generation:
    """What a prompt gives on its own, when all of it is read again for each token."""
    ids, logprobs = list(prompt), list[float]()
    for uniform in uniforms(params.seed, index, params.max_tokens):
        drawn, logprob = draw(model(torch.tensor([ids]))[:, -1], params, uniform[None])
        ids.append(int(drawn))
        logprobs.append(float(logprob))
        if ids[-1] in params.stop_tokens or len(ids) == model.config.context_length:
            break
    ended = "stop" if ids[-1] in params.stop_tokens else "length"
    return Generation(tokens=tuple(ids[len(prompt) :]), logprobs=tuple(logprobs), finish_reason=ended)


def check_against_reference(model: Transformer, prompts: list[list[int]], params: SamplingParams) -> list[Generation]:
    results = generate_tokens(model, prompts, params)
    for index, (prompt, result) in enumerate(zip(prompts, results, strict=True)):
        expected = alone_without_cache(model, index, prompt, params)
        assert result.tokens == expected.tokens
        assert result.finish_reason == expected.finish_reason
        assert result.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    return results


PARAMS = {
    "greedy": SamplingParams(max_tokens=12, temperature=0),
    "sampled": SamplingParams(max_tokens=20, seed=7),
    "stops": SamplingParams(max_tokens=20, seed=7, stop_tokens=(1, 2)),
    "truncated": SamplingParams(max_tokens=20, temperature=0.7, top_k=10, top_p=0.9, stop_tokens=(5,)),
}
LENGTHS = (3, 9, 3, 1, 14, 30)
"""Mixed, so that short rows are padded on the left."""


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("name", PARAMS)
def test_batches_with_a_cache_equal_each_prompt_alone_without(kind: str, name: str) -> None:
    results = check_against_reference(model_of(kind), prompts_of(*LENGTHS), PARAMS[name])
    if name == "stops":
        assert {r.finish_reason for r in results} == {"stop", "length"}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("what", ["keys", "values", "a slot", "padding"])
def test_a_wrong_cache_is_noticed(kind: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above has to fail where the cache gives back something else than what was put in."""
    write, mask = KVCache.write, KVCache.mask

    def corrupted(cache: KVCache, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = write(cache, layer, k, v)
        if layer == 1 and k.shape[2] == 1:  # one layer, and the cached tokens only
            if what == "keys":
                keys = keys + torch.randn(keys.shape, generator=torch.Generator().manual_seed(0))
            if what == "values":
                values = values * 1.1
            if what == "a slot":
                keys, values = keys.roll(1, dims=2), values
        return keys, values

    def without_padding(cache: KVCache, seq: int) -> torch.Tensor | None:
        padding, cache.padding = cache.padding, None
        seen = mask(cache, seq)
        cache.padding = padding
        return seen

    monkeypatch.setattr(KVCache, "write", corrupted)
    if what == "padding":
        monkeypatch.setattr(KVCache, "mask", without_padding)
    with pytest.raises(AssertionError):
        check_against_reference(model_of(kind), prompts_of(*LENGTHS), PARAMS["sampled"])


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("store", ["keys", "values"])
@pytest.mark.parametrize("layer", [0, 1])
def test_each_layers_keys_and_values_count(kind: str, store: str, layer: int) -> None:
    def logprobs(change: float) -> list[float]:
        decoding = Decoding(model_of(kind), {0: prompts_of(6)[0]}, SamplingParams(max_tokens=6, temperature=0))
        decoding.step()
        cached = getattr(decoding.cache, store)[layer, :, :, 2]
        cached += change * torch.randn(cached.shape, generator=torch.Generator().manual_seed(0))
        while decoding.active:
            decoding.step()
        return decoding.logprobs[0]

    assert logprobs(0.0) != pytest.approx(logprobs(1.0), abs=1e-3)


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
    model, prompts = model_of("rope"), prompts_of(6, 2)
    params = SamplingParams(max_tokens=10, temperature=0.5, top_k=5)
    for prompt, result in zip(prompts, generate_tokens(model, prompts, params), strict=True):
        with torch.no_grad():
            logprobs = model(torch.tensor([[*prompt, *result.tokens]]))[0].log_softmax(-1)
        expected = [logprobs[len(prompt) - 1 + i, token].item() for i, token in enumerate(result.tokens)]
        assert result.logprobs == pytest.approx(expected, abs=1e-4)


def test_seed_and_index_decide_what_is_drawn() -> None:
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
def test_the_context_is_a_limit(kind: str) -> None:
    model = model_of(kind)
    results = generate_tokens(model, prompts_of(CONTEXT - 3, 4, CONTEXT - 1), SamplingParams(max_tokens=1000))
    assert [len(r.tokens) for r in results] == [3, CONTEXT - 4, 1]
    assert {r.finish_reason for r in results} == {"length"}
    with pytest.raises(DataError, match="Prompt 1 has 32 tokens"):
        generate_tokens(model, prompts_of(4, CONTEXT), SamplingParams())
    with pytest.raises(DataError, match="Prompt 0 is empty"):
        generate_tokens(model, [[]], SamplingParams())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([1] * CONTEXT, "Prompt 3 has 32 tokens"),
        ([], "Prompt 3 is empty"),
        ([1, 40], "Prompt 3 holds the id 40"),
        ([-1, 3], "Prompt 3 holds the id -1"),
    ],
)
def test_all_prompts_are_checked_before_the_first_is_decoded(wrong: list[int], says: str) -> None:
    model, calls = model_of("rope"), list[object]()
    model.embedding.register_forward_hook(lambda *call: calls.append(call))
    prompts = [*prompts_of(1, 2, 3), wrong]
    with pytest.raises(DataError, match=says) as caught:
        generate_tokens(model, prompts, SamplingParams(max_tokens=2), batch_size=1)
    assert caught.value.fix
    assert calls == []
    generate_tokens(model, prompts[:-1], SamplingParams(max_tokens=2), batch_size=1)
    assert len(calls) == 6


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_ids_that_the_tokenizer_lacks_are_not_drawn(temperature: float) -> None:
    model, params = model_of("nope"), SamplingParams(max_tokens=20, temperature=temperature)
    drawn = {t for r in generate_tokens(model, prompts_of(2, 3, 4), params) for t in r.tokens}
    limited = {t for r in generate_tokens(model, prompts_of(2, 3, 4), params, n_tokens=7) for t in r.tokens}
    assert max(drawn) >= 7 > max(limited)


def test_room_for_far_more_tokens_than_the_context_takes_none() -> None:
    result = generate_tokens(model_of("rope"), [[1, 2]], SamplingParams(max_tokens=10**15))[0]
    assert len(result.tokens) == CONTEXT - 2


def test_memory_is_taken_as_completions_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(vocab_size=40, d_model=32, n_layers=1, n_heads=4, context_length=2**31 - 1)
    decoding = Decoding(Transformer(config).eval(), {0: [1, 2], 1: [3]}, SamplingParams(max_tokens=10**9))
    decoding.step()
    assert decoding.cache.keys.shape[3] == decoding.uniforms.shape[1] + 2 == FIRST_TOKENS + 2
    model, prompts, params = model_of("rope"), prompts_of(5, 2, 9), SamplingParams(max_tokens=20, stop_tokens=(1, 2))
    expected = generate_tokens(model, prompts, params)
    monkeypatch.setattr(generate, "FIRST_TOKENS", 1)
    assert generate_tokens(model, prompts, params) == expected


def test_no_prompts_no_results() -> None:
    results: list[Generation] = generate_tokens(model_of("nope"), [], SamplingParams())
    assert results == []


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"seed": -1},
    ],
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


def test_the_repetition_penalty_is_that_of_transformers() -> None:
    processors = pytest.importorskip("transformers.generation.logits_process")
    torch.manual_seed(0)
    logits, ids = torch.randn(3, 50), torch.randint(50, (3, 8))
    seen = torch.zeros(3, 50, dtype=torch.bool).scatter(1, ids, True)
    expected = processors.RepetitionPenaltyLogitsProcessor(1.3)(ids, logits)
    assert torch.allclose(penalized(logits, seen, 1.3), expected)
