import math
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tilth.assay.config import AssayConfig
from tilth.assay.density import zstd_bits_given
from tilth.assay.novelty import kind_of, overlaps, seed_overlap
from tilth.assay.vectors import term_vectors
from tilth.intervals import ratio_interval

text = st.lists(st.sampled_from("ant bee cat dog elk fox gnu hen".split()), max_size=40).map(" ".join)  # noqa: SIM905
texts = st.lists(text, min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(texts, texts, st.randoms(use_true_random=False), st.integers(1, 4))
def test_overlap_is_a_share_and_does_not_depend_on_order(
    some: list[str], source: list[str], rng: random.Random, n: int
) -> None:
    (found,) = overlaps([some], source, n)
    shuffled, other = list(some), list(source)
    rng.shuffle(shuffled)
    rng.shuffle(other)
    (again,) = overlaps([shuffled], other, n)
    assert again.share == found.share or (math.isnan(again.share) and math.isnan(found.share))
    assert math.isnan(found.share) or 0 <= found.share <= 1
    (own,) = overlaps([some], some, n)
    assert math.isnan(own.share) or own.share == 1


@settings(max_examples=60, deadline=None)
@given(text, text)
def test_every_document_is_a_copy_of_itself_and_has_one_kind(a: str, b: str) -> None:
    assume(a)
    config = AssayConfig()
    assert kind_of(seed_overlap(a, a), config) == "copy"
    assert 0 <= seed_overlap(a, b) <= 1
    assert kind_of(seed_overlap(a, b), config) in ("copy", "rephrase", "drift")


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=300), st.text(max_size=300))
def test_bits_given_a_source_are_never_negative(content: str, source: str) -> None:
    assume(content.encode("utf-8", "surrogatepass"))
    assert zstd_bits_given([content], [source]) >= 0


@settings(max_examples=60, deadline=None)
@given(texts)
def test_cosines_are_symmetric_and_one_on_the_diagonal(some: list[str]) -> None:
    every = range(len(some))
    kernel = term_vectors(some).cosines(every, every)
    assert (kernel == kernel.T).all() or abs(kernel - kernel.T).max() < 1e-12
    assert kernel.diagonal() == pytest.approx([1.0] * len(some))
    assert kernel.min() >= 0
    assert kernel.max() <= 1
    for a in every:
        for b in every:
            if some[a] == some[b]:
                assert kernel[a, b] == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.5, 100)), min_size=2, max_size=20))
def test_the_interval_of_a_ratio_holds_the_ratio_of_the_sums(pairs: list[tuple[float, float]]) -> None:
    amounts, sizes = [a for a, _ in pairs], [s for _, s in pairs]
    found = ratio_interval(amounts, sizes)
    assert found.mean == pytest.approx(math.fsum(amounts) / math.fsum(sizes))
    assert found.low <= found.mean <= found.high
    twice = ratio_interval(amounts * 2, sizes * 2)
    assert twice.high - twice.low <= found.high - found.low + 1e-9
