"""Texts that a small model writes from its own corpus: continuations of passages, and bootstrapped pairs; then gates.

`continuations`: the model continues the first half of a passage, and its own words are the text. `bootstrapped`: the
model is trained on pairs of related passages first (`synthesis/bootstrap.py`), and writes a related one to each.
Texts are dropped that repeat themselves, copy the passage they were written from, or resemble a passage of the corpus
or a text kept before. Everything is drawn in a fixed order with a seed for each passage: a run again gives equal bytes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import pyarrow as pa

from tilth.curation.near_duplicates import NearDuplicateIndex
from tilth.curation.operators import Drop
from tilth.execute import Context
from tilth.improve.answering import training_flops_per_token
from tilth.improve.text.language_config import LanguageConfig
from tilth.inference import Engine, SamplingParams
from tilth.model import load_model
from tilth.results import read_result, write_result
from tilth.storage import Dataset, finish_dataset, shard_name, write_table
from tilth.synthesis import bootstrap
from tilth.synthesis.bootstrap import BootstrapResult, PairFormat
from tilth.synthesis.define import ParseError
from tilth.synthesis.gates.copied import CopyGate
from tilth.synthesis.gates.near_duplicate import NearDuplicateGate
from tilth.synthesis.gates.text_hashes import hashes_of
from tilth.synthesis.recipes.bootstrap import parse_related
from tilth.synthesis.recipes.bootstrap_options import Bootstrap
from tilth.tokenizer import Tokenizer
from tilth.types import Document, Message, Sample, document_id, documents_table, extend_lineage

Kind: TypeAlias = Literal["bootstrapped", "continuations"]
KINDS: tuple[Kind, ...] = ("bootstrapped", "continuations")
WRITTEN = "written.json"
"""File name, beside `texts/`."""
EXAMPLES = 2
_SHOWN = 600


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a model wrote and what the gates left of it."""

    kind: str
    generated: int
    kept: int
    kept_bytes: int
    dropped: dict[str, int]
    """Reason -> texts."""
    generation_flops: float
    """Of all samples, dropped ones too, with their prompts."""
    training_flops: float = 0.0
    """Of the model of pairs."""
    pairs: int = 0
    pair_gain: float = 0.0
    """Nats a token that a related passage before it saves the model of pairs on held-out pairs, against one that is not
    related; nan without any."""
    examples: tuple[tuple[str, str], ...] = ()
    """(passage, text) that was kept."""
    ended: str = ""
    """Why there are no texts, in words; empty: there are."""

    @property
    def flops(self) -> float:
        """FLOPs of everything that the texts took."""
        return self.generation_flops + self.training_flops


@dataclass
class Gates:
    """What a text must pass; it remembers what it let through, so it is called in the order of the passages."""

    config: LanguageConfig
    organic: Sequence[Document]
    dropped: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        threshold = self.config.max_similar or None
        corpus = NearDuplicateIndex(threshold)
        for document in self.organic:
            corpus.add(document.id, corpus.sketch(hashes_of(document.text)))
        self._copies = CopyGate(self.config.max_copied)
        self._similar = NearDuplicateGate(threshold, earlier=corpus)

    def passes(self, text: str, passage: Document) -> bool:
        """Whether a text that was written from a passage is kept; why not is counted."""
        reason = self._reason(text, passage)
        if reason:
            self.dropped[reason] += 1
        return not reason

    def _reason(self, text: str, passage: Document) -> str:
        try:
            parse_related(text, self.config.max_repeated)
        except ParseError as error:
            return error.reason
        if len(text.split()) < self.config.min_words:
            return "too_short"
        sample = Sample(id=document_id("own-texts", text), text=text, source=passage.source)
        for gate in (self._copies, self._similar):
            verdict = gate.judge(sample, passage)
            if isinstance(verdict, Drop):
                return verdict.reason
        return ""


