"""Where an arm stands between rounds: all labels of good rounds, and nothing of those that were thrown away."""

from __future__ import annotations

from pathlib import Path

from tilth.improve import LoopConfig, Reverse
from tilth.improve.arm_state import ArmState
from tilth.improve.problem_pool import ProblemPool
from tilth.improve.pseudo_labels import PseudoLabel
from tilth.improve.result import Decision
from tilth.improve.rounds import RoundRecord, save_round
from tilth.types import Problem
from unit.improve.families import rollout

BASE = RoundRecord(difficulty=2, accuracy=(1.0,))
CONFIG = LoopConfig(base_difficulty=2)


def label(string: str) -> PseudoLabel:
    problem = Problem.make(f"{string}=", verifier="reverse", difficulty=len(string))
    return PseudoLabel(problem=problem, rollout=rollout(problem, string[::-1]))


def state_after(folder: Path, *rounds: tuple[RoundRecord, tuple[str, ...]]) -> ArmState:
    state = ArmState.after_base(folder / "base", ProblemPool(Reverse(), CONFIG, frozenset()), BASE)
    for number, (record, strings) in enumerate(rounds, 1):
        save_round(folder / str(number), None, [label(string) for string in strings], record)
        state = state.after(folder / str(number), record)
    return state


def test_every_label_of_good_rounds_is_trained_on(tmp_path: Path) -> None:
    good = RoundRecord(difficulty=3, accuracy=(1.0,))
    state = state_after(tmp_path, (good, ("abc", "bcd")), (good, ("cde", "wxyz")))
    expected = {3: ["abc", "bcd", "cde"], 4: ["wxyz"]}
    encode = Reverse().tokenizer.encode_ordinary
    assert {d: [example[0] for example in found] for d, found in state.pool.pseudo_labelled.items()} == {
        d: [encode(f"{string}=") for string in strings] for d, strings in expected.items()
    }
    assert state.folder == tmp_path / "2" and state.difficulty == 3 and state.thrown_away == 0


def test_a_round_that_was_thrown_away_leaves_no_trace_but_its_record(tmp_path: Path) -> None:
    good = RoundRecord(difficulty=3, accuracy=(0.5,))
    bad = RoundRecord(difficulty=3, accuracy=(0.5,), good=False)
    state = state_after(tmp_path, (good, ("abc",)), (bad, ("xyz",)), (bad, ("uvw",)))
    assert [len(found) for found in state.pool.pseudo_labelled.values()] == [1]
    assert state.folder == tmp_path / "1" and state.good == good and state.thrown_away == 2
    assert len(state.records) == 4


def test_exhausted_rounds_count_at_the_newest_difficulty_alone(tmp_path: Path) -> None:
    sure3 = RoundRecord(difficulty=3, accuracy=(1.0,), exhausted=True)
    sure4 = RoundRecord(difficulty=4, accuracy=(1.0,), exhausted=True)
    learning = RoundRecord(difficulty=4, accuracy=(1.0,))
    assert state_after(tmp_path, (sure3, ()), (sure3, ())).exhausted == 2
    assert state_after(tmp_path, (sure3, ()), (sure4, ())).exhausted == 1
    assert state_after(tmp_path, (sure4, ()), (learning, ())).exhausted == 0


def test_the_controllers_gains_are_those_of_its_rounds(tmp_path: Path) -> None:
    record = RoundRecord(
        difficulty=3,
        accuracy=(1.0,),
        decision=Decision(round=1, action="harder", why="w"),
        shares_before={"3": 0.5},
        shares={"3": 0.9, "4": 0.2},
        train_flops=3.0,
        generation_flops=4.0,
    )
    (spend,) = state_after(tmp_path, (record, ())).spends
    assert spend.action == "harder" and round(spend.gain, 9) == 0.6 and spend.flops == 7.0
