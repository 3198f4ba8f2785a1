"""Batches of a problem pool: what is a target, in which proportions problems are drawn, and what is never drawn."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.improve import Reverse
from tilth.improve.config import LoopConfig
from tilth.improve.family import Split, split_problems
from tilth.improve.problem_pool import ProblemPool, collate
from tilth.improve.pseudo_labels import PseudoLabel
from tilth.model import IGNORE_INDEX
from unit.improve.families import rollout

FAMILY = Reverse()
CONFIG = LoopConfig(base_difficulty=3, batch_size=64, rounds=3, test_problems=10, validation_problems=10)
EQUALS = 27


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def split() -> Split:
    difficulties = CONFIG.measured_difficulties
    rngs = (np.random.default_rng([0, d]) for d in difficulties)
    return split_problems(FAMILY, difficulties, n_test=10, n_validation=10, validate_beyond=0, rngs=rngs)


@pytest.fixture
def pool(split: Split) -> ProblemPool:
    return ProblemPool(FAMILY, CONFIG, split.excluded)


def difficulties(
    pool: ProblemPool, steps: int, newest: int | None = None
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    batches = pool.batches(rng(), steps, newest=newest)
    return np.concatenate([(batch.inputs == EQUALS).int().argmax(dim=1).numpy() for batch in batches])


def test_only_answers_are_targets() -> None:
    batch = collate([([1, 2, 27], [2, 1, 0]), ([3, 4, 5, 27], [5, 0])], padding=0)
    assert batch.inputs.tolist() == [[1, 2, 27, 2, 1], [3, 4, 5, 27, 5]]
    x = IGNORE_INDEX
    assert batch.targets.tolist() == [[x, x, 2, 1, 0], [x, x, x, 5, 0]]
    short = collate([([1, 27], [1, 0]), ([3, 4, 5, 27], [5, 4, 3, 0])], padding=0)
    assert short.targets.tolist()[0] == [x, 1, 0, x, x, x, x]


def test_answers_of_the_base_data_are_right(pool: ProblemPool) -> None:
    batch = pool.batch(rng())
    assert batch.inputs.shape == batch.targets.shape == (64, 7)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        string = inputs[: inputs.index(EQUALS)]
        assert [target for target in targets if target != IGNORE_INDEX] == [*string[::-1], 0]


def test_base_batches_hold_difficulties_in_proportion(pool: ProblemPool) -> None:
    drawn = difficulties(pool, 50)
    shares = np.bincount(drawn, minlength=4)[1:] / len(drawn)
    np.testing.assert_allclose(shares, np.array([1, 2, 3]) / 6, atol=0.03)


def test_a_round_draws_pseudo_labels_and_more_of_the_newest(pool: ProblemPool) -> None:
    labels = [PseudoLabel(problem=problem, rollout=rollout(problem, "wxyz")) for problem in FAMILY.propose(4, 5, rng())]
    more = pool.plus(4, labels[:3]).plus(4, labels[3:]).plus(5, [])
    assert 4 not in pool.pseudo_labelled and len(more.pseudo_labelled[4]) == 5 and 5 not in more.pseudo_labelled
    assert np.mean(difficulties(more, 50, newest=4) == 4) == pytest.approx(0.25 + 0.75 * 0.4, abs=0.03)
    batch = more.batch(rng(), newest=4)
    own = batch.targets[(batch.inputs == EQUALS).int().argmax(dim=1) == 4]
    wanted = [*FAMILY.tokenizer.encode_ordinary("wxyz"), 0]
    assert all([target for target in row if target != IGNORE_INDEX] == wanted for row in own.tolist())


def test_batches_never_hold_what_is_measured_on(pool: ProblemPool, split: Split) -> None:
    def drawn(pool: ProblemPool) -> set[str]:
        batches = pool.batches(rng(), 20)
        rows = [row for batch in batches for row in batch.inputs.tolist()]
        return {FAMILY.tokenizer.decode(row[: row.index(EQUALS) + 1]) for row in rows}

    assert not drawn(pool) & split.excluded
    # The same draw, with the test problems leaked, is caught by the line above.
    leaking = ProblemPool(FAMILY, CONFIG, frozenset(p.prompt for group in split.validation.values() for p in group))
    assert drawn(leaking) & split.excluded
