"""Two processes under DistributedDataParallel take the steps of one on both of their batches."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import distributed, nn

from tilth.model import ModelConfig, Transformer
from tilth.training import Batch, Schedule, Trainer, adamw, muon

STEPS, ROWS = 4, 3


def model_and_batches() -> tuple[Transformer, list[Batch]]:
    torch.manual_seed(0)
    model = Transformer(ModelConfig(vocab_size=20, d_model=16, n_layers=1, n_heads=2, context_length=8))
    ids = torch.randint(0, 20, (STEPS, 2 * ROWS, 9))
    return model, [Batch(x[:, :-1], x[:, 1:]) for x in ids]


def trained(model: nn.Module, batches: list[Batch]) -> None:
    optimizers = {"adamw": adamw(model, peak_lr=1e-2), "muon": muon(model, peak_lr=1e-2)}
    Trainer(model, batches, optimizers=optimizers, schedule=Schedule(steps=STEPS)).run()


def work(rank: int, folder: Path) -> None:
    """One of two processes: it trains on its half of the rows."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    model, batches = model_and_batches()
    wrapped = nn.parallel.DistributedDataParallel(model)
    trained(wrapped, [batch.split(ROWS)[rank] for batch in batches])
    torch.save(model.state_dict(), folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_available() or sys.platform != "linux", reason="gloo over a file, on Linux")
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    mp.spawn(work, args=(tmp_path,), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    model, batches = model_and_batches()
    before = model.state_dict()["embedding.weight"].clone()
    trained(model, batches)
    assert not torch.equal(before, model.embedding.weight)
    for rank in range(2):
        for name, weight in torch.load(tmp_path / f"{rank}.pt").items():
            torch.testing.assert_close(weight, model.state_dict()[name], atol=1e-3, rtol=1e-2)
