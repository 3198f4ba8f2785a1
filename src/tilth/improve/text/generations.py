"""One generation: a model trained from scratch on a set of texts, measured, and its own samples.

A generation leaves a folder: `samples/` (a dataset), `generation.json`, written last, and of the newest generation
`model/`. What training left besides is removed once the record is there.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tilth.assay.diversity import text_diversity
from tilth.curation.dedup import words_of
from tilth.errors import DivergedError
from tilth.execute import Context
from tilth.identity import fingerprint_of
from tilth.improve.text.config import CollapseConfig
from tilth.improve.text.sampling import Samples, sample_texts
from tilth.model import Transformer, load_model
from tilth.results import read_result, write_result
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TrainConfig, text_loss, train
from tilth.training.cpu import fast_cpu
from tilth.types import Document

RECORD, SAMPLES, TRAINING, TEXT = "generation.json", "samples", "training", "text"
MODEL = f"{TRAINING}/model"
LEAST_SHARE = 0.5
"""Share of a synthetic set that samples must fill: with fewer, nearly all samples were empty, and the arm ends."""


@dataclass(frozen=True, kw_only=True)
class GenerationRecord:
    """What one generation came to."""

    bits_per_byte: float = math.nan
    """Of the model, on held-out real text."""
    measures: dict[str, float] = field(default_factory=dict[str, float])
    """Of its samples, as many as the original text has tokens, before anything is selected."""
    drawn: int = 0
    """Samples that were drawn, empty ones included."""
    kept: int = 0
    """Samples that are in `samples/`."""
    train_flops: float = 0.0
    generation_flops: float = 0.0
    set_flops: float = 0.0
    """The part of `generation_flops` that made the samples up to the original's size."""
    selection_flops: float = 0.0
    """Of the verifier, to choose what this generation was trained on."""
    ended: str = ""
    """Why the arm ends here; empty: it does not."""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What a generation is made from; equal ones give equal files."""

    folder: Path
    config: CollapseConfig
    tokenizer: Tokenizer
    held_out: Sequence[Document]
    reference: Sequence[Document]
    """The original text: its vocabulary says which words are rare."""
    name: str
    """`seed-0/replace/generation-1`: goes into the ids and sources of the samples."""
    key: tuple[int, ...]
    """Of the streams of chance of this generation."""
    sets: int = 1
    """Samples that are drawn, as a multiple of the original's size."""
    keep_model: bool = False

    @property
    def wanted(self) -> int:
        """Tokens of the original text, which a synthetic set has, too."""
        return self.config.set_tokens


def read_record(folder: Path) -> GenerationRecord | None:
    """Returns the record of a finished generation, or None where it is not finished."""
    path = folder / RECORD
    return read_result(GenerationRecord, path) if path.is_file() else None


def read_samples(folder: Path) -> list[Document]:
    """Returns a generation's samples in the order in which they were drawn."""
    return list(Dataset.open(folder / SAMPLES).documents())


def run_generation(
    one: Generation, text: Sequence[Document], context: Context, *, selection_flops: float = 0.0
) -> GenerationRecord:
    """Trains on `text`, measures, draws samples and writes the record, unless that is done.

    `selection_flops`: what it took to choose `text`.
    """
    record = read_record(one.folder)
    if record is None:
        started = time.monotonic()
        record = replace(_run(one, text, context, started), selection_flops=selection_flops)
        write_result(one.folder / RECORD, record)
    _tidy(one, record)
    return record


def _run(one: Generation, text: Sequence[Document], context: Context, started: float) -> GenerationRecord:
    try:
        model, flops = _trained(one, text, context)
    except DivergedError as error:
        return GenerationRecord(ended=error.message, seconds=time.monotonic() - started)
    with fast_cpu():
        bits = text_loss(model, one.tokenizer, one.held_out).bits_per_byte
        rng = np.random.default_rng([*one.key, 1])
        samples = sample_texts(
            model,
            one.tokenizer,
            one.sets * one.wanted,
            rng=rng,
            temperature=one.config.temperature,
            openings=_openings(one),
        )
    documents = [Document.make(t, one.name, corpus=one.name) for t in samples.texts]
    identity = {"texts": fingerprint_of(list(samples.texts))}
    write_dataset(one.folder / SAMPLES, documents, made_by="collapse", identity=identity)
    first = n_in_set(samples.tokens, one.wanted)
    return GenerationRecord(
        bits_per_byte=bits,
        measures=_measures(samples, first, one),
        drawn=samples.drawn,
        kept=len(samples.texts),
        train_flops=flops,
        generation_flops=samples.flops,
        set_flops=samples.flops * sum(samples.tokens[:first]) / max(1, sum(samples.tokens)),
        ended=_why_ended(samples, bits, one),
        seconds=time.monotonic() - started,
    )


