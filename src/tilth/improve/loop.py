"""The self-improving loop on a family of problems of growing difficulty, beside its controls.

All arms start from one base model, which the loop trains or is given. A round: propose problems, answer them, keep what
the arm's labeller accepts, measure what that tells the model, train on base data, real text and all pseudo-labels so
far, evaluate, decide. An arm is a pure function of base model, name, seed and config (some also of the leading arm's
records); each round leaves a folder, so that a killed run continues where it stopped and ends with the same weights. In
exchange, the optimizer starts afresh in each round. Equal steps are not equal FLOPs: harder problems are longer, and
only some arms generate, so training and generation are counted apart.
Validation problems decide on promotion; test problems are reported and decide nothing.
Source: Lee et al. 2025 (arXiv 2502.01612), made small.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tilth import execute
from tilth.errors import ConfigError, DataError
from tilth.files import clear_temporaries, sha256_file
from tilth.identity import claim, fingerprint_of
from tilth.improve.answering import Answerer, accuracy
from tilth.improve.arm_state import ArmState
from tilth.improve.arms import ARMS, LONGEST_FIRST, PLANS, Arm
from tilth.improve.config import LoopConfig
from tilth.improve.family import FAMILIES, end_token, family_file, family_identity, family_named
from tilth.improve.fine_tune import FineTuned, fine_tune, one_thread
from tilth.improve.folder_lock import locked
from tilth.improve.monitor import TEXT_LOSS, monitor_values
from tilth.improve.one_round import run_round
from tilth.improve.result import LOOP_RESULT, ArmResult, LoopExample, LoopResult, MonitorReading, SeedResult
from tilth.improve.rounds import RoundRecord, has_model, read_model, read_record, remove_model, save_round
from tilth.improve.search_labels import check_searchable
from tilth.improve.seed_run import SeedRun
from tilth.improve.self_play import prompt_reader
from tilth.improve.start import Start, TextMix, held_out_documents, text_tokenizer, with_tokenizer
from tilth.model import Transformer, load_model
from tilth.model.device import resolve_device
from tilth.progress import SILENT, Progress
from tilth.results import write_result
from tilth.synthesis.verify.task_family import Augmentable, TaskFamily
from tilth.training.pretraining import weights_fingerprint
from tilth.training.trainer import CHECKPOINT
from tilth.types import Problem

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer

EXAMPLES = 4
"""Problems whose answers by all arms are shown, spread over the difficulties that rounds can reach."""
_BASE = 1
"""First key of the base training's stream of chance."""
Outcome = tuple[ArmResult, list[str]]
"""What an arm came to, and its last model's answers to the examples."""


def improve(
    config: LoopConfig,
    out: Path | str,
    context: execute.Context | None = None,
    family: TaskFamily | None = None,
    *,
    start: Start | None = None,
    text: TextMix | None = None,
) -> LoopResult:
    """Makes a base model for each seed, runs all arms from it, and writes `improve.json`.

    Rounds stay under `out` as they end; called again, it continues from there. The family is that of `config.task`
    unless given; arms that it has no use for are left out. `start` gives the model that is trained further, or a
    tokenizer for text; `text` is real text that is mixed into every batch.
    Raises: ConfigError if `out` holds a loop of other settings, for a device that is not there, or for a model, family
    and text that do not fit each other; DataError for datasets without text; StepError if another process is at work
    in `out`.
    """
    out, context, start = Path(out), context or execute.Context(), start or Start()
    family = with_tokenizer(family, start.tokenizer) if family else task_family(config.task, start.tokenizer)
    arms = arms_of(config, family)
    identity = _identity(config, family, start, text)
    # Of the machine's facts, only what training needs travels to worker processes.
    machine = execute.Context(
        device=resolve_device(context.device),
        micro_batch_size=context.micro_batch_size,
        checkpoint_seconds=context.checkpoint_seconds,
    )
    runs = [
        SeedRun(
            config=config,
            family=family,
            seed=seed,
            folder=out / f"seed-{seed}",
            context=machine,
            model=start.model,
            text=text,
        )
        for seed in config.seeds
    ]
    outputs = (LOOP_RESULT, *(run.folder.name for run in runs))
    claim(out, identity, kind="improve", outputs=outputs)
    with locked(out):
        clear_temporaries(out)
        if len(runs) == 1:
            train_base(runs[0], context.progress)
        else:
            list(execute.map_shards(train_base, runs, context, name="base models", unit="seeds"))
        result = loop_result(runs, _run_arms(runs, arms, context))
        write_result(out / LOOP_RESULT, result)
    return result


