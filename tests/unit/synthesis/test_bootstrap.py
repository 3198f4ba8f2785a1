"""Synthetic bootstrapped pairs: which documents make a pair, what a model learns from them, and what it writes."""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tilth import ModelConfig, Tokenizer, Transformer
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.model import IGNORE_INDEX, save_model
from tilth.results import read_result
from tilth.storage import Dataset, write_dataset
from tilth.synthesis.bootstrap import RESULT, BootstrapResult, PairBatches, PairFormat, batch_of, prepare
from tilth.synthesis.bootstrap import _Examples as Examples  # pyright: ignore[reportPrivateUsage]
from tilth.synthesis.define import ParseError, load_recipe
from tilth.synthesis.pairs import Pair, chosen_documents, find_pairs, lsa_vectors
from tilth.synthesis.recipes.bootstrap import parse_related
from tilth.synthesis.recipes.bootstrap_options import Bootstrap
from tilth.synthesis.trial import try_recipe
from tilth.teacher.request import GenerationParams, Request
from tilth.types import Document, Message

SUBJECTS = [
    ["whale", "ocean", "tide", "coral", "wave", "reef"],
    ["loop", "compiler", "pointer", "method", "array", "stack"],
    ["recipe", "oven", "flour", "butter", "dough", "cake"],
    ["planet", "orbit", "comet", "galaxy", "moon", "star"],
]


def documents(n: int = 64, words: int = 12) -> list[Document]:
    rng = random.Random(3)
    return [
        Document(id=f"d{i:03d}", text=" ".join(rng.choices(SUBJECTS[i % 4], k=words)), source=f"s{i % 4}")
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("data"), documents(), made_by="test", shard_bytes=2000)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.train(
        [document.text for document in documents()], vocab_size=300, special_tokens=["<|endoftext|>"]
    )
    tokenizer.save(folder)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=2, n_heads=2, context_length=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_model(Transformer(config), folder)
    return folder


# Pairs


def test_pairs_are_related_and_not_the_same() -> None:
    texts = [
        "the whale swims in the deep ocean near a coral reef",
        "an ocean wave breaks over the coral reef as a whale dives",
        "the whale swims in the deep ocean near a coral reef today",
        "knead the dough and put the cake into the hot oven",
        "a cake of butter and dough stays in the oven for an hour",
        "1 2 3",
    ]
    made = [Document(id=str(i), text=text, source="s") for i, text in enumerate(texts)]
    vectors = np.array([[1, 0.1], [1, 0.2], [1, 0.1], [0.1, 1], [0.3, 1], [-1, -1]], dtype=np.float64)
    found = find_pairs(made, vectors, neighbours=2, threshold=0.5, max_overlap=0.5)
    assert {(pair.first, pair.second) for pair in found.pairs} == {(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3)}
    assert found.too_alike == 2  # 0 and 2, from both sides
    assert all(0.5 <= pair.similarity <= 1 for pair in found.pairs)
    one = find_pairs(made, vectors, neighbours=1, threshold=0.5, max_overlap=1.0)
    assert (0, 2) in {(pair.first, pair.second) for pair in one.pairs}


def test_pairs_of_words_stay_within_a_subject(dataset: Dataset) -> None:
    chosen = chosen_documents(dataset, 1000, 0)
    found = find_pairs(chosen, lsa_vectors(chosen, 0), neighbours=4, threshold=0.5, max_overlap=0.5)
    assert len(found.pairs) > 200
    for pair in found.pairs:
        assert chosen[pair.first].source == chosen[pair.second].source and pair.first != pair.second


def test_chosen_documents_do_not_depend_on_their_order(tmp_path: Path, dataset: Dataset) -> None:
    shuffled = documents()
    random.Random(5).shuffle(shuffled)
    other = write_dataset(tmp_path / "d", shuffled, made_by="test")
    first = [document.id for document in chosen_documents(dataset, 10, 0)]
    assert first == [document.id for document in chosen_documents(other, 10, 0)] == sorted(first)
    assert first != [document.id for document in chosen_documents(dataset, 10, 1)]


# Tokens


