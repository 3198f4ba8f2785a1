"""The trainer: any module, batches and loss; the mean over a whole batch however it is split; wrappers; shutdown."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tilth.errors import ConfigError, TilthError
from tilth.execute import Context
from tilth.model import IGNORE_INDEX, ModelConfig, Transformer
from tilth.training import Batch, Schedule, Trainer, adamw, muon, read_metrics
from tilth.training import trainer as trainer_module
from tilth.training.checkpoint import read_state

CONFIG = ModelConfig(vocab_size=30, d_model=16, n_layers=2, n_heads=2, context_length=12)


def model_of(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(CONFIG)


def batch_of(rng: torch.Generator, rows: int = 5, seq: int = 12) -> Batch:
    ids = torch.randint(0, 30, (rows, seq + 1), generator=rng)
    targets = ids[:, 1:].clone()
    # Rows count for different amounts, so that a mean of means would be another number.
    for row in range(rows):
        targets[row, : 2 * row] = IGNORE_INDEX
    weights = torch.rand(rows, seq, generator=rng)
    segments = torch.arange(seq).expand(rows, seq) // 5
    return Batch(ids[:, :-1], targets, weights=weights, segments=segments)


def batches(seed: int = 0) -> Iterator[Batch]:
    rng = torch.Generator().manual_seed(seed)
    while True:
        yield batch_of(rng)


def trained(model: nn.Module, steps: int = 3, **settings: Any) -> Trainer:
    optimizers = {"adamw": adamw(model, peak_lr=1e-2)}
    given: dict[str, Any] = {"batches": batches(), "optimizers": optimizers, "schedule": Schedule(steps=steps)}
    trainer = Trainer(model, **(given | settings))
    trainer.run()
    return trainer


def weights_of(model: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in model.parameters()]


def test_a_step_is_that_of_the_weighted_mean() -> None:
    ours, theirs = model_of(), model_of()
    trained(ours, steps=1)
    batch = next(batches())
    assert batch.weights is not None
    logits = theirs(batch.inputs, segments=batch.segments).flatten(0, 1)
    losses = nn.functional.cross_entropy(logits, batch.targets.flatten(), reduction="none", ignore_index=IGNORE_INDEX)
    counted = batch.weights.flatten() * (batch.targets.flatten() != IGNORE_INDEX)
    ((losses * counted).sum() / counted.sum()).backward()
    nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    adamw(theirs, peak_lr=1e-2).step()
    for a, b in zip(weights_of(ours), weights_of(theirs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_each_step_has_its_learning_rate_and_a_clipped_gradient() -> None:
    """Plain gradient descent moves by the rate times the gradient, so that both can be seen in the weights."""
    ours, theirs = model_of(), model_of()
    schedule = Schedule(steps=4, warmup_steps=2, decay_fraction=0.5)
    clip, source = 0.01, batches()
    trained(ours, optimizers={"sgd": torch.optim.SGD(ours.parameters(), lr=3.0)}, schedule=schedule, gradient_clip=clip)
    for step in range(4):
        batch = next(source).normalized()
        theirs.zero_grad()
        theirs(batch.inputs, targets=batch.targets, weights=batch.weights, segments=batch.segments).backward()
        assert nn.utils.clip_grad_norm_(theirs.parameters(), clip) > 2 * clip
        torch.optim.SGD(theirs.parameters(), lr=3.0 * schedule.lr_multiplier(step)).step()
    for a, b in zip(weights_of(ours), weights_of(theirs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    assert {schedule.lr_multiplier(step) for step in range(4)} == {0.25, 0.75}


def test_a_second_training_with_the_same_optimizer_begins_at_its_peak_rate(tmp_path: Path) -> None:
    model = model_of()
    optimizers = {"adamw": adamw(model, peak_lr=1e-2)}
    for name in ("a", "b"):
        trained(model, optimizers=optimizers, schedule=Schedule(steps=4, decay_fraction=1.0), out=tmp_path / name)
    rates = [[p.learning_rate for p in read_metrics(tmp_path / n / "metrics.jsonl").train] for n in ("a", "b")]
    assert rates[0] == rates[1] == pytest.approx([0.00875, 0.00625, 0.00375, 0.00125])


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_split_into_micro_batches_does_not_matter(tmp_path: Path, rows: int, weighted: bool) -> None:
    """Targets are counted over the whole batch; rows here count for 12, 10, 8, 6 and 4 of them."""
    measured: list[tuple[list[float], list[float]]] = []
    for name, micro_batch_size in (("whole", None), ("parts", rows)):
        source = (batch if weighted else replace(batch, weights=None) for batch in batches())
        context = Context(micro_batch_size=micro_batch_size)
        trained(model_of(), batches=source, out=tmp_path / name, context=context)
        points = read_metrics(tmp_path / name / "metrics.jsonl").train
        measured.append(([p.loss for p in points], [p.grad_norm for p in points]))
    assert measured[0][0] == pytest.approx(measured[1][0], rel=1e-5)
    assert measured[0][1] == pytest.approx(measured[1][1], rel=1e-4)


def test_a_batch_in_which_nothing_counts_changes_nothing_but_decay() -> None:
    model = model_of()
    before = [weight.clone() for weight in weights_of(model)]
    batch = next(batches())
    nothing = Batch(batch.inputs, torch.full_like(batch.targets, IGNORE_INDEX))
    trained(model, steps=1, batches=iter([nothing]), optimizers={"adamw": adamw(model, peak_lr=0.1, weight_decay=0.0)})
    for a, b in zip(weights_of(model), before, strict=True):
        assert torch.equal(a, b)


class Wrapper(nn.Module):
    """A module around another, as DDP and FSDP are; it counts its calls."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.module(*args, **kwargs)


