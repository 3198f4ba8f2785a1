"""The training loop: batches in, a model out, and everything needed to go on after a kill.

A step depends on nothing but weights, optimizer state and the place in the stream, all of which a checkpoint
holds; so a run that was killed ends with the bytes of one that was not (same machine, same number of
threads). Denormals are flushed to zero, because in a saturated softmax they cost a CPU many times the work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from tilth.errors import ConfigError, TilthError
from tilth.files import clear_temporaries, write_json
from tilth.model.config import ModelConfig
from tilth.model.files import save_model
from tilth.model.transformer import Transformer
from tilth.progress import SILENT, Bar, Progress
from tilth.storage import Dataset
from tilth.training.checkpoint import load_checkpoint, read_state, save_checkpoint
from tilth.training.config import TrainConfig
from tilth.training.metrics import MetricsLog, held_out_excerpt, measure_text_cost, read_metrics
from tilth.training.optim import make_optimizers
from tilth.training.schedule import rate_factor
from tilth.training.stream import TokenStream

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training came to; but for the model it is the content of `summary.json`."""

    model: Transformer
    n_params: int
    tokens: int
    """Tokens trained on."""
    steps: int
    flops: float
    seconds: float
    """Time spent in steps, over all attempts."""
    tokens_per_second: float
    bits_per_byte_before: float | None
    """On held-out text; None where none was given."""
    bits_per_byte_after: float | None

    def summary(self) -> dict[str, float | None]:
        """Returns the facts without the model."""
        return {name: value for name, value in vars(self).items() if name != "model"}


def train(
    model_config: ModelConfig,
    config: TrainConfig,
    dataset: Dataset,
    tokenizer: Tokenizer,
    out: Path,
    *,
    held_out: Dataset | None = None,
    device: str = "cpu",
    compile: bool = False,
    progress: Progress = SILENT,
) -> TrainResult:
    """Trains a new model, or goes on from `out/checkpoint`; writes `metrics.jsonl`, `model/` and
    `summary.json`.

    `compile` puts the loss through torch.compile: about a minute first, then faster steps.
    Raises: ConfigError for settings that do not fit each other or the checkpoint; TilthError if the loss is
    not finite.
    """
    with denormals_flushed():
        trainer = _Trainer(model_config, config, dataset, tokenizer, out, held_out, device, compile)
        trainer.resume()
        result = trainer.run(progress)
    save_model(result.model, out / "model")
    write_json(out / "summary.json", result.summary())
    return result


@contextmanager
def denormals_flushed() -> Generator[None]:
    """Denormals as zeros, in this thread, as long as it lasts: in a saturated softmax they cost 24 times the time."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def initial_model(config: ModelConfig, seed: int) -> Transformer:
    """Returns the model that training with this seed starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(config)


