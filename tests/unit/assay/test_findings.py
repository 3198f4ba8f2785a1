"""Each sentence appears where its figure is on the wrong side of its threshold, and only there."""

import math
from dataclasses import replace

import pytest

from tilth.assay.diversity import text_diversity
from tilth.assay.findings import findings
from tilth.assay.result import AssayCard, Density, Novelty, Structure, TextSize
from tilth.intervals import Interval

SIZE = TextSize(name="dataset", documents=100, bytes=10_000, measured_documents=100, measured_bytes=10_000)
GOOD = AssayCard(
    dataset=SIZE,
    source=SIZE,
    held_out=SIZE,
    contaminated_documents=0,
    density=Density(
        bits_per_byte={"model": 2.0}, source_bits_per_byte={"model": 2.0}, compressed=2.0, compressed_given_source=1.9
    ),
    structure=Structure(
        learner="", flops=1.0, tokens=1, entropy=2.0, epiplexity=100.0, epiplexity_per_byte=0.5, prequential=2.5,
        source_entropy=2.0, source_epiplexity_per_byte=0.5,
    ),
    diversity=text_diversity([f"a{n} b{n} c{n}" for n in range(100)]),
    novelty=Novelty(
        bits_per_byte_given_source=2.0, held_out_bits_per_byte=2.0, overlap_with_source=0.0, n=8, copied_documents=0.0
    ),
)  # fmt: skip
assert GOOD.novelty is not None
WRONG = {
    "speaks against": GOOD,
    "hold held-out text": replace(GOOD, contaminated_documents=10),
    "nearly word for word": replace(GOOD, novelty=replace(GOOD.novelty, copied_documents=0.2)),
    "tells most of it": replace(GOOD, density=replace(GOOD.density, compressed_given_source=0.9)),
    "copy the document": replace(GOOD, novelty=replace(GOOD.novelty, by_seed={"copy": 2, "rephrase": 8, "drift": 0})),
    "drift from it": replace(GOOD, novelty=replace(GOOD.novelty, by_seed={"copy": 0, "rephrase": 6, "drift": 4})),
    "nearly equal another": replace(GOOD, diversity=replace(GOOD.diversity, near_duplicates=0.1)),
    "begin with the words": replace(
        GOOD, diversity=replace(GOOD.diversity, opening_share=0.2, openings=(("sure here is", 0.2),))
    ),
    "overuse": replace(GOOD, diversity=replace(GOOD.diversity, machine_text={"delve": 0.1})),
    "much the same": replace(GOOD, diversity=replace(GOOD.diversity, vendi=20.0)),
    "Rare words": replace(GOOD, diversity=replace(GOOD.diversity, tail_mass=0.05, source_tail_mass=0.1)),
    "not in the source at all": replace(GOOD, diversity=replace(GOOD.diversity, unknown_words=0.5)),
    "next to nothing: it saves": replace(GOOD, density=replace(GOOD.density, word_order=0.1, source_word_order=0.5)),
    "easy to predict": replace(GOOD, density=replace(GOOD.density, bits_per_byte={"model": 1.0})),
    "It is noise, or of another kind": replace(
        GOOD,
        density=replace(GOOD.density, bits_per_byte={"model": 3.0}),
        structure=replace(GOOD.structure, entropy=2.1),
    ),
    "of another kind rather than noise": replace(GOOD, density=replace(GOOD.density, bits_per_byte={"model": 3.0})),
    "noisier than real text": replace(
        GOOD,
        novelty=replace(
            GOOD.novelty,
            excess_over_neighbours=Interval(0.5, 0.4, 0.6),
            held_out_excess=Interval(0.1, 0.0, 0.2),
        ),
    ),
    "easier than real text": replace(
        GOOD,
        novelty=replace(
            GOOD.novelty,
            excess_over_neighbours=Interval(-0.5, -0.6, -0.4),
            held_out_excess=Interval(0.1, 0.0, 0.2),
        ),
    ),
    "little to learn": replace(GOOD, structure=replace(GOOD.structure, epiplexity_per_byte=0.1)),
    "more noise": replace(GOOD, structure=replace(GOOD.structure, entropy=3.0)),
}


@pytest.mark.parametrize("words", WRONG)
def test_a_figure_on_the_wrong_side_is_a_sentence_and_the_others_are_not(words: str) -> None:
    (sentence,) = findings(WRONG[words])
    assert words in sentence


def test_the_worst_comes_first() -> None:
    assert GOOD.novelty is not None
    bad = replace(
        GOOD,
        novelty=replace(GOOD.novelty, copied_documents=0.9),
        diversity=replace(GOOD.diversity, near_duplicates=0.1, machine_text={"delve": 0.1}),
    )
    assert ["word for word" in bad_one for bad_one in findings(bad)] == [True, False, False]


def test_what_was_not_measured_is_no_finding() -> None:
    nothing = replace(
        GOOD,
        novelty=None,
        density=Density(bits_per_byte={}, source_bits_per_byte={}, compressed=math.nan),
        structure=replace(
            GOOD.structure, entropy=math.nan, epiplexity_per_byte=math.nan, source_epiplexity_per_byte=math.nan
        ),
    )
    assert findings(nothing) == findings(GOOD)


def test_too_little_text_is_said_before_what_rests_on_it() -> None:
    few = replace(GOOD, held_out=TextSize(name="held-out text", documents=1, bytes=19, measured_documents=1,
                                          measured_bytes=19))  # fmt: skip
    assert GOOD.novelty is not None
    few = replace(few, novelty=replace(GOOD.novelty, copied_documents=0.9))
    first, second = findings(few)
    assert "too little text" in first and "held-out text has 19 bytes" in first and "word for word" in second
