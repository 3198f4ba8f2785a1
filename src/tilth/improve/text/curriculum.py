"""A curriculum of two phases: broad text, then narrow text with replay of the broad one, against both at once.

All arms take the same number of tokens of the same model with the same two schedules (flat, then falling to 0) and a
new optimizer in each phase; they differ in the text alone. Unit of work: one phase of an arm with a seed, of which
`phase.json` says that it is done; the first phase is shared by all arms that begin with the broad text.
Source: the two phases of phi-3 (Abdin et al. 2024, 2404.14219); replay against forgetting: Ibrahim et al. 2024
(2403.08763).
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tilth import execute
from tilth.assay.experiment import EXPERIMENT_RESULT, Experiment
from tilth.errors import DataError, DivergedError
from tilth.files import clear_temporaries
from tilth.identity import claim, fingerprint_of
from tilth.improve.fine_tune import one_thread
from tilth.improve.text.config import CURRICULUM_ARMS, REPLAY, CurriculumArm, CurriculumConfig
from tilth.improve.text.curriculum_result import PhasePoint, PhaseRecord, curriculum_experiment
from tilth.improve.text.passages import (
    check_enough,
    first_tokens,
    passages_of,
    random_bytes,
    random_tokens,
    without_texts,
)
from tilth.model import Transformer, load_model, save_model
from tilth.model.device import resolve_device
from tilth.results import read_result, write_result
from tilth.storage import MANIFEST, Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import (
    Schedule,
    TokenStream,
    TrainConfig,
    Trainer,
    first_model,
    held_out_excerpt,
    make_optimizers,
    text_loss,
)
from tilth.training.result import METRICS
from tilth.types import Document

CORPORA, RECORD, TRAINING = "corpora", "phase.json", "training"
FIRST, SECOND = "first", "second"
BROAD, MIXED = "broad", "mixed"
"""First phases: the broad text alone, or both."""
POOL_BYTES = 16_000_000
"""Most text of each of the two that is read."""
_TEXT, _ORDER, _WEIGHTS, _HELD_OUT = 0, 1, 2, 3
_STREAM_KEYS = {BROAD: 1, MIXED: 2, "no_replay": 3, "replay_10": 4, "replay_30": 5, "one_phase": 6, "first_only": 7}
"""Keys of the streams of chance, written out so that another arm does not change the others' results."""


@dataclass(frozen=True, kw_only=True)
class CurriculumRun:
    """What all arms of one seed share."""

    config: CurriculumConfig
    seed: int
    out: Path
    tokenizer_folder: Path
    context: execute.Context = field(default_factory=execute.Context)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of all models."""
        return Tokenizer.load(self.tokenizer_folder)

    @cached_property
    def held_out(self) -> dict[str, list[Document]]:
        """The held-out text of both domains."""
        return {name: read_text(self.out, f"{name}-held-out") for name in (FIRST, SECOND)}

    @cached_property
    def texts(self) -> dict[str, list[Document]]:
        """The text of each phase of this seed, by the name of the phase."""
        first, second = (read_text(self.out, name) for name in (FIRST, SECOND))
        return phase_texts(first, second, self.tokenizer, self.config, np.random.default_rng([self.seed, _TEXT]))

    def folder(self, phase: str) -> Path:
        """Returns the folder of a first phase, or of an arm's second one."""
        return self.out / f"seed-{self.seed}" / phase


def phase_texts(
    first: Sequence[Document],
    second: Sequence[Document],
    tokenizer: Tokenizer,
    config: CurriculumConfig,
    rng: np.random.Generator,
) -> dict[str, list[Document]]:
    """Returns the text of both first phases (`broad`, `mixed`) and of each arm's second phase.

    `first` and `second` are the passages of the two domains, separators counted as tokens. All first phases have
    `first_tokens` and all second ones `second_tokens`, each to the end of a passage. Replayed text is text of the first
    phase; the text of `first_only` is new. `one_phase` has the text of both phases of `no_replay` in random order.
    """
    shuffled = [first[index] for index in rng.permutation(len(first))]
    broad = first_tokens(shuffled, config.first_tokens, tokenizer)
    more = first_tokens(shuffled[len(broad) :], config.second_tokens, tokenizer)
    narrow = random_tokens(second, config.second_tokens, tokenizer, rng)
    both = [*broad, *narrow]
    both = [both[index] for index in rng.permutation(len(both))]
    mixed = first_tokens(both, config.first_tokens, tokenizer)
    texts = {BROAD: broad, MIXED: mixed, "one_phase": both[len(mixed) :], "first_only": more}
    for arm, share in REPLAY.items():
        replayed = random_tokens(broad, round(share * config.second_tokens), tokenizer, rng) if share else []
        new = first_tokens(narrow, round((1 - share) * config.second_tokens), tokenizer)
        texts[arm] = [*replayed, *new]
    return texts


def first_phase_of(arm: CurriculumArm) -> str:
    """Returns which first phase an arm begins with."""
    return MIXED if arm == "one_phase" else BROAD


