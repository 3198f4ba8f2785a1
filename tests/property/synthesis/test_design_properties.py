"""What sampling designs always hold: even margins, full grids, draws that know no order."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.synthesis.design import cells, make_design

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def axes_of(sizes: list[int]) -> dict[str, dict[str, float]]:
    return {f"axis{i}": {f"v{j}": 1.0 + j for j in range(size)} for i, size in enumerate(sizes)}


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 150), st.integers(0, 5), st.sampled_from(["grid", "latin"]))
def test_margins_differ_by_one_at_most(sizes: list[int], n: int, seed: int, kind: str) -> None:
    axes = axes_of(sizes)
    rows = cells(axes, kind, n, seed)  # pyright: ignore[reportArgumentType]
    for axis, values in axes.items():
        counts = Counter(row[axis] for row in rows)
        every = [counts[value] for value in values]
        assert max(every) - min(every) <= 1


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 5), st.integers(1, 2))
def test_a_grid_gives_every_cell_equally_often(sizes: list[int], seed: int, cycles: int) -> None:
    design = make_design(axes_of(sizes), "grid", seed, 10)
    rows = Counter(tuple(design.cell("", i).values()) for i in range(design.n_cells * cycles))
    assert len(rows) == design.n_cells and set(rows.values()) == {cycles}


@settings(max_examples=40, deadline=None)
@given(sizes, st.lists(st.text(max_size=8), min_size=1, max_size=20, unique=True), st.randoms(), st.integers(0, 3))
def test_weighted_draws_know_no_order(sizes: list[int], ids: list[str], random: object, seed: int) -> None:
    axes = axes_of(sizes)
    design = make_design(axes, "weighted", seed, len(ids))
    before = {identifier: design.cell(identifier, index) for index, identifier in enumerate(ids)}
    random.shuffle(ids)  # pyright: ignore[reportAttributeAccessIssue]
    other = make_design(axes, "weighted", seed, 7)
    assert before == {identifier: other.cell(identifier, index) for index, identifier in enumerate(ids)}


@pytest.mark.parametrize("size", [3, 5, 7])
def test_three_axes_in_a_square_make_a_latin_square(size: int) -> None:
    rows = cells(axes_of([size] * 3), "latin", size * size, 0)
    for one, other in combinations(("axis0", "axis1", "axis2"), 2):
        pairs = Counter((row[one], row[other]) for row in rows)
        assert set(pairs.values()) == {1} and len(pairs) == size * size


def test_even_sizes_come_close_to_a_square() -> None:
    rows = cells(axes_of([4] * 3), "latin", 16, 0)
    for one, other in combinations(("axis0", "axis1", "axis2"), 2):
        assert len({(row[one], row[other]) for row in rows}) >= 12


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=2, max_size=2), st.integers(0, 5))
def test_pairs_of_two_axes_are_even_in_a_latin_design(sizes: list[int], seed: int) -> None:
    n = sizes[0] * sizes[1]
    rows = cells(axes_of(sizes), "latin", n, seed)
    assert set(Counter((row["axis0"], row["axis1"]) for row in rows).values()) == {1}
