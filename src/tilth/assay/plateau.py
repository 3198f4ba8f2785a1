"""The plateau experiment: does more of a model's own text still help, and does it if it is verified?

A learner reads N tokens of real text. From there it goes on, at several token counts, with more of four kinds: new real
text (upper bound), the text it has read again, plain samples of its own, and samples of its own that a verifier let
through. All else is equal: weights, steps, rates, replayed text. The verifier is an n-gram model of real text that no
arm reads: for text no exact verifier exists, and what it adds is at most what it knows of that text.

On disk: tokens and samples (a few megabytes a seed) and one small model a seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tilth import execute
from tilth.assay.arms import (
    MOST_BYTES_A_TOKEN,
    TOKENIZER_BYTES,
    Draw,
    Text,
    arm_key,
    digest,
    held_out_texts,
    read_texts,
    to_tokens,
)
from tilth.assay.experiment import EXPERIMENT_RESULT, Arm, Comparison, Ended, Example, Experiment, Measure, Point
from tilth.assay.learner import (
    BEFORE,
    TEXT,
    Learner,
    load_ids,
    own_tokens,
    read_record,
    save_array,
    train_arm,
    train_before,
)
from tilth.assay.plateau_config import PlateauConfig
from tilth.assay.plateau_findings import findings
from tilth.assay.plateau_samples import (
    FRESH,
    PLAIN,
    REPEAT,
    SAMPLES,
    VERIFIED,
    Drawing,
    Selected,
    chunks,
    draw_chunk,
    select,
)
from tilth.errors import DataError
from tilth.execute import Context
from tilth.files import clear_temporaries
from tilth.identity import claim
from tilth.model.device import resolve_device
from tilth.results import write_result
from tilth.storage import Dataset

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer

BITS = "bits_per_byte"
REMOVED = "bits_removed_per_pflop"
ARMS = (
    Arm(name=FRESH, meaning="New real text of the same kind.", role="upper_bound"),
    Arm(
        name=VERIFIED,
        meaning="Its own samples, guided every few tokens by a verifier that knows other real text, and gated.",
    ),
    Arm(name=PLAIN, meaning="Its own samples as they come."),
    Arm(name=REPEAT, meaning="The text that it has read, again.", role="control"),
)
_POOLS = {BEFORE: 0.25, FRESH: 0.35, "verifier": 0.4}
"""Shares of the documents: what is read first, what is new, and what the verifier knows. No document is in two."""
_PFLOP = 1e15


def measure_plateau(
    text: Dataset,
    out: Path | str,
    *,
    held_out: Dataset,
    config: PlateauConfig | None = None,
    tokenizer: Tokenizer | None = None,
    context: Context | None = None,
) -> Experiment:
    """Runs the experiment on a text and writes `experiment.json`; called again in the same folder, it continues.

    Without a tokenizer, one is trained on the part of the text that is read first.
    Raises: DataError for too little text; ConfigError if `out` holds another experiment.
    """
    started = time.monotonic()
    out, config, context = Path(out), config or PlateauConfig(), context or Context()
    identity = {
        "config": config,
        "text": text.fingerprint,
        "held_out": held_out.fingerprint,
        "tokenizer": tokenizer.fingerprint if tokenizer is not None else None,
    }
    depth = config.training.depths[0]
    outputs = (EXPERIMENT_RESULT, TEXT, SAMPLES, f"depth-{depth}")
    claim(out, identity, kind="plateau", outputs=outputs)
    clear_temporaries(out)
    prepared = _prepare(text, held_out, out, config, tokenizer)
    learners = _learners(prepared, out, config, context)
    list(execute.map_shards(train_before, learners, context, name="plateau: learners", unit="learners"))
    drawings = [Drawing(learner=one, config=config, n_tokens=prepared.tokenizer.vocab_size) for one in learners]
    units = [(drawing, chunk) for drawing in drawings for chunk in chunks(drawing)]
    list(execute.map_shards(draw_chunk, units, context, name="plateau: samples", unit="chunks"))
    selected = list(execute.map_shards(select, drawings, context, name="plateau: verification", unit="seeds"))
    trainings = _trainings(drawings, selected, config)
    list(execute.map_shards(train_arm, trainings, context, name="plateau: arms", unit="trainings"))
    points, ended = _points(drawings, selected, prepared, config)
    experiment = Experiment(
        name="plateau",
        title="Does more of a model's own text still help?",
        question=(
            "A model that has read all the text there is can write more itself. Does training on that lower its loss "
            "on held-out text, does it help to keep only samples that a verifier lets through, and does either come "
            "near to new real text?"
        ),
        x_title="tokens after the arms part",
        arms=ARMS,
        measures=(
            Measure(name=BITS, title="bits per byte on held-out text", better="lower"),
            Measure(name=REMOVED, title="bits per byte removed per 10^15 FLOPs", better="higher"),
        ),
        points=tuple(points),
        comparisons=_comparisons(),
        n=f"{len(prepared.held_out)} documents, {sum(prepared.held_out) / 1e3:.0f} kB",
        settings=_settings(config, selected),
        ended=tuple(ended),
        examples=tuple(_examples(selected[0], prepared.tokenizer)),
        seconds=time.monotonic() - started,
    )
    experiment = replace(experiment, findings=findings(experiment, selected, config))
    write_result(out / EXPERIMENT_RESULT, experiment)
    return experiment


# Text


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """What is drawn from the text."""

    tokenizer: Tokenizer
    held_out: tuple[int, ...]
    """Bytes of each held-out document."""


def _prepare(
    text: Dataset, held_out: Dataset, out: Path, config: PlateauConfig, tokenizer: Tokenizer | None
) -> _Prepared:
    """Writes the tokens of all that is real text; the same each time it is called.

    Raises: DataError where there is too little.
    """
    training, longest = config.training, config.token_counts[-1]
    measured = held_out_texts(held_out, training)
    hidden = {digest(one.text) for one in read_texts(held_out)}
    most = {
        BEFORE: max(training.before_tokens * MOST_BYTES_A_TOKEN, TOKENIZER_BYTES),
        FRESH: longest * MOST_BYTES_A_TOKEN,
        "verifier": config.verifier_tokens * MOST_BYTES_A_TOKEN,
    }
    draws = {name: Draw(size) for name, size in most.items()}
    for one in read_texts(text):
        if digest(one.text) not in hidden:
            draws[_pool(one)].offer(one, digest(one.text, "plateau"))
    pools = {name: draw.texts() for name, draw in draws.items()}
    empty = [name for name, texts in pools.items() if not texts]
    if empty:
        raise DataError(
            f"The text is too little to part it: nothing is left for `{empty[0]}`.", fix="Give more documents."
        )
    if tokenizer is None:
        tokenizer = _trained(pools[BEFORE], training.vocab_size)
    folder = out / TEXT
    for seed in training.seeds:
        for arm, n in ((BEFORE, training.before_tokens), (FRESH, longest)):
            texts = sorted(pools[arm], key=lambda one: arm_key(one, seed))
            ids = to_tokens((one.text for one in texts), tokenizer, n).ids
            _check(arm, len(ids), n)
            save_array(folder / f"seed-{seed}-{arm}.npy", ids)
    known = to_tokens((one.text for one in pools["verifier"]), tokenizer, config.verifier_tokens).ids
    save_array(folder / "verifier.npy", known)
    documents = [to_tokens([one.text], tokenizer, 1 << 40).ids for one in measured]
    save_array(folder / "held_out.npy", np.concatenate(documents))
    save_array(folder / "held_out_ends.npy", np.cumsum([len(ids) for ids in documents]))
    sizes = tuple(len(one.text.encode("utf-8", "surrogatepass")) for one in measured)
    return _Prepared(tokenizer=tokenizer, held_out=sizes)


def _pool(text: Text) -> str:
    place = int.from_bytes(digest(text.text, "pool")) / 2**128
    for name, share in _POOLS.items():
        place -= share
        if place < 0:
            return name
    return "verifier"


def _trained(texts: Iterable[Text], vocab_size: int) -> Tokenizer:
    from tilth.tokenizer import Tokenizer

    return Tokenizer.train((one.text for one in texts), vocab_size=vocab_size)


def _check(arm: str, found: int, wanted: int) -> None:
    """Raises DataError where there is too little text: read twice, it is no longer new."""
    if 2 * found < wanted:
        what = "to be read first" if arm == BEFORE else "new to the model"
        raise DataError(
            f"The text holds {found:,} tokens {what}; {wanted:,} were asked for.",
            fix="Give more text, or lower `before_tokens` and `token_counts` (the recipe's `--effort`).",
        )


# Training


def _learners(prepared: _Prepared, out: Path, config: PlateauConfig, context: Context) -> list[Learner]:
    # Of the machine's facts, only what training needs travels to worker processes.
    machine = Context(
        device=resolve_device(context.device),
        micro_batch_size=context.micro_batch_size,
        checkpoint_seconds=context.checkpoint_seconds,
    )
    return [
        Learner(
            depth=config.training.depths[0],
            seed=seed,
            vocab_size=prepared.tokenizer.vocab_size,
            config=replace(config.training, arm_tokens=config.token_counts[-1]),
            root=out,
            context=machine,
        )
        for seed in config.training.seeds
    ]


def _unit_name(arm: str, tokens: int) -> str:
    return f"{arm}-{tokens}"


def _at(learner: Learner, tokens: int) -> Learner:
    """Returns the learner as it is trained on for that many tokens."""
    return replace(learner, config=replace(learner.config, arm_tokens=tokens))


def _trainings(
    drawings: Sequence[Drawing], selected: Sequence[Selected], config: PlateauConfig
) -> list[tuple[Learner, str]]:
    """Writes the text of each training that can run and returns these, the longest first."""
    units: list[tuple[Learner, str]] = []
    for tokens in sorted(config.token_counts, reverse=True):
        for drawing, found in zip(drawings, selected, strict=True):
            learner = _at(drawing.learner, tokens)
            needed = own_tokens(learner.config) + 1
            for arm in ARMS:
                if _why_not(found, arm.name):
                    continue
                name = _unit_name(arm.name, tokens)
                save_array(learner.text(name), _own_text(drawing, arm.name)[:needed])
                units.append((learner, name))
    return units


def _why_not(found: Selected, arm: str) -> str:
    """Returns why an arm has no text; empty: it has."""
    if arm == VERIFIED:
        return found.ended
    return found.ended if arm == PLAIN and not found.drawn else ""


def _own_text(drawing: Drawing, arm: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Returns all tokens that an arm has, in order."""
    if arm in (PLAIN, VERIFIED):
        return load_ids(drawing.folder / f"{arm}.npy").reshape(-1)
    return load_ids(drawing.learner.text(BEFORE if arm == REPEAT else arm))


