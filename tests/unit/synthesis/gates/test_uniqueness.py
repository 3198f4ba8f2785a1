import random
from itertools import pairwise
from pathlib import Path

import pytest

from tilth.synthesis.gates import UniquenessMeter, diversity_line, uniqueness


def fresh(seed: int, n: int = 40) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(10**6)}" for _ in range(n))


def test_fresh_samples_are_unique_and_repeated_ones_are_not() -> None:
    meter = UniquenessMeter(every=10)
    points = [meter.add(str(n), fresh(n)) for n in range(10)]
    assert points[:9] == [None] * 9
    first = points[9]
    assert first is not None
    assert (first.samples, first.unique_share, first.distinct_4, first.opening_share) == (10, 1.0, 1.0, 0.1)
    for n in range(10):
        meter.add(f"again{n}", fresh(n) + " tail")
    second = meter.points[1]
    assert (second.samples, second.unique_share, second.opening_share) == (20, 0.5, 0.1)
    assert second.distinct_4 == (10 * 37 + 10) / (10 * 37 + 10 * 38)
    assert second.bytes_per_compressed > 1.5 * first.bytes_per_compressed


def test_the_opening_is_the_most_common_five_words() -> None:
    meter = UniquenessMeter(every=4)
    for n, text in enumerate(("Once upon a time there", "Once, upon a time: THERE!", "Once upon a time then", "x")):
        meter.add(str(n), f"{text} {fresh(n)}")
    assert meter.points[0].opening_share == 0.5


def test_only_the_latest_samples_count_but_all_are_remembered() -> None:
    meter = UniquenessMeter(every=5, window=5)
    for n in range(5):
        meter.add(str(n), fresh(0))
    for n in range(5):
        meter.add(f"new{n}", fresh(n + 1))
    meter.add("old", fresh(0))
    for n in range(4):
        meter.add(f"newer{n}", fresh(n + 20))
    assert [point.unique_share for point in meter.points] == [0.2, 1.0, 0.8]


def test_samples_without_words_and_none_at_all() -> None:
    meter = UniquenessMeter(every=2)
    assert meter.point().unique_share == 1.0
    meter.add("a", "")
    meter.add("b", "\ud800")
    assert meter.points[0].distinct_4 == 1.0
    assert diversity_line(meter.points[0])


def test_the_index_on_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniqueness, "_SAVED", 7)
    plain, stored = UniquenessMeter(every=5), UniquenessMeter(every=5, work=tmp_path / "index")
    for n in range(30):
        for meter in (plain, stored):
            meter.add(str(n), fresh(n % 11))
    assert stored.points == plain.points
    assert len(list((tmp_path / "index").glob("*.arrow"))) == 4
    again = UniquenessMeter(every=5, work=tmp_path / "index")
    for n in range(30):
        again.add(str(n), fresh(n % 11))
    assert again.points == plain.points


def test_a_point_in_one_line() -> None:
    meter = UniquenessMeter(every=1)
    point = meter.add("a", fresh(1))
    assert point is not None
    assert diversity_line(point).startswith("100% unique, distinct-4 1.00, most common opening 100.0%, compresses ")


def test_points_of_many_samples_are_further_apart_up_to_a_limit() -> None:
    meter = UniquenessMeter(every=2, window=5)
    for n in range(2500):
        meter.add(str(n), f"{n} {n * 7} words")
    at = [point.samples for point in meter.points]
    assert at[:3] == [2, 4, 6]
    steps = [b - a for a, b in pairwise(at)]
    assert steps == sorted(steps)
    assert steps[-1] == uniqueness.MOST_APART
    assert len(at) < 120
