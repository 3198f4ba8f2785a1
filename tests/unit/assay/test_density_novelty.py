import math
import random

import numpy as np
import pytest

from tilth.assay.config import AssayConfig
from tilth.assay.density import measure_density, zstd_bits_given
from tilth.assay.novelty import against_seeds, excess_over_neighbours, kind_of, overlaps, seed_overlap
from tilth.assay.text import Seed, seed_of
from tilth.errors import DataError
from tilth.evaluation.compression import zstd_bits_per_byte
from tilth.types import Document
from unit.assay.texts import docstrings

REAL = docstrings()
SOURCE, FRESH = REAL[:200], REAL[200:300]


class Flat:
    """A reference model to which every character costs the same, or that has no finite losses."""

    def __init__(self, nats: float) -> None:
        self.each, self.note = nats, f"{nats} nats a character"

    def nats(self, texts: list[str]) -> np.ndarray:
        return np.array([self.each * len(text) for text in texts])


def test_zstd_given_the_source_tells_copies_from_new_text() -> None:
    copies, shuffled = SOURCE[50:120], SOURCE[50:120][::-1]
    assert zstd_bits_given(copies, SOURCE) < 0.1 * zstd_bits_per_byte(copies)
    assert zstd_bits_given(shuffled, SOURCE) < 0.15 * zstd_bits_per_byte(shuffled)
    assert zstd_bits_given(FRESH, SOURCE) > 0.7 * zstd_bits_per_byte(FRESH)
    with pytest.raises(DataError):
        zstd_bits_given([""], SOURCE)


def test_a_model_without_finite_losses_is_a_note_and_the_others_stay() -> None:
    density, notes = measure_density(
        ["abcd"] * 3, ["efgh"] * 2, {"flat": Flat(math.log(2)), "broken": Flat(math.nan)}, compressed=FRESH, source=[]
    )
    assert density.bits_per_byte == {"flat": pytest.approx(1.0)}
    assert density.source_bits_per_byte == {"flat": pytest.approx(1.0)}
    assert (density.documents, density.held_out_documents) == (3, 2)
    assert density.compressed_given_source is None
    (note,) = notes
    assert "broken" in note


def test_overlap_with_the_source_is_that_of_word_sequences() -> None:
    copied, fresh = overlaps([SOURCE[:50], FRESH], iter(SOURCE))
    assert copied.share == 1
    assert fresh.share < 0.15
    half = f"{SOURCE[0]} {FRESH[0]}"
    (mixed,) = overlaps([[half, "too short"]], SOURCE)
    assert 0.05 < mixed.by_text[0] < 0.95
    assert math.isnan(mixed.by_text[1])
    salad = " ".join(random.Random(0).sample(SOURCE[0].split(), len(SOURCE[0].split())))
    assert overlaps([[salad]], SOURCE)[0].share == 0


def test_documents_are_copies_rephrasings_or_drifts_of_their_seed() -> None:
    words = SOURCE[0].split()
    changed = " ".join("something" if number % 6 == 0 else word for number, word in enumerate(words))
    config = AssayConfig()
    assert kind_of(seed_overlap(SOURCE[0], SOURCE[0]), config) == "copy"
    assert kind_of(seed_overlap(changed, SOURCE[0]), config) == "rephrase"
    assert kind_of(seed_overlap(FRESH[5], SOURCE[0]), config) == "drift"
    assert seed_overlap("", SOURCE[0]) == 0
    assert seed_overlap(words[0], SOURCE[0]) == 1


def test_each_document_is_compared_with_its_own_seed_and_only_with_that() -> None:
    documents = [Document.make(text, source="made") for text in (SOURCE[0], SOURCE[1], FRESH[0], "no seed is known")]
    seeds = {
        documents[0].id: Seed(id="s0"),
        documents[1].id: Seed(id="s0"),
        documents[2].id: Seed(id="s1", span=(0, len(FRESH[0].encode()))),
    }
    texts = {"s0": SOURCE[0], "s1": FRESH[0] + FRESH[1], "other": "unused"}
    counts, examples = against_seeds(documents, seeds, texts, AssayConfig())
    assert counts["copy"] == 2
    assert sum(counts.values()) == 3
    assert {example.id for example in examples} == {document.id for document in documents[:3]}
    assert against_seeds(documents, {}, texts, AssayConfig()) == ({}, ())


def test_the_seed_is_the_one_of_the_latest_synthesis() -> None:
    lineage = '[{"stage": "read"}, {"stage": "synthesize", "source_id": "a"}, {"stage": "synthesize", "source_id": "b", "span": [3, 9]}, {"stage": "filter"}]'  # noqa: E501
    assert seed_of(lineage) == Seed(id="b", span=(3, 9))
    assert seed_of('[{"stage": "read"}]') is None
    for wrong in ("no JSON", "[1]", '[{"stage": "synthesize", "source_id": "a", "span": [1, "x"]}]'):
        with pytest.raises(DataError, match="lineage"):
            seed_of(wrong)


def test_excess_is_measured_against_the_nearest_source_documents() -> None:
    class ByWord:
        """A model to which documents with the word `zebra` cost twice as much."""

        note = ""

        def nats(self, texts: list[str]) -> np.ndarray:
            return np.array([len(text.encode()) * math.log(2) * (2 if "zebra" in text else 1) for text in texts])

    animals = [f"the zebra runs over plain number {n} with stripes" for n in range(6)]
    stones = [f"a stone rests in valley number {n} without stripes" for n in range(6)]
    near = excess_over_neighbours(animals[:3], [*animals[3:], *stones], ByWord())
    assert near.mean == pytest.approx(0, abs=1e-9)
    far = excess_over_neighbours(animals[:3], stones, ByWord())
    assert far.mean == pytest.approx(1)
    assert math.isnan(excess_over_neighbours([], stones, ByWord()).mean)
