"""How long a step will take: the work it has to do, at the speed of the nearest earlier run or of this machine.

Work is counted in FLOPs (training, the loop) or in bytes of source text (curation, the tokenizer, the baselines); a
step's seconds are taken to grow with it, besides a second or so to start; an earlier training says by how much both are
slower or faster than expected of this machine. A kind of step without a measure takes what
it took before. Without an earlier run, training goes by a matrix product that is timed here, and work on text by what
one core did when this was written. All of it is rough: it tells seconds from minutes from hours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from tilth.errors import StepError
from tilth.execute import Context
from tilth.improve.config import LoopConfig
from tilth.model.config import ModelConfig
from tilth.sources import Source
from tilth.step_record import StepRecord, read_record
from tilth.steps import Planned, Step, needed_steps, step_of
from tilth.training.config import training_flops

START_SECONDS = {
    "curate": 3.0,
    "pretrain": 4.0,
    "baselines": 10.0,
    "samples": 3.0,
    "nearest": 2.0,
    "export": 2.0,
    "report": 2.0,
    "documentation": 3.0,
}
"""What a step takes besides the work that grows, or in all where there is no measure; others: a second."""
TRAINING_SHARE = 0.45
"""FLOP/s of training a small model on a CPU, as a share of those of a large matrix product."""
LOOP_SHARE = 0.4
"""The same for the models of the loop, all of its work counted as in `_loop_flops`."""
BYTES_PER_SECOND = {"curate": 0.5e6, "tokenizer": 1.0e7, "baselines": 3.0e6}
"""Bytes of source text for each second of a core."""
ANSWER_TOKENS = 24
"""Tokens of a problem of the loop with its answer, about."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long a step will take, about."""

    seconds: float
    from_run: bool
    """Whether an earlier run of its kind was the measure; else the speed of this machine was."""


def estimate(planned: Planned, context: Context) -> Estimate | None:
    """Returns how long a step that is not cached will take, or None where nothing is known of its kind."""
    step, last = planned.step, planned.last
    work, start = work_of(step), START_SECONDS.get(step.name, 1.0)
    if last is not None:
        before = work_of_record(last, context)
        if work is None or not before:
            return Estimate(seconds=last.seconds, from_run=True)
        if step.name in BYTES_PER_SECOND:  # what a byte costs depends on the text more than on the machine
            start = min(start, last.seconds / 2)
            return Estimate(seconds=start + (last.seconds - start) * work / before, from_run=True)
        speed = _speed(step.name, context)
        slowness = last.seconds / (start + before / speed)  # a small training is mostly start
        return Estimate(seconds=slowness * (start + work / speed), from_run=True)
    if work is None:
        return Estimate(seconds=start, from_run=False) if step.name in START_SECONDS else None
    return Estimate(seconds=start + work / _speed(step.name, context), from_run=False)


def work_of(step: Step) -> float | None:
    """Returns the FLOPs of a step, or the bytes that it reads; None where its kind has no measure."""
    if step.name in BYTES_PER_SECOND:
        return float(source_bytes(step)) or None
    try:
        fields = vars(step.config) if hasattr(step.config, "__dict__") else {}
        given = step_of(step.inputs["model"]) if step.name == "improve" and "model" in step.inputs else None
        return _flops(step.name, fields, given.config.model if given is not None else None)
    except (KeyError, TypeError, AttributeError):  # a step of a user's own that has one of our names
        return None


def work_of_record(record: StepRecord, context: Context) -> float | None:
    """Returns the work that an earlier run did, in the same measure; None where its record does not say."""
    if record.name in BYTES_PER_SECOND:
        return _recorded_bytes(record, context)
    if record.name == "pretrain" and record.flops:
        return record.flops  # it may have stopped before its budget
    try:
        if record.name == "pretrain":
            config = cast("Mapping[str, Any]", record.config)
            return _flops(
                "pretrain", {"model": ModelConfig(**config["model"]), "training": _Fields(config["training"])}
            )
        return _flops(record.name, record.config, _given_model(record, context))
    except (KeyError, TypeError):  # of another version of tilth
        return None