def test_only_the_second_document_counts(model: Path) -> None:
    tokenizer = Tokenizer.load(model)
    made = documents(8, words=5)
    network = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=1,
                                      context_length=64))  # fmt: skip
    example = Examples(network, tokenizer, made).tokens(Pair(first=0, second=4, similarity=0.9))
    first, second = (tokenizer.encode_ordinary(made[i].text) for i in (0, 4))
    end = tokenizer.end_of_text
    assert list(example.ids) == [end, *first, end, *second, end]
    batch = batch_of([example, Examples(network, tokenizer, made).tokens(Pair(first=1, second=5, similarity=1))],
                     tokenizer)  # fmt: skip
    counted = batch.targets[0][batch.targets[0] != IGNORE_INDEX].tolist()
    assert counted == [*second, end]
    where = int((batch.targets[0] != IGNORE_INDEX).nonzero()[0])
    assert batch.inputs[0, where].item() == end and batch.inputs[0, : where + 1].tolist() == [end, *first, end]


def test_long_documents_are_cut_and_fit_the_context(model: Path) -> None:
    tokenizer = Tokenizer.load(model)
    made = documents(8, words=200)
    network = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=1,
                                      context_length=64))  # fmt: skip
    example = Examples(network, tokenizer, made).tokens(Pair(first=0, second=4, similarity=0.9))
    assert len(example.ids) == 65 and example.counted_from == 32 and example.ids[-1] != tokenizer.end_of_text
    chat = PairFormat(context_length=64)
    prompt = chat.encode([Message(role="user", content=made[0].text)], tokenizer)
    assert tuple(prompt) == example.ids[:32]  # what is asked is what was trained on


def test_batches_go_on_where_they_were(model: Path) -> None:
    tokenizer = Tokenizer.load(model)
    network = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=1,
                                      context_length=64))  # fmt: skip
    examples = Examples(network, tokenizer, documents(8))
    pairs = [Pair(first=i, second=(i + 4) % 8, similarity=0.9) for i in range(8)]

    def inputs(batches: PairBatches, n: int) -> list[list[list[int]]]:
        stream = iter(batches)
        return [next(stream).inputs.tolist() for _ in range(n)]

    whole = inputs(PairBatches(examples, pairs, batch_pairs=3, seed=1), 8)
    first = PairBatches(examples, pairs, batch_pairs=3, seed=1)
    begun = inputs(first, 5)
    rest = PairBatches(examples, pairs, batch_pairs=3, seed=1)
    rest.load_state_dict(first.state_dict())
    assert begun + inputs(rest, 3) == whole


# Training and writing

OPTIONS = {"epochs": 6.0, "learning_rate": 1e-2, "batch_pairs": 16}


@pytest.mark.slow
def test_the_model_learns_to_write_about_the_same(dataset: Dataset, model: Path, tmp_path: Path) -> None:
    teacher = prepare(dataset, tmp_path, Bootstrap(model=str(model), **OPTIONS), Context())  # pyright: ignore
    result = read_result(BootstrapResult, tmp_path / RESULT)
    assert result.held_out_pairs > 5 and result.loss_after < 0.6 * result.loss_before
    assert result.loss_unrelated > 1.2 * result.loss_after
    requests = [Request(messages=(Message(role="user", content=document.text),),
                        params=GenerationParams(max_tokens=30, temperature=1.0, seed=5))
                for document in documents(4)]  # fmt: skip

    async def write() -> list[str]:
        answers = await asyncio.gather(*(teacher.answer(request, n=4) for request in requests))
        return [" ".join(answer.text for answer in group) for group in answers]

    for subject, text in zip(SUBJECTS, asyncio.run(write()), strict=True):
        words = text.split()
        assert sum(word in subject for word in words) > 0.6 * len(words) > 0


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(dataset: Dataset, model: Path, tmp_path: Path) -> None:
    options = Bootstrap(model=str(model), epochs=2.0)
    calm = prepare(dataset, tmp_path / "calm", options, Context())
    script = (
        "import sys; from pathlib import Path; from tilth.execute import Context; from tilth.storage import Dataset\n"
        "from tilth.synthesis.bootstrap import prepare\n"
        "from tilth.synthesis.recipes.bootstrap_options import Bootstrap\n"
        "data, model, work = sys.argv[1:]\n"
        "prepare(Dataset.open(data), Path(work), Bootstrap(model=model, epochs=2.0), Context(checkpoint_seconds=0.0))\n"
    )
    work = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(dataset.folder), str(model), str(work)],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    checkpoint = work / "training" / "checkpoint" / "state.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and not (work / RESULT).exists()
    resumed = prepare(dataset, work, options, Context())
    assert resumed.identity == calm.identity
    again = prepare(dataset, work, options, Context())
    assert again.identity == calm.identity
    assert read_result(BootstrapResult, work / RESULT) == read_result(BootstrapResult, tmp_path / "calm" / RESULT)


