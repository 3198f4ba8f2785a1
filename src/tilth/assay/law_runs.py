"""The runs of a law: small learners trained from the start on each source, at several token counts and sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
from tilth.assay.config import ValueConfig
from tilth.assay.law import LAW_RESULT, LawPoint, QualityLaw, fit_law
from tilth.assay.learner import BEFORE, TEXT, Learner, read_record, remove_weights, save_array, train_before
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.files import clear_temporaries
from tilth.identity import claim
from tilth.model.device import resolve_device
from tilth.results import write_result
from tilth.storage import Dataset

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class LawConfig:
    """At which token counts learners of which sizes are trained, for a law of several sources."""

    token_counts: tuple[int, ...] = (50_000, 100_000, 200_000, 400_000, 800_000)
    """Tokens of a source that a learner is trained on, once each."""
    training: ValueConfig = field(default_factory=lambda: ValueConfig(depths=(1, 2)))
    """The learners: seeds, depths, rates, held-out text. Its numbers of tokens are not used."""
    resamples: int = 300
    """Of the runs, for intervals."""

    def __post_init__(self) -> None:
        if len(self.token_counts) < 3 or list(self.token_counts) != sorted(set(self.token_counts)):
            raise ConfigError(
                f"token_counts is {self.token_counts}.", fix="Give three or more, each larger than the one before."
            )
        if self.token_counts[0] < self.training.batch_tokens or self.resamples < 10:
            raise ConfigError(
                f"token_counts begins with {self.token_counts[0]}, and resamples is {self.resamples}.",
                fix=f"Begin with a training step, {self.training.batch_tokens} tokens, or more; 10 resamples or more.",
            )


def measure_law(
    sources: Mapping[str, Dataset],
    out: Path | str,
    *,
    held_out: Dataset,
    reference: str | None = None,
    qualities: Mapping[str, float] | None = None,
    config: LawConfig | None = None,
    tokenizer: Tokenizer | None = None,
    context: Context | None = None,
) -> QualityLaw:
    """Trains learners on each source and fits the laws (`fit_law`); writes `law.json`. Called again, it continues.

    The first source is the reference unless another is named; without a tokenizer, one is trained on it. Token counts
    that a source does not hold are left out for it, and so is a run that diverged; the notes say so.
    Raises: DataError for fewer than two sources, or too little text; ConfigError if `out` holds another measurement.
    """
    out, config, context = Path(out), config or LawConfig(), context or Context()
    if len(sources) < 2 or (reference or next(iter(sources))) not in sources:
        raise DataError(
            f"A law needs two sources or more, the reference among them; given: {', '.join(sources) or 'none'}.",
            fix="Name two datasets or more.",
        )
    reference = reference or next(iter(sources))
    identity = {
        "config": config,
        "sources": {name: dataset.fingerprint for name, dataset in sources.items()},
        "held_out": held_out.fingerprint,
        "reference": reference,
        "qualities": dict(qualities) if qualities is not None else None,
        "tokenizer": tokenizer.fingerprint if tokenizer is not None else None,
    }
    claim(out, identity, kind="law", outputs=(LAW_RESULT, *(f"source-{place}" for place in range(len(sources)))))
    clear_temporaries(out)
    texts = {name: _texts(dataset, held_out, config) for name, dataset in sources.items()}
    if tokenizer is None:
        tokenizer = _trained(texts[reference], config)
    learners, notes = _learners(texts, held_out, out, config, tokenizer, context)
    units = [learner for _, _, learner in learners]
    list(execute.map_shards(_run, units, context, name="law: learners", unit="learners"))
    size = sum(len(text.text.encode("utf-8", "surrogatepass")) for text in held_out_texts(held_out, config.training))
    points, ended = _points(learners, size)
    law = fit_law(points, reference=reference, qualities=qualities, resamples=config.resamples)
    law = replace(law, notes=(*notes, *ended, *law.notes))
    write_result(out / LAW_RESULT, law)
    return law


def _texts(dataset: Dataset, held_out: Dataset, config: LawConfig) -> list[Text]:
    hidden = {digest(text.text) for text in read_texts(held_out)}
    draw = Draw(max(config.token_counts[-1] * MOST_BYTES_A_TOKEN, TOKENIZER_BYTES))
    for text in read_texts(dataset):
        if digest(text.text) not in hidden:
            draw.offer(text, digest(text.text, "law"))
    return draw.texts()


def _trained(texts: list[Text], config: LawConfig) -> Tokenizer:
    from tilth.tokenizer import Tokenizer

    return Tokenizer.train((text.text for text in texts), vocab_size=config.training.vocab_size)


def _learners(
    texts: Mapping[str, list[Text]],
    held_out: Dataset,
    out: Path,
    config: LawConfig,
    tokenizer: Tokenizer,
    context: Context,
) -> tuple[list[tuple[str, int, Learner]], list[str]]:
    """Writes what learners read; returns (source, tokens, learner), the longest first, and what is left out."""
    machine = Context(device=resolve_device(context.device), checkpoint_seconds=context.checkpoint_seconds)
    measured = [to_tokens([text.text], tokenizer, 1 << 40).ids for text in held_out_texts(held_out, config.training)]
    learners: list[tuple[str, int, Learner]] = []
    notes: list[str] = []
    for place, (name, documents) in enumerate(texts.items()):
        for tokens in reversed(config.token_counts):
            root = out / f"source-{place}" / f"{tokens}"
            training = replace(config.training, before_tokens=tokens, before_epochs=1)
            for seed in training.seeds:
                ordered = sorted(documents, key=lambda text: arm_key(text, seed))
                ids = to_tokens((text.text for text in ordered), tokenizer, tokens).ids
                if len(ids) < tokens:
                    break
                save_array(root / TEXT / f"seed-{seed}-{BEFORE}.npy", ids)
                learners += [
                    (
                        name,
                        tokens,
                        Learner(
                            depth=depth,
                            seed=seed,
                            vocab_size=tokenizer.vocab_size,
                            config=training,
                            root=root,
                            context=machine,
                        ),
                    )
                    for depth in training.depths
                ]
            else:
                save_array(root / TEXT / "held_out.npy", np.concatenate(measured))
                save_array(root / TEXT / "held_out_ends.npy", np.cumsum([len(ids) for ids in measured]))
                continue
            notes.append(f"`{name}` holds less than {tokens:,} tokens: it has no runs of so many.")
    return learners, notes


def _run(learner: Learner) -> None:
    train_before(learner)
    remove_weights(learner)


def _points(learners: list[tuple[str, int, Learner]], size: int) -> tuple[list[LawPoint], list[str]]:
    """Returns the runs in bits per byte, and what ended early, in words."""
    points: list[LawPoint] = []
    ended: list[str] = []
    for name, tokens, learner in learners:
        record = read_record(learner, BEFORE)
        if record.ended:
            ended.append(
                f"Left out: `{name}`, {tokens:,} tokens, {learner.depth} layers, seed {learner.seed}: {record.ended}"
            )
            continue
        points.append(
            LawPoint(
                source=name,
                n_params=learner.shape.n_params,
                tokens=record.tokens,
                loss=sum(record.nats) / math.log(2) / size,
                seed=learner.seed,
            )
        )
    return points, ended