class _Trainer:
    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainConfig,
        dataset: Dataset,
        tokenizer: Tokenizer,
        out: Path,
        held_out: Dataset | None,
        device: str,
        compile: bool,
    ) -> None:
        _check(model_config, config, tokenizer)
        self.config, self.out, self.tokenizer = config, out, tokenizer
        self.excerpt = held_out_excerpt(held_out.documents(), config.eval_bytes) if held_out else None
        self.checkpoint = out / "checkpoint" / "state.safetensors"
        self.model = initial_model(model_config, config.seed).to(device)
        loss = torch.compile(self.model.loss) if compile else self.model.loss
        self.loss = cast("Callable[[Tensor, Tensor], Tensor]", loss)
        self.optimizers = make_optimizers(self.model, config)
        rows = config.global_batch_tokens // model_config.context_length
        self.stream = TokenStream(
            dataset, tokenizer, context_length=model_config.context_length, batch_size=rows, seed=config.seed
        )
        self.step_tokens = rows * model_config.context_length
        self.n_steps = math.ceil(config.tokens / self.step_tokens)
        self.step, self.seconds, self.last_step = 0, 0.0, -1
        self.identity = {
            "model": asdict(model_config),
            "config": asdict(config),
            "dataset": dataset.fingerprint,
            "tokenizer": tokenizer.fingerprint,
        }

    def resume(self) -> None:
        """Goes to where the checkpoint stands, if there is one."""
        clear_temporaries(self.out)
        if not self.checkpoint.exists():
            return
        state = read_state(self.checkpoint)
        different = [name for name, value in self.identity.items() if state["identity"].get(name) != value]
        if different:
            raise ConfigError(
                f"{self.checkpoint} belongs to another training: its {' and '.join(different)} differ.",
                fix="Train into another folder, or delete this one.",
            )
        load_checkpoint(self.checkpoint, self.model, self.optimizers)
        self.stream.load_state_dict(state["stream"])
        self.step, self.seconds, self.last_step = state["step"], state["seconds"], state["step"]

    def run(self, progress: Progress) -> TrainResult:
        """Does the steps that are left."""
        total, done = self.n_steps * self.step_tokens, self.step * self.step_tokens
        path = self.out / "metrics.jsonl"
        with MetricsLog(path, last_step=self.last_step) as log, progress.bar("train", total, "tokens", done) as bar:
            if self.last_step < 0:
                self._evaluate(log, bar)
            while self.step < self.n_steps:
                self._one_step(log, bar)
        costs = [line["held_out_bits_per_byte"] for line in read_metrics(path) if "held_out_bits_per_byte" in line]
        return TrainResult(
            model=self.model.eval(),
            n_params=self.model.config.n_params,
            tokens=total,
            steps=self.n_steps,
            flops=self.model.config.flops_per_token * total,
            seconds=self.seconds,
            tokens_per_second=total / max(self.seconds, 1e-9),
            bits_per_byte_before=costs[0] if costs else None,
            bits_per_byte_after=costs[-1] if costs else None,
        )

    def _one_step(self, log: MetricsLog, bar: Bar) -> None:
        started = time.perf_counter()
        factor = rate_factor(self.config, (self.step + 0.5) * self.step_tokens)
        loss, norm = self._update(factor)
        self.step += 1
        self.seconds += time.perf_counter() - started
        line = {
            "step": self.step,
            "tokens": self.step * self.step_tokens,
            "loss": loss,
            "learning_rate": factor * self.config.learning_rate,
        }
        log.write(line | {"grad_norm": norm, "seconds": round(self.seconds, 3)})
        bar.advance(self.step_tokens, loss=loss)
        if self._due(self.config.eval_every_tokens):
            self._evaluate(log, bar)
        if self._due(self.config.checkpoint_every_tokens):
            state = {"step": self.step, "seconds": self.seconds, "identity": self.identity}
            save_checkpoint(self.checkpoint, self.model, self.optimizers, state | {"stream": self.stream.state_dict()})

    def _update(self, factor: float) -> tuple[float, float]:
        """One optimizer step; returns loss (nats per token) and the gradient's norm before clipping."""
        inputs, targets = self.stream.next_batch()
        rows = self.config.micro_batch_size or len(inputs)
        total = 0.0
        for x, y in zip(inputs.split(rows), targets.split(rows), strict=True):
            loss = self.loss(x.to(self.model.device), y.to(self.model.device)) * (len(x) / len(inputs))
            loss.backward()
            total += float(loss.detach())
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip))
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise TilthError(
                f"Step {self.step + 1} broke down: the loss is {total}, the gradient's norm {norm}.",
                fix=f"Lower learning_rate (now {self.config.learning_rate:g}) or raise warmup_tokens.",
            )
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            optimizer.step()
            optimizer.zero_grad()
        return total, norm

    def _evaluate(self, log: MetricsLog, bar: Bar) -> None:
        if self.excerpt is None:
            return
        cost = measure_text_cost(self.model, self.tokenizer, self.excerpt)
        line = {"held_out_bits_per_byte": cost.bits_per_byte, "held_out_nats_per_token": cost.nats_per_token}
        log.write({"step": self.step, "tokens": self.step * self.step_tokens} | line)
        bar.advance(0, bits_per_byte=cost.bits_per_byte)

    def _due(self, every_tokens: int) -> bool:
        """Whether the step just done crossed a multiple of `every_tokens`, or was the last."""
        now, before = self.step * self.step_tokens, (self.step - 1) * self.step_tokens
        return self.step == self.n_steps or now // every_tokens > before // every_tokens


def _check(model: ModelConfig, config: TrainConfig, tokenizer: Tokenizer) -> None:
    if config.global_batch_tokens < model.context_length:
        raise ConfigError(
            f"global_batch_tokens {config.global_batch_tokens} is less than one row of the context, "
            f"{model.context_length} tokens.",
            fix="Raise global_batch_tokens or lower context_length.",
        )
    if tokenizer.vocab_size > model.vocab_size:
        raise ConfigError(
            f"The tokenizer has {tokenizer.vocab_size} tokens and the model only {model.vocab_size}.",
            fix=f"Set the model's vocab_size to {tokenizer.vocab_size}.",
        )