def curriculum(
    config: CurriculumConfig,
    out: Path | str,
    *,
    train: Dataset,
    held_out: Dataset,
    tokenizer: Path,
    context: execute.Context | None = None,
) -> Experiment:
    """Runs all arms with all seeds and writes `experiment.json`; called again, it continues.

    Both datasets hold documents of both domains; `config.split` tells them apart. `tokenizer` is a folder.
    Raises: ConfigError if `out` holds another experiment; DataError if a domain has too little text.
    """
    out, context = Path(out), context or execute.Context()
    machine = execute.Context(device=resolve_device(context.device), checkpoint_seconds=context.checkpoint_seconds)
    loaded = Tokenizer.load(tokenizer)
    identity = {
        "config": config,
        "train": train.fingerprint,
        "held_out": held_out.fingerprint,
        "tokenizer": loaded.fingerprint,
    }
    names = (CORPORA, *(f"seed-{seed}" for seed in config.seeds))
    claim(out, identity, kind="curriculum", outputs=(EXPERIMENT_RESULT, *names))
    clear_temporaries(out)
    write_corpora(out, train, held_out, loaded, config)
    runs = [
        CurriculumRun(config=config, seed=seed, out=out, tokenizer_folder=tokenizer, context=machine)
        for seed in config.seeds
    ]
    firsts = [(run, phase) for run in runs for phase in (BROAD, MIXED)]
    found = execute.map_shards(_first_shard, firsts, context, name="first phases", unit="trainings")
    first = {(run.seed, phase): record for (run, phase), record in zip(firsts, found, strict=True)}
    arms: list[tuple[CurriculumRun, CurriculumArm]] = [
        (run, arm) for run in runs for arm in CURRICULUM_ARMS if not first[run.seed, first_phase_of(arm)].ended
    ]
    outcomes = execute.map_shards(_second_shard, arms, context, name="second phases", unit="trainings")
    second = {(run.seed, arm): record for (run, arm), record in zip(arms, outcomes, strict=True)}
    records: dict[tuple[int, CurriculumArm], list[PhaseRecord]] = {
        (seed, arm): [first[seed, first_phase_of(arm)], *([second[seed, arm]] if (seed, arm) in second else [])]
        for seed in config.seeds
        for arm in CURRICULUM_ARMS
    }
    for run in runs:
        for phase in (BROAD, MIXED):  # no second phase needs it any more
            shutil.rmtree(run.folder(phase) / "model", ignore_errors=True)
    excerpts = {name: read_text(out, f"{name}-held-out") for name in (FIRST, SECOND)}
    result = curriculum_experiment(
        config, records, held_out=excerpts, n_params=config.model(loaded.vocab_size).n_params
    )
    write_result(out / EXPERIMENT_RESULT, result)
    return result


# Text


def domain_of(document: Document, split: str) -> str:
    """Returns `first` or `second`: by the kind of text (prose is the second), or by the corpus of the document."""
    if split == "kind":
        return FIRST if document.meta.get("kind") == "code" else SECOND
    corpus = document.source.split("/")[0]
    return SECOND if corpus == SECOND or corpus.startswith(f"{SECOND}-") else FIRST


def write_corpora(out: Path, train: Dataset, held_out: Dataset, tokenizer: Tokenizer, config: CurriculumConfig) -> None:
    """Writes the passages of both domains, and their held-out text, unless that is done.

    Raises: DataError if a domain has too little text.
    """
    folder = out / CORPORA
    names = [f"{name}{end}" for name in (FIRST, SECOND) for end in ("", "-held-out")]
    if all((folder / name / MANIFEST).is_file() for name in names):
        return
    texts: dict[str, list[Document]] = {}
    known: set[str] = set()
    for name in (FIRST, SECOND):
        there = _held_out_documents(name, train, held_out, config)
        if not there:
            raise DataError(
                f"There is no document of the {name} of the two texts to hold out.",
                fix="Give more of it; without `--second`, code is the first and prose the second text.",
            )
        every = without_texts(passages_of(held_out_excerpt(there, POOL_BYTES), config.passage_bytes), ())
        known |= {passage.text for passage in every}
        texts[f"{name}-held-out"] = random_bytes(every, config.held_out_bytes, np.random.default_rng(_HELD_OUT))
    wanted = {FIRST: config.first_tokens + config.second_tokens, SECOND: config.second_tokens}
    for name in (FIRST, SECOND):
        documents = (document for document in train.documents() if domain_of(document, config.split) == name)
        texts[name] = _within(documents, known, config)
        check_enough(texts[name], wanted[name], tokenizer, f"the {name} of the two texts")
    for name, documents in texts.items():
        write_dataset(folder / name, documents, made_by="curriculum", identity={"name": name})


