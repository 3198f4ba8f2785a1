"""The self-improving loop on a family of problems of growing difficulty, beside its controls.

All arms start from one base model. A round: propose problems one step harder, answer them, keep what the arm's labeller
accepts, fine-tune on base data and all pseudo-labels so far. An arm is a pure function of base model, name, seed and
config (two of them also of the vote arm's records); each round leaves a folder, so that a killed run continues where it
stopped and ends with the same weights. In exchange, the optimizer starts afresh in each round. Equal steps are not
equal FLOPs: harder problems are longer, and only some arms generate, so training and generation are counted apart.
Validation problems decide on promotion; test problems are reported and decide nothing.
Source: Lee et al. 2025 (arXiv 2502.01612), made small.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from tilth import execute
from tilth.errors import ConfigError
from tilth.files import clear_temporaries
from tilth.identity import claim, fingerprint_of
from tilth.improve.answering import Answerer, accuracy, is_right
from tilth.improve.collect import Collected, Collector
from tilth.improve.config import ARMS, FOLLOWS_VOTE, Arm, LoopConfig
from tilth.improve.family import (
    Identity,
    Reverse,
    Split,
    Unlabelled,
    end_token,
    propose_other_than,
    split_problems,
    without_answers,
)
from tilth.improve.fine_tune import batches_worth, fine_tune, one_thread
from tilth.improve.problem_pool import ProblemPool
from tilth.improve.pseudo_labels import label_by_vote, label_everything, label_verified
from tilth.improve.result import LOOP_RESULT, ArmResult, LoopExample, LoopResult, SeedResult
from tilth.improve.rounds import RoundRecord, read_model, read_pseudo_labels, read_record, save_round
from tilth.model import ModelConfig, Transformer
from tilth.model.device import resolve_device
from tilth.progress import SILENT, Progress
from tilth.results import write_result
from tilth.synthesis.verify.task_family import Augmentable, Augmentation, ProblemSource, TaskFamily
from tilth.training import initial_model
from tilth.training.trainer import CHECKPOINT
from tilth.types import Problem

LONGEST_FIRST: tuple[Arm, ...] = (
    "vote",
    "oracle",
    "unfiltered",
    "control",
    "baseline",
    "flop_matched",
    "gated_unfiltered",
)
"""The order in which arms are started, so that side by side they end at about the same time."""
EXAMPLES = 4
"""Problems whose answers by all arms are shown, spread over the difficulties that rounds can reach."""
_SPLIT, _BASE = 0, 1
_ARM_KEYS: dict[Arm, int] = {
    "control": 3, "unfiltered": 4, "vote": 5, "oracle": 6, "flop_matched": 7, "gated_unfiltered": 8
}  # fmt: skip
"""First keys of the streams of chance. They are written out so that another arm does not change the others' results."""


@dataclass(frozen=True, kw_only=True)
class SeedRun:
    """What all arms of one seed share."""

    config: LoopConfig
    family: TaskFamily
    seed: int
    folder: Path
    """Holds `base/` and, for each arm, a folder for each round."""
    context: execute.Context = field(default_factory=execute.Context)

    @property
    def base_folder(self) -> Path:
        """The folder of the base model."""
        return self.folder / "base"

    def round_folder(self, arm: Arm, number: int) -> Path:
        """Returns the folder of a round, counted from 1."""
        return self.folder / arm / f"round-{number:02d}"

    @cached_property
    def split(self) -> Split:
        """The validation and test problems."""
        config = self.config
        difficulties = config.measured_difficulties
        return split_problems(
            self.family,
            difficulties,
            n_test=config.test_problems,
            n_validation=config.validation_problems,
            validate_beyond=config.base_difficulty,
            rngs=(self.rng(_SPLIT, difficulty) for difficulty in difficulties),
        )

    @property
    def model_config(self) -> ModelConfig:
        """The shape of the model: without positions (NoPE), since rotary ones fail one step beyond training.

        The context is twice the longest measured prompt: others that are drawn may be longer, and it costs nothing.
        """
        hardest = self.config.measured_difficulties[-1]
        encode = self.family.tokenizer.encode_ordinary
        prompt = max((len(encode(prompt)) for prompt in self.split.excluded), default=1)
        return ModelConfig(
            vocab_size=self.family.tokenizer.vocab_size,
            d_model=self.config.d_model,
            n_layers=self.config.n_layers,
            n_heads=self.config.n_heads,
            d_ff=self.config.d_ff,
            context_length=2 * (prompt + self.family.answer_tokens(hardest)),
            rope_theta=None,
        )

    def pool(self) -> ProblemPool:
        """Returns the base data: the same for all arms and rounds."""
        return ProblemPool(self.family, self.config, self.split.excluded)

    def rng(self, *key: int) -> np.random.Generator:
        """Returns the stream of chance that belongs to a key."""
        return np.random.default_rng([self.seed, *key])