def write_texts(
    kind: Kind, organic: Dataset, model: Path, out: Path, config: LanguageConfig, seed: int, context: Context
) -> Written:
    """Has the model in a folder (with its tokenizer) write texts from the corpus; leaves the dataset `texts`.

    Finished, it is read again; killed, it is done again, but for the training on pairs, which continues.
    """
    if (out / WRITTEN).exists():
        return read_result(Written, out / WRITTEN)
    passages = [passage for passage in organic[: config.prompts] for _ in range(config.samples)]
    taught: BootstrapResult | None = None
    if kind == "bootstrapped":
        options = Bootstrap(
            model=str(model),
            threshold=config.pair_similarity,
            neighbours=config.pair_neighbours,
            epochs=config.pair_epochs,
            training_seed=seed,
        )
        work = out / "pairs"
        work.mkdir(parents=True, exist_ok=True)
        engine = bootstrap.prepare(organic, work, options, context).engine
        taught = read_result(BootstrapResult, work / bootstrap.RESULT)
        chat = PairFormat(context_length=config.context_length)
        prompts = [chat.encode((Message(role="user", content=p.text),), engine.tokenizer) for p in passages]
    else:
        engine = Engine(load_model(model, device=context.device), Tokenizer.load(model))
        prompts = [first_half(passage.text, engine.tokenizer, config.context_length) for passage in passages]
    texts, flops = _draw(engine, prompts, config, seed)
    gates = Gates(config, organic[:])
    kept = [(p, t) for p, t in zip(passages, texts, strict=True) if gates.passes(t, p)]
    _write_dataset(out / "texts", kind, kept, organic)
    per_token = training_flops_per_token(engine.model, config.context_length)
    written = Written(
        kind=kind,
        generated=len(texts),
        kept=len(kept),
        kept_bytes=sum(len(text.encode("utf-8", "surrogatepass")) for _, text in kept),
        dropped=dict(sorted(gates.dropped.items())),
        generation_flops=flops,
        training_flops=taught.tokens * per_token if taught else 0.0,
        pairs=taught.pairs if taught else 0,
        pair_gain=taught.loss_unrelated - taught.loss_after if taught else 0.0,
        examples=tuple((p.text[:_SHOWN], t[:_SHOWN]) for p, t in kept[:EXAMPLES]),
        ended="" if kept else f"every one of {len(texts)} texts was dropped: {_reasons(gates.dropped)}",
    )
    write_result(out / WRITTEN, written)
    # The optimizer's state of the model of pairs, which nothing needs any more.
    shutil.rmtree(out / "pairs" / "training", ignore_errors=True)
    return written


def first_half(text: str, tokenizer: Tokenizer, context_length: int) -> list[int]:
    """Returns the ids of a separator and of a passage's first half, at most half of a context."""
    separator = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
    ids = tokenizer.encode_ordinary(text.strip())
    return [*separator, *ids[: max(1, min(len(ids) // 2, context_length // 2 - 1))]]


def _draw(
    engine: Engine, prompts: Sequence[Sequence[int]], config: LanguageConfig, seed: int
) -> tuple[list[str], float]:
    """Returns a text for each prompt, and the FLOPs: a forward pass is a third of a training step."""
    params = SamplingParams(max_tokens=config.context_length, temperature=config.temperature)
    # Seeds of different runs are far apart, so that no two draw alike.
    seeds = [seed * 1_000_003 + index for index in range(len(prompts))]
    found = engine.generate([list(prompt) for prompt in prompts], params, seeds=seeds)
    tokens = sum(len(prompt) + len(one.tokens) - 1 for prompt, one in zip(prompts, found, strict=True))
    flops = tokens * training_flops_per_token(engine.model, config.context_length) / 3
    return [one.text.strip() for one in found], flops


def _write_dataset(folder: Path, kind: Kind, kept: Sequence[tuple[Document, str]], organic: Dataset) -> None:
    """Writes the texts with the passages that they were written from as their lineage."""
    documents = [
        Document.make(text, f"{kind}/{passage.source}", corpus=kind, language=passage.language)
        for passage, text in kept
    ]
    lineage = [extend_lineage(None, recipe=kind, source_id=passage.id) for passage, _ in kept]
    table = documents_table(documents).append_column("lineage", pa.array(lineage, pa.string()))
    write_table(folder / shard_name(0), table)
    finish_dataset(folder, shards=[shard_name(0)], made_by=f"language/{kind}", parents=(organic.fingerprint,))


def _reasons(dropped: Counter[str]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in dropped.most_common())
