"""The value of a dataset: what a learner that has read the source gains from it on held-out text, beside controls.

nu = (L0 - L_dataset) / (L0 - L_fresh), L0 = min(before, repeat): 0 is no better than stopping or repeating the source,
1 as good as as much new real text. Losses are bits per byte on held-out text. In every arm a learner takes the same
steps from the same weights, on the arm's text and the same replayed source text (`ValueConfig.replay`). Intervals are
by bootstrap over seeds and held-out documents together, both paired between arms. Three seeds are few for a bootstrap:
it rather understates what another seed would change.

On disk: tokens (at most 8 bytes each) and one model for each size and seed while it runs; a few kilobytes at the end.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tilth import execute
from tilth.assay.arms import ARMS, LONGER, Texts, Tokens, arm_texts, draw_texts, to_tokens
from tilth.assay.config import ValueConfig
from tilth.assay.learner import (
    BEFORE,
    TEXT,
    Learner,
    LossRecord,
    arm_steps,
    batch_rows,
    own_rows,
    own_tokens,
    read_record,
    remove_weights,
    save_array,
    train_arm,
    train_before,
)
from tilth.assay.result import ArmLoss, LearnerValue, Value
from tilth.errors import DataError
from tilth.execute import Context
from tilth.files import clear_temporaries
from tilth.identity import claim
from tilth.intervals import Interval
from tilth.model.device import resolve_device
from tilth.results import read_result, write_result
from tilth.storage import Dataset

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer

VALUE_RESULT = "value.json"
"""File name, in the folder of a measurement."""
MOST_LONGER = 4
"""Times the training of an arm that the arm `longer` takes at most, however much the generation took."""
FEW_SEEDS, FEW_DOCUMENTS = 3, 10
"""Below which the verdict says that a bootstrap over them is too narrow."""
UNDEFINED = Interval(math.nan, math.nan, math.nan)

Floats = NDArray[np.float64]


def measure_value(
    dataset: Dataset,
    out: Path | str,
    *,
    source: Dataset,
    held_out: Dataset,
    fresh: Dataset | None = None,
    config: ValueConfig | None = None,
    tokenizer: Tokenizer | None = None,
    generation_flops: float | None = None,
    whole_source: Dataset | None = None,
    context: Context | None = None,
) -> Value:
    """Measures what a dataset is worth to learners that have read its source; writes `value.json`.

    `fresh` is real text like the source; without it, a part of the source is set aside by hash, and documents of the
    dataset that were made of that part are left out. A teacher that was itself trained on more of the source than the
    `before_tokens` that a learner reads passes on what the learner has not read, and that counts as the dataset's:
    give as source what the teacher saw, and read all of it. `generation_flops` is what making all of the dataset
    took; where it is known, one more arm trains on for as many FLOPs. `whole_source`: what `source` is a part of, where
    it is one; documents of the dataset that were made of the rest are left out. Called again in the same folder, it
    continues.
    Raises: DataError for too little text; ConfigError if `out` holds another measurement.
    """
    out, config, context = Path(out), config or ValueConfig(), context or Context()
    identity: dict[str, object] = {
        "config": config,
        "dataset": dataset.fingerprint,
        "source": source.fingerprint,
        "held_out": held_out.fingerprint,
        "fresh": fresh.fingerprint if fresh is not None else None,
        "tokenizer": tokenizer.fingerprint if tokenizer is not None else None,
        "generation_flops": generation_flops,
        **({} if whole_source is None else {"whole_source": whole_source.fingerprint}),
    }
    depths = tuple(f"depth-{depth}" for depth in config.depths)
    claim(out, identity, kind="value", outputs=(VALUE_RESULT, TEXT, *depths))
    clear_temporaries(out)
    if (out / VALUE_RESULT).exists():
        return read_result(Value, out / VALUE_RESULT)
    texts = draw_texts(
        dataset, source=source, held_out=held_out, fresh=fresh, config=config, tokenizer=tokenizer,
        whole_source=whole_source,
    )  # fmt: skip
    written = _write_tokens(texts, out / TEXT, config, fresh_given=fresh is not None)
    learners, notes = _learners(texts, written, dataset, out, config, generation_flops, context)
    notes = (*_notes(texts, written, config), *notes)
    for note in notes:
        context.progress.say(f"value: {note}")
    arms = [*ARMS, *([LONGER] if learners[0].longer_steps else [])]
    list(execute.map_shards(train_before, learners, context, name="value: learners", unit="learners"))
    units = [(learner, arm) for arm in reversed(arms) for learner in learners]
    list(execute.map_shards(train_arm, units, context, name="value: arms", unit="arms"))
    sizes = [len(text.text.encode("utf-8", "surrogatepass")) for text in texts.held_out]
    losses = [Losses.read([x for x in learners if x.depth == depth], arms, sizes) for depth in config.depths]
    value = _value(losses, written, config, notes)
    for learner in learners:
        remove_weights(learner)
    shutil.rmtree(out / TEXT, ignore_errors=True)
    write_result(out / VALUE_RESULT, value)
    return value


# Text


def _write_tokens(
    texts: Texts, folder: Path, config: ValueConfig, *, fresh_given: bool
) -> dict[tuple[int, str], Tokens]:
    """Writes the tokens of all arms and of the held-out text, and returns them by seed and arm.

    Raises: DataError where there is too little text.
    """
    tokenizer, needed = texts.tokenizer, own_tokens(config)
    written: dict[tuple[int, str], Tokens] = {}
    for one in texts.seeds:
        before = to_tokens((text.text for text in one.before), tokenizer, config.before_tokens)
        written[one.seed, BEFORE] = before
        for arm in ARMS:
            written[one.seed, arm] = to_tokens(arm_texts(arm, one), tokenizer, needed)
        _check_texts(one.seed, written, config, fresh_given=fresh_given)
    for (seed, arm), tokens in written.items():
        save_array(folder / f"seed-{seed}-{arm}.npy", tokens.ids)
        if arm == "repeat":
            save_array(folder / f"seed-{seed}-{LONGER}.npy", tokens.ids)
    held_out = [to_tokens([text.text], tokenizer, 1 << 40).ids for text in texts.held_out]
    save_array(folder / "held_out.npy", np.concatenate(held_out))
    save_array(folder / "held_out_ends.npy", np.cumsum([len(ids) for ids in held_out]))
    return written


def _check_texts(
    seed: int, written: Mapping[tuple[int, str], Tokens], config: ValueConfig, *, fresh_given: bool
) -> None:
    before, fresh, dataset = (written[seed, arm] for arm in (BEFORE, "fresh", "dataset"))
    least = min(config.before_tokens, 4 * config.context_length)
    if len(before.ids) < least:
        raise DataError(
            f"The source holds {len(before.ids):,} tokens that a learner may read; {least:,} are the least.",
            fix="Give a source with more text, or `fresh` text, so that none of the source is set aside.",
        )
    needed = own_tokens(config)
    if 2 * fresh.unique < needed:
        where = "The fresh text" if fresh_given else "What is set aside of the source as fresh text"
        raise DataError(
            f"{where} holds {fresh.unique:,} tokens, and an arm reads {needed:,}: read more than twice, it is not new.",
            fix=f"{'Give more of it' if fresh_given else 'Give a larger source or `fresh` text'}, or lower "
            f"`arm_tokens` to {int(config.arm_tokens * fresh.unique / needed):,}.",
        )
    if not dataset.unique:
        raise DataError(
            "The dataset holds no text that may be measured: all of it is held out, or was made of source text that "
            "is set aside or not read.",
            fix="Give `fresh` text, or raise `before_tokens`.",
        )


def _learners(
    texts: Texts,
    written: Mapping[tuple[int, str], Tokens],
    dataset: Dataset,
    out: Path,
    config: ValueConfig,
    generation_flops: float | None,
    context: Context,
) -> tuple[list[Learner], tuple[str, ...]]:
    """Returns the learners, the largest first, and what is to be said of the arm `longer`."""
    # Of the machine's facts, only what training needs travels to worker processes.
    machine = Context(
        device=resolve_device(context.device),
        micro_batch_size=context.micro_batch_size,
        checkpoint_seconds=context.checkpoint_seconds,
    )
    learners: list[Learner] = []
    notes: list[str] = []
    for depth in sorted(config.depths, reverse=True):
        for one in texts.seeds:
            learner = Learner(
                depth=depth,
                seed=one.seed,
                vocab_size=texts.tokenizer.vocab_size,
                config=config,
                root=out,
                context=machine,
            )
            if generation_flops is not None:
                share = min(1.0, written[one.seed, "dataset"].bytes / max(1, dataset.n_bytes))
                steps, wanted = longer_steps(learner, share * generation_flops)
                learner = replace(learner, longer_steps=steps)
                if wanted > steps and one.seed == config.seeds[0]:
                    notes.append(
                        f"Depth {depth}: generation and training of the dataset took the FLOPs of "
                        f"{wanted / arm_steps(config):,.0f} times an arm's training; the arm `{LONGER}` is cut to "
                        f"{MOST_LONGER} times."
                    )
            learners.append(learner)
    return learners, tuple(notes)


def longer_steps(learner: Learner, generation_flops: float) -> tuple[int, int]:
    """Returns the steps that an arm's training and that generation are worth: at most `MOST_LONGER` arms', and all."""
    steps, config = arm_steps(learner.config), learner.config
    step_flops = batch_rows(config) * config.context_length * learner.shape.flops_per_token
    wanted = steps + round(generation_flops / step_flops)
    return min(wanted, MOST_LONGER * steps), wanted


def _notes(texts: Texts, written: Mapping[tuple[int, str], Tokens], config: ValueConfig) -> tuple[str, ...]:
    notes: list[str] = []
    if texts.set_aside:
        notes.append(f"{texts.set_aside:.0%} of the source is set aside as fresh text.")
    left_out = max(one.left_out for one in texts.seeds)
    if left_out:
        notes.append(
            f"Up to {left_out:,} documents of the dataset were left out: they are held out, or were made of source "
            "text that the learner has not read."
        )
    needed = own_tokens(config)
    for arm in ("dataset", "fresh"):
        unique = min(written[one.seed, arm].unique for one in texts.seeds)
        if unique < needed:
            notes.append(
                f"The {arm} text holds {unique:,} different tokens; an arm reads {needed:,}, so it is repeated."
            )
    unique = min(written[one.seed, BEFORE].unique for one in texts.seeds)
    if unique < 0.9 * config.before_tokens:
        notes.append(f"The source holds {unique:,} tokens to read; {config.before_tokens:,} were asked for.")
    return tuple(notes)


# Figures


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The losses of one size of learner."""

    learners: tuple[Learner, ...]
    """One for each seed."""
    records: Mapping[str, tuple[LossRecord, ...]]
    """Arm, and before, -> one for each seed."""
    sizes: Floats
    """Bytes of each held-out document."""

    @classmethod
    def read(cls, learners: Sequence[Learner], arms: Sequence[str], sizes: Sequence[int]) -> Losses:
        """Reads what the trainings left."""
        records = {arm: tuple(read_record(learner, arm) for learner in learners) for arm in (BEFORE, *arms)}
        return cls(learners=tuple(learners), records=records, sizes=np.array(sizes, dtype=np.float64))

    def bits(self, arm: str) -> Floats:
        """Returns bits, (seeds, documents); nan for a seed that ended early."""
        empty = np.full(len(self.sizes), np.nan)
        return np.stack([np.array(one.nats) / math.log(2) if one.nats else empty for one in self.records[arm]])

    def bits_per_byte(self, arm: str) -> tuple[float, ...]:
        """Returns bits per byte for each seed."""
        return tuple((self.bits(arm).sum(axis=1) / self.sizes.sum()).tolist())

    def resampled(self, arms: Sequence[str], resamples: int) -> dict[str, Floats] | None:
        """Returns bits per byte of arms, the mean over seeds first and then that of each resample.

        Seeds in which one of the arms ended early are left out; None where none is left.
        """
        bits = np.stack([self.bits(arm) for arm in arms])
        bits = bits[:, np.isfinite(bits).all(axis=(0, 2))]
        n_seeds, n_documents = bits.shape[1:]
        if not n_seeds:
            return None
        rng = np.random.default_rng(0)  # the same resamples for all arms and sizes of learner
        found = np.empty((len(arms), 1 + resamples))
        found[:, 0] = bits.mean(axis=1).sum(axis=1) / self.sizes.sum()
        for index in range(1, 1 + resamples):
            seeds = rng.integers(n_seeds, size=n_seeds)
            documents = rng.integers(n_documents, size=n_documents)
            counts = np.bincount(documents, minlength=n_documents)
            found[:, index] = bits[:, seeds].mean(axis=1) @ counts / (self.sizes @ counts)
        return dict(zip(arms, found, strict=True))


