"""The loop's settings: what is refused, and the one dial."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tilth.errors import ConfigError
from tilth.improve.arms import ARMS, DEFAULT_ARMS, LONGEST_FIRST, PLANS
from tilth.improve.config import LoopConfig


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
        ("arms", (), "arms"),
        ("arms", ("vote", "vote"), "different arms"),
        ("arms", ("votes",), "no arm `votes`"),
        ("label_with", "luck", "label_with"),
        ("label_noise", 1.1, "label_noise"),
        ("text_share", 1.0, "text_share is 1"),
        ("max_flops", 0.0, "max_flops"),
        ("max_fall_backs", 0, "max_fall_backs"),
        ("max_text_loss_rise", 0.0, "max_text_loss_rise"),
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


def test_the_table_of_arms() -> None:
    assert set(PLANS) == set(ARMS) == set(LONGEST_FIRST) > set(DEFAULT_ARMS)
    assert [arm for arm in ARMS if PLANS[arm].follows] == ["flop_matched", "gated_unfiltered"]
    keys = [plan.key for plan in PLANS.values()]
    assert len(set(keys)) == len(keys) and min(keys) > 1  # 0 and 1 are those of the problems and the base model
    assert {arm for arm in ARMS if PLANS[arm].monitored} == {"vote", "verified", "controlled", "self_play", "oracle"}


def test_is_light() -> None:
    code = "import sys, tilth.improve.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
