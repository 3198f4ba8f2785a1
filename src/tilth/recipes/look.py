"""A short look at a corpus before anything is spent: what is there, what would be kept, and what it will take.

The files are listed and some of them read, those with the lowest hashes of their names and of each only the beginning,
so that it takes a second or two whatever the size and says the same every time. What would become of them is found out
by the operators of the run itself; duplicates show only in the whole, and are left to the run. Files behind a URL are
listed and not read.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tilth.curation.code_languages import PACKED
from tilth.curation.config import CurationConfig
from tilth.execute import Context
from tilth.files import InputFile
from tilth.model.config import ModelConfig
from tilth.paths import is_url
from tilth.recipes.estimates import Estimate, estimate
from tilth.recipes.step_functions import Pretraining
from tilth.sources import Source
from tilth.steps import Planned, Step, needed_steps
from tilth.training.config import TrainConfig

if TYPE_CHECKING:
    from tilth.curation.read_result import ReadResult

SAMPLE_FILES, SAMPLE_DOCUMENTS, SAMPLE_BYTES = 48, 160, 400_000
"""Most files, documents and bytes of text that are read."""
DOCUMENTS_OF_A_FILE = 12
"""Documents at the beginning of a file that are read."""
MANY_SECONDS = 3600.0
"""Work that is worth a question."""
_PACKED_TIMES = 3.0
"""Text is about so many times as long as its packed file."""
_BASE_BYTES, _NGRAM_BYTES, _NGRAM_TEXT = 450e6, 50.0, 64 << 20
"""Memory of a process that has loaded everything, and of the 5-gram model for each byte of as much text at most."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The files of one source."""

    path: str
    files: int
    bytes: int
    kinds: tuple[tuple[str, int, int], ...]
    """Suffix, files, bytes of what is read; the largest first."""
    unread: tuple[tuple[str, int], ...] = ()
    """Suffix and files of what is not: pictures, archives, ..."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What would become of some of the text."""

    files: int = 0
    documents: int = 0
    """Records that were read, those among them that are no document included."""
    bytes: int = 0
    kept: int = 0
    kept_bytes: int = 0
    drops: tuple[tuple[str, int], ...] = ()
    """Reason and documents, the most frequent first."""
    languages: Mapping[str, int] = field(default_factory=dict[str, int])
    """Language -> documents that would be kept."""

    @property
    def kept_share(self) -> float | None:
        """Share of the text that would be kept; None where nothing was read."""
        return self.kept_bytes / self.bytes if self.bytes else None


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is known of a run before it begins."""

    corpora: tuple[Corpus, ...]
    sample: Sample
    text_tokens: int | None = None
    """Tokens of one pass over the training text, estimated."""
    asked_tokens: int | None = None
    """Training budget; None where the recipe trains nothing."""
    max_epochs: float = math.inf
    seconds: float | None = None
    """Of all steps that are not done; None where one cannot be estimated."""
    memory_bytes: float | None = None
    questions: tuple[str, ...] = ()
    """What a person may want to change first."""

    @property
    def epochs(self) -> float | None:
        """Passes over the text that the budget asks for."""
        return self.asked_tokens / self.text_tokens if self.asked_tokens and self.text_tokens else None


def look(target: Step, planned: Sequence[Planned], context: Context) -> Look | None:
    """Looks at the corpora of a recipe; None where no curation is still to be done.

    Raises: DataError if a corpus does not exist; ConfigError for operators that do not work.
    """
    todo = {p.step.label for p in planned if p.state in ("new", "partial")}
    curation = next((s for s in needed_steps(target) if s.name == "curate" and s.label in todo), None)
    if curation is None or not isinstance(curation.config, CurationConfig):
        return None
    sources = {name: item for name, item in curation.inputs.items() if isinstance(item, Source)}
    files = {name: [replace(file, corpus=name) for file in source.files()] for name, source in sources.items()}
    corpora = tuple(_corpus(sources[name].path, found) for name, found in files.items())
    sample = sample_of([file for found in files.values() for file in found], curation.config)
    pretraining = next((s.config for s in needed_steps(target) if isinstance(s.config, Pretraining)), None)
    read = sum(n_bytes * (_PACKED_TIMES if kind in PACKED else 1) for c in corpora for kind, _, n_bytes in c.kinds)
    share = sample.kept_share
    text_bytes = None if share is None else read * share * (1 - curation.config.held_out_fraction)
    found = Look(corpora=corpora, sample=sample)
    if pretraining is not None and text_bytes:
        model, training = pretraining.model, pretraining.training
        tokens = max(1, round(text_bytes / bytes_per_token(model.vocab_size)))
        found = replace(
            found,
            text_tokens=tokens,
            asked_tokens=training.tokens,
            max_epochs=training.max_epochs,
            memory_bytes=memory(model, training, text_bytes, context.micro_batch_size),
        )
    found = replace(found, seconds=_seconds(planned, found, context))
    return replace(found, questions=tuple(_questions(found)))


def _corpus(path: str, files: Sequence[InputFile]) -> Corpus:
    from tilth.curation.read import is_read

    kinds, sizes, unread = Counter[str](), Counter[str](), Counter[str]()
    for file in files:
        kind = PurePosixPath(file.name).suffix.lower() or "no suffix"
        if file.skipped or not is_read(file.name):
            unread[kind] += 1
        else:
            kinds[kind] += 1
            sizes[kind] += file.bytes
    return Corpus(
        path=path,
        files=len(files),
        bytes=sum(file.bytes for file in files),
        kinds=tuple((kind, kinds[kind], size) for kind, size in sizes.most_common()),
        unread=tuple(unread.most_common()),
    )


def sample_of(files: Sequence[InputFile], config: CurationConfig) -> Sample:
    """Reads some of the files and lets the operators judge them: always the same ones, whatever their order."""
    from tilth.curation.guard import stop_guard
    from tilth.curation.read import is_read
    from tilth.curation.read_result import Read

    readable = [f for f in files if not f.skipped and is_read(f.name) and not is_url(f.path)]
    n_files = n_bytes = 0
    results: list[ReadResult] = []
    for file in sorted(readable, key=_order)[:SAMPLE_FILES]:
        for result in _beginning(file, config):
            results.append(result)
            n_bytes += _size(result) if isinstance(result, Read) else 0
        n_files += 1
        if n_bytes >= SAMPLE_BYTES or len(results) >= SAMPLE_DOCUMENTS:
            break
    try:
        return replace(_judged(results, config), files=n_files)
    finally:
        stop_guard()


def _order(file: InputFile) -> str:
    return hashlib.sha256(f"{file.corpus}\0{file.name}".encode("utf-8", "surrogatepass")).hexdigest()


def _beginning(file: InputFile, config: CurationConfig) -> list[ReadResult]:
    from tilth.curation.read import read_file
    from tilth.curation.read_result import Read

    found: list[ReadResult] = []
    n_bytes = 0
    reading = read_file(file, config)
    for result in islice(reading, DOCUMENTS_OF_A_FILE):
        found.append(result)
        n_bytes += _size(result) if isinstance(result, Read) else 0
        if n_bytes >= SAMPLE_BYTES // 4:
            break
    return found


def _size(result: ReadResult) -> int:
    from tilth.curation.operators import row_bytes

    return row_bytes(result.row)


def _judged(results: Sequence[ReadResult], config: CurationConfig) -> Sample:
    from tilth.curation.columns import batch_of
    from tilth.curation.guard import guarded
    from tilth.curation.operators import row_bytes
    from tilth.curation.read_result import DeadLetter, Read

    drops, languages = Counter[str](), Counter[str]()
    kept = kept_bytes = n_bytes = 0
    reads: list[Read] = []
    for result in results:
        if isinstance(result, Read):
            reads.append(result)
            n_bytes += row_bytes(result.row)
        else:
            drops["unreadable" if isinstance(result, DeadLetter) else str(result.row["reason"])] += 1
            n_bytes += int(str(result.row["bytes"]))
    for worked in guarded(config).apply(batch_of(reads)) if reads else ():
        for row in worked.kept.to_pylist():
            kept += 1
            kept_bytes += row_bytes(row)
            if row["language"]:
                languages[str(row["language"])] += 1
        drops.update(str(reason) for reason in worked.rejects["reason"].to_pylist())
        drops["unreadable"] += worked.dead_letters.num_rows
    return Sample(
        documents=len(results),
        bytes=n_bytes,
        kept=kept,
        kept_bytes=kept_bytes,
        drops=tuple((reason, n) for reason, n in drops.most_common() if n),
        languages=dict(languages.most_common()),
    )


def bytes_per_token(vocab_size: int) -> float:
    """Returns about how many bytes of English a token of a vocabulary of this size holds: 2.2 of 512, 3.5 of 4,096."""
    return max(1.0, 0.43 * math.log2(max(vocab_size, 2)) - 1.65)


def memory(model: ModelConfig, training: TrainConfig, text_bytes: float, micro_batch_size: int | None) -> float:
    """Returns the most bytes of memory that a run will take at a time, about: in training, or for the 5-gram model.

    Weights, gradients, two moments and the best weights, in 32 bits; of a step's tokens, what each layer keeps for the
    way back, and three times the logits.
    """
    rows = max(1, training.global_batch_tokens // model.context_length)
    step_tokens = min(rows, micro_batch_size or rows) * model.context_length
    heads = model.n_heads * model.head_width
    layer = 10 * model.d_model + 6 * heads + 4 * model.ff_width + model.n_heads * model.context_length
    activations = 4.0 * step_tokens * (model.n_layers * layer + 3 * model.vocab_size)
    return _BASE_BYTES + max(5 * 4.0 * model.n_params + activations, _NGRAM_BYTES * min(text_bytes, _NGRAM_TEXT))


def estimates_of(planned: Sequence[Planned], found: Look | None, context: Context) -> dict[str, Estimate | None]:
    """Returns how long each step that is not cached will take, training cut to the most passes over the text."""
    estimates: dict[str, Estimate | None] = {}
    for one in planned:
        if one.record is not None:
            continue
        known = estimate(one, context)
        if known and found and found.epochs is not None and isinstance(one.step.config, Pretraining):
            known = replace(known, seconds=known.seconds * min(1.0, found.max_epochs / found.epochs))
        estimates[one.step.label] = known
    return estimates


def _seconds(planned: Sequence[Planned], found: Look, context: Context) -> float | None:
    """Returns what all steps that are not done will take; None where one cannot be estimated."""
    estimates = estimates_of([one for one in planned if one.state in ("new", "partial")], found, context)
    known = [one.seconds for one in estimates.values() if one is not None]
    return sum(known) if len(known) == len(estimates) else None


def _questions(found: Look) -> list[str]:
    questions: list[str] = []
    sample = found.sample
    if not any(corpus.kinds for corpus in found.corpora):
        questions.append("None of these files is of a kind that is read.")
    elif sample.documents and not sample.kept:
        reason = f", most of it as `{sample.drops[0][0]}`" if sample.drops else ""
        questions.append(f"Nothing of the sample would be kept{reason}.")
    elif found.epochs is not None and found.epochs > found.max_epochs:
        questions.append(
            f"The text is little for this budget: training will stop after {found.max_epochs:g} passes, or earlier. "
            "The model will know this text and little else; more text helps most."
        )
    if found.seconds is not None and found.seconds > MANY_SECONDS:
        questions.append("This will take more than an hour: fewer `--tokens` or less `--depth` take less.")
    return questions