def test_wrappers_and_hooks_see_the_loss_and_change_nothing() -> None:
    plain, inner = model_of(), model_of()
    wrapped, heard = Wrapper(inner), list[str]()
    inner.register_forward_hook(lambda *_: heard.append("model"))
    inner.blocks[1].register_forward_hook(lambda *_: heard.append("block"))
    for model in (plain, wrapped):
        trained(model, optimizers={"adamw": adamw(model, peak_lr=1e-2), "muon": muon(model, peak_lr=1e-2)})
    assert wrapped.calls == 3
    assert heard == ["block", "model"] * 3
    for a, b in zip(weights_of(plain), weights_of(inner), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # From inside torch's compiler.
def test_a_compiled_model_continues_what_a_plain_one_began(tmp_path: Path) -> None:
    compiled = partial(torch.compile, backend="eager")
    undisturbed = model_of()
    trained(undisturbed, out=tmp_path / "a")
    with pytest.raises(TilthError, match="ended after 1 of 3"):
        trained(model_of(), batches=[next(batches())], out=tmp_path / "b", context=Context(checkpoint_seconds=0))
    inner = model_of()
    trained(compiled(inner), out=tmp_path / "b")
    for a, b in zip(weights_of(undisturbed), weights_of(inner), strict=True):
        torch.testing.assert_close(a, b)


@dataclass(frozen=True)
class Pairs(Batch):
    """Batches with a field of a subclass's own."""

    scores: Tensor | None = None


def test_any_module_batch_and_loss() -> None:
    model = nn.Linear(4, 1)
    x, y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6.0)
    seen: list[int] = []

    def squares(module: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(batch, Pairs) and batch.scores is not None and batch.weights is not None
        seen.append(len(batch.scores))
        return ((module(batch.inputs)[:, 0] - batch.scores) ** 2 * batch.weights[:, 0]).sum()

    pairs = Pairs(x, torch.zeros(6, 1, dtype=torch.int64), scores=y)
    context = Context(micro_batch_size=4)
    trained(model, steps=300, batches=[pairs] * 300, loss=squares, context=context, gradient_clip=1e9)
    assert seen[:4] == [4, 2, 4, 2]
    solution = torch.linalg.lstsq(torch.cat((x, torch.ones(6, 1)), 1), y[:, None]).solution
    best = ((torch.cat((x, torch.ones(6, 1)), 1) @ solution)[:, 0] - y).square().mean()
    assert (model(x)[:, 0] - y).square().mean() < 4 * best + 1.0


@pytest.mark.parametrize("ahead", [0, 2])
def test_no_more_batches_are_taken_than_are_trained_on(ahead: int) -> None:
    source = batches()
    trainer = trained(model_of(), steps=4, batches=source, ahead=ahead)
    expected = batches()
    for _ in range(4):
        next(expected)
    assert torch.equal(next(source).inputs, next(expected).inputs)
    assert (trainer.step, trainer.tokens) == (4, 4 * 60)
    assert not trainer.model.training


@pytest.mark.parametrize("ahead", [0, 2])
def test_what_the_batches_raise_arrives_and_no_thread_is_left(ahead: int) -> None:
    def failing() -> Iterator[Batch]:
        yield from (next(batches()) for _ in range(2))
        raise OSError("the disk is gone")

    before = threading.active_count()
    with pytest.raises(OSError, match="the disk is gone"):
        trained(model_of(), batches=failing(), ahead=ahead)
    with pytest.raises(TilthError, match="ended after 1 of 3 steps"):
        trained(model_of(), batches=[next(batches())], ahead=ahead)

    def broken(model: nn.Module, batch: Batch) -> Tensor:
        raise ValueError("a loss of one's own")

    with pytest.raises(ValueError, match="a loss of one's own"):
        trained(model_of(), loss=broken, ahead=ahead)
    assert threading.active_count() == before


def test_a_loss_that_is_not_finite_never_reaches_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bad step is the fourth; losses are read later, and a checkpoint is due after every step, or never."""
    monkeypatch.setattr(trainer_module, "READ_SECONDS", 1e9)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        calls.append(1)
        factor = float("nan") if len(calls) == 4 else 1.0
        return model(batch.inputs, targets=batch.targets, weights=batch.weights) * factor

    for checkpoint_seconds, last_good in ((0.0, 3), (3600.0, None)):
        calls: list[int] = []
        out = tmp_path / str(checkpoint_seconds)
        with pytest.raises(TilthError, match="Step 4 broke down: the loss is nan") as caught:
            trained(model_of(), steps=8, loss=loss, out=out, context=Context(checkpoint_seconds=checkpoint_seconds))
        assert caught.value.fix is not None and "learning rate" in caught.value.fix
        assert [point.step for point in read_metrics(out / "metrics.jsonl").train] == [1, 2, 3]
        assert (out / "checkpoint").exists() is (last_good is not None)
    again = model_of()
    trained(again, steps=8, out=tmp_path / "0.0", context=Context())
    assert all(weight.isfinite().all() for weight in again.parameters())


def test_losses_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step waits for no loss: none of its tensors is turned into a number before the end of the block."""
    monkeypatch.setattr(trainer_module, "READ_SECONDS", 1e9)
    reads: list[int] = []
    model = model_of()

    class Unread(Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__name__", "") in ("item", "__float__", "tolist", "__bool__"):
                reads.append(len(reads))
            return super().__torch_function__(func, types, args, kwargs or {})

    def loss(module: nn.Module, batch: Batch) -> Tensor:
        return module(batch.inputs, targets=batch.targets, weights=batch.weights).as_subclass(Unread)

    trained(model, steps=6, loss=loss)
    assert len(reads) <= 1  # All six at the end.


def test_waiting_for_the_device_is_time_of_the_steps(tmp_path: Path) -> None:
    """Steps only hand work to a GPU, here a tensor that takes a while to be read: its time counts, and so for
    checkpoints."""

    class Slow(Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__name__", "") == "tolist":
                time.sleep(0.3)
            return super().__torch_function__(func, types, args, kwargs or {})

    def loss(module: nn.Module, batch: Batch) -> Tensor:
        return module(batch.inputs, targets=batch.targets, weights=batch.weights).as_subclass(Slow)

    trainer = trained(model_of(), steps=2, loss=loss, out=tmp_path)
    assert trainer.seconds > 0.3
    assert trainer.checkpoint is not None and read_state(trainer.checkpoint)["seconds"] == trainer.seconds


@pytest.mark.parametrize(
    ("steps", "points", "expected"), [(7, 3, [0, 3, 5, 7]), (2, 12, [0, 1, 2]), (24, 12, list(range(0, 25, 2)))]
)
def test_evaluations_come_at_the_start_and_evenly_to_the_end(
    tmp_path: Path, steps: int, points: int, expected: list[int]
) -> None:
    modes: list[bool] = []

    def evaluate(model: nn.Module) -> dict[str, float]:
        modes.append(model.training)
        return {"held_out_bits_per_byte": 1.0, "held_out_nats_per_token": 2.0}

    trained(model_of(), steps=steps, evaluate=evaluate, points=points, out=tmp_path)
    assert [point.step for point in read_metrics(tmp_path / "metrics.jsonl").held_out] == expected
    assert modes == [False] * len(expected)


@pytest.mark.parametrize("ahead", [0, 2])
def test_batches_without_a_position_are_drawn_again(tmp_path: Path, ahead: int) -> None:
    undisturbed = model_of()
    trained(undisturbed, steps=5, out=tmp_path / "a")

    def two() -> Iterator[Batch]:
        source = batches()
        yield from (next(source) for _ in range(2))

    with pytest.raises(TilthError, match="ended after 2"):
        trained(model_of(), steps=5, batches=two(), out=tmp_path / "b", context=Context(checkpoint_seconds=0))
    resumed = model_of(seed=1)  # The weights are those of the checkpoint.
    trained(resumed, steps=5, out=tmp_path / "b", ahead=ahead)
    for a, b in zip(weights_of(undisturbed), weights_of(resumed), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path, number: signal.Signals) -> None:
    """Launchers send it to a process and to its group. The step under way is finished and kept."""
    calls: list[int] = []

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(number)
            signal.raise_signal(number)
        return model(batch.inputs, targets=batch.targets)

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(model_of(), steps=8, loss=loss, out=tmp_path, context=Context(checkpoint_seconds=3600))
    finally:
        assert signal.signal(number, before) is stop
    assert read_state(tmp_path / "checkpoint" / "state.safetensors")["step"] == 3


def test_another_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    trained(model_of(), out=tmp_path, identity={"seed": 0})
    with pytest.raises(ConfigError, match="seed 0 -> 1"):
        trained(model_of(), out=tmp_path, identity={"seed": 1})


def test_nothing_to_train_is_refused() -> None:
    model = model_of()
    with pytest.raises(ConfigError, match="nothing to train"):
        Trainer(model, batches(), optimizers={}, schedule=Schedule(steps=1))


def test_a_look_at_the_model_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "FIRST_WATCH_SECONDS", 0.0)
    monkeypatch.setattr(trainer_module, "WATCH_SECONDS", 0.0)
    monkeypatch.setattr(trainer_module, "WATCH_SHARE", 1e9)
    seen: list[int] = []

    class Random(nn.Module):
        """Draws random numbers in each step, and none where it is only looked at."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model_of()

        def forward(self, ids: Tensor, **rest: Any) -> Tensor:
            if not self.training:
                return self.inner(ids)
            return self.inner(ids, **rest) * torch.rand(())

    def look(model: nn.Module, tokens: int) -> None:
        assert not model.training and not torch.is_grad_enabled()
        seen.append(tokens)
        model(torch.randint(0, 30, (1, 4)))

    def weights(watch: Any, seed: int = 1) -> list[Tensor]:
        model = Random()
        torch.manual_seed(seed)
        trained(model, steps=6, watch=watch)
        assert not model.training
        return weights_of(model)

    alone = weights(None)
    assert all(torch.equal(a, b) for a, b in zip(alone, weights(look), strict=True))
    assert len(seen) == 6 and seen == sorted(seen) and seen[0] > 0
    assert not all(torch.equal(a, b) for a, b in zip(alone, weights(None, seed=2), strict=True)), "chance decides"
