"""Lesson 9: a model that learns from its own answers, and what keeps that from going wrong.

Text that a model writes holds nothing that the model did not know, unless compute is spent on it: sample, vote, verify.
This lesson measures what an accepted answer is worth, lets a small model teach itself longer strings beside its
controls, and shows what happens to a model that trains on its own text, and what prevents it.
Run it: `python lessons/09_self_improvement.py` (about a minute).
"""

import math
import tempfile
from pathlib import Path

import numpy as np

from tilth import Context
from tilth.assay.diversity import text_diversity
from tilth.improve import LoopConfig, LoopResult, improve

SEED = 0


def edge_of_ability() -> None:
    """A problem that is solved with probability p gives p * -log2 p bits for a sample spent: most at p = 1/e.

    What is always solved teaches nothing, and what is never solved yields nothing to train on. So the loop looks for
    problems at the edge of what the model can do.
    """
    print("share of samples accepted -> bits that an accepted one tells, bits for a sample spent")
    shares = np.array([0.02, 0.1, 0.37, 0.7, 0.98])
    bits = -np.log2(shares)
    for p, b in zip(shares, bits, strict=True):
        print(f"  {p:>5.0%} {b:>8.2f} {p * b:>8.2f}")
    assert int(np.argmax(shares * bits)) == 2


def loop(folder: Path) -> LoopResult:
    """Reversing strings: right answers for 1 to 4 letters, then three rounds of the model's own answers.

    control: as many steps on the base data. unfiltered: all of its own answers. vote: answers on which four versions of
    a problem (the letters renamed, and back) agree; it never sees a right answer.
    """
    config = LoopConfig(
        arms=("control", "unfiltered", "vote"),
        rounds=3,
        base_difficulty=4,
        base_steps=400,
        samples=400,
        test_problems=150,
        validation_problems=60,
        seeds=(SEED,),
    )
    return improve(config, folder / "loop", Context(workers=1))


def show(result: LoopResult) -> None:
    """The vote's labels are mostly right, and harder problems become solvable; the controls stay where they were."""
    difficulties = result.difficulties
    print("\n% of test problems right after the last round, by letters")
    print(f"  {'':<12}", *(f"{d:>4}" for d in difficulties))
    accuracy = {arm: result.final_accuracy(arm)[0] for arm in result.arms}
    for arm, shares in accuracy.items():
        print(f"  {arm:<12}", *(f"{100 * share:>4.0f}" for share in shares))
    vote = result.of_arm("vote")[0]
    for number, (kept, right) in enumerate(zip(vote.kept, vote.label_accuracy, strict=True), 1):
        print(f"  vote, round {number}: {kept} labels kept, {right:.0%} of them right (which the arm is never told)")
    beyond = [i for i, d in enumerate(difficulties) if d in (6, 7)]
    gained = {arm: sum(shares[i] for i in beyond) for arm, shares in accuracy.items()}
    assert gained["vote"] > gained["control"] + 0.2
    assert gained["vote"] > gained["unfiltered"]


def collapse() -> None:
    """A model in its smallest form: word frequencies, estimated from the samples of the model before it.

    Each generation loses some of the rare words for good. Where the real text and all samples are kept, they stay.
    """
    rng = np.random.default_rng(SEED)
    real = rng.multinomial(5000, (zipf := 1 / np.arange(1, 1001)) / zipf.sum())
    replaced, kept = real.copy(), real.copy()
    print("\nwords that are left, trained on: only the last samples | everything so far")
    for generation in range(1, 11):
        replaced = rng.multinomial(5000, replaced / replaced.sum())
        kept = kept + rng.multinomial(5000, kept / kept.sum())
        if generation in (1, 5, 10):
            print(f"  generation {generation:>2}: {np.sum(replaced > 0):>4} | {np.sum(kept > 0):>4}")
    assert np.sum(replaced > 0) < 0.5 * np.sum(real > 0)
    assert np.sum(kept > 0) == np.sum(real > 0)


def what_a_monitor_sees() -> None:
    """Before the held-out loss shows it, the text does: openings repeat, and documents say the same."""
    things = ("rivers", "glaciers", "volcanoes", "deserts", "islands", "forests", "caves", "lakes", "storms", "tides")
    varied = [f"Of {thing}, {n} facts are told here, and none of the {n} is about {thing[:-1]} {n}." for n, thing in
              enumerate(things, 1)]  # fmt: skip
    template = [f"Have you ever wondered about {thing}? Many people have wondered about them." for thing in things]
    for name, texts in (("varied", varied), ("template", template)):
        found = text_diversity(texts)
        print(f"  {name:<9} same opening {found.opening_share:>4.0%}, effectively {found.vendi:>4.1f} of {len(texts)}")
    assert text_diversity(template).opening_share > text_diversity(varied).opening_share
    assert not math.isnan(text_diversity(template).vendi)


def main() -> None:
    """The lesson, in order."""
    edge_of_ability()
    with tempfile.TemporaryDirectory() as name:
        show(loop(Path(name)))
    collapse()
    print("\nthe same documents in number, and what the diversity of their text says")
    what_a_monitor_sees()


if __name__ == "__main__":
    main()
