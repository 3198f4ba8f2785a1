"""Pretraining: a dataset to a model, tokenizing on the fly.

What it adds to `Trainer` is the text: the stream of batches, the first embeddings, the held-out excerpt, and a budget
in tokens.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
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
from tilth.training.best import BestWeights
from tilth.training.bigrams import start_from_bigrams
from tilth.training.config import TrainConfig, training_flops
from tilth.training.cpu import fast_cpu
from tilth.training.held_out import held_out_excerpt, n_bytes, text_loss
from tilth.training.metrics import read_metrics
from tilth.training.optim import make_optimizers
from tilth.training.result import METRICS, SUMMARY, EvalPoint, TrainingSummary
from tilth.training.schedule import Schedule
from tilth.training.stream import TokenStream
from tilth.training.trainer import Trainer

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer

COUNTED_BYTES = 8_000_000
"""Bytes of text whose tokens are counted to know the length of a pass; of a larger text the rest is extrapolated."""
MANY_EPOCHS = 4
"""Passes up to which repeated text is worth nearly as much as new text (Muennighoff et al. 2023)."""
_MEASURE = "held_out_bits_per_byte"


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
    out: Path | str,
    *,
    held_out: Dataset | None = None,
    compile: bool = False,
    watch: Callable[[Transformer, int], None] | None = None,
    context: Context | None = None,
) -> TrainResult:
    """Trains a new model of a shape, or a given one further (in place); or continues from `out/checkpoint`.

    Writes `metrics.jsonl`, `model/` and `summary.json`. The budget is cut to `config.max_epochs` passes over the text.
    With held-out text, the weights of the best measurement are kept, and training stops early when `config.patience`
    measurements after the first pass were worse: chosen and reported on the same text. `compile` puts the model through
    torch.compile: about a minute first, then faster steps. `watch` is called every half minute or so with the model and
    the tokens trained on.
    Raises: ConfigError for settings that do not fit each other, a device that is not there, or if `out` holds another
    training; TilthError if the loss is not finite.
    """
    out, context = Path(out), context or Context()
    network = first_model(model, config, dataset, tokenizer) if isinstance(model, ModelConfig) else model
    _check(network.config, config, tokenizer)
    identity: dict[str, object] = {
        "model": network.config,
        "config": config,
        "dataset": dataset.fingerprint,
        "tokenizer": tokenizer.fingerprint,
        "held_out": held_out.fingerprint if held_out is not None else None,
    }
    if network is model:
        identity["initial_weights"] = weights_fingerprint(network)
    network.to(resolve_device(context.device))
    rows = config.global_batch_tokens // network.config.context_length
    step_tokens = rows * network.config.context_length
    excerpt = held_out_excerpt(held_out.documents(), config.eval_bytes) if held_out is not None else None
    budget = budget_of(config, dataset, tokenizer)
    context.progress.say(budget.line)
    schedule = schedule_of(config, step_tokens, budget.tokens)
    best = BestWeights(_MEASURE, config.patience, pass_tokens=budget.pass_tokens) if excerpt else None

    def evaluate(_: nn.Module) -> Mapping[str, float]:
        loss = text_loss(network, tokenizer, excerpt or ())
        return {_MEASURE: loss.bits_per_byte, "held_out_nats_per_token": loss.nats_per_token}

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
            watch=watch and (lambda _, tokens: watch(network, tokens)),
            points=config.held_out_points,
            best=best,
            total_tokens=math.ceil(budget.tokens / step_tokens) * step_tokens,
            context=context,
        )
        trainer.run()
    short_tokens = schedule.steps // 2 * step_tokens
    flops = training_flops(network.config, trainer.tokens, short_rows=config.short_rows, short_tokens=short_tokens)
    summary = _summary(network, trainer, budget, out, flops=flops, held_out_bytes=n_bytes(excerpt or ()))
    if line := _end(summary, trainer):
        context.progress.say(line)
    save_model(network, out / "model")
    write_result(out / SUMMARY, summary)
    return TrainResult(model=network, summary=summary)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a model is trained, and how often it sees the text."""

    tokens: int
    """To train on: as many as were asked for, or those of `max_epochs` passes."""
    asked: int
    pass_tokens: int
    """Tokens of one pass over the text, separators included."""

    @property
    def epochs(self) -> float:
        """Passes over the text."""
        return self.tokens / self.pass_tokens

    @property
    def line(self) -> str:
        """The budget as a sentence, with what to do where the text is little."""
        of_text = f"the text's {self.pass_tokens:,} tokens"
        if self.tokens < self.asked:
            many = self.epochs > MANY_EPOCHS
            why = f": after {self.epochs:.0f} passes a model mostly learns it by heart" if many else ""
            return (
                f"train: {self.tokens:,} tokens instead of {self.asked:,}, which would be "
                f"{passes(self.asked / self.pass_tokens)} over {of_text}{why}. "
                "More text helps most; `max_epochs` of the training (`tilth train --max-epochs`) sets this limit."
            )
        advice = " More text would be worth more than more passes." if self.epochs > MANY_EPOCHS else ""
        return f"train: {self.tokens:,} tokens, {passes(self.epochs)} over {of_text}.{advice}"


