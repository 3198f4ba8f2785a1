"""Families stay the same under their augmentations, which is what the vote rests on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.improve import Copy, Reverse, ReverseAddition
from tilth.improve.family import Identity, split_problems, without_answers
from tilth.improve.pseudo_labels import label_by_vote
from tilth.improve.reverse_addition import SumSymmetry
from tilth.improve.string_families import StringSymmetry
from tilth.synthesis.verify.family_base import PRINTABLE
from tilth.types import Problem
from unit.improve.families import right, rollout

FAMILY = Reverse()
FAMILIES = [Reverse(), Copy(), ReverseAddition(), Reverse(PRINTABLE), Copy(PRINTABLE), ReverseAddition(PRINTABLE)]
SEEDS = st.integers(0, 2**32 - 1)
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def solved(family: Reverse | Copy | ReverseAddition, prompt: str) -> str:
    """The right answer to any prompt, by other means than the family's."""
    if isinstance(family, ReverseAddition):
        first, second = prompt.removeprefix("add:").replace(" ", "").removesuffix("=").split("+")
        carry, digits = 0, ""
        for a, b in zip(first, second, strict=True):
            carry, digit = divmod(int(a) + int(b) + carry, 10)
            digits += str(digit)
        symbols = digits + str(carry)
    else:
        string = prompt.partition(":")[2].replace(" ", "") if ":" in prompt else prompt
        symbols = string.removesuffix("=")
        symbols = symbols[::-1] if isinstance(family, Reverse) else symbols
    return "".join(f" {symbol}" for symbol in symbols) if family.name.endswith("_text") else symbols