def improve(
    config: LoopConfig, out: Path | str, context: execute.Context | None = None, family: TaskFamily | None = None
) -> LoopResult:
    """Trains a base model for each seed, runs all arms from it, and writes `improve.json`.

    Rounds stay under `out` as they end; called again, it continues from there. The family is `Reverse` unless given;
    one without augmentations is run without the vote arm and those that follow it.
    Raises: ConfigError if `out` holds a loop of other settings, or for a device that is not there.
    """
    out, context, family = Path(out), context or execute.Context(), family or Reverse()
    end_token(family.tokenizer)
    # Of the machine's facts, only what training needs travels to worker processes.
    machine = execute.Context(
        device=resolve_device(context.device),
        micro_batch_size=context.micro_batch_size,
        checkpoint_seconds=context.checkpoint_seconds,
    )
    runs = [
        SeedRun(config=config, family=family, seed=seed, folder=out / f"seed-{seed}", context=machine)
        for seed in config.seeds
    ]
    outputs = (LOOP_RESULT, *(run.folder.name for run in runs))
    claim(out, {"config": config, "family": family.name}, kind="improve", outputs=outputs)
    clear_temporaries(out)
    if len(runs) == 1:
        train_base(runs[0], context.progress)
    else:
        list(execute.map_shards(train_base, runs, context, name="base models", unit="seeds"))
    result = loop_result(runs, _run_arms(runs, arms_of(family), context))
    write_result(out / LOOP_RESULT, result)
    return result


def arms_of(family: TaskFamily) -> tuple[Arm, ...]:
    """Returns the arms that a family can run, in the order in which they are shown."""
    if isinstance(family, Augmentable):
        return ARMS
    return tuple(arm for arm in ARMS if arm != "vote" and arm not in FOLLOWS_VOTE)


def _run_arms(
    runs: Sequence[SeedRun], arms: Sequence[Arm], context: execute.Context
) -> dict[tuple[int, Arm], tuple[ArmResult, list[str]]]:
    """Runs all arms of all seeds side by side, those that follow the vote arm after it."""
    found: dict[tuple[int, Arm], tuple[ArmResult, list[str]]] = {}
    for follows in (False, True):
        shards: list[tuple[SeedRun, Arm]] = [
            (run, arm) for arm in LONGEST_FIRST for run in runs if arm in arms and (arm in FOLLOWS_VOTE) == follows
        ]
        name = "arms that follow the vote" if follows else "arms"
        outcomes = execute.map_shards(_run_shard, shards, context, name=name, unit="arms")
        for (run, arm), outcome in zip(shards, outcomes, strict=True):
            found[run.seed, arm] = outcome
    return found


def _run_shard(shard: tuple[SeedRun, Arm]) -> tuple[ArmResult, list[str]]:
    return run_arm(*shard)