def percentile_interval(samples: Floats) -> Interval:
    """Returns the first sample, the estimate, with the interval that holds 95% of the others."""
    low, high = np.quantile(samples[1:], [0.025, 0.975])
    estimate = float(samples[0])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def nu(losses: Mapping[str, Floats], arm: str) -> Interval:
    """Returns the value of an arm; not defined (nan) where fresh text does not lower the loss outside its interval."""
    zero = np.minimum(losses[BEFORE], losses["repeat"])
    room = zero - losses["fresh"]
    if not percentile_interval(room).low > 0:
        return UNDEFINED
    # The few resamples without room, at most one in forty, have no value.
    value = (zero - losses[arm])[room > 0] / room[room > 0]
    return percentile_interval(value)


def _value(
    losses: Sequence[Losses], written: Mapping[tuple[int, str], Tokens], config: ValueConfig, notes: tuple[str, ...]
) -> Value:
    learners = tuple(_learner_value(one, written, config) for one in losses)
    flipped = flips(losses, config.bootstrap)
    return Value(
        learners=learners,
        seeds=config.seeds,
        held_out_documents=len(losses[0].sizes),
        held_out_bytes=int(losses[0].sizes.sum()),
        flips=bool(flipped),
        verdict=verdict(learners, flipped, n_documents=len(losses[0].sizes)),
        notes=notes,
    )


