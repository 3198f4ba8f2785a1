"""Sampling designs: weights, seeds, mistakes."""

from collections import Counter

import pytest

from tilth.errors import ConfigError
from tilth.synthesis.design import cells, make_design

AXES = {"audience": {"child": 3.0, "student": 1.0, "expert": 0.0}, "format": {"story": 0.5, "manual": 1.5}}


def test_weights_are_kept_and_axes_are_independent() -> None:
    n = 4000
    rows = cells(AXES, "weighted", n, 0)
    pairs = Counter((row["audience"], row["format"]) for row in rows)
    expected = {("child", "story"): 3 / 16, ("child", "manual"): 9 / 16, ("student", "story"): 1 / 16}
    expected[("student", "manual")] = 3 / 16
    assert set(pairs) == set(expected)
    chi_square = sum((pairs[cell] - n * p) ** 2 / (n * p) for cell, p in expected.items())
    assert chi_square < 16.3  # 0.1% of chi-square with 3 degrees of freedom


@pytest.mark.parametrize("kind", ["weighted", "grid", "latin"])
def test_a_design_follows_from_its_seed(kind: str) -> None:
    axes = {name: {str(i): 1.0 for i in range(7)} for name in "abc"}
    first, again, other = (cells(axes, kind, 40, seed) for seed in (1, 1, 2))  # pyright: ignore[reportArgumentType]
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", ["grid", "latin"])
def test_a_weight_of_zero_takes_a_value_out(kind: str) -> None:
    rows = cells(AXES, kind, 50, 0)  # pyright: ignore[reportArgumentType]
    assert {row["audience"] for row in rows} == {"child", "student"}


def test_latin_spreads_pairs_better_than_a_grid_with_few_documents() -> None:
    axes = {name: {str(i): 1.0 for i in range(4)} for name in "abcd"}

    def pairs(kind: str) -> int:
        rows = cells(axes, kind, 16, 0)  # pyright: ignore[reportArgumentType]
        return sum(len({(r[x], r[y]) for r in rows}) for x, y in ("ab", "ac", "ad", "bc", "bd", "cd"))

    assert pairs("latin") > pairs("grid")


def test_a_latin_design_beyond_its_cycle_goes_on_evenly() -> None:
    design = make_design({"a": {"x": 1, "y": 1}, "b": {"p": 1, "q": 1, "r": 1}}, "latin", 0, 1000)
    pairs = Counter(tuple(design.cell("", i).values()) for i in range(600))
    assert set(pairs.values()) == {100}


def test_without_axes_cells_are_empty() -> None:
    assert cells({}, "grid", 2, 0) == [{}, {}] == cells({}, "latin", 2, 0) == cells({}, "weighted", 2, 0)


@pytest.mark.parametrize(
    ("axes", "kind"),
    [({"a": {}}, "grid"), ({"a": {"x": 0.0}}, "weighted"), ({"a": {"x": -1.0}}, "weighted"), ({}, "random")],
)
def test_mistakes(axes: dict[str, dict[str, float]], kind: str) -> None:
    with pytest.raises(ConfigError):
        make_design(axes, kind, 0, 5)  # pyright: ignore[reportArgumentType]
