"""Samples while a model is trained: the same passage each time, in a file that the page reads, and in no result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tilth.execute import Context
from tilth.inference.result import LIVE_SAMPLES, LiveSample
from tilth.model import ModelConfig
from tilth.progress import SILENT
from tilth.recipes import step_functions
from tilth.recipes.live_samples import PROMPT_CHARACTERS, passage
from tilth.recipes.step_functions import Pretraining
from tilth.results import decode
from tilth.steps import Inputs
from tilth.storage import write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TrainConfig, trainer
from tilth.types import Document

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 40
CONFIG = Pretraining(
    model=ModelConfig(vocab_size=260, d_model=16, n_layers=1, n_heads=2, context_length=32),
    training=TrainConfig(tokens=1024, global_batch_tokens=128, warmup_tokens=128),
)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    Tokenizer.train([TEXT], vocab_size=260).save(tmp_path / "tokenizer")
    for name in ("train", "held_out"):
        write_dataset(tmp_path / name, [Document.make(TEXT + name, source=name)], made_by="test")
    return Inputs(folders={name: tmp_path / name for name in ("tokenizer", "train", "held_out")}, sources={})


@pytest.fixture(autouse=True)
def at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "FIRST_WATCH_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "WATCH_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "WATCH_SHARE", 1e9)


def trained(inputs: Inputs, out: Path, context: Context) -> dict[str, Any]:
    out.mkdir()
    step_functions.pretrain(CONFIG, inputs, out, context)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    weights = hashlib.sha256((out / "model" / "model.safetensors").read_bytes()).hexdigest()
    return {"weights": weights, "losses": [line.get("loss") for line in lines]}


def test_samples_are_written_and_change_no_weight_and_no_loss(inputs: Inputs, tmp_path: Path) -> None:
    live = tmp_path / "live"
    seen = trained(inputs, tmp_path / "seen", Context(live=live))
    rows = [decode(LiveSample, json.loads(line), "line") for line in (live / LIVE_SAMPLES).read_text().splitlines()]
    assert seen == trained(inputs, tmp_path / "unseen", Context())
    assert len(rows) == 8 and [row.tokens for row in rows] == [128 * n for n in range(1, 9)]
    assert len({row.prompt for row in rows}) == 1 and rows[0].prompt in TEXT
    assert len({row.text for row in rows}) > 1
    assert not list((tmp_path / "seen").rglob(LIVE_SAMPLES))


def test_an_error_is_said_once_and_ends_nothing(inputs: Inputs, tmp_path: Path) -> None:
    said: list[str] = []

    class Lines:
        bar = staticmethod(SILENT.bar)
        say = staticmethod(said.append)

    (tmp_path / "live").write_text("a file, where a folder should be")
    context = replace(Context(live=tmp_path / "live" / "pretrain"), progress=Lines())
    seen = trained(inputs, tmp_path / "seen", context)
    assert seen == trained(inputs, tmp_path / "unseen", Context())
    assert len([line for line in said if line.startswith("No samples while training")]) == 1


@pytest.mark.parametrize("text", ["", "word", "one two\nthree", "x" * 1000, "a b " * 500, "line of words\n" * 50])
def test_a_passage_is_part_of_the_text(text: str) -> None:
    found = passage(text)
    assert found in text and len(found) <= PROMPT_CHARACTERS and found == found.strip()
    assert bool(found) == bool(text.strip())
