"""The result of an assay: what a dataset is worth, measure by measure (`assay.json`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tilth.intervals import Interval

ASSAY_RESULT = "assay.json"
"""File name, in the folder of an assay."""


@dataclass(frozen=True, kw_only=True)
class TextSize:
    """How much text there is, and how much of it was read."""

    name: str
    """What tables and legends call it."""
    documents: int
    bytes: int
    measured_documents: int
    measured_bytes: int
    fingerprint: str = ""
    """Of the dataset; empty: not known."""


@dataclass(frozen=True, kw_only=True)
class Density:
    """Bits per byte of the dataset: how surprising it is to models that were not trained on it."""

    bits_per_byte: dict[str, float]
    """Reference model -> bits per byte of the dataset."""
    source_bits_per_byte: dict[str, float]
    """The same of the held-out text, beside it: what real text that the models were not trained on costs."""
    compressed: float
    """Bits per byte of all its text in a row under zstd."""
    compressed_given_source: float | None = None
    """The same when the source was compressed just before; None without a source."""
    intervals: dict[str, Interval] = field(default_factory=dict[str, Interval])
    """Reference model -> the dataset's bits per byte with the interval over documents."""
    source_intervals: dict[str, Interval] = field(default_factory=dict[str, Interval])
    """The same of the held-out text."""
    word_order: float = math.nan
    """Bits per byte that the order of its words saves the first model: those of its documents with their words shuffled
    less those of the documents. Word salad and random text have next to none."""
    source_word_order: float = math.nan
    """The same of the held-out text."""
    models: dict[str, str] = field(default_factory=dict[str, str])
    """Reference model -> what it is, in a sentence."""
    documents: int = 0
    """Documents of the dataset that the models scored."""
    held_out_documents: int = 0


@dataclass(frozen=True, kw_only=True)
class DocumentNovelty:
    """One document against its own seed document."""

    id: str
    seed_id: str
    kind: str
    """`copy`, `rephrase` or `drift`."""
    overlap: float
    """Share of its word n-grams that its seed document holds."""
    excerpt: str
    seed_excerpt: str


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """What the dataset says that its source does not."""

    bits_per_byte_given_source: float
    """Under a model trained on the source."""
    held_out_bits_per_byte: float
    """Held-out text under the same model: what new text of the same kind costs."""
    overlap_with_source: float
    """Share of word n-grams that the source holds, too."""
    n: int
    """Words in those n-grams."""
    excess_over_neighbours: Interval | None = None
    """Bits per byte of sampled documents less those of their nearest documents in the source; far below 0: memorised or
    too easy; far above: noise."""
    held_out_excess: Interval | None = None
    """The same of held-out documents: what new real text costs more than its nearest source documents."""
    compared_documents: int = 0
    """Documents that were held against their neighbours."""
    held_out_overlap: float = math.nan
    """Share of the word n-grams of held-out text that the source holds: what new text of the same kind shares."""
    copied_documents: float = math.nan
    """Share of documents of which nearly all word n-grams are in the source, wherever."""
    seed_n: int = 3
    """Words in the n-grams that a document is held against its own seed document by."""
    by_seed: dict[str, int] = field(default_factory=dict[str, int])
    """`copy`, `rephrase`, `drift` -> documents whose seed document is known; empty where none is."""
    examples: tuple[DocumentNovelty, ...] = ()
    """A few of each kind."""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What a learner takes from the dataset while it reads it once (prequential coding)."""

    learner: str
    """The model class, its size and its compute budget, in words."""
    flops: float
    tokens: int
    entropy: float
    """H: bits per byte at the end of the pass: what the learner still cannot predict."""
    epiplexity: float
    """S: bits, the area between the learning curve and its end: structure that the learner took up (2601.03220)."""
    epiplexity_per_byte: float
    prequential: float
    """Bits per byte over the whole pass: H + S / bytes."""
    curve: tuple[tuple[float, float], ...] = ()
    """(bytes read, bits per byte there)."""
    bytes: int = 0
    """Text that the learner read."""
    source_entropy: float = math.nan
    """H of the source under the same learner, read for as many bytes."""
    source_epiplexity_per_byte: float = math.nan
    """S of the source, for each byte: what real text of this size holds for the learner."""


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """How many different things the dataset says."""

    near_duplicates: float
    """Share of documents that nearly equal an earlier one."""
    semantic_duplicates: float
    """Share of sampled documents whose nearest other has a cosine above .9."""
    vendi: float
    """Effective number of different documents among the sampled ones (Friedman & Dieng 2023)."""
    sampled_documents: int
    opening_share: float
    """Template mass: share of documents that begin with the most common five words; 0 if no two begin alike."""
    closing_share: float
    """The same of the last five words."""
    distinct: dict[str, float]
    """n -> distinct word n-grams / all."""
    tail_mass: float
    """Share of words that are among the rarest of the source's vocabulary (its last fifth of probability mass)."""
    source_tail_mass: float | None = None
    """The same of the held-out or source text."""
    machine_text: dict[str, float] = field(default_factory=dict[str, float])
    """Phrase that machine text overuses -> share of documents that hold it."""
    unknown_words: float = math.nan
    """Share of words that the source does not have at all."""
    openings: tuple[tuple[str, float], ...] = ()
    """The most common openings of five words and their shares; only such as two documents or more have."""
    closings: tuple[tuple[str, float], ...] = ()
    """The same of the last five words."""


