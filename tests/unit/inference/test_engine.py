"""The engine: text in, text out, and the same text when streamed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.inference import Engine, SamplingParams
from tilth.model import KVCache, ModelConfig, Transformer
from tilth.tokenizer import Tokenizer

TEXT = "Größe und Maß: naïve café, 日本語, 🌱 grows. " * 20


@pytest.fixture(scope="module")
def engine() -> Engine:
    tokenizer = Tokenizer.train([TEXT], vocab_size=280, special_tokens=["<|endoftext|>"])
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=2, n_heads=2, context_length=64)
    model = Transformer(config)
    for weight in model.parameters():
        # A new model has zeros where it writes to the stream, so that its cache would not count.
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return Engine(model, tokenizer)


@torch.no_grad()
def greedy_without_cache(engine: Engine, prompt: list[int], n: int) -> list[int]:
    ids = list(prompt)
    while len(ids) < len(prompt) + n and (len(ids) == len(prompt) or ids[-1] != engine.tokenizer.end_of_text):
        ids.append(int(engine.model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def begun(engine: Engine, text: str) -> list[int]:
    assert engine.tokenizer.end_of_text is not None
    return [engine.tokenizer.end_of_text, *engine.tokenizer.encode_ordinary(text)]


def test_text_prompts_begin_a_document(engine: Engine) -> None:
    params = SamplingParams(max_tokens=20, seed=3, token_healing=False)
    assert engine.generate(["Maß"], params) == engine.generate([begun(engine, "Maß")], params)
    assert engine.generate(["Maß"], params) != engine.generate([begun(engine, "Maß")[1:]], params)


PROMPTS = ["Maß", "", "a", "naïve café, 日本語", "Größe und"]


def check_greedy(engine: Engine) -> None:
    params = SamplingParams(max_tokens=25, temperature=0, token_healing=False)
    completions = engine.generate(PROMPTS, params)
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        expected = greedy_without_cache(engine, begun(engine, prompt), 25)
        assert list(completion.tokens) == expected
        text = engine.tokenizer.decode([token for token in expected if token != engine.tokenizer.end_of_text])
        assert completion.text == text
        assert "".join(engine.stream(prompt, params)) == text


def test_greedy_completions_equal_a_loop_without_a_cache(engine: Engine) -> None:
    check_greedy(engine)


@pytest.mark.parametrize("store", ["keys", "values"])
def test_a_corrupted_cache_is_noticed(engine: Engine, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = KVCache.write

    def corrupted(cache: KVCache, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = write(cache, layer, k, v)
        noise = torch.randn(keys.shape, generator=torch.Generator().manual_seed(0))
        return (keys + noise, values) if store == "keys" else (keys, values + noise)

    monkeypatch.setattr(KVCache, "write", corrupted)
    with pytest.raises(AssertionError):
        check_greedy(engine)


def test_the_separator_ends_a_completion_and_is_not_text(engine: Engine) -> None:
    separator = engine.tokenizer.end_of_text
    completions = engine.generate(["a"] * 40, SamplingParams(max_tokens=60, seed=1))
    stopped = [c for c in completions if c.finish_reason == "stop"]
    assert stopped and len(stopped) < 40
    for completion in completions:
        assert (completion.tokens[-1] == separator) == (completion.finish_reason == "stop")
        assert "<|endoftext|>" not in completion.text


@pytest.mark.parametrize("seed", range(5))
def test_streamed_pieces_join_to_the_completion(engine: Engine, seed: int) -> None:
    params = SamplingParams(max_tokens=50, seed=seed)
    pieces = list(engine.stream("日本", params))
    assert "".join(pieces) == engine.generate(["日本"], params)[0].text
    assert all(pieces)


def test_an_empty_prompt_is_the_separator_alone(engine: Engine) -> None:
    params = SamplingParams(max_tokens=25, seed=2)
    completion = engine.generate([""], params)[0]
    assert completion == engine.generate([[engine.tokenizer.end_of_text]], params)[0]
    assert len(completion.tokens) > 1 and completion != engine.generate(["a"], params)[0]
    without = Engine(engine.model, Tokenizer.train([TEXT], vocab_size=280, special_tokens=[]))
    with pytest.raises(DataError, match="Prompt 0 is empty"):
        without.generate([""], params)


@pytest.mark.parametrize("way", ["generate", "stream"])
def test_prompts_without_room_are_refused(engine: Engine, way: str) -> None:
    long = TEXT * 3
    with pytest.raises(DataError, match="no room"):
        list(engine.stream(long, SamplingParams())) if way == "stream" else engine.generate([long], SamplingParams())


def test_a_tokenizer_that_is_too_large_is_refused(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="The tokenizer has 281 tokens and the model only 280"):
        Engine(engine.model, Tokenizer.train([TEXT], vocab_size=281))


def test_a_smaller_tokenizer_draws_only_what_it_has(engine: Engine) -> None:
    smaller = Engine(engine.model, Tokenizer.train([TEXT], vocab_size=258))
    completions = smaller.generate(["a"] * 20, SamplingParams(max_tokens=40, temperature=3.0))
    assert max(token for completion in completions for token in completion.tokens) == 257


def test_one_prompt_gives_one_completion(engine: Engine) -> None:
    completion = engine.generate("Maß")
    assert completion == engine.generate(["Maß"])[0]
    assert completion.prompt_tokens[0] == engine.tokenizer.end_of_text


@pytest.mark.parametrize(
    ("prompts", "says"),
    [([1, 2], "Prompt 0 is the number 1"), ([b"Ma"], "Prompt 0 is bytes"), (["a", None], "Prompt 1 is of type None")],
)
def test_what_is_no_prompt_is_refused(engine: Engine, prompts: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        engine.generate(prompts)
    assert caught.value.fix


def test_a_stream_that_is_left_has_what_was_written(engine: Engine) -> None:
    stream = engine.stream("Maß", SamplingParams(max_tokens=30, seed=4))
    next(stream)
    assert 0 < len(stream.tokens) < 30
    whole = engine.generate("Maß", SamplingParams(max_tokens=30, seed=4))
    assert whole.tokens[: len(stream.tokens)] == stream.tokens


def test_probabilities_are_the_models(engine: Engine) -> None:
    completion = engine.generate("Maß", SamplingParams(max_tokens=10, temperature=0.3, seed=1))
    found = engine.probabilities(completion.prompt_tokens, completion.tokens, n_alternatives=4)
    assert [one.token for one in found] == list(completion.tokens)
    for one, expected in zip(found, completion.logprobs, strict=True):
        assert one.probability == pytest.approx(math.exp(expected), rel=1e-3)
        chances = [probability for _, probability in one.alternatives]
        assert len(chances) == 4 and chances == sorted(chances, reverse=True) and chances[0] >= one.probability
    assert any(one.alternatives[0][0] != one.token for one in found)
    assert engine.probabilities(completion.prompt_tokens, []) == []


def test_with_seeds_of_their_own_prompts_draw_the_same_in_any_company(engine: Engine) -> None:
    params = SamplingParams(max_tokens=12)
    seeds = [5, 6, 5, 7, 8]
    together = engine.generate(PROMPTS, params, seeds=seeds)
    backwards = engine.generate(PROMPTS[::-1], params, seeds=seeds[::-1])
    alone = [engine.generate([p], replace(params, seed=s))[0] for p, s in zip(PROMPTS, seeds, strict=True)]
    assert [c.tokens for c in together] == [c.tokens for c in backwards[::-1]] == [c.tokens for c in alone]
    assert together != engine.generate(PROMPTS, params, seeds=[9, 9, 9, 9, 9])


def test_stop_texts_end_a_completion_where_they_begin(engine: Engine) -> None:
    params = SamplingParams(max_tokens=40, seed=1)
    free = engine.generate(PROMPTS, params)
    for healing in (True, False):
        params = replace(params, token_healing=healing)
        free = engine.generate(PROMPTS, params)
        # A piece of two characters of each text, some of which span tokens.
        for index, whole in enumerate(free):
            stop = whole.text[10:12]
            stopped = engine.generate(PROMPTS, params, stop_texts=[stop, "never there"])[index]
            assert stopped.text == whole.text[: whole.text.find(stop)]
            assert stopped.finish_reason == "stop"
            assert len(stopped.tokens) < len(whole.tokens)
            assert stopped.tokens == whole.tokens[: len(stopped.tokens)]


def test_a_stop_text_at_the_end_of_a_prompt_ends_nothing(engine: Engine) -> None:
    params = SamplingParams(max_tokens=4, temperature=1.5)
    n_inside = 0
    for length in range(2, 30):
        prompt = TEXT[:length]
        free = engine.generate([prompt] * 8, params)
        # The first token of a healed completion holds the prompt's end, too.
        n_inside += sum(completion.prompt_tokens != tuple(begun(engine, prompt)) for completion in free)
        stopped = engine.generate([prompt] * 8, params, stop_texts=[prompt[-2:]])
        for whole, cut in zip(free, stopped, strict=True):
            assert cut == whole or prompt[-2:] in whole.text
    assert n_inside > 5


def test_a_repetition_penalty_keeps_tokens_from_coming_again(engine: Engine) -> None:
    params = SamplingParams(max_tokens=40, temperature=0, token_healing=False)
    prompts = [f"Maß {i}" for i in range(6)]
    strict = engine.generate(prompts, replace(params, repetition_penalty=1e6))
    free = engine.generate(prompts, params)
    assert sum(len(c.tokens) - len(set(c.tokens)) for c in free) > 20
    for completion in strict:
        assert not set(completion.tokens) & set(completion.prompt_tokens[1:])
        assert len(set(completion.tokens)) == len(completion.tokens)
    # Rows that end leave the batch, and the others keep what they hold.
    ends = tuple(completion.tokens[4 + 4 * i] for i, completion in enumerate(strict[:4]))
    params = replace(params, repetition_penalty=1e6, stop_tokens=ends)
    together = engine.generate(prompts, params)
    assert len({len(completion.tokens) for completion in together}) > 1
    assert [c.tokens for c in together] == [engine.generate([p], params)[0].tokens for p in prompts]