def _learner_value(losses: Losses, written: Mapping[tuple[int, str], Tokens], config: ValueConfig) -> LearnerValue:
    learner = losses.learners[0]
    arms = [arm for arm in losses.records if arm != BEFORE]

    def value(arm: str) -> Interval:
        resampled = losses.resampled([*dict.fromkeys((BEFORE, "repeat", "fresh", arm))], config.bootstrap)
        return nu(resampled, arm) if resampled else UNDEFINED

    def removed(arm: str) -> Interval:
        resampled = losses.resampled([BEFORE, arm], config.bootstrap) if arm in arms else None
        return percentile_interval(resampled[BEFORE] - resampled[arm]) if resampled else UNDEFINED

    return LearnerValue(
        depth=learner.depth,
        n_params=learner.shape.n_params,
        before=losses.bits_per_byte(BEFORE),
        arms=tuple(_arm_loss(losses, arm, written) for arm in arms),
        value=value("dataset"),
        noise_value=value("noise"),
        word_salad_value=value("word_salad"),
        bits_removed=removed("dataset"),
        longer_bits_removed=removed(LONGER),
    )


def _arm_loss(losses: Losses, arm: str, written: Mapping[tuple[int, str], Tokens]) -> ArmLoss:
    records = losses.records[arm]
    text = "repeat" if arm == LONGER else arm
    config = losses.learners[0].config
    ended = {learner.seed: one.ended for learner, one in zip(losses.learners, records, strict=True) if one.ended}
    return ArmLoss(
        arm=arm,
        losses=losses.bits_per_byte(arm),
        tokens=max(one.tokens for one in records) * own_rows(config) // batch_rows(config),
        unique_tokens=min(written[learner.seed, text].unique for learner in losses.learners),
        bytes=min(written[learner.seed, text].bytes for learner in losses.learners),
        flops=max(one.flops for one in records),
        ended=" ".join(f"Seed {seed}: {why}" for seed, why in ended.items()),
    )


