"""The controller always decides the same, chooses only what is allowed, and ends."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tilth.improve.controller import ACTIONS, Action, Spend, allowed_actions, decide

MIN_GAIN = 0.02
spends = st.lists(
    st.builds(
        Spend,
        action=st.sampled_from(ACTIONS),
        gain=st.floats(-3, 3, allow_nan=False),
        flops=st.floats(1e6, 1e13, allow_nan=False),
    ),
    max_size=12,
)
allowed = st.lists(st.sampled_from(ACTIONS), min_size=1, unique=True)


@given(spends, allowed, st.one_of(st.none(), st.floats(1e5, 1e15)))
def test_it_chooses_what_is_allowed_and_always_the_same(
    done: list[Spend], may: list[Action], max_flops: float | None
) -> None:
    first = decide(3, done, may, max_flops=max_flops, min_gain=MIN_GAIN)
    assert repr(first) == repr(decide(3, list(done), list(may), max_flops=max_flops, min_gain=MIN_GAIN))
    assert first.action in (*may, "stop") and first.why and first.round == 3
    assert set(first.gain_per_pflop) == set(may)


@given(spends, allowed)
def test_it_stops_when_the_budget_is_spent(done: list[Spend], may: list[Action]) -> None:
    spent = sum(spend.flops for spend in done)
    if done:
        assert decide(1, done, may, max_flops=spent * 0.99, min_gain=MIN_GAIN).action == "stop"


@given(spends, allowed)
def test_what_is_allowed_is_tried_before_anything_is_done_again(done: list[Spend], may: list[Action]) -> None:
    tried = {spend.action for spend in done}
    action = decide(1, done, may, max_flops=None, min_gain=MIN_GAIN).action
    if set(may) - tried:
        assert action in set(may) - tried
    else:
        assert action in tried or action == "stop"


@given(st.floats(-1, MIN_GAIN), allowed, st.integers(1, 3))
def test_it_stops_when_nothing_gains(gain: float, may: list[Action], times: int) -> None:
    done = [Spend(action=action, gain=gain, flops=1e9) for action in may for _ in range(times)]
    assert decide(9, done, may, max_flops=None, min_gain=MIN_GAIN).action == "stop"


@given(st.permutations(ACTIONS), st.floats(0.1, 2))
def test_the_best_gain_per_flop_wins(order: Sequence[Action], gain: float) -> None:
    """The cheapest of equal gains, whatever else was done before."""
    done = [Spend(action=action, gain=gain, flops=1e9 * (index + 1)) for index, action in enumerate(order)]
    decision = decide(4, done, ACTIONS, max_flops=None, min_gain=MIN_GAIN)
    assert decision.action == order[0]
    assert f"{gain:+.2f} difficulties" in decision.why
    assert math.isclose(decision.gain_per_pflop[order[0]], gain / 1e9 * 1e15, rel_tol=1e-9)


@given(st.floats(0, 1) | st.just(math.nan), st.floats(0, 1), st.booleans(), st.booleans())
def test_the_gate_is_never_passed_over(share: float, gate: float, beyond: bool, exhausted: bool) -> None:
    may = allowed_actions(next_share=share, promote_at=gate, beyond_base=beyond, exhausted=exhausted)
    assert ("harder" in may) == (share >= gate)
    assert ("sample" in may) == (beyond and not exhausted)
    assert "train" in may
