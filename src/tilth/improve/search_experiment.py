"""Verified search beside its controls, as an `Experiment`: the same model and steps, other labels.

All arms continue from one base model, on the same new problems, for the same number of steps (one of them for the same
FLOPs); what differs is where the labels come from. Source of the question: Zelikman et al. 2022 (STaR), Singh et al.
2023 (ReST-EM); the measure bits per label is what a loop runs out of first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tilth import execute
from tilth.assay.experiment import EXPERIMENT_RESULT, Arm, Comparison, Ended, Example, Experiment, Measure, Point
from tilth.files import clear_temporaries
from tilth.identity import claim
from tilth.improve.answering import Answerer, which_right
from tilth.improve.family import family_identity
from tilth.improve.fine_tune import one_thread
from tilth.improve.search_arms import MODEL, SearchRecord, SearchRun, SearchTask, read_record, run_arm, train_base
from tilth.improve.search_config import FOLLOWS_SAMPLES, SearchArm, SearchConfig
from tilth.intervals import Interval, difference_interval, mean_interval
from tilth.model import load_model
from tilth.model.device import resolve_device
from tilth.results import write_result

_ARMS: dict[SearchArm, Arm] = {
    "control": Arm(name="control", meaning="As many steps, on the labelled problems alone.", role="control"),
    "flop_matched": Arm(
        name="flop_matched",
        meaning="The labelled problems alone, for as many FLOPs as `samples` takes with its generation.",
        role="control",
    ),
    "unfiltered": Arm(name="unfiltered", meaning="One greedy answer to each new problem, unchecked.", role="control"),
    "vote": Arm(name="vote", meaning="The commonest of the samples where half agree, unchecked."),
    "samples": Arm(name="samples", meaning="The different samples that the checker accepts."),
    "tree": Arm(name="tree", meaning="What a best-first search with the checker finds."),
    "bits": Arm(name="bits", meaning="Of the accepted samples the half that tells the model most."),
    "noise": Arm(name="noise", meaning="Accepted samples, a fifth of them spoiled.", role="control"),
    "oracle": Arm(name="oracle", meaning="Known right answers to the same problems.", role="upper_bound"),
}
MEASURES = (
    Measure(name="accuracy", title="Greedy accuracy", better="higher"),
    Measure(name="pass_share", title="One of 16 samples right", better="higher"),
    Measure(name="distinct", title="Different right answers in 16 samples", better="higher"),
    Measure(name="bits_per_label", title="Bits per accepted answer", better="neither"),
    Measure(name="label_accuracy", title="Right labels", better="higher"),
    Measure(name="kept", title="Accepted answers, a round", better="neither"),
    Measure(name="solved_share", title="Problems with an accepted answer", better="higher"),
    Measure(name="answers_per_label", title="Answers written per label", better="lower"),
)
_COMPARISONS: tuple[tuple[SearchArm, SearchArm, str], ...] = (
    ("samples", "control", "Checked samples teach more than more steps on the same data."),
    ("samples", "flop_matched", "Compute is better spent on checked samples than on more training."),
    ("samples", "unfiltered", "It is the checker that helps, not the new problems."),
    ("samples", "vote", "A checker is worth more than agreement."),
    ("tree", "samples", "Search finds better labels than sampling."),
    ("tree", "flop_matched", "Compute is better spent on search than on more training."),
    ("bits", "samples", "Labels that tell the model more teach it more."),
    ("samples", "noise", "Errors of a checker cost accuracy."),
    ("oracle", "samples", "What labels from outside would add."),
)


@dataclass(frozen=True, kw_only=True)
class Words:
    """What an experiment is called and asks."""

    name: str
    title: str
    question: str
    problems: str
    """What the problems are, in the plural."""


def search_experiment(
    task: SearchTask, words: Words, config: SearchConfig, out: Path | str, context: execute.Context | None = None
) -> Experiment:
    """Runs all arms of all seeds and writes `experiment.json`; called again, it continues where it stopped.

    Raises: ConfigError if `out` holds another experiment.
    """
    out, context = Path(out), context or execute.Context()
    machine = execute.Context(
        device=resolve_device(context.device),
        micro_batch_size=context.micro_batch_size,
        checkpoint_seconds=context.checkpoint_seconds,
    )
    runs = [
        SearchRun(config=config, task=task, seed=seed, folder=out / f"seed-{seed}", context=machine)
        for seed in config.seeds
    ]
    outputs = (EXPERIMENT_RESULT, *(run.folder.name for run in runs))
    identity = {"config": config, "task": family_identity(task, (config.difficulty,))}
    claim(out, identity, kind=words.name, outputs=outputs)
    clear_temporaries(out)
    if len(runs) == 1:
        train_base(runs[0], context.progress)
    else:
        list(execute.map_shards(train_base, runs, context, name="base models", unit="seeds"))
    found: dict[tuple[SearchArm, int], list[SearchRecord]] = {}
    for follows in (False, True):
        shards: list[tuple[SearchRun, SearchArm]] = [
            (run, arm) for arm in config.arms for run in runs if (arm in FOLLOWS_SAMPLES) == follows
        ]
        outcomes = execute.map_shards(_run_shard, shards, context, name="arms", unit="arms")
        found |= {(arm, run.seed): records for (run, arm), records in zip(shards, outcomes, strict=True)}
    result = _experiment(words, config, runs, found)
    write_result(out / EXPERIMENT_RESULT, result)
    return result


def _run_shard(shard: tuple[SearchRun, SearchArm]) -> list[SearchRecord]:
    return run_arm(*shard)


Found = dict[tuple[SearchArm, int], list[SearchRecord]]


def _experiment(words: Words, config: SearchConfig, runs: Sequence[SearchRun], found: Found) -> Experiment:
    bases = {run.seed: _base(run) for run in runs}
    points: list[Point] = []
    ended: list[Ended] = []
    for (arm, seed), records in found.items():
        flops = 0.0
        points.append(_point(arm, seed, 0, bases[seed], flops))
        for number, record in enumerate(records, 1):
            flops += record.train_flops + record.generation_flops
            if record.ended:
                ended.append(Ended(arm=arm, seed=seed, x=number, why=record.ended))
            else:
                points.append(_point(arm, seed, number, record, flops))
    comparisons = tuple(
        Comparison(measure="accuracy", arm=arm, other=other, claim=meaning)
        for arm, other, meaning in _COMPARISONS
        if arm in config.arms and other in config.arms
    )
    return Experiment(
        name=words.name,
        title=words.title,
        question=words.question,
        x_title="round",
        arms=tuple(_ARMS[arm] for arm in config.arms),
        measures=MEASURES,
        points=tuple(points),
        comparisons=comparisons,
        n=f"{config.test_problems:,} {words.problems}; {config.pass_problems} of them for samples",
        settings={one.name: getattr(config, one.name) for one in fields(config)},
        ended=tuple(ended),
        findings=_findings(config, bases, found),
        examples=_examples(runs[0], found),
        seconds=sum(record.seconds for record in (*bases.values(), *(r for rs in found.values() for r in rs))),
    )


def _base(run: SearchRun) -> SearchRecord:
    record = read_record(run.round_folder("control", 0))
    assert record is not None
    return record


def _point(arm: SearchArm, seed: int, x: int, record: SearchRecord, flops: float) -> Point:
    values = {
        "accuracy": record.accuracy,
        "pass_share": record.pass_share,
        "distinct": record.distinct,
        "bits_per_label": record.bits_per_label,
        "label_accuracy": record.label_accuracy,
        "kept": float(record.kept) if record.answers or record.kept else math.nan,
        "solved_share": record.solved_share,
        "answers_per_label": record.answers / record.kept if record.kept else math.nan,
    }
    return Point(arm=arm, seed=seed, x=x, values=values, flops=flops)


def _findings(config: SearchConfig, bases: dict[int, SearchRecord], found: Found) -> tuple[str, ...]:
    """Says what each comparison came to, by seed and by problem, whichever way it went."""
    start = mean_interval([record.accuracy for record in bases.values()])
    samples = mean_interval([record.pass_share for record in bases.values()])
    said = [
        f"The base model answers {start.mean:.1%} of the test problems greedily, and one of {config.pass_samples} "
        f"samples is right for {samples.mean:.1%}."
    ]
    for arm, other, meaning in _COMPARISONS:
        pairs = [
            (found[arm, seed][-1], found[other, seed][-1])
            for seed in bases
            if (arm, seed) in found and (other, seed) in found
        ]
        pairs = [(a, b) for a, b in pairs if a.right and b.right]
        if not pairs:
            if arm in config.arms and other in config.arms:
                said.append(f"{meaning} Not measured: `{arm}` or `{other}` ended early with every seed.")
            continue
        by_seed = difference_interval([a.accuracy for a, _ in pairs], [b.accuracy for _, b in pairs])
        by_problem = paired_by_problem([(a.right, b.right) for a, b in pairs])
        said.append(f"{meaning} {_verdict(by_seed, by_problem)} ({arm} less {other}: {_points(by_seed, by_problem)}).")
    return tuple(said)


def _verdict(by_seed: Interval, by_problem: Interval) -> str:
    if by_seed.mean < 0 and by_seed.excludes(0):
        return "The opposite was found"
    if by_seed.excludes(0):
        return "Found"
    if by_problem.excludes(0):
        return (
            "Found on these problems, not beyond the spread of seeds" if by_problem.mean > 0 else "Rather the opposite"
        )
    return "Not found"


def _points(by_seed: Interval, by_problem: Interval) -> str:
    def span(interval: Interval) -> str:
        return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"

    over_seeds = f", 95% over seeds {span(by_seed)}" if math.isfinite(by_seed.low) else ""
    return f"{100 * by_seed.mean:+.1f} points{over_seeds}, over problems {span(by_problem)}"


def paired_by_problem(pairs: Sequence[tuple[str, str]]) -> Interval:
    """Returns the interval of the difference in accuracy over problems, paired: digits of right answers, per seed.

    It says what these models would give on other problems, not what other seeds would give. Normal approximation.
    """
    differences = [int(a) - int(b) for one, other in pairs for a, b in zip(one, other, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    half = 1.959964 * math.sqrt(sum((d - mean) ** 2 for d in differences) / max(n - 1, 1) / n)
    return Interval(mean, mean - half, mean + half)


def _examples(run: SearchRun, found: Found) -> tuple[Example, ...]:
    """Shows problems that the base model answers wrong, with what every arm's last model says."""
    base = _base(run)
    problems = [problem for problem, right in zip(run.test, base.right, strict=False) if right == "0"][:3]
    lines: dict[str, list[str]] = {problem.id: [] for problem in problems}
    with one_thread():
        for arm in run.config.arms:
            records = found[arm, run.seed]
            if records[-1].ended or not problems:
                continue
            model = load_model(run.round_folder(arm, len(records)) / MODEL, device=run.context.device)
            rollouts = Answerer(model, run.task)(problems, run.config.difficulty)
            pairs = list(zip(problems, rollouts, strict=True))
            for (problem, rollout), right in zip(pairs, which_right(run.task, pairs), strict=True):
                lines[problem.id].append(f"{arm}: {rollout.text}{'' if right else '  (wrong)'}")
    return tuple(Example(title=problem.prompt, text="\n".join(lines[problem.id])) for problem in problems)
