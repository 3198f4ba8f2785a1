"""Token healing: exact against a reference that lists every beginning, and always a continuation of the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.inference import Engine, SamplingParams, healing
from tilth.inference.healing import Healer, Start, heal
from tilth.model import ModelConfig, Transformer
from tilth.tokenizer import ByteTokenizer, CharacterTokenizer, Tokenizer, WordTokenizer

TEXT = "The cat sat. They thought: 'Größe und Maß', 日本語, 🌱 grows.\n    return them, then\n        other 12345 " * 20
SEPARATOR = ["<|endoftext|>"]
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bytes only": lambda: Tokenizer.train([TEXT], vocab_size=257, special_tokens=SEPARATOR),
    "small": lambda: Tokenizer.train([TEXT], vocab_size=280, special_tokens=SEPARATOR),
    "large": lambda: Tokenizer.train([TEXT], vocab_size=400, special_tokens=SEPARATOR),
    "gpt2": lambda: Tokenizer.train([TEXT], vocab_size=350, pattern="gpt2", special_tokens=SEPARATOR),
    "no separator": lambda: Tokenizer.train([TEXT], vocab_size=350, special_tokens=[]),
    "superwords": lambda: Tokenizer.train([TEXT], vocab_size=400, superwords_from=300, special_tokens=SEPARATOR),
    "SentencePiece": lambda: Tokenizer.train([TEXT], vocab_size=400, byte_fallback=True, special_tokens=SEPARATOR),
    "byte tokenizer": ByteTokenizer,
    "characters": lambda: CharacterTokenizer.train([TEXT]),
    "words": lambda: WordTokenizer.train([TEXT], 40),
}
PROMPTS = ["The ", "The", "T", "the c", "Größ", "日", "x:\n   ", "x:\n     ", "12", "them the", " ", "🌱", ""]


def engine_of(tokenizer: Tokenizer) -> Engine:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=2, n_heads=2, context_length=48)
    model = Transformer(config)
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return Engine(model, tokenizer)


ENGINES: dict[str, Engine] = {}


def engine(name: str) -> Engine:
    if name not in ENGINES:
        ENGINES[name] = engine_of(TOKENIZERS[name]())
    return ENGINES[name]


def bytes_of(tokenizer: Tokenizer, ids: tuple[int, ...]) -> bytes:
    return b"".join(tokenizer.token_bytes(i) for i in ids)


@torch.no_grad()
def logprob(model: Transformer, ids: tuple[int, ...], start: int, temperature: float) -> float:
    """Log-probability of `ids` from index `start` on, one forward for each token."""
    total = 0.0
    for k in range(start, len(ids)):
        logits = model(torch.tensor([ids[:k]]))[0, -1] / temperature
        total += float(logits.log_softmax(-1)[ids[k]])
    return total


def reference(engine: Engine, prompt: str, temperature: float) -> dict[tuple[int, ...], float]:
    """The probability of each beginning: all tokens that may stand across the end, behind every part of the text."""
    tokenizer, front = engine.tokenizer, engine.separator
    text = prompt.encode()
    special = set(tokenizer.special_tokens.values())
    found: dict[tuple[int, ...], float] = {(*front, *tokenizer.encode_ordinary(text)): 0.0}
    for start in range(max(0, len(text) - healing.MOST_BYTES), len(text)):
        kept = (*front, *tokenizer.encode_ordinary(text[:start]))
        for token in range(tokenizer.vocab_size):
            data = tokenizer.token_bytes(token)
            if token not in special and data.startswith(text[start:]) and len(data) > len(text) - start:
                found[(*kept, token)] = 0.0
    found = {ids: logprob(engine.model, ids, 1, temperature) for ids in found}
    total = torch.tensor(list(found.values())).logsumexp(0)
    return {ids: float((torch.tensor(weight) - total).exp()) for ids, weight in found.items()}


def beginning(start: Start) -> tuple[int, ...]:
    return start.kept if start.first is None else (*start.kept, start.first[0])


def shares(
    engine: Engine, prompt: str, params: SamplingParams, monkeypatch: pytest.MonkeyPatch
) -> Counter[tuple[int, ...]]:
    """How often each beginning is drawn, over evenly spread numbers in place of random ones."""
    n = 400
    numbers = iter((k + 0.5) / n for k in range(n))
    monkeypatch.setattr(healing, "_uniform", lambda seed, index: torch.tensor([next(numbers)], dtype=torch.float64))
    ids = engine.tokenizer.encode_ordinary(prompt)
    starts = heal(engine.model, engine.healer, dict.fromkeys(range(n), (engine.separator, ids)), params)
    return Counter(beginning(start) for start in starts.values())


@pytest.mark.parametrize(
    ("name", "prompt"), [("small", "The "), ("small", "T"), ("small", "x:\n   "), ("large", "the c"), ("large", "日")]
)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_beginnings_are_drawn_with_the_models_probabilities(
    name: str, prompt: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = reference(engine(name), prompt, temperature)
    drawn = shares(engine(name), prompt, SamplingParams(temperature=temperature), monkeypatch)
    assert len(expected) > 1
    for ids in expected.keys() | drawn.keys():
        assert drawn[ids] / 400 == pytest.approx(expected.get(ids, 0.0), abs=1.01 / 400), ids


def test_a_space_at_the_end_is_one_before_the_next_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows "The " is distributed as the tokens behind "The" that begin with a space."""
    one = engine("large")
    the, space = one.tokenizer.encode_ordinary("The "), one.tokenizer.encode_ordinary(" ")
    assert the[-1:] == space
    kept = (*one.separator, *the[:-1])
    with torch.no_grad():
        probabilities = one.model(torch.tensor([kept]))[0, -1].softmax(-1)
    allowed = [i for i in range(one.tokenizer.vocab_size) if one.tokenizer.token_bytes(i).startswith(b" ")]
    constrained = {(*kept, i): float(probabilities[i] / probabilities[allowed].sum()) for i in allowed}
    drawn = shares(one, "The ", SamplingParams(), monkeypatch)
    assert len(allowed) > 5
    for ids in constrained.keys() | drawn.keys():
        assert drawn[ids] / 400 == pytest.approx(constrained.get(ids, 0.0), abs=1.01 / 400)


