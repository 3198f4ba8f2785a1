"""Best weights and the early stop: what is kept, when training ends, and that a kill changes neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tilth.errors import TilthError
from tilth.execute import Context
from tilth.training import Batch, Schedule, Trainer, adamw, read_metrics
from tilth.training.best import BestWeights

NAME = "held_out_bits_per_byte"
FALLS_AND_RISES = (9.0, 5.0, 3.0, 2.0, 2.5, 2.2, 3.0, 1.0, 1.0, 1.0, 1.0)
"""At the start and after each of ten steps; with a patience of 3 the 1.0 are never reached."""


def batches(n: int = 1000) -> Iterator[Batch]:
    rng = torch.Generator().manual_seed(3)
    for _ in range(n):
        yield Batch(torch.randn(4, 3, generator=rng), torch.zeros(4, 3, dtype=torch.int64))


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.inputs).square().mean()


def trainer_of(values: tuple[float, ...], best: BestWeights | None, out: Path | None, n: int = 1000) -> Trainer:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    trainer: Trainer

    def evaluate(_: nn.Module) -> Mapping[str, float]:
        return {NAME: values[trainer.step], "held_out_nats_per_token": 0.0}

    trainer = Trainer(
        model,
        batches(n),
        loss=loss,
        optimizers={"adamw": adamw(model, peak_lr=0.1)},
        schedule=Schedule(steps=10, decay_fraction=1.0),
        evaluate=evaluate,
        points=10,
        best=best,
        out=out,
        ahead=0,
        context=Context(checkpoint_seconds=0),
    )
    return trainer


def weights(trainer: Trainer) -> list[list[float]]:
    return [parameter.detach().flatten().tolist() for parameter in trainer.model.parameters()]


def after(steps: int) -> list[list[float]]:
    """The weights after so many steps of the same training, left alone."""
    trainer = trainer_of((0.0,) * 11, None, None, steps)
    with pytest.raises(TilthError, match=f"ended after {steps} of 10"):
        trainer.run()
    return weights(trainer)


def test_it_stops_when_measurements_got_worse_and_keeps_the_best() -> None:
    best = BestWeights(NAME, patience=3)
    trainer = trainer_of(FALLS_AND_RISES, best, None)
    trainer.run()
    assert trainer.stopped_early and trainer.step == 6
    assert (best.step, best.value) == (3, 2.0)
    assert weights(trainer) == after(3) != after(6)


def test_measurements_in_the_first_pass_stop_nothing() -> None:
    """Three measurements in a row are worse, but within the first seven steps, which are a pass."""
    best = BestWeights(NAME, patience=3, pass_tokens=7 * 12)  # a step has twelve targets
    trainer = trainer_of((9.0, 5.0, 3.0, 2.0, 2.5, 3.0, 4.0, 4.5, 1.5, 1.6, 1.7), best, None)
    trainer.run()
    assert not trainer.stopped_early and trainer.step == 10
    assert (best.step, best.value, best.n_worse) == (8, 1.5, 2)


def test_without_patience_it_goes_to_the_end_and_keeps_the_best() -> None:
    trainer = trainer_of((9.0, 5.0, 3.0, 2.0, 2.5, 2.5, 3.0, 3.0, 3.0, 3.0, 3.0), BestWeights(NAME), None)
    trainer.run()
    assert not trainer.stopped_early and trainer.step == 10
    assert weights(trainer) == after(3)


def test_a_training_that_gets_better_to_the_end_is_as_without() -> None:
    falls = tuple(float(value) for value in range(20, 9, -1))
    kept, plain = trainer_of(falls, BestWeights(NAME, patience=1), None), trainer_of(falls, None, None)
    kept.run()
    plain.run()
    assert weights(kept) == weights(plain)


def test_a_measurement_that_is_no_number_is_never_the_best() -> None:
    nan = float("nan")
    trainer = trainer_of((9.0, 5.0, nan, nan, nan, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0), BestWeights(NAME, patience=3), None)
    trainer.run()
    assert trainer.step == 4 and weights(trainer) == after(1)


def without_seconds(folder: Path) -> list[Any]:
    metrics = read_metrics(folder / "metrics.jsonl")
    return [(p.step, p.loss) for p in metrics.train] + [(p.step, p.held_out_bits_per_byte) for p in metrics.held_out]


@pytest.mark.parametrize("kills", [(1,), (3,), (4,), (5,), (2, 3, 5)])
def test_interrupted_anywhere_it_ends_the_same(tmp_path: Path, kills: tuple[int, ...]) -> None:
    """At 3 the best weights are the newest, and stored once; at 4 and 5 they are stored beside the newest."""

    def attempt(folder: str, n: int, *, fails: bool) -> Trainer:
        trainer = trainer_of(FALLS_AND_RISES, BestWeights(NAME, patience=3), tmp_path / folder, n)
        if fails:
            with pytest.raises(TilthError, match=f"ended after {n} of 10"):
                trainer.run()
        else:
            trainer.run()
        return trainer

    whole = attempt("whole", 1000, fails=False)
    for n in kills:
        attempt("killed", n, fails=True)
    last = attempt("killed", 1000, fails=False)
    assert weights(last) == weights(whole) == after(3)
    assert (last.step, last.stopped_early) == (6, True)
    assert without_seconds(tmp_path / "killed") == without_seconds(tmp_path / "whole")
    # Called again after the end, nothing is trained any more.
    again = attempt("killed", 1000, fails=False)
    assert weights(again) == after(3) and again.step == 6
    assert without_seconds(tmp_path / "killed") == without_seconds(tmp_path / "whole")


@pytest.mark.parametrize(
    "change", [lambda best: setattr(best, "weights", {}), lambda best: setattr(best, "n_worse", 0)]
)
def test_the_state_holds_all_that_decides(tmp_path: Path, change: Callable[[BestWeights], None]) -> None:
    """What a checkpoint would lose shows in the end: the test above can fail."""
    with pytest.raises(TilthError):
        trainer_of(FALLS_AND_RISES, BestWeights(NAME, patience=3), tmp_path, 5).run()
    trainer = trainer_of(FALLS_AND_RISES, best := BestWeights(NAME, patience=3), tmp_path)
    change(best)
    trainer.run()
    assert weights(trainer) != after(3) or trainer.step != 6
