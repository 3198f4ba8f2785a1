"""What a dataset says that its source does not: shared word sequences, bits given the source, and each document beside
the one it was made from.

A copy, a rephrasing and a drift are told apart by the share of a document's word n-grams that its seed document holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tilth.assay.config import AssayConfig
from tilth.assay.result import DocumentNovelty
from tilth.assay.scoring import Scorer, sizes_of
from tilth.assay.text import Seed
from tilth.assay.vectors import term_vectors
from tilth.curation.dedup import distinct, sequence_hashes, word_hashes, words_of
from tilth.intervals import Interval, mean_interval
from tilth.types import Document

SOURCE_WORDS = 8
"""Words of the sequences that are looked for in the whole source: fewer are shared by chance in a large one."""
SEED_WORDS = 3
"""Words of the sequences that are looked for in one seed document."""
NEIGHBOURS = 2
"""Nearest source documents that a document is held against."""
NEIGHBOUR_DOCUMENTS = 100
"""Documents that are held against their neighbours."""
NEIGHBOUR_CANDIDATES = 1000
"""Source documents among which the nearest are looked for."""
NEIGHBOUR_CHARACTERS = 1500
"""Of each document, that are scored."""
MOST_EXAMPLES = 3
"""Documents of each kind that are shown."""
_EXCERPT = 300

Kind = Literal["copy", "rephrase", "drift"]
_U64 = npt.NDArray[np.uint64]


# Against the whole source


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How much of the word n-grams of some texts another text holds."""

    share: float
    """Over all n-grams; nan where there are none."""
    by_text: tuple[float, ...]
    """Of each text; nan for one with too few words."""


def overlaps(groups: Sequence[Sequence[str]], source: Iterable[str], n: int = SOURCE_WORDS) -> list[Overlap]:
    """Returns the overlap of each group of texts with the source, which is read once and never held in memory."""
    grams = [[_grams(text, n) for text in group] for group in groups]
    wanted = distinct(np.concatenate([np.empty(0, np.uint64), *(row for group in grams for row in group)]))
    found = np.zeros(len(wanted), bool)
    if len(wanted):
        for text in source:
            here = _grams(text, n)
            at = np.minimum(np.searchsorted(wanted, here), len(wanted) - 1)
            found[at[wanted[at] == here]] = True
    return [_overlap([found[np.searchsorted(wanted, row)] for row in group]) for group in grams]


def _overlap(hits: Sequence[npt.NDArray[np.bool_]]) -> Overlap:
    total = sum(map(len, hits))
    return Overlap(
        share=sum(int(row.sum()) for row in hits) / total if total else math.nan,
        by_text=tuple(float(row.mean()) if len(row) else math.nan for row in hits),
    )


def _grams(text: str, n: int) -> _U64:
    """Returns the hash of each `n` words in a row, in their order; none of a shorter text."""
    words = word_hashes(words_of(text))
    return sequence_hashes(words, n) if len(words) >= n else np.empty(0, np.uint64)


# Against each document's own seed


def against_seeds(
    documents: Sequence[Document], seeds: Mapping[str, Seed], seed_texts: Mapping[str, str], config: AssayConfig
) -> tuple[dict[str, int], tuple[DocumentNovelty, ...]]:
    """Returns how many documents copy, rephrase or drift from their seed document, and a few of each.

    `seeds`: document -> its seed; `seed_texts`: seed document -> its text. Documents without one are left out.
    """
    judged: list[DocumentNovelty] = []
    for document in documents:
        seed = seeds.get(document.id)
        if seed is None or seed.id not in seed_texts:
            continue
        text = _part(seed_texts[seed.id], seed.span)
        overlap = seed_overlap(document.text, text)
        judged.append(
            DocumentNovelty(
                id=document.id,
                seed_id=seed.id,
                kind=kind_of(overlap, config),
                overlap=overlap,
                excerpt=_beginning(document.text),
                seed_excerpt=_beginning(text),
            )
        )
    kinds: tuple[Kind, ...] = ("copy", "rephrase", "drift")
    counts = {kind: sum(one.kind == kind for one in judged) for kind in kinds} if judged else {}
    examples = [one for kind in kinds for one in _most_typical([x for x in judged if x.kind == kind], kind)]
    return counts, tuple(examples)


def seed_overlap(text: str, seed: str) -> float:
    """Returns the share of the word n-grams of a text that its seed holds; of a shorter text, of as many words as it
    has; 0 for one without words."""
    n = min(SEED_WORDS, len(words_of(text)))
    if not n:
        return 0.0
    return float(np.isin(_grams(text, n), _grams(seed, n)).mean())


def kind_of(overlap: float, config: AssayConfig) -> Kind:
    """Returns what a document with this overlap is."""
    if overlap >= config.copy_overlap:
        return "copy"
    return "drift" if overlap < config.drift_overlap else "rephrase"


def _most_typical(found: Sequence[DocumentNovelty], kind: Kind) -> list[DocumentNovelty]:
    """Returns the clearest copies and drifts, and rephrasings from the middle."""
    middle = sorted(one.overlap for one in found)[len(found) // 2] if found else 0.0
    target = {"copy": 1.0, "rephrase": middle, "drift": 0.0}[kind]
    return sorted(found, key=lambda one: (abs(one.overlap - target), one.id))[:MOST_EXAMPLES]


def _part(text: str, span: tuple[int, int] | None) -> str:
    if span is None:
        return text
    return text.encode("utf-8", "surrogatepass")[span[0] : span[1]].decode("utf-8", "replace")


def _beginning(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]} ..."


# Against the nearest documents of the source


def excess_over_neighbours(texts: Sequence[str], source: Sequence[str], scorer: Scorer) -> Interval:
    """Returns the bits per byte of documents less those of their nearest documents in the source: mean and interval.

    `scorer` was trained on the source. Far below 0: memorised, or easier than real text on the same subject; far
    above: noise, or another kind of text. Of each pair, the same length is scored. nan without two documents.
    """
    asked = [text[:NEIGHBOUR_CHARACTERS] for text in texts if text.strip()][:NEIGHBOUR_DOCUMENTS]
    among = [text[:NEIGHBOUR_CHARACTERS] for text in source if text.strip()][:NEIGHBOUR_CANDIDATES]
    if not asked or not among:
        return Interval(math.nan, math.nan, math.nan)
    vectors = term_vectors([*asked, *among])
    cosines = vectors.cosines(range(len(asked)), range(len(asked), len(asked) + len(among)))
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
    pairs = [(asked[row], among[int(number)]) for row in range(len(asked)) for number in nearest[row]]
    # Equally much of both: of a short text each byte costs more, because it has less before it.
    sizes = [min(len(text), len(neighbour)) for text, neighbour in pairs]
    bits = _bits(scorer, [text[:size] for (text, _), size in zip(pairs, sizes, strict=True)])
    others = _bits(scorer, [neighbour[:size] for (_, neighbour), size in zip(pairs, sizes, strict=True)])
    return mean_interval((np.array(bits) - np.array(others)).reshape(len(asked), -1).mean(axis=1).tolist())


def _bits(scorer: Scorer, texts: Sequence[str]) -> list[float]:
    return (scorer.nats(texts) / math.log(2) / sizes_of(texts)).tolist()
