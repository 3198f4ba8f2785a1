"""The assay of a dataset: all its measures, each a unit of work in a file of its own, on one card.

A killed assay continues with what is not measured yet and ends with the same bytes, seconds aside. A part that cannot
be measured (a model that diverges, a folder that cannot be read, too little text) leaves a note and the others go on.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tilth.assay.arms import read_texts
from tilth.assay.config import AssayConfig
from tilth.assay.cost import find_synthesis, find_synthesis_file, measure_cost, share_read, with_value
from tilth.assay.density import measure_density
from tilth.assay.diversity import text_diversity
from tilth.assay.findings import findings
from tilth.assay.novelty import NEIGHBOUR_DOCUMENTS, SOURCE_WORDS, against_seeds, excess_over_neighbours, overlaps
from tilth.assay.result import ASSAY_RESULT, AssayCard, Cost, Density, Diversity, Novelty, Structure, Value
from tilth.assay.scoring import NgramScorer, Scorer, TransformerScorer, open_scorer
from tilth.assay.structure import measure_structure
from tilth.assay.text import Excerpt, Texts, excerpt, held_out_index, lineages_of, open_texts, seed_of, texts_of
from tilth.assay.value import measure_value
from tilth.errors import ReadError, StepError, TilthError
from tilth.evaluation.held_out import ORDER, train_ngram
from tilth.execute import Context
from tilth.files import clear_temporaries
from tilth.identity import claim
from tilth.model.config import ModelConfig
from tilth.results import read_result, write_result
from tilth.sources import Source
from tilth.storage import Dataset
from tilth.tokenizer import Tokenizer
from tilth.training.config import TrainConfig
from tilth.training.pretraining import train

WORK = "work"
"""Folder of what is under way; it is removed when the card is written."""
NGRAM, PROXY = f"{ORDER}-gram model of the source", "small model of the source"
PROXY_CONTEXT = 128
PROXY_EPOCHS = 4.0
_PARTS = ("density", "novelty", "structure", "diversity", "cost")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A finished unit of work: one of the measures, and what could not be measured."""

    density: Density | None = None
    novelty: Novelty | None = None
    structure: Structure | None = None
    diversity: Diversity | None = None
    cost: Cost | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Material:
    """What is measured, and with what."""

    dataset: Dataset
    source: Dataset
    own: Excerpt
    """Of the dataset."""
    real: Excerpt
    """Of the source."""
    held_out: Excerpt
    fresh: Excerpt | None
    models: tuple[Path, ...]
    config: AssayConfig
    context: Context
    work: Path
    given: Tokenizer | None
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    """Reference model -> why it does not score."""

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The one that was given, or one that is trained on the source."""
        if self.given is not None:
            return self.given
        return Tokenizer.train(self.real.texts(), vocab_size=self.config.training.vocab_size)

    @cached_property
    def scorers(self) -> dict[str, Scorer]:
        """The reference models by name; `unreadable` says which there are not."""
        makers: dict[str, Callable[[], Scorer]] = {NGRAM: self._ngram, PROXY: self._proxy}
        for folder in self.models:
            makers[_free_name(folder.resolve().name, makers)] = lambda folder=folder: open_scorer(
                folder, self.context.device
            )
        found: dict[str, Scorer] = {}
        for name, make in makers.items():
            try:
                found[name] = make()
            except TilthError as error:
                _raise_passing(error)
                self.unreadable[name] = f"The {name} does not score: {error.message}"
        return found

    @property
    def main_scorer(self) -> tuple[str, Scorer] | None:
        """The best one that was trained on the source."""
        return next(((name, self.scorers[name]) for name in (PROXY, NGRAM) if name in self.scorers), None)

    def _ngram(self) -> Scorer:
        model, n_bytes = train_ngram(self.tokenizer, self.real.dataset)
        note = f"Modified Kneser-Ney over {self.tokenizer.vocab_size:,} tokens, counted on {n_bytes:,} bytes of it."
        return NgramScorer(model, self.tokenizer, note)

    def _proxy(self) -> Scorer:
        shape = ModelConfig.from_depth(
            self.config.proxy_depth, vocab_size=self.tokenizer.vocab_size, context_length=PROXY_CONTEXT
        )
        config = TrainConfig(tokens=self.config.proxy_tokens, max_epochs=PROXY_EPOCHS, seed=self.config.seed)
        done = train(shape, config, self.real.dataset, self.tokenizer, self.work / "proxy", context=self.context)
        note = (
            f"Transformer of {shape.n_params:,} parameters, trained in {done.summary.steps:,} steps on "
            f"{done.summary.tokens:,} tokens of it ({done.summary.epochs or 0:.1f} passes)."
        )
        return TransformerScorer(done.model, self.tokenizer, note)


def assay(
    dataset: Texts,
    out: Path | str,
    *,
    source: Texts,
    held_out: Texts,
    fresh: Texts | None = None,
    config: AssayConfig | None = None,
    models: Sequence[Path | str] = (),
    tokenizer: Tokenizer | None = None,
    context: Context | None = None,
) -> AssayCard:
    """Measures what a dataset is worth beside its source and held-out text; writes `assay.json`.

    Texts are datasets, their folders, or files. `models` are folders of reference models, ours or Hugging Face's.
    `fresh` is real text like the source that the value compares with. The tokenizer of the small models is trained on
    the source where none is given. Called again in the same folder, it continues.
    Raises: DataError for text that cannot be read; ConfigError if `out` holds another assay.
    """
    out, config, context = Path(out), config or AssayConfig(), context or Context()
    work = out / WORK
    given = {"dataset": dataset, "source": source, "held_out": held_out, "fresh": fresh}
    opened = {name: open_texts(texts, _reading(texts, work)) for name, texts in given.items() if texts is not None}
    folders = tuple(map(Path, models))
    run = find_synthesis_file(opened["dataset"])
    identity = {
        "config": config,
        **({} if run is None else {"synthesis": Source(str(run)).fingerprint(work)}),
        **{name: opened[name].fingerprint if name in opened else None for name in given},
        "models": [Source(str(folder)).fingerprint(work) if folder.is_dir() else str(folder) for folder in folders],
        "tokenizer": tokenizer.fingerprint if tokenizer is not None else None,
    }
    claim(out, identity, kind="assay", outputs=(ASSAY_RESULT, "value"))
    clear_temporaries(out)
    if not (out / ASSAY_RESULT).exists():
        material = _material(opened, folders, config, context, work, tokenizer)
        write_result(out / ASSAY_RESULT, _card(material, out))
    shutil.rmtree(work, ignore_errors=True)
    return read_result(AssayCard, out / ASSAY_RESULT)


def _reading(texts: Texts, work: Path) -> Path:
    """Returns the folder into which files are read, named by their content."""
    if isinstance(texts, Dataset) or not Path(texts).exists():
        return work
    return work / f"read-{Source(str(texts)).fingerprint(work)}"


def _material(
    opened: dict[str, Dataset],
    models: tuple[Path, ...],
    config: AssayConfig,
    context: Context,
    work: Path,
    tokenizer: Tokenizer | None,
) -> Material:
    context.progress.say("assay: reading the texts")
    most = config.max_bytes
    held_out = excerpt("held-out text", opened["held_out"], work / "held_out", most)
    index = held_out_index(held_out.documents(), work / "index")
    fresh = opened.get("fresh")
    return Material(
        dataset=opened["dataset"],
        source=opened["source"],
        own=excerpt("dataset", opened["dataset"], work / "dataset", most, without=index),
        real=excerpt("source", opened["source"], work / "source", most, without=index),
        held_out=held_out,
        fresh=None if fresh is None else excerpt("fresh text", fresh, work / "fresh", most, without=index),
        models=models,
        config=config,
        context=context,
        work=work,
        given=tokenizer,
    )


def _card(material: Material, out: Path) -> AssayCard:
    makers: dict[str, Callable[[Material], Part]] = {
        "density": _density,
        "novelty": _novelty,
        "structure": _structure,
        "diversity": _diversity,
        "cost": _cost,
    }
    parts = {name: _finished(name, makers[name], material) for name in _PARTS}
    value, value_notes, value_seconds = _value(material, parts["cost"].cost, out / "value")
    cost = parts["cost"].cost
    if cost is not None and value is not None:
        cost = with_value(cost, value, share_read(value, material.dataset.n_bytes))
    card = AssayCard(
        dataset=material.own.size,
        source=material.real.size,
        held_out=material.held_out.size,
        contaminated_documents=material.own.contaminated,
        density=parts["density"].density or _NO_DENSITY,
        structure=parts["structure"].structure or _NO_STRUCTURE,
        diversity=parts["diversity"].diversity or text_diversity([]),
        novelty=parts["novelty"].novelty,
        value=value,
        cost=cost,
        notes=(*_text_notes(material), *(note for name in _PARTS for note in parts[name].notes), *value_notes),
        seconds=sum(part.seconds for part in parts.values()) + value_seconds,
    )
    return replace(card, findings=findings(card))


_NO_DENSITY = Density(bits_per_byte={}, source_bits_per_byte={}, compressed=math.nan)
_NO_STRUCTURE = Structure(
    learner="not measured",
    flops=0.0,
    tokens=0,
    entropy=math.nan,
    epiplexity=math.nan,
    epiplexity_per_byte=math.nan,
    prequential=math.nan,
)


def _finished(name: str, make: Callable[[Material], Part], material: Material) -> Part:
    """Returns a part, measured now or before; one that fails is a note."""
    path = material.work / "parts" / f"{name}.json"
    if path.exists():
        return read_result(Part, path)
    material.context.progress.say(f"assay: {name}")
    began = time.monotonic()
    try:
        part = make(material)
    except ReadError:
        raise  # the disk or the network: the next call measures it
    except TilthError as error:
        _raise_passing(error)
        part = Part(notes=(f"{name.capitalize()} was not measured: {error.message}",))
    part = replace(part, seconds=round(time.monotonic() - began, 2))
    write_result(path, part)
    return part


def _raise_passing(error: TilthError, folder: Path | None = None) -> None:
    """Raises an error that tells nothing of the texts: a worker or disk that failed, a damaged file of our own.

    A note on the card would stay, though the next attempt can measure the part. `folder` holds the files of our own.
    """
    if isinstance(error, StepError | ReadError) or (folder is not None and str(folder) in error.message):
        raise error


def _text_notes(material: Material) -> list[str]:
    notes: list[str] = []
    for one in (material.own, material.real, material.fresh):
        if one is None:
            continue
        size = one.size
        if size.measured_bytes < size.bytes and size.bytes > material.config.max_bytes:
            notes.append(
                f"Of the {size.name}, {size.measured_bytes:,} of {size.bytes:,} bytes were read; `--max-bytes` is the "
                "limit."
            )
        if one is not material.own and one.contaminated:
            notes.append(
                f"{one.contaminated:,} documents of the {size.name} hold text of the held-out set and were left out."
            )
    return notes


# The parts


def _density(material: Material) -> Part:
    scored = material.config.scored_bytes
    density, notes = measure_density(
        material.own.texts(scored),
        material.held_out.texts(scored),
        material.scorers,
        compressed=material.own.texts(),
        source=material.real.texts(),
    )
    return Part(density=density, notes=(*material.unreadable.values(), *notes))


def _novelty(material: Material) -> Part:
    config, scorer = material.config, material.main_scorer
    density = _finished("density", _density, material).density
    if scorer is None or density is None or scorer[0] not in density.bits_per_byte:
        return Part(notes=("Novelty was not measured: no model could be trained on the source.",))
    documents, held_out = material.own.documents(), material.held_out.texts(config.scored_bytes)
    texts = [document.text for document in documents]
    own, real = overlaps([texts, held_out], (document.text for document in material.source.documents()))
    counted = [share for share in own.by_text if math.isfinite(share)]
    sampled = documents[: config.sampled_documents]
    lineages = lineages_of(material.own.dataset, {document.id for document in sampled})
    seeds = {id: seed for id, lineage in lineages.items() if (seed := seed_of(lineage)) is not None}
    wanted = {seed.id for seed in seeds.values()}
    by_seed, examples = against_seeds(sampled, seeds, _seed_texts(material, wanted), config)
    source = material.real.texts()
    excess, real_excess = (excess_over_neighbours(some, source, scorer[1]) for some in (texts, held_out))
    novelty = Novelty(
        bits_per_byte_given_source=density.bits_per_byte[scorer[0]],
        held_out_bits_per_byte=density.source_bits_per_byte[scorer[0]],
        overlap_with_source=own.share,
        n=SOURCE_WORDS,
        excess_over_neighbours=excess,
        held_out_excess=real_excess,
        compared_documents=min(len(texts), NEIGHBOUR_DOCUMENTS),
        held_out_overlap=real.share,
        copied_documents=sum(share >= config.copy_overlap for share in counted) / len(counted) if counted else math.nan,
        by_seed=by_seed,
        examples=examples,
    )
    return Part(novelty=novelty, notes=_seed_notes(seeds=len(seeds), found=sum(by_seed.values())))


def _seed_notes(*, seeds: int, found: int) -> tuple[str, ...]:
    if not seeds:
        return ("No document names its seed document (column `lineage`), so none is compared with it.",)
    if found < seeds:
        return (f"The seed documents of {seeds - found:,} of {seeds:,} documents are not in the source.",)
    return ()


def _seed_texts(material: Material, wanted: set[str]) -> dict[str, str]:
    """Returns the texts of seed documents: from the source, else from the dataset that the run beside it names."""
    if not wanted:
        return {}
    found = texts_of(material.source, wanted)
    run = find_synthesis(material.dataset)
    if len(found) < len(wanted) and run is not None and run.dataset:
        with suppress(TilthError):  # it is no longer there: the note says how many are missing
            found |= texts_of(Dataset.open(run.dataset), wanted - found.keys())
    return found


def _structure(material: Material) -> Part:
    n_bytes = min(material.config.structure_bytes, material.own.size.measured_bytes, material.real.size.measured_bytes)
    measured: dict[str, Structure] = {}
    for name, texts in (("dataset", material.own), ("source", material.real)):
        text = excerpt(name, texts.dataset, material.work / "structure" / name / "text", n_bytes)
        measured[name] = measure_structure(
            text.dataset,
            material.tokenizer,
            material.work / "structure" / name / "training",
            seed=material.config.seed,
            context=material.context,
        )
    return Part(
        structure=replace(
            measured["dataset"],
            source_entropy=measured["source"].entropy,
            source_epiplexity_per_byte=measured["source"].epiplexity_per_byte,
        )
    )


def _diversity(material: Material) -> Part:
    config = material.config
    return Part(
        diversity=text_diversity(
            material.own.texts(),
            material.real.texts(),
            beside=material.held_out.texts(config.scored_bytes),
            sampled_documents=config.sampled_documents,
            near_duplicate_threshold=config.near_duplicate_threshold,
            seed=config.seed,
        )
    )


def _cost(material: Material) -> Part:
    found = measure_cost(material.dataset, material.config.teacher_params)
    return Part(cost=found.cost, notes=(found.note,) if found.note else ())


def _value(material: Material, cost: Cost | None, out: Path) -> tuple[Value | None, tuple[str, ...], float]:
    if not material.config.value:
        return None, (), 0.0
    began = time.monotonic()
    share = material.own.size.measured_bytes / max(1, material.dataset.n_bytes)
    try:
        source = _source_of_value(material)
        value = measure_value(
            material.own.dataset,
            out,
            source=source.dataset,
            whole_source=material.source if source is not material.real else None,
            held_out=material.held_out.dataset,
            fresh=None if material.fresh is None else material.fresh.dataset,
            config=material.config.training,
            tokenizer=material.given,
            generation_flops=None if cost is None else share * cost.generation_flops,
            context=material.context,
        )
    except ReadError:
        raise
    except TilthError as error:
        _raise_passing(error, out)
        return None, (f"Value was not measured: {error.message}",), 0.0
    return value, tuple(f"Value: {note}" for note in value.notes), round(time.monotonic() - began, 2)


def _source_of_value(material: Material) -> Excerpt:
    """Returns what the learners read of the source. Of one above the limit, the documents that the dataset was made of
    come first: text made of what no learner has read would pass for new."""
    if material.real.size.bytes <= material.config.max_bytes:
        return material.real
    named = {name for text in read_texts(material.own.dataset) for name in text.names}
    first = {text.id for text in read_texts(material.source) if not named.isdisjoint(text.own_names)}
    return excerpt(
        "source", material.source, material.work / "value-source", material.config.max_bytes,
        without=held_out_index(material.held_out.documents(), material.work / "index"), first=first,
    )  # fmt: skip


def _free_name(name: str, taken: dict[str, Callable[[], Scorer]]) -> str:
    number, free = 2, name
    while free in taken:
        number, free = number + 1, f"{name} {number}"
    return free