# Figures


def _points(
    drawings: Sequence[Drawing], selected: Sequence[Selected], prepared: _Prepared, config: PlateauConfig
) -> tuple[list[Point], list[Ended]]:
    """Returns what was measured, and what ended early; all arms begin at the same point, 0 tokens."""
    points: list[Point] = []
    ended: list[Ended] = []
    size = sum(prepared.held_out)
    for drawing, found in zip(drawings, selected, strict=True):
        learner = drawing.learner
        first = read_record(learner, BEFORE)
        start = _bits(first.nats, size)
        for arm in ARMS:
            values = {BITS: start, REMOVED: math.nan}
            points.append(Point(arm=arm.name, seed=learner.seed, x=0, values=values, flops=first.flops))
            if why := _why_not(found, arm.name):
                ended.append(Ended(arm=arm.name, seed=learner.seed, x=0, why=why))
                continue
            for tokens in config.token_counts:
                record = read_record(_at(learner, tokens), _unit_name(arm.name, tokens))
                spent = record.flops + _generation_flops(drawing, found, arm.name, tokens)
                after = _bits(record.nats, size)
                values = {BITS: after, REMOVED: (start - after) / (spent / _PFLOP) if spent else math.nan}
                points.append(
                    Point(arm=arm.name, seed=learner.seed, x=tokens, values=values, flops=first.flops + spent)
                )
                if record.ended:
                    ended.append(Ended(arm=arm.name, seed=learner.seed, x=tokens, why=record.ended))
    return points, ended


