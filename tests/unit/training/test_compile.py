"""The loss under torch.compile trains like the plain one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tilth.model import ModelConfig
from tilth.storage import Dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TrainConfig, read_metrics, train


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # From inside torch's compiler.
def test_compiled_losses_are_equal(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    shape = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=1, n_heads=2, context_length=24)
    config = TrainConfig(tokens=1000, global_batch_tokens=192)
    losses: list[list[float]] = []
    for compile in (False, True):
        out = tmp_path / str(compile)
        train(shape, config, dataset, tokenizer, out, compile=compile)
        losses.append([point.loss for point in read_metrics(out / "metrics.jsonl").train])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
