"""What a collapse experiment found: its points, comparisons and sentences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from tilth.assay.experiment import Arm, Comparison, Ended, Example, Experiment, Measure, Point
from tilth.improve.text.config import COLLAPSE_ARMS, CollapseArm, CollapseConfig
from tilth.improve.text.generations import GenerationRecord
from tilth.intervals import mean_interval
from tilth.types import Document

MEASURES = (
    Measure(name="bits_per_byte", title="held-out bits per byte", better="lower"),
    Measure(name="words_found", title="different words of the held-out text that the samples hold", better="higher"),
    Measure(name="tail_mass", title="tail mass of the samples (share of rare words)", better="higher"),
    Measure(name="unknown_words", title="words of the samples that the original text does not have", better="neither"),
    Measure(name="distinct_2", title="distinct 2-grams of the samples", better="higher"),
    Measure(name="opening_share", title="template mass: samples with the most common opening", better="lower"),
    Measure(name="near_duplicates", title="near-duplicates among the samples", better="lower"),
    Measure(name="bits_per_token", title="bits per token of the samples under their own model", better="neither"),
)
ARMS: dict[CollapseArm, Arm] = {
    "replace": Arm(
        name="replace", meaning="Each generation is trained on the samples of the one before, nothing else."
    ),
    "double": Arm(
        name="double",
        meaning="As replace, with twice as many samples, all of them: the generation FLOPs of the verified arm.",
        role="control",
    ),
    "verified": Arm(
        name="verified",
        meaning="Twice as many samples, of which a verifier keeps half: those that a model of other real text finds "
        "likeliest, token by token, beside the model that wrote them.",
    ),
    "likely": Arm(
        name="likely",
        meaning="As verified, but the half that the model of other real text finds likeliest, whatever the model that "
        "wrote them finds: selection by likelihood.",
        role="control",
    ),
    "real_10": Arm(name="real_10", meaning="As replace, but a tenth of each training set is real text."),
    "accumulate_subsample": Arm(
        name="accumulate_subsample",
        meaning="A random part of the original text and the samples of all generations, as large as the original.",
    ),
    "accumulate": Arm(
        name="accumulate",
        meaning="The original text and the samples of all generations, for the same training steps as all arms: the "
        "more generations, the smaller the part of them that is real text.",
    ),
    "real": Arm(
        name="real",
        meaning="The original text in each generation: what new first weights alone change.",
        role="upper_bound",
    ),
}
EXPECTED: tuple[tuple[CollapseArm, CollapseArm, str], ...] = (
    ("real", "replace", "A model trained on the last generation's samples alone collapses: real text is better."),
    ("accumulate", "replace", "Keeping the original text and all samples is better than replacing them."),
    ("accumulate_subsample", "replace", "Accumulating is better than replacing even at a fixed size of the set."),
    ("accumulate", "accumulate_subsample", "Accumulating all is better than a sample of it of fixed size."),
    ("verified", "replace", "Samples that a verifier kept are better than samples as they come."),
    ("verified", "double", "At equal generation FLOPs the verified half of the samples is better than all of them."),
    ("verified", "likely", "Likelier as real text than as the generator's own is a better criterion than likely."),
    ("replace", "likely", "Selection by likelihood alone is worse than none."),
    ("real_10", "replace", "A tenth of real text is better than none."),
    ("real", "accumulate", "Accumulating is worse than real text alone: it is not entirely flat."),
)
"""Arm, other, claim: what is expected of held-out bits per byte; what was published, and two on the criterion."""


def collapse_experiment(
    config: CollapseConfig,
    records: Mapping[tuple[int, CollapseArm], Sequence[GenerationRecord]],
    *,
    held_out: Sequence[Document],
    n_params: int,
    verifier_flops: float,
    examples: Sequence[Example],
) -> Experiment:
    """Returns the experiment's result from the records of each (seed, arm), generation 0 first."""
    points: list[Point] = []
    ended: list[Ended] = []
    for (seed, arm), found in records.items():
        points += _points(arm, seed, found, verifier_flops if arm in ("verified", "likely") else 0.0)
        ended += [
            Ended(arm=arm, seed=seed, x=float(number), why=record.ended)
            for number, record in enumerate(found)
            if record.ended
        ]
    size = sum(len(document.text.encode("utf-8", "surrogatepass")) for document in held_out)
    begin = f"{config.prompt_tokens} tokens of a real passage" if config.prompt_tokens else "the document separator"
    result = Experiment(
        name="collapse",
        title="Collapse and its cure",
        question="What becomes of models that are trained, generation after generation, on text of the model before? "
        "And what prevents it: keeping the real text, a verifier, or a little real text each time?",
        x_title="generation",
        arms=tuple(ARMS[arm] for arm in COLLAPSE_ARMS),
        measures=MEASURES,
        points=tuple(points),
        comparisons=_comparisons(),
        n=f"{len(held_out):,} held-out passages, {size / 1000:,.0f} kB; "
        f"{config.set_tokens:,} tokens of samples a generation",
        settings={
            "generations after the first": config.generations,
            "tokens of the original text": config.set_tokens,
            "training tokens of each model": config.train_tokens,
            "model": f"{n_params:,} parameters, {config.n_layers} layers of {config.d_model}",
            "context, tokens": config.context_length,
            "samples begin at": begin,
            "temperature": config.temperature,
            "verifier": f"one model of the same shape for all seeds, trained on {config.verifier_sets:g} times as much "
            "other real text",
            "FLOPs": "training, generation and the verifier; samples that only the measures read are left out",
        },
        ended=tuple(ended),
        examples=tuple(examples),
        seconds=sum(record.seconds for found in _distinct(records) for record in found),
    )
    return replace(result, findings=_findings(result, config))


