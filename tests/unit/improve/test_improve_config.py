"""The loop's settings: what is refused, and the one dial."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tilth.errors import ConfigError
from tilth.improve.config import LoopConfig


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rounds", 0, "rounds is 0"),
        ("learning_rate", 0.0, "learning_rate"),
        ("newest_share", 1.5, "newest_share"),
        ("agree", 2, "not a majority"),
        ("agree", 5, "5 of 4 views"),
        ("seed", -1, "seed"),
    ],
)
def test_refuses_with_a_word(field: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoopConfig(**{field: value})  # pyright: ignore[reportArgumentType]


def test_one_dial() -> None:
    assert LoopConfig.from_effort(1.0) == LoopConfig()
    small = LoopConfig.from_effort(0.01, rounds=2, seed=3)
    assert (small.base_steps, small.round_steps, small.samples, small.rounds, small.seed) == (8, 1, 10, 2, 3)


def test_measures_two_steps_beyond_the_rounds() -> None:
    assert list(LoopConfig(rounds=8).measured_difficulties) == list(range(1, 17))


def test_is_light() -> None:
    code = "import sys, tilth.improve.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
