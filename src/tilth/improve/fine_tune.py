"""Training inside the loop: AdamW from whatever weights the model has, over batches of a problem pool."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager

import numpy as np
import torch

from tilth.improve.answering import training_flops_per_token
from tilth.improve.config import LoopConfig
from tilth.improve.problem_pool import Ints, ProblemPool
from tilth.model import Transformer
from tilth.progress import SILENT, Progress


def fine_tune(
    model: Transformer,
    batches: Iterable[tuple[Ints, Ints]],
    steps: int,
    config: LoopConfig,
    progress: Progress = SILENT,
    name: str = "fine-tune",
) -> float:
    """Trains with a fresh AdamW and returns the FLOPs spent, padding included."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=1e-10, fused=True
    )
    flops = 0.0
    model.train()
    with progress.bar(name, steps, "steps") as bar:
        for step, (inputs, targets) in enumerate(batches):
            ids, y = torch.from_numpy(inputs).to(model.device), torch.from_numpy(targets).to(model.device)
            done = step + 0.5
            mult = min(1.0, done / max(1, round(config.warmup_fraction * steps))) * min(
                1.0, (1 - done / steps) / config.decay_fraction
            )
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * mult
            loss = model.loss(ids, y)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
            optimizer.step()
            flops += batch_flops(model, inputs)
            bar.advance(loss=loss.item())
    model.eval()
    return flops


def batch_flops(model: Transformer, inputs: Ints) -> float:
    """Returns the FLOPs of a training step on inputs `(batch, seq)`, padding included."""
    return inputs.size * training_flops_per_token(model, inputs.shape[1])


def batches_worth(
    pool: ProblemPool, rng: np.random.Generator, model: Transformer, flops: float
) -> list[tuple[Ints, Ints]]:
    """Draws as many batches as it takes to spend `flops` on training, at least one; the last may be cut by rounding.

    The total is the multiple of whole steps that is nearest.
    """
    batches = [pool.batch(rng)]
    spent = batch_flops(model, batches[0][0])
    while True:
        batch = pool.batch(rng)
        more = batch_flops(model, batch[0])
        if spent + more / 2 > flops:
            return batches
        batches.append(batch)
        spent += more


@contextmanager
def one_thread() -> Generator[None]:
    """One torch thread, so that sums have one order and arms run side by side; denormals flushed (24 times slower)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