def train_base(run: SeedRun, progress: Progress = SILENT) -> None:
    """Trains the model that all arms start from, on right answers to easy problems, unless that is done.

    Killed, it continues from a checkpoint, which is removed at the end.
    """
    folder, config = run.base_folder, run.config
    if read_record(folder) is None:
        with one_thread():
            model = initial_model(run.model_config, run.seed).to(run.context.device)
            trained = fine_tune(
                model,
                run.pool().batches(run.rng(_BASE), config.base_steps),
                config.base_steps,
                config,
                out=folder,
                identity={"config": config, "family": run.family.name, "seed": run.seed},
                name="base model",
                context=replace(run.context, progress=progress),
            )
            record = RoundRecord(
                difficulty=config.base_difficulty,
                accuracy=accuracy(model, run.family, run.split.test),
                validation_accuracy=_validation_accuracy(run, model),
                train_flops=trained.flops,
                seconds=trained.seconds,
            )
        save_round(folder, model, [], record)
    # Half a megabyte of optimizer state that nothing needs any more.
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def run_arm(run: SeedRun, arm: Arm) -> tuple[ArmResult, list[str]]:
    """Runs an arm, or continues it; returns what it came to, and its last model's answers to the examples."""
    base = run.base_folder
    records, pool, folder = [_record(base)], run.pool(), base
    with one_thread():
        for number in range(1, run.config.rounds + 1):
            if arm == "baseline":
                records.append(_unchanged(records[0]))
                continue
            before, folder = folder, run.round_folder(arm, number)
            if read_record(folder) is None:
                run_round(run, arm, number, read_model(before, run.context.device), pool, records[-1].difficulty)
            record = _record(folder)
            pool = pool.plus(record.difficulty, read_pseudo_labels(folder))
            records.append(record)
        model = read_model(folder, run.context.device)
        answers = [Answerer(model, run.family)([problem], difficulty)[0].text for difficulty, problem in _examples(run)]
    return _arm_result(records), answers


def run_round(run: SeedRun, arm: Arm, number: int, model: Transformer, pool: ProblemPool, difficulty: int) -> None:
    """Runs one round from the arm's last model, data and difficulty, and saves it; `model` is trained in place."""
    started = time.monotonic()
    rng = run.rng(_ARM_KEYS[arm], number)
    collected = _collect(run, arm, number, model, difficulty, rng)
    pool = pool.plus(collected.difficulty, collected.pseudo_labels)
    if arm == "flop_matched":
        vote = _record(run.round_folder("vote", number))
        batches = batches_worth(pool, rng, model, vote.train_flops + vote.generation_flops)
        trained = fine_tune(model, batches, len(batches), run.config, context=run.context)
    else:
        newest = None if arm == "control" else collected.difficulty
        steps = run.config.round_steps
        batches = pool.batches(rng, steps, newest=newest)
        trained = fine_tune(model, batches, steps, run.config, context=run.context)
    labels, last = collected.pseudo_labels, number == run.config.rounds
    record = RoundRecord(
        difficulty=collected.difficulty,
        accuracy=accuracy(model, run.family, run.split.test),
        validation_accuracy=_validation_accuracy(run, model) if last else (),
        generated=collected.generated,
        kept=len(labels),
        right=sum(is_right(run.family, label.problem, label.rollout) for label in labels),
        train_flops=trained.flops,
        generation_flops=collected.flops,
        seconds=time.monotonic() - started,
    )
    save_round(run.round_folder(arm, number), model, labels, record)


def source_for(arm: Arm, family: TaskFamily) -> ProblemSource:
    """Returns what an arm draws problems from: the oracle from the family, all others from one without answers."""
    return family if arm == "oracle" else Unlabelled(family)


def _collect(
    run: SeedRun, arm: Arm, number: int, model: Transformer, difficulty: int, rng: np.random.Generator
) -> Collected:
    """Collects an arm's pseudo-labels; only the oracle is handed the family, and with it answers."""
    if arm in ("control", "flop_matched"):
        return Collected(difficulty=difficulty)
    config, excluded = run.config, run.split.excluded
    source = source_for(arm, run.family)
    if arm == "oracle":
        label = label_verified(run.family)
    elif arm == "vote":
        label = label_by_vote(source, partial(_augmentations, run, rng), config.min_agreement)
    else:
        label = label_everything(source)

    def propose(difficulty: int, n: int) -> list[Problem]:
        return propose_other_than(excluded, source, difficulty, n, rng)

    collector = Collector(Answerer(model, source), label, propose, config)
    if arm == "unfiltered":
        return collector.one_harder(difficulty)
    if arm == "gated_unfiltered":
        vote = _record(run.round_folder("vote", number))
        return collector.fill(vote.difficulty, vote.kept)
    validation = {d: without_answers(problems) for d, problems in run.split.validation.items()}
    return collector.gated(difficulty, validation)