def test_indentation_may_give_its_last_space_to_the_next_word() -> None:
    tokenizer = engine("large").tokenizer
    covers = Healer(tokenizer).covers(tokenizer.encode_ordinary("x:\n    "))
    rests = {cover.rest: cover.kept for cover in covers}
    assert tokenizer.decode(rests[b" "]) == "x:\n   "
    assert b" return" in {tokenizer.token_bytes(int(i)) for i in Healer(tokenizer).extending(b" ")}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=25, deadline=None)
@given(
    prompt=st.one_of(
        st.sampled_from(PROMPTS),
        st.text(alphabet="Thecatogrnd .:\n1ßö日本語🌱", max_size=12),
        st.text(max_size=6).filter(lambda text: text.isprintable()),
    ),
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.0, 0.7, 2.0]),
)
def test_completions_continue_the_bytes_of_the_prompt(name: str, prompt: str, seed: int, temperature: float) -> None:
    one = engine(name)
    tokenizer, n_front = one.tokenizer, len(one.separator)
    if not one.separator and not prompt:
        return
    params = SamplingParams(max_tokens=4, seed=seed, temperature=temperature)
    completion = one.generate(prompt, params)
    assert completion.prompt_tokens[:n_front] == one.separator
    assert completion.prompt_tokens
    assert 1 <= len(completion.tokens) == len(completion.logprobs) <= 4
    ids = tuple(tokenizer.encode_ordinary(prompt))
    written = [token for token in completion.tokens if token != tokenizer.end_of_text]
    whole = bytes_of(tokenizer, (*completion.prompt_tokens[n_front:], *written))
    assert whole.startswith(bytes_of(tokenizer, ids))
    assert (
        completion.text
        == tokenizer.decode([*completion.prompt_tokens[n_front:], *written])[len(tokenizer.decode(ids)) :]
    )
    stream = one.stream(prompt, params)
    pieces = list(stream)
    assert all(pieces) and "".join(pieces) == completion.text
    assert stream.tokens == completion.tokens and stream.prompt_tokens == completion.prompt_tokens


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_batch_gives_what_each_prompt_gives_alone(temperature: float) -> None:
    one = engine("large")
    params = SamplingParams(max_tokens=6, seed=5, temperature=temperature)
    together = one.generate(PROMPTS, params)
    apart = Engine(one.model, one.tokenizer, batch_size=1).generate(PROMPTS, params)
    assert [c.tokens for c in together] == [c.tokens for c in apart]
    assert [c.prompt_tokens for c in together] == [c.prompt_tokens for c in apart]
    unhealed = one.generate(PROMPTS, replace(params, token_healing=False))
    assert any(a.prompt_tokens != b.prompt_tokens for a, b in zip(together, unhealed, strict=True))


