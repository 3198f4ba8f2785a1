import math
from dataclasses import replace
from pathlib import Path

import pytest

from tilth.assay.cost import measure_cost, share_read, with_value
from tilth.assay.result import ArmLoss, LearnerValue, Value
from tilth.errors import DataError
from tilth.intervals import Interval
from tilth.results import write_result
from tilth.synthesis.result import GateCount, SynthesisResult
from tilth.teacher.ledger import Spending
from unit.assay.texts import dataset


def write_run(folder: Path, *spending: Spending) -> None:
    write_result(
        folder / "synthesis.json",
        SynthesisResult(
            recipe="r",
            recipe_version=1,
            shape="document",
            prompts={},
            teachers=("t",),
            documents=10,
            documents_done=10,
            complete=True,
            gates=(
                GateCount(gate="empty", samples_in=10, samples_out=8),
                GateCount(gate="critic", samples_in=8, samples_out=4),
            ),
            samples_per_prompt=2,
            parts={},
            spending=spending,
            samples_kept=4,
            bytes_kept=100,
            seconds=1.0,
        ),
    )


def test_the_cost_counts_judges_and_rejected_samples(tmp_path: Path) -> None:
    made = dataset(tmp_path / "samples", ["a text", "another text"])
    assert "no synthesis.json" in measure_cost(made).note
    recipe = Spending(recipe="r", teacher="t", prompt_tokens=600, completion_tokens=400, flops=2e6, tokens_kept=100)
    judge = Spending(recipe="critic", teacher="j", prompt_tokens=300, completion_tokens=10, flops=5e5)
    write_run(tmp_path, recipe, judge)
    cost = measure_cost(made).cost
    assert cost is not None
    assert cost.generation_flops == 2.5e6
    assert cost.flops_per_kept_token == 25_000
    assert (cost.samples_made, cost.samples_kept) == (10, 4)
    assert cost.teachers == {"t": 2e6, "j": 5e5}
    assert (cost.recipe, cost.samples_per_prompt, cost.verifier) == ("r", 2, "critic")


def test_unknown_parameters_are_asked_for_and_taken(tmp_path: Path) -> None:
    made = dataset(tmp_path / "samples", ["a text"])
    write_run(tmp_path, Spending(recipe="r", teacher="t", prompt_tokens=600, completion_tokens=400, tokens_kept=100))
    found = measure_cost(made)
    assert found.cost is None
    assert "`--teacher-params N`" in found.note
    assert "`t`" in found.note
    cost = measure_cost(made, 1e9).cost
    assert cost is not None
    assert cost.generation_flops == 2 * 1e9 * 1000
    write_run(tmp_path, Spending(recipe="r", teacher="script"))
    free = measure_cost(made).cost
    assert free is not None
    assert free.generation_flops == 0
    assert math.isnan(free.flops_per_kept_token)


def test_the_headline_is_bits_removed_for_the_flops_of_what_was_read(tmp_path: Path) -> None:
    made = dataset(tmp_path / "samples", ["a text"])
    write_run(
        tmp_path, Spending(recipe="r", teacher="t", prompt_tokens=1, completion_tokens=1, flops=4e15, tokens_kept=1)
    )
    cost = measure_cost(made).cost
    assert cost is not None
    nan = Interval(math.nan, math.nan, math.nan)

    def learner(n_params: int, removed: float) -> LearnerValue:
        arm = ArmLoss(arm="dataset", losses=(1.0,), tokens=100, unique_tokens=50, flops=1e15, bytes=200)
        longer = replace(arm, arm="longer", flops=1.5e15)
        return LearnerValue(
            depth=1, n_params=n_params, before=(1.0,), arms=(arm, longer), value=nan, noise_value=nan,
            bits_removed=Interval(removed, removed / 2, 2 * removed), longer_bits_removed=Interval(0.1, 0.1, 0.1),
        )  # fmt: skip

    value = Value(
        learners=(learner(10, 9.0), learner(20, 0.2)), seeds=(0,), held_out_documents=1, held_out_bytes=1, flips=False,
        verdict="",
    )  # fmt: skip
    assert share_read(value, 400) == 0.5
    found = with_value(cost, value, 0.5)
    per_pflop = found.bits_removed_per_pflop
    assert per_pflop is not None
    assert per_pflop.mean == pytest.approx(0.1)  # the larger learner's .2 bits for half of 4 PFLOP
    # Training longer was cut to half a PFLOP beyond an arm's: what it removed is divided by what it took.
    assert found.longer_bits_removed_per_pflop is not None
    assert found.longer_bits_removed_per_pflop.mean == pytest.approx(0.2)
    assert with_value(cost, value, 0.0).bits_removed_per_pflop is None


@pytest.mark.parametrize(
    "wrong", [{"flops": -1.0}, {"completion_tokens": -5}, {"tokens_kept": -1}, {"flops": math.nan}]
)
def test_amounts_that_are_none_are_named(tmp_path: Path, wrong: dict[str, float]) -> None:
    made = dataset(tmp_path / "samples", ["a text"])
    write_run(tmp_path, Spending(recipe="r", teacher="t", **wrong))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"{next(iter(wrong))}.*synthesis\.json"):
        measure_cost(made)