class _Fields:
    """The fields of a config as attributes."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.__dict__.update(fields)


def _given_model(record: StepRecord, context: Context) -> ModelConfig | None:
    """Returns the shape of the model that an earlier loop was given; None where it trained its own."""
    made_by = record.input_steps.get("model")
    if made_by is None:
        return None
    try:
        found = read_record(context.runs / made_by / record.inputs["model"].split("/")[0])
    except StepError:
        return None
    if found is None:
        return None
    config = cast("Mapping[str, Any]", found.config)
    return ModelConfig(**config["model"])


def _flops(name: str, config: Mapping[str, Any], given: ModelConfig | None = None) -> float | None:
    if name == "pretrain":
        tokens = config["training"].tokens
        short_rows = getattr(config["training"], "short_rows", None)  # of an earlier version, it has none
        return training_flops(config["model"], tokens, short_rows=short_rows, short_tokens=tokens // 2)
    if name == "improve":
        return _loop_flops(config, given)
    return None


def _loop_flops(config: Mapping[str, Any], given: ModelConfig | None) -> float:
    """Training of the base model and of all rounds, and the answers of the arms that generate: in proportion.

    A `given` model reads real text beside the problems, and is larger than one that the loop makes.
    """
    default = vars(LoopConfig())
    value: Mapping[str, Any] = default | dict(config)
    params = value["n_layers"] * (4 * value["d_model"] ** 2 + 3 * value["d_model"] * value["d_ff"])
    trained = (value["base_steps"] + value["rounds"] * len(value["arms"]) * value["round_steps"]) * value["batch_size"]
    if given is not None:
        params = given.n_params - (0 if given.tie_embeddings else given.vocab_size * given.d_model)
        trained /= 1 - value["text_share"]
    tests = value["test_problems"] * (value["base_difficulty"] + value["rounds"] + 2)
    answered = value["rounds"] * len(value["arms"]) * (value["samples"] * value["augmentations"] + tests)
    return float(len(value["seeds"]) * ANSWER_TOKENS * params * (6 * trained + 2 * answered))


def source_bytes(step: Step) -> int:
    """Returns the bytes of all files that a step and those before it read from outside."""
    sources = {item for made in needed_steps(step) for item in made.inputs.values() if isinstance(item, Source)}
    return sum(file.bytes for source in sources for file in source.files() if not file.skipped)


def _recorded_bytes(record: StepRecord, context: Context) -> float | None:
    """Returns the bytes of the sources of an earlier run, which the curation before it counted."""
    waiting, seen = [record], set[str]()
    while waiting:
        one = waiting.pop()
        counted = one.counts.get("source_bytes")
        if isinstance(counted, int | float):
            return float(counted)
        for name, made_by in one.input_steps.items():
            fingerprint = one.inputs[name].split("/")[0]
            if fingerprint in seen:
                continue
            seen.add(fingerprint)
            try:
                found = read_record(context.runs / made_by / fingerprint)
            except StepError:
                continue
            waiting += [found] if found else []
    return None


def _speed(name: str, context: Context) -> float:
    """Returns FLOP/s or bytes a second of a kind of step on this machine."""
    if name in BYTES_PER_SECOND:
        return BYTES_PER_SECOND[name] * (context.workers if name == "curate" else 1)
    share = TRAINING_SHARE if name == "pretrain" else LOOP_SHARE
    return share * matrix_flops_per_second()


@cache
def matrix_flops_per_second() -> float:
    """Returns the FLOP/s of a product of large matrices in 32 bits on this CPU, measured for a few milliseconds.

    By CPU time, so that it is the speed of a quiet machine, whatever else runs at this moment.
    """
    import numpy as np

    n, best = 768, 0.0
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    matrix = np.full((n, n), 0.5, dtype=np.float32)
    for _ in range(4):  # the first one starts threads
        started = time.process_time()
        _ = matrix @ matrix
        best = max(best, threads * 2 * n**3 / max(time.process_time() - started, 1e-6))
    return best
