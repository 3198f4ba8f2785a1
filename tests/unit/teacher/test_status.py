"""The status says how far a run is, how fast, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from tilth.teacher.status import RATE_SECONDS, Rate, Status, duration

PART: dict[str, Any] = {
    "done": 1204,
    "cached": 0,
    "dead_letters": 0,
    "paid": 1204,
    "in_flight": 64,
    "waiting": 700,
    "rate": 85.0,
    "tokens": 300_000,
    "money": 0.4214,
    "flops": 0.0,
    "limits": {"endpoint": 64},
    "expected": 2000,
}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "1,204/2,000 requests · 64 in flight · 85/s · 0.42 spent, 0.28 to come · 9 s left"),
        ({"expected": None}, "1,204 requests · 64 in flight · 85/s · 0.42 spent"),
        ({"money": 0.0}, "1,204/2,000 requests · 64 in flight · 85/s · 300,000 tokens · 9 s left"),
        (
            {"cached": 604, "paid": 598, "dead_letters": 2, "rate": 0.5},
            "1,204/2,000 requests · 604 cached · 2 dead letters · 64 in flight · 0.5/s · 0.42 spent, 0.56 to come · "
            "27 min left",
        ),
        (
            {"done": 0, "paid": 0, "rate": 0.0, "money": 0.0, "tokens": 0, "in_flight": 2},
            "0/2,000 requests · 2 in flight · 0/s · 0 tokens",
        ),
        ({"rate": 1234.5}, "1,204/2,000 requests · 64 in flight · 1,234/s · 0.42 spent, 0.28 to come · 1 s left"),
        ({"done": 2100}, "2,100/2,000 requests · 64 in flight · 85/s · 0.42 spent, 0.00 to come · 0 s left"),
    ],
)
def test_the_line(changes: dict[str, Any], line: str) -> None:
    assert Status(**(PART | changes)).line() == line


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.4, 119, 150, 7100, 9000)] == [
        "0 s",
        "119 s",
        "2 min",
        "118 min",
        "2.5 h",
    ]


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    rate = Rate(100.0)
    for second in range(100):
        rate.add(100 + second + 0.5, 3)
        rate.add(100 + second + 0.9, 1)
        assert rate.per_second(101 + second) == pytest.approx(4)
    assert rate.per_second(200 + RATE_SECONDS / 2) == pytest.approx(2)
    assert rate.per_second(300) == 0
    assert len(rate._buckets) <= RATE_SECONDS + 1
