"""What making a dataset took, from the result of the synthesis run beside it.

All calls count, those of judges and those whose samples were rejected too: the data cost that much, whoever paid when.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from tilth.assay.arms import LONGER
from tilth.assay.result import ArmLoss, Cost, LearnerValue, Value
from tilth.errors import DataError
from tilth.intervals import Interval
from tilth.results import read_result
from tilth.storage import Dataset
from tilth.synthesis.judge import CRITIC
from tilth.synthesis.result import SYNTHESIS, SynthesisResult
from tilth.synthesis.write import VERIFIER
from tilth.teacher.ledger import Spending

PFLOP = 1e15


@dataclass(frozen=True, kw_only=True)
class FoundCost:
    """The cost, or why there is none."""

    cost: Cost | None = None
    note: str = ""


def find_synthesis(dataset: Dataset) -> SynthesisResult | None:
    """Returns the result of the run that a dataset is the samples of: in its folder, or in the one above."""
    path = find_synthesis_file(dataset)
    return None if path is None else _checked(read_result(SynthesisResult, path), path)


def find_synthesis_file(dataset: Dataset) -> Path | None:
    """Returns the file of that result."""
    folder = Path(str(dataset.folder))
    return next((place / SYNTHESIS for place in (folder, folder.parent) if (place / SYNTHESIS).is_file()), None)


def _checked(run: SynthesisResult, path: Path) -> SynthesisResult:
    """Raises DataError where what was spent or kept is no amount; otherwise returns `run`."""
    for line in run.spending:
        for name in ("prompt_tokens", "completion_tokens", "tokens_kept", "flops"):
            if not 0 <= getattr(line, name) < math.inf:
                raise DataError(
                    f"`{name}` of the teacher `{line.teacher}` in {path} is {getattr(line, name)}.",
                    fix="Run `tilth synthesize` again, or remove the file: then the assay goes without a cost.",
                )
    return run


def measure_cost(dataset: Dataset, teacher_params: float | None = None) -> FoundCost:
    """Returns what making a dataset took; `teacher_params` for teachers whose parameters the run did not know."""
    run = find_synthesis(dataset)
    if run is None:
        return FoundCost(note=f"Cost was not measured: there is no {SYNTHESIS} beside the dataset.")
    flops: dict[str, float] = {}
    for line in run.spending:
        found = _flops(line, teacher_params)
        if found is None:
            return FoundCost(
                note=f"Cost was not measured: the parameters of the teacher `{line.teacher}` are not known; "
                "`--teacher-params N` gives them."
            )
        flops[line.teacher] = flops.get(line.teacher, 0.0) + found
    kept = sum(line.tokens_kept for line in run.spending)
    total = math.fsum(flops.values())
    return FoundCost(
        cost=Cost(
            generation_flops=total,
            kept_tokens=kept,
            flops_per_kept_token=total / kept if kept else math.nan,
            samples_made=_samples_made(run),
            samples_kept=run.samples_kept,
            teachers=flops,
            recipe=run.recipe,
            samples_per_prompt=run.samples_per_prompt,
            verifier=" + ".join(gate.gate for gate in run.gates if gate.gate in (CRITIC, VERIFIER) and gate.samples_in),
        )
    )


def _flops(line: Spending, teacher_params: float | None) -> float | None:
    tokens = line.prompt_tokens + line.completion_tokens
    if line.flops or not tokens:
        return line.flops
    return None if teacher_params is None else 2 * teacher_params * tokens


def _samples_made(run: SynthesisResult) -> int:
    return max([run.samples_kept, *(gate.samples_in for gate in run.gates)])


def with_value(cost: Cost, value: Value, share: float) -> Cost:
    """Adds the headline: held-out bits per byte removed for each 10^15 generation FLOPs, by the largest learner.

    `share` is how much of all that was generated the learners read: so much of the FLOPs is counted. Of more training,
    what it did count: FLOPs beyond those of an arm, fewer than generation took where the arm `longer` was cut.
    """
    if not value.learners or not cost.generation_flops or not share:
        return cost
    learner = max(value.learners, key=lambda one: one.n_params)
    pflops = longer_pflops = share * cost.generation_flops / PFLOP
    dataset, longer = arm_of(learner, "dataset"), arm_of(learner, LONGER)
    if dataset is not None and longer is not None and longer.flops > dataset.flops:
        longer_pflops = min(pflops, (longer.flops - dataset.flops) / PFLOP)
    return replace(
        cost,
        bits_removed_per_pflop=_over(learner.bits_removed, pflops),
        longer_bits_removed_per_pflop=_over(learner.longer_bits_removed, longer_pflops),
    )


def _over(interval: Interval, amount: float) -> Interval:
    return Interval(interval.mean / amount, interval.low / amount, interval.high / amount)


def share_read(value: Value, dataset_bytes: int) -> float:
    """Returns the share of a dataset that the arm `dataset` of the learners read."""
    arm = arm_of(value.learners[0], "dataset") if value.learners else None
    return 0.0 if arm is None else min(1.0, arm.bytes / max(dataset_bytes, 1))


def arm_of(learner: LearnerValue, name: str) -> ArmLoss | None:
    """Returns an arm by its name; None where it did not run."""
    return next((arm for arm in learner.arms if arm.arm == name), None)