def _validation_accuracy(run: SeedRun, model: Transformer) -> tuple[float, ...]:
    split = run.split
    return accuracy(model, run.family, {d: split.validation.get(d, ()) for d in run.config.measured_difficulties})


def _augmentations(run: SeedRun, rng: np.random.Generator) -> list[Augmentation]:
    assert isinstance(run.family, Augmentable)
    return [Identity(), *run.family.augmentations(run.config.augmentations - 1, rng)]


def _record(folder: Path) -> RoundRecord:
    record = read_record(folder)
    if record is None:
        raise ConfigError(f"{folder} holds no finished round.", fix="Run `improve` into the same folder again.")
    return record


def _unchanged(base: RoundRecord) -> RoundRecord:
    return RoundRecord(difficulty=base.difficulty, accuracy=base.accuracy, validation_accuracy=base.validation_accuracy)


def _arm_result(records: Sequence[RoundRecord]) -> ArmResult:
    after = records[1:]
    return ArmResult(
        accuracy=tuple(record.accuracy for record in records),
        validation_accuracy=records[-1].validation_accuracy,
        difficulty=tuple(record.difficulty for record in after),
        generated=tuple(record.generated for record in after),
        kept=tuple(record.kept for record in after),
        label_accuracy=tuple(record.right / record.kept if record.kept else math.nan for record in after),
        train_flops=sum(record.train_flops for record in after),
        generation_flops=sum(record.generation_flops for record in after),
        seconds=sum(record.seconds for record in after),
    )


def _examples(run: SeedRun) -> list[tuple[int, Problem]]:
    """Returns (difficulty, problem), evenly spread over what is beyond the base data and has test problems."""
    config = run.config
    hardest = config.base_difficulty + config.rounds
    measured = [d for d in range(config.base_difficulty + 1, hardest + 1) if run.split.test[d]]
    spread = np.linspace(0, len(measured) - 1, min(EXAMPLES, len(measured)))
    return [(measured[int(index)], run.split.test[measured[int(index)]][0]) for index in spread]


def loop_result(runs: Sequence[SeedRun], outcomes: dict[tuple[int, Arm], tuple[ArmResult, list[str]]]) -> LoopResult:
    """Returns the result of all arms of all seeds."""
    run = runs[0]
    difficulties = run.config.measured_difficulties
    return LoopResult(
        task=run.family.name,
        base_difficulty=run.config.base_difficulty,
        difficulties=tuple(difficulties),
        rounds=run.config.rounds,
        seeds=tuple(_seed_result(run, outcomes) for run in runs),
        test_problems=tuple(len(run.split.test[d]) for d in difficulties),
        validation_problems=tuple(len(run.split.validation.get(d, ())) for d in difficulties),
        n_params=run.model_config.n_params,
        settings=fingerprint_of(replace(run.config, seeds=(0,))),
    )


def _seed_result(run: SeedRun, outcomes: dict[tuple[int, Arm], tuple[ArmResult, list[str]]]) -> SeedResult:
    base = _record(run.base_folder)
    arms = {arm: outcomes[run.seed, arm] for arm in ARMS if (run.seed, arm) in outcomes}
    examples = tuple(
        LoopExample(
            prompt=problem.prompt,
            answer=problem.answer or "",
            outputs={arm: answers[index] for arm, (_, answers) in arms.items()},
        )
        for index, (_, problem) in enumerate(_examples(run))
    )
    return SeedResult(
        seed=run.seed,
        arms={arm: result for arm, (result, _) in arms.items()},
        base_flops=base.train_flops,
        base_seconds=base.seconds,
        examples=examples,
    )