def flips(losses: Sequence[Losses], resamples: int) -> tuple[str, str] | None:
    """Returns two arms whose order differs between sizes of learner beyond the intervals; those with the dataset first.

    Of several such pairs, the first.
    """
    arms = [arm for arm in losses[0].records if arm != BEFORE]
    for first, second in combinations(arms, 2):
        signs: set[bool] = set()
        for one in losses:
            resampled = one.resampled([first, second], resamples)
            if resampled is None:
                continue
            difference = percentile_interval(resampled[first] - resampled[second])
            if difference.excludes(0.0):
                signs.add(difference.mean > 0)
        if len(signs) == 2:
            return first, second
    return None


def verdict(learners: Sequence[LearnerValue], flipped: tuple[str, str] | None, *, n_documents: int) -> str:
    """Returns what a person should know of a value, in a sentence for the largest learner and what differs."""
    largest = max(learners, key=lambda one: one.depth)
    sentence = _sentence(largest)
    n_seeds = sum(map(math.isfinite, _common_seeds(largest)))
    if math.isfinite(largest.value.mean) and (n_seeds < FEW_SEEDS or n_documents < FEW_DOCUMENTS):
        sentence += (
            f" The interval is too narrow: it is drawn from {n_seeds} seed{'s' * (n_seeds != 1)} and {n_documents} "
            f"held-out document{'s' * (n_documents != 1)}; {FEW_SEEDS} and {FEW_DOCUMENTS} are the least."
        )
    gaining = [name for control, name in _controls(largest) if control.low > 0]
    if gaining and math.isfinite(largest.value.mean):
        sentence += (
            f" But {' and '.join(gaining)} gained, too: the learner has read so little that any other text helps. "
            "Measure with more of the source (`before_tokens`)."
        )
    if flipped is not None:
        sentence += (
            f" The order of `{flipped[0]}` and `{flipped[1]}` differs between the sizes of learner: take neither size "
            "for the others."
        )
    return sentence