def task_family(name: str, tokenizer: Tokenizer | None = None) -> TaskFamily:
    """Returns the family of that name: one of the loop's own, or of `tilth.synthesis.verify`.

    With a tokenizer for text, the loop's own have their form of text.
    Raises: ConfigError for an unknown name.
    """
    if name in FAMILIES:
        return with_tokenizer(family_named(name, tokenizer), tokenizer)
    from tilth.synthesis.verify.registry import family

    try:
        return with_tokenizer(family(name), tokenizer)
    except ConfigError as error:
        raise ConfigError(error.message, fix=f"The loop's own: {', '.join(FAMILIES)}. {error.fix or ''}") from None


def arms_of(config: LoopConfig, family: TaskFamily) -> tuple[Arm, ...]:
    """Returns the arms that are run, in the order in which they are shown.

    A vote takes augmentations: for a family without them, arms that need its labels are left out.
    Raises: ConfigError if an arm is asked for whose leading arm is not, or whose proposer cannot read the family's
    prompts; if no arm is left; if a tree is to be searched without a checker of partial answers.
    """
    leading = config.leading_arm
    asked: set[Arm] = {leading if arm in ("vote", "verified") else arm for arm in config.arms}
    for arm in ARMS:
        if arm in asked and PLANS[arm].follows and leading not in asked:
            raise ConfigError(
                f"The arm `{arm}` follows the arm `{leading}`, which is not run.", fix=f"Add `{leading}`."
            )
    if config.label_with == "vote" and not isinstance(family, Augmentable):
        asked = {a for a in asked if PLANS[a].labels not in ("accepted", "corrupted") and not PLANS[a].follows}
        if not asked:
            raise ConfigError(
                f"Nothing votes on answers to {family.name}: its problems have no augmentations.",
                fix="Take `--label-with samples`, or add arms that need no vote.",
            )
    if config.label_with == "tree":
        check_searchable(family)
    if "self_play" in asked:
        prompt_reader(family)
    return tuple(arm for arm in ARMS if arm in asked)


def _identity(config: LoopConfig, family: TaskFamily, start: Start, text: TextMix | None) -> dict[str, object]:
    """Checks that what the loop is given fits together, and returns what decides about its result."""
    end_token(family.tokenizer)
    if start.model is None and not config.base_steps:
        raise ConfigError("base_steps is 0, and there is no model.", fix="Give a model, or steps to train one.")
    identity: dict[str, object] = {
        "config": config,
        "family": family_identity(family, (config.base_difficulty, config.base_difficulty + 1)),
    }
    if start.model is not None:
        identity["model"] = weights_fingerprint(load_model(start.model))
    if (tokenizer := getattr(family.tokenizer, "fingerprint", None)) is not None:
        identity["tokenizer"] = tokenizer
    if (file := family_file(config.task)) is not None:
        identity["family_file"] = sha256_file(file)
    if text is not None:
        text_tokenizer(family)
        if not text.train.n_bytes:
            raise DataError(f"{text.train.folder} holds no text to mix in.", fix="Give a dataset with documents.")
        held_out_documents(text, config.held_out_bytes)
        identity["text"] = [text.train.fingerprint, text.held_out.fingerprint, text.max_bytes]
    return identity


def _run_arms(runs: Sequence[SeedRun], arms: Sequence[Arm], context: execute.Context) -> dict[tuple[int, Arm], Outcome]:
    """Runs all arms of all seeds side by side, those that follow the leading arm after it."""
    found: dict[tuple[int, Arm], Outcome] = {}
    for follows in (False, True):
        shards: list[tuple[SeedRun, Arm]] = [
            (run, arm) for arm in LONGEST_FIRST for run in runs if arm in arms and PLANS[arm].follows == follows
        ]
        name = "arms that follow another" if follows else "arms"
        outcomes = execute.map_shards(_run_shard, shards, context, name=name, unit="arms")
        for (run, arm), outcome in zip(shards, outcomes, strict=True):
            found[run.seed, arm] = outcome
            if outcome[0].ended:
                context.progress.say(f"improve: seed {run.seed}, arm {arm} ended early. {outcome[0].ended}")
    return found


def _run_shard(shard: tuple[SeedRun, Arm]) -> Outcome:
    return run_arm(*shard)


def train_base(run: SeedRun, progress: Progress = SILENT) -> None:
    """Makes the model that all arms start from, unless that is done: trained on right answers to easy problems.

    Killed, it continues from a checkpoint, which is removed at the end.
    """
    folder = run.base_folder
    if read_record(folder) is None:
        with one_thread():
            model = run.first_model()
            trained = _base_training(run, model, progress)
            record = RoundRecord(
                difficulty=run.config.base_difficulty,
                accuracy=accuracy(model, run.family, run.split.test),
                monitor=MonitorReading(round=0, values=monitor_values(run, model), verdict="ok"),
                train_flops=trained.flops,
                seconds=trained.seconds,
            )
        save_round(folder, model, [], record)
    # Half a megabyte of optimizer state that nothing needs any more.
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def _base_training(run: SeedRun, model: Transformer, progress: Progress) -> FineTuned:
    config = run.config
    if not config.base_steps:
        return FineTuned(0.0, 0.0)
    return fine_tune(
        model,
        run.pool(model.config.context_length).batches(run.rng(_BASE), config.base_steps),
        config.base_steps,
        config,
        out=run.base_folder,
        identity={"config": config, "family": run.family.name, "seed": run.seed},
        name="base model",
        context=replace(run.context, progress=progress),
    )