def _bits(nats: Sequence[float], size: int) -> float:
    return sum(nats) / math.log(2) / size if nats else math.nan


def _generation_flops(drawing: Drawing, found: Selected, arm: str, tokens: int) -> float:
    """Returns the FLOPs of the samples that an arm of that many tokens needs, rejected ones included."""
    own = own_tokens(_at(drawing.learner, tokens).config) / drawing.learner.config.context_length
    if arm == PLAIN:
        return own * drawing.flops_per_sample(PLAIN)
    if arm == VERIFIED:
        # Where fewer were kept than are read, they are read again, and nothing more is drawn.
        return min(1.0, own / found.kept) * found.drawn * drawing.flops_per_sample(VERIFIED)
    return 0.0


def _comparisons() -> tuple[Comparison, ...]:
    pairs = (
        (PLAIN, REPEAT, "Its own plain samples give the model more than reading the same text again."),
        (VERIFIED, PLAIN, "Verification makes samples worth more than they are as they come."),
        (VERIFIED, REPEAT, "Verified samples give the model more than reading the same text again."),
        (FRESH, VERIFIED, "New real text gives more than verified samples."),
    )
    return tuple(Comparison(measure=BITS, arm=arm, other=other, claim=claim) for arm, other, claim in pairs)


def _settings(config: PlateauConfig, selected: Sequence[Selected]) -> dict[str, object]:
    training = config.training
    return {
        "seeds": list(training.seeds),
        "layers": training.depths[0],
        "tokens before": training.before_tokens * training.before_epochs,
        "different tokens before": training.before_tokens,
        "replayed share": training.replay,
        "temperature": config.temperature,
        "candidates": config.candidates,
        "tokens between choices": config.block_tokens,
        "samples drawn a seed": max(one.drawn for one in selected),
        "samples kept a seed": min(one.kept for one in selected),
        "verifier": f"{config.verifier_order}-gram model of {config.verifier_tokens:,} tokens of other real text",
    }


def _examples(found: Selected, tokenizer: Tokenizer) -> list[Example]:
    shown = [("Plain sample", found.plain_examples), ("Verified sample", found.kept_examples)]
    return [Example(title=title, text=tokenizer.decode(list(tokens))) for title, part in shown for tokens in part]