def _distinct(
    records: Mapping[tuple[int, CollapseArm], Sequence[GenerationRecord]],
) -> list[Sequence[GenerationRecord]]:
    """Returns all records, generation 0 of a seed only once."""
    return [found if arm == COLLAPSE_ARMS[0] else found[1:] for (_, arm), found in records.items()]


def _points(arm: CollapseArm, seed: int, found: Sequence[GenerationRecord], verifier_flops: float) -> list[Point]:
    points: list[Point] = []
    flops = made = 0.0
    for number, record in enumerate(found):
        # What the last generation wrote cost only if this one was trained on it.
        flops += record.train_flops + (0.0 if arm == "real" else made) + record.selection_flops
        flops += verifier_flops if number == 1 else 0.0
        made = record.generation_flops
        values = {"bits_per_byte": record.bits_per_byte, **record.measures}
        points.append(Point(arm=arm, seed=seed, x=float(number), values=values, flops=flops))
    return points


def _comparisons() -> tuple[Comparison, ...]:
    main = [Comparison(measure="bits_per_byte", arm=arm, other=other, claim=claim) for arm, other, claim in EXPECTED]
    return (
        *main,
        Comparison(
            measure="words_found",
            arm="real",
            other="replace",
            claim="Collapse loses words: samples of models of real text hold more of the words of real text.",
        ),
        Comparison(
            measure="words_found", arm="replace", other="likely", claim="Selection by likelihood alone loses more."
        ),
    )


def _findings(result: Experiment, config: CollapseConfig) -> tuple[str, ...]:
    """Says what became of each arm; what the comparisons came to follows from them."""
    return tuple(sentence for arm in COLLAPSE_ARMS if (sentence := _change(result, arm, config.generations)))


def _change(result: Experiment, arm: CollapseArm, generations: int) -> str:
    """Says how an arm's bits per byte changed from the first generation to the last, and how often they rose."""
    last = result.last(arm, "bits_per_byte")
    rises: list[float] = []
    changes: list[float] = []
    for seed in last:
        curve = [p.values["bits_per_byte"] for p in sorted(_of(result, arm, seed), key=lambda p: p.x)]
        rises.append(sum(b > a for a, b in itertools.pairwise(curve)))
        changes.append(curve[-1] - curve[0])
    if not changes:
        return ""
    change = mean_interval(changes)
    return (
        f"{arm}: {change.mean:+.3f} bits per byte after {generations} generations{_within(change.low, change.high)}; "
        f"it rose in {fmean(rises):.1f} of {generations} steps (n = {len(changes)} seeds)."
    )


def _of(result: Experiment, arm: str, seed: int) -> list[Point]:
    return [point for point in result.points if point.arm == arm and point.seed == seed]


def _within(low: float, high: float) -> str:
    return f" (95% interval {low:+.3f} to {high:+.3f})" if math.isfinite(low) else ""