def _trained(one: Generation, text: Sequence[Document], context: Context) -> tuple[Transformer, float]:
    config, folder = one.config, one.folder
    identity = {"text": fingerprint_of([document.id for document in text])}
    dataset = write_dataset(folder / TRAINING / TEXT, text, made_by="collapse", identity=identity)
    training = TrainConfig(
        tokens=config.train_tokens,
        max_epochs=1e6,  # equal steps for every arm, however many samples it has
        global_batch_tokens=config.global_batch_tokens,
        learning_rate=config.learning_rate,
        muon_learning_rate=config.muon_learning_rate,
        seed=int(np.random.default_rng([*one.key, 0]).integers(2**31)),
    )
    shape = config.model(one.tokenizer.vocab_size)
    result = train(shape, training, dataset, one.tokenizer, folder / TRAINING, context=context)
    return result.model, result.summary.flops


def train_verifier(
    folder: Path, config: CollapseConfig, tokenizer: Tokenizer, text: Sequence[Document], context: Context
) -> float:
    """Trains the verifier for as many passes over its text as the generations take over theirs; returns the FLOPs."""
    identity = {"text": fingerprint_of([document.id for document in text])}
    dataset = write_dataset(folder / TRAINING / TEXT, text, made_by="collapse", identity=identity)
    training = TrainConfig(
        tokens=max(1, round(config.train_tokens * config.verifier_sets)),
        max_epochs=1e6,
        global_batch_tokens=config.global_batch_tokens,
        learning_rate=config.learning_rate,
        muon_learning_rate=config.muon_learning_rate,
    )
    shape = config.model(tokenizer.vocab_size)
    return train(shape, training, dataset, tokenizer, folder / TRAINING, context=context).summary.flops


def read_verifier(folder: Path, context: Context) -> Transformer:
    """Returns the trained verifier."""
    return load_model(folder / MODEL, device=context.device)


def n_in_set(tokens: Sequence[int], wanted: int) -> int:
    """Returns how many of the first samples make up a set of `wanted` tokens."""
    return min(len(tokens), int(np.searchsorted(np.cumsum(tokens), wanted)) + 1) if tokens else 0


def _openings(one: Generation) -> list[list[int]]:
    if not one.config.prompt_tokens:
        return []
    texts = [document.text for document in one.reference]
    rows = one.tokenizer.encode_batch(texts, disallowed_special=())
    return [row[: one.config.prompt_tokens] for row in rows]


def _measures(samples: Samples, first: int, one: Generation) -> dict[str, float]:
    texts = samples.texts[:first]
    if not texts:
        return {}
    real = {word for document in one.held_out for word in words_of(document.text)}
    written = {word for text in texts for word in words_of(text)}
    found = text_diversity(texts, (document.text for document in one.reference), seed=0)
    return {
        "words_found": len(real & written) / len(real) if real else math.nan,
        "tail_mass": found.tail_mass,
        "unknown_words": found.unknown_words,
        "distinct_2": found.distinct["2"],
        "opening_share": found.opening_share,
        "near_duplicates": found.near_duplicates,
        "bits_per_token": samples.bits_per_token,
    }


def _why_ended(samples: Samples, bits: float, one: Generation) -> str:
    if not math.isfinite(bits):
        return f"Its bits per byte on held-out text are {bits}."
    there = sum(samples.tokens)
    if there < LEAST_SHARE * one.sets * one.wanted:
        return (
            f"{len(samples.texts):,} of {samples.drawn:,} samples hold text, {there:,} tokens in all: "
            f"too few for a set of {one.sets * one.wanted:,}."
        )
    return ""


def _tidy(one: Generation, record: GenerationRecord) -> None:
    """Removes what no later work needs; of the newest generation the model stays."""
    training = one.folder / TRAINING
    if not training.exists():
        return
    kept = one.folder / "model"
    if one.keep_model and not record.ended and (one.folder / MODEL).exists() and not kept.exists():
        (one.folder / MODEL).rename(kept)
    shutil.rmtree(training)