def passes(epochs: float) -> str:
    """Returns a number of passes in words."""
    return f"{epochs:,.0f} passes" if epochs >= 10 else f"{epochs:.2g} {'pass' if f'{epochs:.2g}' == '1' else 'passes'}"


def budget_of(config: TrainConfig, dataset: Dataset, tokenizer: Tokenizer) -> Budget:
    """Returns the budget of a training on a dataset, which is at most `max_epochs` passes over it.

    Source: Muennighoff et al. 2023: up to 4 passes are worth nearly as much as new text, some 40 almost nothing more.
    """
    one_pass = pass_tokens(dataset, tokenizer)
    most = max(1, math.ceil(config.max_epochs * one_pass))
    return Budget(tokens=min(config.tokens, most), asked=config.tokens, pass_tokens=one_pass)


def pass_tokens(dataset: Dataset, tokenizer: Tokenizer) -> int:
    """Returns the tokens of one pass over a dataset, a separator for each document included.

    Of more than `COUNTED_BYTES` of text the first documents are counted, and the rest is taken to be like them.
    """
    counted = n_tokens = 0
    documents = (document.text for document in dataset.documents())
    while block := list(itertools.islice(documents, 256)):
        n_tokens += sum(map(len, tokenizer.encode_batch(block, disallowed_special=())))
        counted += sum(len(text.encode("utf-8", "surrogatepass")) for text in block)
        if counted >= COUNTED_BYTES:
            break
    return max(1, round(n_tokens * max(1.0, dataset.n_bytes / max(counted, 1))) + dataset.n_documents)


def schedule_of(config: TrainConfig, step_tokens: int, tokens: int) -> Schedule:
    """Returns the schedule over whole steps of `step_tokens`; the last may exceed `tokens` by a part of a step.

    The warm-up takes at most a fifth of it, however small the budget.
    """
    return Schedule(
        steps=math.ceil(tokens / step_tokens),
        warmup_steps=min(config.warmup_tokens, tokens / 5) / step_tokens,
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


def _summary(
    model: Transformer, trainer: Trainer, budget: Budget, out: Path, *, flops: float, held_out_bytes: int
) -> TrainingSummary:
    held_out, best = read_metrics(out / METRICS).held_out, trainer.best
    return TrainingSummary(
        n_params=model.config.n_params,
        tokens=trainer.tokens,
        steps=trainer.step,
        flops=flops,
        seconds=trainer.seconds,
        tokens_per_second=trainer.tokens / max(trainer.seconds, 1e-9),
        bits_per_byte_before=held_out[0].held_out_bits_per_byte if held_out else None,
        bits_per_byte_after=_kept_bits(held_out, best) if held_out else None,
        held_out_bytes=held_out_bytes,
        budget_tokens=budget.tokens,
        pass_tokens=budget.pass_tokens,
        best_tokens=best.tokens if best else None,
        stopped_early=trainer.stopped_early,
    )


def _kept_bits(held_out: Sequence[EvalPoint], best: BestWeights | None) -> float:
    # Where no measurement was finite, the newest weights are kept.
    last = held_out[-1].held_out_bits_per_byte
    return best.value if best is not None and math.isfinite(best.value) else last


def _end(summary: TrainingSummary, trainer: Trainer) -> str:
    """Says that training stopped early, or that earlier weights are kept; "" where neither is so."""
    best = trainer.best
    if best is None or best.step == trainer.step:
        return ""
    end = "stopped early at" if summary.stopped_early else "ended after"
    return (
        f"train: {end} {summary.tokens:,} of {trainer.total_tokens:,} tokens; best on held-out text at "
        f"{best.tokens:,} ({best.value:.3f} bits per byte): the weights of then are kept."
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
