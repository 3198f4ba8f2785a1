"""What a learner takes from a text while it reads it once: prequential coding with a small transformer.

The loss of each batch is taken before the step on it, so that no text is predicted by a learner that has seen it. What
the learner cannot predict at the end of the pass is the entropy H; the area between the learning curve and its end is
the epiplexity S, the structure that it took up (Finzi et al. 2026, 2601.03220). Both are of this learner with this
compute: a larger one finds more structure. S alone says nothing about worth: samples of a model of the same kind are
the easiest to learn. S grows with the text, so texts are compared at equal size.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tilth.assay.result import Structure
from tilth.execute import Context
from tilth.model.config import ModelConfig
from tilth.storage import Dataset
from tilth.training.config import TrainConfig
from tilth.training.metrics import read_metrics
from tilth.training.pretraining import pass_tokens, train
from tilth.training.result import METRICS

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer

DEPTH = 2
"""Layers of the learner; the width is 32 times that."""
CONTEXT = 128
BATCH_TOKENS = 512
LEARNING_RATE = 0.01
LAST_SHARE = 0.2
"""Share of the pass at its end whose mean loss is H."""
_POINTS = 40


def measure_structure(
    dataset: Dataset, tokenizer: Tokenizer, out: Path, *, seed: int = 0, context: Context | None = None
) -> Structure:
    """Returns what the learner takes from a dataset, read once; `out` holds the training, which continues after a kill.

    Raises: TilthError if the loss is not finite.
    """
    model = ModelConfig.from_depth(DEPTH, vocab_size=tokenizer.vocab_size, context_length=CONTEXT)
    n_tokens, n_bytes = pass_tokens(dataset, tokenizer), dataset.n_bytes
    steps = max(1, n_tokens // BATCH_TOKENS)  # whole ones: a last part would be filled with text seen before
    config = TrainConfig(
        tokens=steps * BATCH_TOKENS,
        max_epochs=2.0,
        global_batch_tokens=BATCH_TOKENS,
        learning_rate=LEARNING_RATE,
        muon_learning_rate=LEARNING_RATE,
        warmup_tokens=0,
        decay_fraction=LAST_SHARE,
        initial_embeddings="random",  # counts of token pairs would tell the learner the text before it reads it
        seed=seed,
    )
    result = train(model, config, dataset, tokenizer, out, context=context)
    losses = [point.loss for point in read_metrics(out / METRICS).train]
    bytes_a_token = n_bytes / n_tokens
    bits = [loss / math.log(2) / bytes_a_token for loss in losses]
    return _structure(
        bits,
        n_bytes=min(n_bytes, round(len(bits) * BATCH_TOKENS * bytes_a_token)),
        tokens=result.summary.tokens,
        flops=result.summary.flops,
        learner=(
            f"Transformer of {model.n_params:,} parameters ({DEPTH} layers, context {CONTEXT}, "
            f"{tokenizer.vocab_size:,} tokens), one pass in {result.summary.steps:,} steps of {BATCH_TOKENS} tokens, "
            f"{result.summary.flops:.2g} FLOPs, seed {seed}"
        ),
    )


def _structure(bits: list[float], *, n_bytes: int, tokens: int, flops: float, learner: str) -> Structure:
    """`bits`: bits per byte of each step, before it."""
    last = bits[-max(1, round(LAST_SHARE * len(bits))) :]
    entropy, whole = sum(last) / len(last), sum(bits) / len(bits)
    every = max(1, len(bits) // _POINTS)
    curve = tuple(
        (n_bytes * min(end, len(bits)) / len(bits), sum(bits[end - every : end]) / len(bits[end - every : end]))
        for end in range(every, len(bits) + 1, every)
    )
    return Structure(
        learner=learner,
        flops=flops,
        tokens=tokens,
        entropy=entropy,
        epiplexity=(whole - entropy) * n_bytes,
        epiplexity_per_byte=whole - entropy,
        prequential=whole,
        curve=curve,
        bytes=n_bytes,
    )