def run_arm(run: SeedRun, arm: Arm) -> Outcome:
    """Runs an arm, or continues it; returns what it came to, and its last model's answers to the examples."""
    record = _record(run.base_folder)
    with one_thread():
        base = read_model(run.base_folder, run.context.device)
        state = ArmState.after_base(run.base_folder, run.pool(base.config.context_length), record)
        for number in range(1, run.config.rounds + 1):
            if arm == "baseline":
                state = replace(state, records=(*state.records, _unchanged(record)))
                continue
            folder = run.round_folder(arm, number)
            if read_record(folder) is None:
                if not has_model(state.folder):  # this round was deleted by hand, and the model before it is not kept
                    shutil.rmtree(run.folder / arm)
                    return run_arm(run, arm)
                run_round(run, arm, number, read_model(state.folder, run.context.device), state)
            before, state = state.folder, state.after(folder, _record(folder))
            if state.folder == folder and before != run.base_folder:
                remove_model(before)
            if state.records[-1].ended:
                break
        model = base if state.folder == run.base_folder else read_model(state.folder, run.context.device)
        answers = [Answerer(model, run.family)([problem], difficulty)[0].text for difficulty, problem in _examples(run)]
        validation = _validation_accuracy(run, model)
    return replace(_arm_result(state.records), validation_accuracy=validation), answers


def _validation_accuracy(run: SeedRun, model: Transformer) -> tuple[float, ...]:
    split = run.split
    return accuracy(model, run.family, {d: split.validation.get(d, ()) for d in run.config.measured_difficulties})


def _record(folder: Path) -> RoundRecord:
    record = read_record(folder)
    if record is None:
        raise ConfigError(f"{folder} holds no finished round.", fix="Run `improve` into the same folder again.")
    return record


def _unchanged(base: RoundRecord) -> RoundRecord:
    return RoundRecord(difficulty=base.difficulty, accuracy=base.accuracy, monitor=base.monitor)


def _arm_result(records: Sequence[RoundRecord]) -> ArmResult:
    after = records[1:]
    return ArmResult(
        accuracy=tuple(record.accuracy for record in records),
        difficulty=tuple(record.difficulty for record in after),
        generated=tuple(record.generated for record in after),
        kept=tuple(record.kept for record in after),
        label_accuracy=tuple(record.right / record.kept if record.kept else math.nan for record in after),
        train_flops=sum(record.train_flops for record in after),
        generation_flops=sum(record.generation_flops for record in after),
        seconds=sum(record.seconds for record in after),
        bits_per_label=tuple(record.bits_per_label for record in after),
        bits_per_label_token=tuple(record.bits_per_label_token for record in after),
        pass_rate=tuple(record.accepted / record.generated if record.generated else math.nan for record in after),
        distinct_labels=tuple(record.distinct_labels for record in after),
        held_out_bits_per_byte=_text_losses(records),
        decisions=tuple(
            replace(record.decision, flops=record.train_flops + record.generation_flops)
            for record in after
            if record.decision is not None
        ),
        monitor=tuple(record.monitor for record in after if record.monitor is not None and record.monitor.round),
        ended=records[-1].ended,
    )


def _text_losses(records: Sequence[RoundRecord]) -> tuple[float, ...]:
    """Returns the loss on real text of the model that the arm had after each round; empty without real text."""
    losses: list[float] = []
    for record in records:
        if record.monitor is None or TEXT_LOSS not in record.monitor.values or not record.good:
            losses += losses[-1:]
        else:
            losses.append(record.monitor.values[TEXT_LOSS])
    return tuple(losses)


def _examples(run: SeedRun) -> list[tuple[int, Problem]]:
    """Returns (difficulty, problem), evenly spread over what is beyond the base data and has test problems."""
    config = run.config
    hardest = config.base_difficulty + config.rounds
    measured = [d for d in range(config.base_difficulty + 1, hardest + 1) if run.split.test[d]]
    spread = np.linspace(0, len(measured) - 1, min(EXAMPLES, len(measured)))
    return [(measured[int(index)], run.split.test[measured[int(index)]][0]) for index in spread]


def loop_result(runs: Sequence[SeedRun], outcomes: Mapping[tuple[int, Arm], Outcome]) -> LoopResult:
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
        n_params=read_model(run.base_folder, "cpu").config.n_params,
        settings=fingerprint_of(replace(run.config, seeds=(0,))),
    )


def _seed_result(run: SeedRun, outcomes: Mapping[tuple[int, Arm], Outcome]) -> SeedResult:
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