def _held_out_documents(name: str, train: Dataset, held_out: Dataset, config: CurriculumConfig) -> list[Document]:
    """Returns the held-out documents of a domain and, where they hold too little to measure, training documents too.

    A text that is a small part of the whole may have next to nothing among what was held out. Whole documents are
    taken; what is held out here is not trained on: see `known` in `write_corpora`.
    """

    def of_domain(dataset: Dataset) -> Iterator[Document]:
        return (document for document in dataset.documents() if domain_of(document, config.split) == name)

    there = list(of_domain(held_out))
    missing = config.held_out_bytes - sum(len(one.text.encode("utf-8", "surrogatepass")) for one in there)
    if missing > 0 and next(of_domain(train), None):
        taken = {document.id for document in held_out_excerpt(of_domain(train), missing)}
        there += [document for document in of_domain(train) if document.id in taken]
    return there


def _within(documents: Iterable[Document], known: set[str], config: CurriculumConfig) -> list[Document]:
    try:
        excerpt = held_out_excerpt(documents, POOL_BYTES)
    except DataError:
        return []
    return without_texts(passages_of(excerpt, config.passage_bytes), known)


def read_text(out: Path, name: str) -> list[Document]:
    """Returns the documents of one of the corpora."""
    return list(Dataset.open(out / CORPORA / name).documents())


# Phases


def _first_shard(shard: tuple[CurriculumRun, str]) -> PhaseRecord:
    run, phase = shard
    with one_thread():
        return run_phase(run, phase, None)


def _second_shard(shard: tuple[CurriculumRun, CurriculumArm]) -> PhaseRecord:
    run, arm = shard
    with one_thread():
        return run_phase(run, arm, first_phase_of(arm))


def run_phase(run: CurriculumRun, phase: str, before: str | None) -> PhaseRecord:
    """Trains through a phase, from the model of the phase `before` or from new weights, unless that is done.

    The model stays; a killed training continues from its checkpoint.
    """
    folder = run.folder(phase)
    done = folder / RECORD
    if done.is_file():
        record = read_result(PhaseRecord, done)
    else:
        started = time.monotonic()
        try:
            record = _trained(run, phase, before, started)
        except DivergedError as error:
            record = PhaseRecord(ended=error.message, seconds=time.monotonic() - started)
        write_result(done, record)
    shutil.rmtree(folder / TRAINING, ignore_errors=True)
    return record


def _trained(run: CurriculumRun, phase: str, before: str | None, started: float) -> PhaseRecord:
    config, folder, tokenizer = run.config, run.folder(phase), run.tokenizer
    tokens = config.first_tokens if before is None else config.second_tokens
    text = run.texts[phase]
    texts = fingerprint_of([document.id for document in text])
    dataset = write_dataset(folder / TRAINING / "text", text, made_by="curriculum", identity={"text": texts})
    order = int(np.random.default_rng([run.seed, _ORDER, _STREAM_KEYS[phase]]).integers(2**31))
    weights = int(np.random.default_rng([run.seed, _WEIGHTS]).integers(2**31))
    training = TrainConfig(
        learning_rate=config.learning_rate, muon_learning_rate=config.muon_learning_rate, seed=weights
    )
    model = _start(run, folder, before, training).to(run.context.device)
    rows = config.global_batch_tokens // config.context_length
    steps = math.ceil(tokens / (rows * config.context_length))

    def evaluate(_: object) -> Mapping[str, float]:
        return {name: text_loss(model, tokenizer, found).bits_per_byte for name, found in run.held_out.items()}

    trainer = Trainer(
        model,
        TokenStream(dataset, tokenizer, context_length=config.context_length, batch_size=rows, seed=order),
        optimizers=make_optimizers(model, training),
        schedule=Schedule(
            steps=steps,
            warmup_steps=config.warmup_fraction * steps,
            decay_fraction=0.0 if before is None else config.decay_fraction,
        ),
        out=folder / TRAINING,
        identity={"texts": texts, "phase": phase, "seed": run.seed, "config": config},
        evaluate=evaluate,
        points=config.points,
        ahead=0,
        name=phase,
        context=run.context,
    )
    trainer.run()
    save_model(model, folder / "model")
    return PhaseRecord(
        points=read_points(folder / TRAINING / METRICS),
        flops=trainer.tokens * model.config.flops_per_token,
        passages={name: sum(_is_of(document, name, config) for document in text) for name in (FIRST, SECOND)},
        seconds=time.monotonic() - started,
    )


def _start(run: CurriculumRun, folder: Path, before: str | None, training: TrainConfig) -> Transformer:
    """Returns the model that a phase begins with: all arms have the same first one, with the broad text's bigrams."""
    if before is not None:
        return load_model(run.folder(before) / "model", device=run.context.device)
    identity = {"name": BROAD, "seed": run.seed}
    broad = write_dataset(folder / TRAINING / BROAD, run.texts[BROAD], made_by="curriculum", identity=identity)
    return first_model(run.config.model(run.tokenizer.vocab_size), training, broad, run.tokenizer)


def _is_of(document: Document, name: str, config: CurriculumConfig) -> bool:
    return domain_of(document, config.split) == name


def read_points(path: Path) -> tuple[PhasePoint, ...]:
    """Returns the measurements of a training, from its metrics."""
    found: list[PhasePoint] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if FIRST in row:
            found.append(PhasePoint(tokens=row["tokens"], first=row[FIRST], second=row[SECOND]))
    return tuple(found)