def test_logprobs_are_the_models_own() -> None:
    one = engine("large")
    prompts = ["them the", "x:\n   ", "the c"] * 20
    completions = one.generate(prompts, SamplingParams(max_tokens=2, temperature=3.0, seed=2))
    assert len({completion.prompt_tokens for completion in completions}) >= 5
    for completion in completions:
        ids = (*completion.prompt_tokens, *completion.tokens)
        start = len(completion.prompt_tokens)
        assert sum(completion.logprobs) == pytest.approx(logprob(one.model, ids, start, 1.0), abs=1e-3)


def test_truncation_holds_for_the_first_token(monkeypatch: pytest.MonkeyPatch) -> None:
    one = engine("large")
    expected = reference(one, "The ", 1.0)
    likeliest = sorted(expected, key=lambda ids: -expected[ids])
    assert set(shares(one, "The ", SamplingParams(top_k=3), monkeypatch)) == set(likeliest[:3])
    assert set(shares(one, "The ", SamplingParams(top_p=1e-6), monkeypatch)) == {likeliest[0]}
    assert set(shares(one, "The ", SamplingParams(temperature=0), monkeypatch)) == {likeliest[0]}


def test_special_tokens_stay_and_so_does_what_is_before_them() -> None:
    tokenizer = engine("large").tokenizer
    healer = Healer(tokenizer)
    end = tokenizer.end_of_text
    assert end is not None
    the = tokenizer.encode_ordinary("The")
    assert healer.covers(the)
    assert healer.covers([*the, end]) == []
    for cover in healer.covers([*the, end, *the]):
        assert cover.kept[: len(the) + 1] == (*the, end)
    assert end not in healer.extending(b"<").tolist()


def test_without_a_separator_the_first_token_stays() -> None:
    one = engine("no separator")
    for seed in range(20):
        completion = one.generate("T", SamplingParams(max_tokens=2, seed=seed))
        assert completion.prompt_tokens == tuple(one.tokenizer.encode_ordinary("T"))


def test_ids_are_taken_as_they_are() -> None:
    one = engine("large")
    ids = [*one.separator, *one.tokenizer.encode_ordinary("The ")]
    params = SamplingParams(max_tokens=5, seed=1)
    assert one.generate([ids], params) == one.generate([ids], replace(params, token_healing=False))


def test_a_stop_token_may_be_the_first() -> None:
    one = engine("large")
    params = SamplingParams(max_tokens=5, temperature=0)
    first = one.generate("The ", params).tokens[0]
    stopped = one.generate("The ", replace(params, stop_tokens=(first,)))
    assert (stopped.tokens, stopped.text, stopped.finish_reason) == ((first,), "", "stop")
    assert list(one.stream("The ", replace(params, stop_tokens=(first,)))) == []


def test_a_prompt_that_leaves_one_token_of_room() -> None:
    one = engine("large")
    prompt = "The cat sat." * 20
    while len(one.tokenizer.encode_ordinary(prompt)) + 1 >= one.model.config.context_length:
        prompt = prompt[1:]
    for seed in range(10):
        completions = one.generate([prompt, "The "], SamplingParams(max_tokens=9, seed=seed))
        n = len(completions[0].prompt_tokens) + len(completions[0].tokens)
        assert n <= one.model.config.context_length and completions[0].tokens


def test_vocabularies_of_the_tokenizers_library_are_not_healed() -> None:
    library = pytest.importorskip("tokenizers")
    model = library.models.WordLevel({"[UNK]": 0, "The": 1, "Then": 2}, unk_token="[UNK]")
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        library.Tokenizer(model).save(str(Path(folder) / "tokenizer.json"))
        tokenizer = Tokenizer.load(folder)
    assert Healer(tokenizer).covers(tokenizer.encode_ordinary("The")) == []
    assert engine_of(tokenizer).generate("The", SamplingParams(max_tokens=2)).prompt_tokens == (1,)
