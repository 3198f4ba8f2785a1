"""Training inside the loop: the trainer with Muon and AdamW, from any weights, on batches of a problem pool."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tilth.execute import Context
from tilth.improve.answering import training_flops_per_token
from tilth.improve.config import LoopConfig
from tilth.improve.problem_pool import ProblemPool
from tilth.model import Transformer
from tilth.training import Batch, Schedule, Trainer, adamw, muon
from tilth.training.cpu import fast_cpu
from tilth.training.optim import Optimizers


@dataclass(frozen=True)
class FineTuned:
    """What a training took."""

    flops: float
    """Padding included."""
    seconds: float
    """Of the steps, over all attempts."""


def fine_tune(
    model: Transformer,
    batches: Iterable[Batch],
    steps: int,
    config: LoopConfig,
    *,
    out: Path | None = None,
    identity: Mapping[str, object] | None = None,
    name: str = "fine-tune",
    context: Context | None = None,
) -> FineTuned:
    """Trains a model in place, with a fresh optimizer; with `out`, it has checkpoints and continues after a kill."""
    counted = _Counted(model, batches)
    trainer = Trainer(
        model,
        counted,
        optimizers=_optimizers(model, config),
        schedule=Schedule(
            steps=steps,
            warmup_steps=max(1, round(config.warmup_fraction * steps)),
            decay_fraction=config.decay_fraction,
        ),
        gradient_clip=config.gradient_clip,
        out=out,
        identity=identity,
        # Arms run side by side, so a thread that makes batches would only take time from another arm.
        ahead=0,
        name=name,
        context=context,
    )
    trainer.run()
    return FineTuned(counted.flops, trainer.seconds)


def _optimizers(model: Transformer, config: LoopConfig) -> Optimizers:
    """Muon for the matrices in the blocks, which halves the steps that a base model takes; AdamW for the rest."""
    matrices = muon(model, peak_lr=config.muon_learning_rate, weight_decay=config.weight_decay)
    moved = [parameter for group in matrices.param_groups for parameter in group["params"]]
    rest = adamw(
        model,
        peak_lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(config.beta1, config.beta2),
        without=moved,
    )
    return {"adamw": rest, "muon": matrices}


@dataclass
class _Counted:
    """Batches, with the FLOPs of training on those that were drawn; a continued training draws them again."""

    model: Transformer
    batches: Iterable[Batch]
    flops: float = 0.0

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            self.flops += batch_flops(self.model, batch)
            yield batch


def batch_flops(model: Transformer, batch: Batch) -> float:
    """Returns the FLOPs of a training step, padding included."""
    return batch.n_tokens * training_flops_per_token(model, batch.inputs.shape[1])


def batches_worth(pool: ProblemPool, rng: np.random.Generator, model: Transformer, flops: float) -> list[Batch]:
    """Draws as many batches as it takes to spend `flops` on training: the nearest number of steps, at least one.

    No difficulty has an extra share in them.
    """
    return worth((pool.batch(rng) for _ in itertools.count()), model, flops)


def worth(batches: Iterable[Batch], model: Transformer, flops: float) -> list[Batch]:
    """Takes as many of endless batches as it takes to spend `flops` on training: the nearest number, at least one."""
    taken: list[Batch] = []
    spent = 0.0
    for batch in batches:
        more = batch_flops(model, batch)
        if taken and spent + more / 2 > flops:
            break
        taken.append(batch)
        spent += more
    return taken


@contextmanager
def one_thread() -> Generator[None]:
    """One torch thread, so that sums have one order and arms run side by side, with the settings that suit a CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with fast_cpu():
            yield
    finally:
        torch.set_num_threads(threads)
