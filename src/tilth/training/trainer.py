"""The one loop that takes gradient steps: any weights, any batches, any loss.

A step depends on nothing but weights, optimizer state and the position in the batches, all of which a checkpoint
holds; so a run that was killed ends with the bytes of one that was not (same machine, same number of threads). Loss
and gradient norm stay on the device and are read in blocks: no step waits for them. Therefore a loss that is not
finite is noticed up to `READ_SECONDS` late, but always before a checkpoint.

    schedule = Schedule(steps=100, warmup_steps=10, decay_fraction=0.3)
    optimizers = {"adamw": adamw(model, peak_lr=1e-3)}
    trainer = Trainer(model, batches, optimizers=optimizers, schedule=schedule)  # batches: any Iterable[Batch]
    trainer.run()  # the model is trained in place

With `out`, there are `metrics.jsonl` and a checkpoint, and the same call continues after a kill. With `best`, the
weights of the best measurement are kept, and training stops when measurements have been worse for long enough; all of
that depends on tokens alone, never on time.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from tilth.errors import ConfigError, DivergedError, TilthError
from tilth.execute import Context
from tilth.files import clear_temporaries
from tilth.identity import claim
from tilth.progress import Bar
from tilth.training.batch import Batch
from tilth.training.best import BestWeights
from tilth.training.checkpoint import load_checkpoint, read_best, save_checkpoint
from tilth.training.metrics import MetricsLog
from tilth.training.optim import Optimizers
from tilth.training.prefetch import Made, Resumable, made_batches
from tilth.training.result import METRICS, TrainPoint
from tilth.training.schedule import Schedule

CHECKPOINT = "checkpoint"
"""Folder of the checkpoint, in the output folder."""
READ_SECONDS = 0.5
"""Seconds between reads of losses from the device."""
FIRST_WATCH_SECONDS, WATCH_SECONDS = 5.0, 30.0
"""From the start to the first call of `watch`, and between calls."""
WATCH_SHARE = 0.02
"""Share of the time that calls of `watch` take at most."""
REPEATED_SIGNAL_SECONDS = 2.0
"""A signal that comes again within this time is the same wish: launchers and the parent of a worker send it twice."""

LossFunction = Callable[[nn.Module, Batch], Tensor]
"""Returns the sum of each target's weight times its loss, a scalar with gradients. It should call the module itself,
so that wrappers and hooks see it. The weights of the batch are given, and sum to 1 over all parts of a step."""


def next_token_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Returns the weighted cross-entropy of the targets, in nats per token."""
    return model(batch.inputs, targets=batch.targets, weights=batch.weights, segments=batch.segments)


@dataclass(frozen=True)
class _Taken:
    """A step whose loss has not been read yet."""

    step: int
    tokens: int
    learning_rate: float
    seconds: float
    loss: Tensor
    grad_norm: Tensor