def _common_seeds(one: LearnerValue) -> list[float]:
    """Returns a number for each seed, nan where one of the trainings that nu is made of ended early."""
    needed = [arm.losses for arm in one.arms if arm.arm in ("dataset", "fresh", "repeat")]
    return [math.fsum(losses) for losses in zip(one.before, *needed, strict=True)]


def _controls(one: LearnerValue) -> tuple[tuple[Interval, str], ...]:
    return (one.noise_value, "random characters"), (one.word_salad_value, "words in random order")


def _sentence(one: LearnerValue) -> str:
    ended = next((arm for arm in one.arms if arm.ended and arm.arm in ("dataset", "fresh", "repeat")), None)
    value = one.value
    if not math.isfinite(value.mean):
        if ended is not None and all(math.isnan(loss) for loss in ended.losses):
            return f"The value is not defined: the arm `{ended.arm}` ended early. {ended.ended}"
        return (
            "The value is not defined: new real text lowered the held-out loss no more than stopping or repeating did, "
            "so this held-out text cannot tell good text from bad. Give held-out text of the fresh text's kind, or "
            "train for longer (`arm_tokens`, `before_epochs`)."
        )
    figure = f"{value.mean:.2f} (95% interval {value.low:.2f} to {value.high:.2f})"
    beside = f"for a learner of {one.n_params:,} parameters"
    if value.high < 0:
        return f"Harmful: {beside}, the value is {figure}, worse than stopping or repeating the source."
    if value.low <= 0:
        return f"No gain shown: {beside}, the value {figure} cannot be told from stopping or repeating the source."
    for control, name in _controls(one):
        if control.mean >= value.low:
            return f"No gain shown: {beside}, the value {figure} does not exceed that of {name}."
    if value.low > 1:
        return f"Worth more than new real text: {beside}, the value is {figure}."
    return f"Worth {figure} of as much new real text, {beside}."