@every_family
@given(difficulty=st.integers(1, 16), seed=SEEDS)
def test_proposed_answers_are_right_and_no_others_are(
    family: Reverse | Copy | ReverseAddition, difficulty: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for problem in family.propose(difficulty, 4, rng):
        answer = solved(family, problem.prompt)
        assert problem.answer == family.parse(answer) == answer
        assert family.verify(problem, answer)
        symbols = "0123456789" if isinstance(family, ReverseAddition) else Reverse.letters
        place = max(place for place, symbol in enumerate(answer) if symbol in symbols)
        other = symbols[(symbols.index(answer[place]) + 1) % len(symbols)]
        assert not family.verify(problem, answer[:place] + other + answer[place + 1 :])
        assert not family.verify(problem, answer[:place])
        assert not family.verify(problem, answer + answer[-1])


@every_family
@given(difficulty=st.integers(1, 16), seed=SEEDS)
def test_inverted_answers_answer_the_original(
    family: Reverse | Copy | ReverseAddition, difficulty: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    problems = family.propose(difficulty, 4, rng)
    for augmentation in family.augmentations(3, rng):
        for problem in problems:
            changed = augmentation.apply(problem.prompt)
            assert len(changed) == len(problem.prompt)
            assert augmentation.invert(solved(family, changed)) == problem.answer


@every_family
@given(seed=SEEDS)
def test_different_wrong_answers_stay_different(family: Reverse | Copy | ReverseAddition, seed: int) -> None:
    """An inversion that forgets the answer, such as one that solves the problem itself, would accept everything."""
    rng = np.random.default_rng(seed)
    (problem,) = family.propose(6, 1, rng)
    answers = {other.answer or "" for other in family.propose(6, 20, rng)}
    for augmentation in family.augmentations(2, rng):
        changed = augmentation.apply(problem.prompt)
        found = {augmentation.invert(answer) for answer in answers if answer != solved(family, changed)}
        assert problem.answer not in found
        assert len(found) >= len(answers) - 1


@every_family
@given(text=st.text(alphabet="ab 019:=", max_size=12), seed=SEEDS)
def test_any_parsed_answer_can_be_inverted(family: Reverse | Copy | ReverseAddition, text: str, seed: int) -> None:
    answer = family.parse(text)
    for augmentation in family.augmentations(2, np.random.default_rng(seed)):
        if answer is not None:
            assert family.parse(augmentation.invert(answer)) is not None


@every_family
@given(seed=SEEDS)
def test_measured_problems_are_disjoint(family: Reverse | Copy | ReverseAddition, seed: int) -> None:
    split = split_problems(
        family,
        (1, 2),
        n_test=10,
        n_validation=10,
        validate_beyond=0,
        rngs=(np.random.default_rng([seed, difficulty]) for difficulty in (1, 2)),
    )
    for difficulty in (1, 2):
        validation = {problem.prompt for problem in split.validation[difficulty]}
        test = {problem.prompt for problem in split.test[difficulty]}
        assert len(validation) == len(test) == min(10, family.n_problems(difficulty) // 4)
        assert not validation & test


@every_family
def test_the_number_of_problems_is_right(family: Reverse | Copy | ReverseAddition) -> None:
    prompts = {problem.prompt for problem in family.propose(1, 3000, np.random.default_rng(0))}
    assert len(prompts) == family.n_problems(1)
    assert family.n_problems(3) == family.n_problems(1) ** 3


@every_family
@given(difficulty=st.integers(1, 12), seed=SEEDS)
def test_answers_have_no_more_tokens_than_announced(
    family: Reverse | Copy | ReverseAddition, difficulty: int, seed: int
) -> None:
    for problem in family.propose(difficulty, 3, np.random.default_rng(seed)):
        tokens = family.tokenizer.encode_ordinary(problem.answer or "")
        assert len(tokens) + 1 == family.answer_tokens(difficulty)


@given(seed=SEEDS)
def test_a_mistake_that_depends_on_the_place_wins_no_vote(seed: int) -> None:
    """A model that always leaves out the middle letter agrees with itself under permutations of the letters alone."""
    rng = np.random.default_rng(seed)
    problems = without_answers(FAMILY.propose(8, 10, rng))

    def without_middle(asked: list[Problem], difficulty: int) -> list:
        strings = [problem.prompt[-2::-1] for problem in asked]
        return [
            rollout(problem, string[: difficulty // 2] + string[difficulty // 2 + 1 :])
            for problem, string in zip(asked, strings, strict=True)
        ]

    letters = "".join(rng.permutation(list(FAMILY.letters)))
    turned = [
        StringSymmetry(form=FAMILY.form, permuted=letters, turn=turn, mirrored=False, reverses=True) for turn in (1, 3)
    ]
    still = [StringSymmetry(form=FAMILY.form, permuted=letters, turn=0, mirrored=False, reverses=True) for _ in (1, 2)]
    accepted = label_by_vote(FAMILY, lambda: [Identity(), *still], 2)(without_middle, problems, 8)
    assert len(accepted) == 10
    rejected = label_by_vote(FAMILY, lambda: [Identity(), *turned], 2)(without_middle, problems, 8)
    # Only a string whose neighbours are equal can lose one of two places without a difference.
    assert all(len(set(label.problem.prompt)) < 9 for label in rejected)


def test_carries_differ_under_the_complement() -> None:
    family = ReverseAddition()
    symmetry = SumSymmetry(form=family.form, shifts=(0,), complemented=True)
    assert symmetry.apply("71+52=") == "28+47="  # 17 + 25 without, 82 + 74 with a carry
    assert symmetry.invert("651") == "240"  # 198 - 156 = 42
    moved = SumSymmetry(form=family.form, shifts=(1, 0), complemented=False)
    assert moved.apply("71+52=") == "81+42="
    assert moved.invert("240") == "240"


@given(n=st.integers(1, 6), seed=st.integers(0, 1000))
def test_unanimous_answers_win_whatever_the_augmentations(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problems = without_answers(FAMILY.propose(4, 10, rng))
    augmentations = [Identity(), *FAMILY.augmentations(n - 1, rng)]
    labels = label_by_vote(FAMILY, lambda: augmentations, n)(right, problems, 4)
    assert [label.problem for label in labels] == problems
    assert all(FAMILY.verify(label.problem, label.rollout.text) for label in labels)