class Trainer:
    """Takes the steps of a schedule on batches. Attributes `step`, `tokens`, `seconds` say what has been done."""

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Batch],
        *,
        loss: LossFunction = next_token_loss,
        optimizers: Optimizers,
        schedule: Schedule,
        gradient_clip: float = 1.0,
        out: Path | str | None = None,
        identity: Mapping[str, object] | None = None,
        evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
        watch: Callable[[nn.Module, int], None] | None = None,
        points: int = 12,
        best: BestWeights | None = None,
        total_tokens: int | None = None,
        ahead: int = 2,
        name: str = "train",
        context: Context | None = None,
    ) -> None:
        """Prepares a training of `model`, on the device where it is, or continues the one in `out`.

        `out` None: nothing is written. `identity` is what decides about the result (configs, fingerprints of data and
        of the first weights): a folder with another one is refused. `evaluate` returns measurements of the model,
        taken at the start and at `points` steps, evenly to the end; `best` keeps the weights of the best of them and
        may end the training early. `batches` with a `state_dict` continue at their position, others are drawn again up
        to it. `ahead` batches are made by a thread; 0: no thread. `total_tokens` is what the progress bar counts to,
        instead of steps. `watch` is called between steps now and then, with the model in evaluation mode and the tokens
        trained on; it must not change the model.
        Raises: ConfigError if `out` holds another training, or an optimizer has no parameter.
        """
        self.model, self.batches, self.loss = model, batches, loss
        self.optimizers, self.schedule, self.gradient_clip = optimizers, schedule, gradient_clip
        self.out = None if out is None else Path(out)
        self.evaluate, self.ahead, self.name = evaluate, ahead, name
        self.watch, self._watch_at = watch, 0.0
        self.total_tokens, self.context = total_tokens, context or Context()
        self.best = best
        n_steps = schedule.steps
        self._measured_after = {-(-n_steps * point // points) for point in range(1, points + 1)} | {n_steps}
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        moved = dict.fromkeys(p for o in optimizers.values() for group in o.param_groups for p in group["params"])
        # In the model's order, whatever the groups are; a loss may have parameters of its own after them.
        self._params = list(dict.fromkeys([*(p for p in model.parameters() if p in moved), *moved]))
        if not self._params:
            raise ConfigError("There is nothing to train.", fix="Give optimizers with parameters of the model.")
        self.device = self._params[0].device
        self._resumed, self._position = False, dict[str, Any]()
        self._checkpointed_at, self._read_at = 0.0, 0.0
        self._pending: list[_Taken] = []
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group.setdefault("peak_lr", group["lr"])
        if self.out is not None:
            self._claim(self.out, identity or {})

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint's file; None where nothing is written."""
        return None if self.out is None else self.out / CHECKPOINT / "state.safetensors"

    def run(self) -> None:
        """Takes the steps that are left, and leaves the model in evaluation mode, with the best weights if asked for.

        With `out`, an interrupt (Ctrl-C or SIGTERM) ends it after the step under way, with a checkpoint.
        Raises: DivergedError if a loss or gradient is not finite; TilthError if the batches end too early.
        """
        self.model.train()
        self._checkpointed_at = time.monotonic()
        n = 0 if self.stopped_early else self.schedule.steps - self.step
        done, total, unit = self._progress()
        with ExitStack() as stack:
            made = stack.enter_context(
                made_batches(self._remaining(), n, ahead=self.ahead, with_position=self.out is not None)
            )
            log = self._open_log(stack)
            bar = stack.enter_context(self.context.progress.bar(self.name, total, unit, done))
            interrupt = stack.enter_context(_deferred_interrupts(self.out is not None))
            if not self._resumed:
                self._evaluate(log, bar)
            self._watch_at = time.monotonic() + FIRST_WATCH_SECONDS
            for _ in range(n):
                self._one_step(made, log, bar)
                self._call_watch()
                if interrupt.signal is not None:
                    self._save(log, bar)
                    self._say_stopped()
                    interrupt.deliver()
                if self.stopped_early:
                    break
            self._read_losses(log, bar)
        if self.best is not None and self.best.step < self.step:
            self.best.restore(self.model)
        self.model.eval()

    @property
    def stopped_early(self) -> bool:
        """Whether training ended before its schedule, because measurements no longer got better."""
        return self.best is not None and self.best.is_past and self.step < self.schedule.steps

    def _progress(self) -> tuple[int, int, str]:
        """What is done, of how much, and in what unit."""
        if self.total_tokens is not None:
            return self.tokens, self.total_tokens, "tokens"
        return self.step, self.schedule.steps, "steps"

    def _say_stopped(self) -> None:
        done, total, unit = self._progress()
        self.context.progress.say(
            f"{self.name}: stopped at {100 * done // total} %: {done:,} of {total:,} {unit} are kept; "
            "the same command continues there."
        )

    def _one_step(self, made: Iterator[Made], log: MetricsLog | None, bar: Bar) -> None:
        started = time.perf_counter()
        item = next(made, None)
        if item is None:
            raise TilthError(
                f"The batches ended after {self.step} of {self.schedule.steps} steps.",
                fix="Give a schedule of fewer steps, or more batches.",
            )
        multiplier = self.schedule.lr_multiplier(self.step)
        loss, norm = self._update(item.batch, multiplier)
        self.step, self.tokens = self.step + 1, self.tokens + item.batch.n_tokens
        self._position = item.position or {}
        self.seconds += time.perf_counter() - started
        first = next(iter(self.optimizers.values())).param_groups[0]
        self._pending.append(_Taken(self.step, self.tokens, first["lr"], self.seconds, loss, norm))
        bar.advance(1 if self.total_tokens is None else item.batch.n_tokens)
        if time.monotonic() - self._read_at >= READ_SECONDS:
            self._read_losses(log, bar)
        if self.evaluate is not None and self.step in self._measured_after:
            self._read_losses(log, bar)
            self._evaluate(log, bar)
        is_last = self.step == self.schedule.steps or self.stopped_early
        if is_last or time.monotonic() - self._checkpointed_at >= self.context.checkpoint_seconds:
            self._save(log, bar)

    def _update(self, batch: Batch, multiplier: float) -> tuple[Tensor, Tensor]:
        """One optimizer step; returns loss (nats per token) and the gradient's norm before clipping, unread."""
        total: Tensor | None = None
        for part in batch.normalized().split(self.context.micro_batch_size or len(batch.inputs)):
            loss = self.loss(self.model, part.to(self.device))
            loss.backward()
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None
        norm = nn.utils.clip_grad_norm_(self._params, self.gradient_clip)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * multiplier
            optimizer.step()
            optimizer.zero_grad()
        self.model.zero_grad()  # also of parameters that no optimizer moves
        return total, norm

    def _read_losses(self, log: MetricsLog | None, bar: Bar) -> None:
        """Brings the losses of the last steps from the device, all at once."""
        self._read_at = time.monotonic()
        if not self._pending:
            return
        taken, self._pending = self._pending, []
        started = time.perf_counter()
        values = torch.stack([torch.stack((t.loss.float(), t.grad_norm.float())) for t in taken]).tolist()
        # A device that works on its own is waited for here: without this its time would be in no step.
        self.seconds += time.perf_counter() - started
        for t, (loss, norm) in zip(taken, values, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise DivergedError(
                    f"Step {t.step} broke down: the loss is {loss}, the gradient's norm {norm}.",
                    fix=f"Lower the learning rate ({t.learning_rate:g} in that step) or raise the warm-up.",
                )
            if log is not None:
                point = TrainPoint(
                    step=t.step,
                    tokens=t.tokens,
                    loss=loss,
                    learning_rate=t.learning_rate,
                    grad_norm=norm,
                    seconds=round(t.seconds, 3),
                )
                log.write(vars(point))
        bar.advance(0, loss=values[-1][0])

    def _evaluate(self, log: MetricsLog | None, bar: Bar) -> None:
        if self.evaluate is None:
            return
        self.model.eval()
        measured = dict(self.evaluate(self.model))
        self.model.train()
        if self.best is not None:
            self.best.add(measured, self.model, step=self.step, tokens=self.tokens)
        if log is not None:
            log.write({"step": self.step, "tokens": self.tokens, **measured})
        bar.advance(0, **measured)

    def _call_watch(self) -> None:
        """Lets `watch` look at the model, when it is time; random state, modes and gradients stay as they are."""
        if self.watch is None or time.monotonic() < self._watch_at:
            return
        began = time.monotonic()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []), torch.no_grad():
            self.model.eval()
            self.watch(self.model, self.tokens)
            self.model.train()
        now = time.monotonic()
        self._watch_at = now + max(WATCH_SECONDS, (now - began) / WATCH_SHARE)

    # Checkpoints

    def _claim(self, out: Path, identity: Mapping[str, object]) -> None:
        continued = claim(out, identity, kind="training", outputs=(METRICS, CHECKPOINT))
        clear_temporaries(out)
        if not continued or self.checkpoint is None or not self.checkpoint.exists():
            return
        state = load_checkpoint(self.checkpoint, self.model, self.optimizers)
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        self._resumed, self._position = True, state["position"]
        if self.best is not None:
            # Weights that are the best and the newest are stored once.
            self.best.load_state_dict(state["best"], read_best(self.checkpoint))
            if self.best.step == self.step:
                self.best.add({self.best.measure: self.best.value}, self.model, step=self.step, tokens=self.tokens)
        if isinstance(self.batches, Resumable):
            self.batches.load_state_dict(self._position)

    def _remaining(self) -> Iterable[Batch]:
        """Returns the batches from the current step on."""
        if not self.step or isinstance(self.batches, Resumable):
            return self.batches
        batches = iter(self.batches)
        for _ in range(self.step):
            next(batches, None)
        return batches

    def _save(self, log: MetricsLog | None, bar: Bar) -> None:
        """Writes a checkpoint, after a look at all losses: weights that broke down are never written."""
        self._read_losses(log, bar)
        if self.checkpoint is None:
            return
        state = {"step": self.step, "tokens": self.tokens, "seconds": self.seconds, "position": self._position}
        best = None
        if self.best is not None:
            state["best"] = self.best.state_dict()
            best = None if self.best.step == self.step else self.best.weights
        save_checkpoint(self.checkpoint, self.model, self.optimizers, state, best=best)
        self._checkpointed_at = time.monotonic()

    def _open_log(self, stack: ExitStack) -> MetricsLog | None:
        if self.out is None:
            return None
        return stack.enter_context(MetricsLog(self.out / METRICS, last_step=self.step if self._resumed else -1))


class _Interrupt:
    """A signal that waits until the step under way is done."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.received_at = 0.0
        self.previous: dict[int, Any] = {}

    def receive(self, signum: int, frame: FrameType | None) -> None:
        """Keeps the signal; one that comes again a while later is not kept waiting."""
        if self.signal is None:
            self.signal, self.received_at = signum, time.monotonic()
        elif time.monotonic() - self.received_at > REPEATED_SIGNAL_SECONDS:
            self.restore()
            signal.raise_signal(signum)

    def restore(self) -> None:
        """Puts the handlers back that were there before."""
        for number, handler in self.previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def deliver(self) -> None:
        """Does what the signal would have done at once."""
        assert self.signal is not None
        self.restore()
        signal.raise_signal(self.signal)
        raise KeyboardInterrupt


@contextmanager
def _deferred_interrupts(wanted: bool) -> Generator[_Interrupt]:
    """Keeps SIGINT and SIGTERM for the end of a step, where this is the main thread (others get no signals)."""
    interrupt = _Interrupt()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:  # in a worker, whose parent decides, or under `nohup`
            continue
        interrupt.previous[number] = signal.signal(number, interrupt.receive)
    try:
        yield interrupt
    finally:
        interrupt.restore()