@pytest.mark.slow
def test_synthesis_without_a_teacher(dataset: Dataset, model: Path, tmp_path: Path) -> None:
    from tilth.synthesis.config import GateConfig, SynthesisConfig
    from tilth.synthesis.run import synthesize

    config = SynthesisConfig(
        documents=12,
        max_answer_tokens=24,
        gates=GateConfig(min_words=3, languages=(), near_duplicate_threshold=None, max_copied=1.0),
    )
    options = Bootstrap(model=str(model), **OPTIONS)  # pyright: ignore[reportArgumentType]
    result = synthesize(dataset, tmp_path / "out", "bootstrap", [], config, Context(workers=1), options=options)
    assert result.complete and result.samples_kept > 3 and result.teachers == ("bootstrap",)
    assert read_result(BootstrapResult, tmp_path / "out" / RESULT).pairs > 100
    assert not (tmp_path / "out" / "work").exists()
    samples = Dataset.open(tmp_path / "out" / "samples")
    assert len(samples) == result.samples_kept
    subjects = [SUBJECTS[int(sample.source[-1])] for sample in samples]  # of the seed: `bootstrap/s2`
    texts = [sample.text.split() for sample in samples]
    near = [any(word in subject for word in text) for text, subject in zip(texts, subjects, strict=True)]
    assert sum(near) >= 0.7 * len(samples)


# Mistakes and parsing


def test_mistakes(dataset: Dataset, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--model"):
        prepare(dataset, tmp_path / "a", Bootstrap(), Context())
    with pytest.raises(DataError, match="no model"):
        prepare(dataset, tmp_path / "b", Bootstrap(model=str(tmp_path)), Context())
    far = [
        Document(id=str(i), text=f"{word} {word}", source="s") for i, word in enumerate(("red", "sky", "cat", "run"))
    ]
    other = write_dataset(tmp_path / "far", far, made_by="test")
    with pytest.raises(DataError, match="threshold"):
        prepare(other, tmp_path / "c", Bootstrap(model=str(model), threshold=0.9), Context())
    for wrong in ({"epochs": 0.0}, {"threshold": 2.0}, {"neighbours": 0}, {"features": "x"}, {"max_documents": 1}):
        with pytest.raises(ConfigError):
            Bootstrap(**wrong)  # pyright: ignore[reportArgumentType]


def test_what_goes_round_in_circles_is_dropped() -> None:
    assert parse_related(" a b c d e f ", 0.5) == "a b c d e f"
    with pytest.raises(ParseError) as error:
        parse_related("a b c d " * 10, 0.5)
    assert error.value.reason == "repetition"


def test_the_recipe_asks_with_the_document_alone() -> None:
    recipe = load_recipe("bootstrap")
    document = documents(1)[0]
    result = try_recipe(recipe, [document], lambda request, sample: "coral reef and tide pools")
    ((draft,),) = result.drafts
    assert draft.text == "coral reef and tide pools"
    (request,) = result.requests
    assert [message.content for message in request.messages] == [document.text]
    assert request.params.temperature == 1.0
    copied = try_recipe(recipe, [document], lambda request, sample: f"{document.text} again")
    assert copied.reasons == ["echo"]


def test_model_states_as_features(dataset: Dataset, model: Path) -> None:
    from tilth.model import load_model
    from tilth.synthesis.bootstrap import model_vectors

    made = documents(16)
    vectors = model_vectors(load_model(model), Tokenizer.load(model), made)
    assert vectors.shape == (16, 32) and not math.isnan(float(vectors.sum()))
    again = model_vectors(load_model(model), Tokenizer.load(model), made[::-1])[::-1]
    np.testing.assert_allclose(vectors, again, atol=1e-5)
