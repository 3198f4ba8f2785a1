"""Pretraining: a dataset to a model, tokenizing on the fly.

What it adds to `Trainer` is the text: the stream of batches, the first embeddings, the held-out excerpt, and a budget
in tokens.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.model.config import ModelConfig
from tilth.model.device import resolve_device
from tilth.model.files import save_model
from tilth.model.transformer import Transformer
from tilth.results import write_result
from tilth.storage import Dataset
from tilth.training.bigrams import start_from_bigrams
from tilth.training.config import TrainConfig
from tilth.training.cpu import fast_cpu
from tilth.training.held_out import held_out_excerpt, text_loss
from tilth.training.metrics import read_metrics
from tilth.training.optim import make_optimizers
from tilth.training.result import METRICS, SUMMARY, TrainingSummary
from tilth.training.schedule import Schedule
from tilth.training.stream import TokenStream
from tilth.training.trainer import Trainer

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The trained model, and what is in `summary.json`."""

    model: Transformer
    summary: TrainingSummary


def train(
    model: ModelConfig | Transformer,
    config: TrainConfig,
    dataset: Dataset,
    tokenizer: Tokenizer,
    out: Path,
    *,
    held_out: Dataset | None = None,
    compile: bool = False,
    context: Context | None = None,
) -> TrainResult:
    """Trains a new model of a shape, or a given one further (in place); or continues from `out/checkpoint`.

    Writes `metrics.jsonl`, `model/` and `summary.json`. `compile` puts the model through torch.compile: about a minute
    first, then faster steps.
    Raises: ConfigError for settings that do not fit each other, a device that is not there, or if `out` holds another
    training; TilthError if the loss is not finite.
    """
    context = context or Context()
    network = first_model(model, config, dataset, tokenizer) if isinstance(model, ModelConfig) else model
    _check(network.config, config, tokenizer)
    identity: dict[str, object] = {
        "model": network.config,
        "config": config,
        "dataset": dataset.fingerprint,
        "tokenizer": tokenizer.fingerprint,
        "held_out": held_out.fingerprint if held_out else None,
    }
    if network is model:
        identity["initial_weights"] = weights_fingerprint(network)
    network.to(resolve_device(context.device))
    rows = config.global_batch_tokens // network.config.context_length
    step_tokens = rows * network.config.context_length
    schedule = schedule_of(config, step_tokens)
    excerpt = held_out_excerpt(held_out.documents(), config.eval_bytes) if held_out else None

    def evaluate(_: nn.Module) -> Mapping[str, float]:
        loss = text_loss(network, tokenizer, excerpt or ())
        return {"held_out_bits_per_byte": loss.bits_per_byte, "held_out_nats_per_token": loss.nats_per_token}

    with fast_cpu():
        trainer = Trainer(
            cast(nn.Module, torch.compile(network)) if compile else network,
            TokenStream(
                dataset,
                tokenizer,
                context_length=network.config.context_length,
                batch_size=rows,
                seed=config.seed,
                short_batches=schedule.steps // 2,
                short_length=config.short_rows,
            ),
            optimizers=make_optimizers(network, config),
            schedule=schedule,
            gradient_clip=config.gradient_clip,
            out=out,
            identity=identity,
            evaluate=evaluate if excerpt else None,
            total_tokens=math.ceil(config.tokens / step_tokens) * step_tokens,
            context=context,
        )
        trainer.run()
    summary = _summary(network, trainer, out)
    save_model(network, out / "model")
    write_result(out / SUMMARY, summary)
    return TrainResult(model=network, summary=summary)


def schedule_of(config: TrainConfig, step_tokens: int) -> Schedule:
    """Returns the schedule over whole steps of `step_tokens`; the last may exceed the budget by a part of a step."""
    return Schedule(
        steps=math.ceil(config.tokens / step_tokens),
        warmup_steps=config.warmup_tokens / step_tokens,
        decay_fraction=config.decay_fraction,
        shape=config.schedule,
    )


def first_model(model: ModelConfig, config: TrainConfig, dataset: Dataset, tokenizer: Tokenizer) -> Transformer:
    """Returns the model that a training of this shape starts from.

    Raises: ConfigError for settings that do not fit each other.
    """
    _check(model, config, tokenizer)
    network = initial_model(model, config.seed)
    if network.head is not None and config.initial_embeddings == "bigrams":
        start_from_bigrams(network, dataset, tokenizer, seed=config.seed)
    return network


def initial_model(config: ModelConfig, seed: int) -> Transformer:
    """Returns a model of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(config)


def weights_fingerprint(model: nn.Module) -> str:
    """Returns the SHA-256 of a model's weights with their names and shapes."""
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _summary(model: Transformer, trainer: Trainer, out: Path) -> TrainingSummary:
    held_out = read_metrics(out / METRICS).held_out
    return TrainingSummary(
        n_params=model.config.n_params,
        tokens=trainer.tokens,
        steps=trainer.step,
        flops=model.config.flops_per_token * trainer.tokens,
        seconds=trainer.seconds,
        tokens_per_second=trainer.tokens / max(trainer.seconds, 1e-9),
        bits_per_byte_before=held_out[0].held_out_bits_per_byte if held_out else None,
        bits_per_byte_after=held_out[-1].held_out_bits_per_byte if held_out else None,
    )


def _check(model: ModelConfig, config: TrainConfig, tokenizer: Tokenizer) -> None:
    if config.global_batch_tokens < model.context_length:
        raise ConfigError(
            f"global_batch_tokens {config.global_batch_tokens} is less than one row of the context, "
            f"{model.context_length} tokens.",
            fix="Raise global_batch_tokens or lower context_length.",
        )
    if config.short_rows is not None and model.context_length % config.short_rows:
        raise ConfigError(
            f"Rows of the model's context, {model.context_length} tokens, cannot be cut evenly into short_rows of "
            f"{config.short_rows}.",
            fix="Give a short_rows that divides the context_length, or none.",
        )
    if tokenizer.vocab_size > model.vocab_size:
        raise ConfigError(
            f"The tokenizer has {tokenizer.vocab_size} tokens and the model only {model.vocab_size}.",
            fix=f"Set the model's vocab_size to {tokenizer.vocab_size}.",
        )
