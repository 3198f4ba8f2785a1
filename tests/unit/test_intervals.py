"""95% intervals, against tables and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tilth.intervals import accuracy_interval, student_t


def test_one_seed_has_the_interval_of_its_problems() -> None:
    # Brown, Cai, DasGupta 2001, eq. 4; the values are those of statsmodels' proportion_confint(method="wilson").
    interval = accuracy_interval([0.5], 200)
    assert (interval.low, interval.high) == (pytest.approx(0.43136, abs=1e-4), pytest.approx(0.56864, abs=1e-4))
    perfect = accuracy_interval([1.0], 200)
    assert perfect.high == 1.0 and perfect.low == pytest.approx(0.98115, abs=1e-4)


def test_several_seeds_have_the_interval_of_their_mean() -> None:
    interval = accuracy_interval([0.4, 0.5, 0.6], 200)
    assert interval.mean == pytest.approx(0.5)
    assert (interval.high - interval.low) / 2 == pytest.approx(4.303 * 0.1 / math.sqrt(3), abs=1e-3)
    assert accuracy_interval([0.9, 1.0, 1.0], 200).high == 1.0


def test_seeds_that_differ_widen_it() -> None:
    close, far = accuracy_interval([0.49, 0.5, 0.51], 200), accuracy_interval([0.2, 0.5, 0.8], 200)
    assert far.high - far.low > 10 * (close.high - close.low)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.5, 0.05, (4000, 3))
    intervals = [accuracy_interval(row.tolist(), 200) for row in draws]
    assert np.mean([i.low <= 0.5 <= i.high for i in intervals]) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(
    ("freedom", "value"), [(1, 12.706), (2, 4.303), (10, 2.228), (11, 2.201), (30, 2.042), (1000, 1.962)]
)
def test_students_t(freedom: int, value: float) -> None:
    assert student_t(freedom) == pytest.approx(value, abs=3e-3)


def test_what_was_not_measured_has_none() -> None:
    assert math.isnan(accuracy_interval([math.nan], 0).low)


def test_a_count_that_no_float_holds_gives_an_interval() -> None:
    interval = accuracy_interval([1.0], 10**400)
    assert 0.99 < interval.low <= interval.high == 1.0
