"""From samples to training documents: what was planted is what is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from tilth.evaluation import Origins, nearest
from tilth.model import ModelConfig, Transformer
from tilth.results import read_result
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.types import Document

SUBJECTS = {
    "ducks": "pond duck reed water feather swim drake nest egg mud",
    "bread": "flour yeast oven dough crust bake loaf butter knead salt",
    "stars": "orbit comet lens moon telescope planet night sky light nebula",
}


def prose(subject: str, n: int) -> str:
    return " ".join(random.Random(f"{subject} {n}").choices(SUBJECTS[subject].split(), k=90)) + f" number {n}."


TRAINING = {f"{subject}-{n}.txt": prose(subject, n) for subject in SUBJECTS for n in range(6)}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(list(TRAINING.values()), vocab_size=400)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, d_model=64, n_layers=1, n_heads=1, d_ff=32))


def dataset(folder: Path, texts: dict[str, str]) -> Dataset:
    made = [Document.make(text, source=source) for source, text in texts.items()]
    return write_dataset(folder, made, made_by="test")


def found(samples: list[str], model: Transformer, tokenizer: Tokenizer, folder: Path, **limits: int) -> Origins:
    return nearest(
        samples=samples,
        model=model,
        tokenizer=tokenizer,
        train=dataset(folder / "train", TRAINING),
        held_out=dataset(folder / "held_out", {"a": "nothing of this was ever seen " * 30}),
        out=folder,
        **limits,
    )


def test_a_copied_span_and_the_subject_are_found(model: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = "bread-2.txt"
    copied = TRAINING[source][100:240].partition(" ")[2].rpartition(" ")[0]
    sample = f"é Zzz {copied} qqq xyz."
    result = found([sample, "moon sky orbit planet telescope"], model, tokenizer, tmp_path)
    assert read_result(Origins, tmp_path / "nearest.json") == result
    (span,) = result.samples[0].spans
    text = TRAINING[source]
    assert sample[span.start : span.end] == copied and span.source == source and span.documents == 1
    assert text[span.position : span.position + len(copied)] == copied
    assert span.before + copied + span.after in text and span.before and span.after
    assert result.samples[0].verbatim_share == pytest.approx(len(copied) / len(sample.encode()))
    assert result.held_out_share == 0.0
    for sample_found, subject in zip(result.samples, ("bread", "stars"), strict=True):
        sources = [window.source for window in sample_found.near]
        assert len(set(sources)) == 3 and all(one.startswith(subject) for one in sources)
        first = sample_found.near[0]
        assert TRAINING[first.source][first.position :].startswith(first.text) and 0 < first.similarity <= 1


def test_limits_are_kept_and_said(model: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    result = found(["moon sky orbit"], model, tokenizer, tmp_path, max_search_bytes=1000, max_windows=5)
    assert 1000 <= result.searched_bytes < 2000 < result.train_bytes
    assert result.searched_documents <= 3 and 1 <= result.windows <= 5
    everything = found(["moon sky orbit"], model, tokenizer, tmp_path / "all")
    assert everything.searched_bytes == everything.train_bytes and everything.searched_documents == len(TRAINING)
    assert everything.windows > len(TRAINING)


def test_samples_without_text(model: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert found([], model, tokenizer, tmp_path / "none").samples == ()
    result = found(["", "the moon sky orbit"], model, tokenizer, tmp_path / "empty")
    assert result.samples[0].near == () and result.samples[0].verbatim_share == 0.0
    assert result.samples[1].near[0].source.startswith("stars")
