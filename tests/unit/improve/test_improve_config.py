"""The loop's settings: what is refused, and the one dial."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tilth.errors import ConfigError
from tilth.improve.config import ARMS, FOLLOWS_VOTE, LoopConfig


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rounds", 0, "rounds is 0"),
        ("validation_problems", 0, "validation_problems is 0"),
        ("learning_rate", 0.0, "learning_rate"),
        ("newest_share", 1.5, "newest_share"),
        ("warmup_fraction", -0.1, "warmup_fraction"),
        ("beta2", 1.0, "beta2"),
        ("weight_decay", -1.0, "weight_decay"),
        ("min_agreement", 2, "not a majority"),
        ("min_agreement", 5, "not a majority of 4"),
        ("seeds", (), "seeds"),
        ("seeds", (0, 0), "seeds"),
        ("seeds", (-1,), "seeds"),
    ],
)
def test_refuses_with_a_word(field: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoopConfig(**{field: value})  # pyright: ignore[reportArgumentType]


def test_one_dial() -> None:
    assert LoopConfig.from_effort(1.0) == LoopConfig()
    small = LoopConfig.from_effort(0.01, rounds=2, seeds=(3,))
    assert (small.base_steps, small.round_steps, small.samples, small.rounds, small.seeds) == (7, 1, 10, 2, (3,))


def test_measures_two_steps_beyond_the_rounds() -> None:
    assert list(LoopConfig(rounds=8).measured_difficulties) == list(range(1, 17))


def test_seven_arms() -> None:
    assert ARMS == ("baseline", "control", "flop_matched", "unfiltered", "gated_unfiltered", "vote", "oracle")
    assert set(ARMS) > FOLLOWS_VOTE and "vote" not in FOLLOWS_VOTE


def test_is_light() -> None:
    code = "import sys, tilth.improve.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