@dataclass(frozen=True, kw_only=True)
class ArmLoss:
    """Held-out bits per byte after one arm, one for each seed; nan where it diverged."""

    arm: str
    losses: tuple[float, ...]
    tokens: int
    """Of its own text; the replayed source text beside it is the same in all arms."""
    unique_tokens: int
    """Tokens of different text that the arm had; below `tokens` it read its text more than once."""
    flops: float
    """Of training one seed, replayed text included."""
    ended: str = ""
    """What went wrong with an arm, in words; empty: nothing."""
    bytes: int = 0
    """Of the text that the arm had, before any of it was read again."""


@dataclass(frozen=True, kw_only=True)
class LearnerValue:
    """The value of a dataset for one size of learner."""

    depth: int
    n_params: int
    before: tuple[float, ...]
    """Held-out bits per byte before the arms part, one for each seed."""
    arms: tuple[ArmLoss, ...]
    """`noise`, `repeat`, `fresh` and `dataset` at least."""
    value: Interval
    """nu = (L0 - L_dataset) / (L0 - L_fresh), L0 = min(before, repeat): 0 is no better than stopping or repeating, 1 as
    good as new real text, negative is harmful. By bootstrap over seeds and held-out documents."""
    noise_value: Interval
    """nu of the noise arm: what does not exceed it counts as nothing."""
    bits_removed: Interval
    """Held-out bits per byte that the dataset removed: before less after."""
    longer_bits_removed: Interval
    """The same of training on for longer with real text seen before, for as many FLOPs as generation and training
    of the dataset took; nan where the generation FLOPs are not known."""
    word_salad_value: Interval = field(default_factory=lambda: Interval(math.nan, math.nan, math.nan))
    """nu of the words of the source in random order: what does not exceed it taught no more than word frequencies."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """The value of a dataset, for each size of learner."""

    learners: tuple[LearnerValue, ...]
    seeds: tuple[int, ...]
    held_out_documents: int
    held_out_bytes: int
    flips: bool
    """Whether the order of the arms differs between sizes by more than the intervals allow."""
    verdict: str
    """One sentence."""
    notes: tuple[str, ...] = ()
    """What was set aside, left out, repeated or cut."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What making the dataset took."""

    generation_flops: float
    """All teachers' and judges' calls, rejected samples included."""
    kept_tokens: int
    flops_per_kept_token: float
    samples_made: int
    samples_kept: int
    teachers: dict[str, float]
    """Teacher -> FLOPs."""
    recipe: str = ""
    """That made the dataset; empty: not known."""
    samples_per_prompt: float | None = None
    """Samples that were drawn for each prompt; None: not known."""
    verifier: str = ""
    """What samples had to pass, in a word or two; empty: nothing, or not known."""
    bits_removed_per_pflop: Interval | None = None
    """The headline: held-out bits per byte removed for 10^15 generation FLOPs; None without a value."""
    longer_bits_removed_per_pflop: Interval | None = None
    """The same for simply training longer with as many FLOPs."""


@dataclass(frozen=True, kw_only=True)
class AssayCard:
    """What a dataset is worth. A part is None where it was not asked for or its inputs are not there."""

    dataset: TextSize
    source: TextSize | None
    held_out: TextSize
    contaminated_documents: int
    """Documents that hold text of the held-out set; they were left out of everything that is measured here."""
    density: Density
    structure: Structure
    diversity: Diversity
    novelty: Novelty | None = None
    value: Value | None = None
    cost: Cost | None = None
    findings: tuple[str, ...] = ()
    """What a reader should know first, a sentence each, worst first."""
    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""
    seconds: float = 0.0
