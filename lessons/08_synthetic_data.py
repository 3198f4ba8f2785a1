"""Lesson 8: text that a model wrote, and how much of it is worth training on.

A teacher can write without end, but much of what it writes is refused, cut off, copied or said before. This lesson runs
a recipe with a teacher whose faults are known, watches the gates find them, and traces a sample back to its source. It
ends with what makes generated data worth more than its teacher: samples that a verifier accepts.
Run it: `python lessons/08_synthetic_data.py`.
"""

import math
import tempfile
from pathlib import Path

import numpy as np

from tilth import Context, Dataset, Document, Problem
from tilth.storage import write_dataset
from tilth.synthesis import GateConfig, SynthesisConfig, SynthesisResult, synthesize
from tilth.synthesis.lineage import origins
from tilth.synthesis.recipes.wrap import Wrap
from tilth.synthesis.verify import verifier
from tilth.teacher import Request, ScriptedTeacher

THINGS = ("rivers", "glaciers", "volcanoes", "deserts", "islands", "forests", "caves", "lakes", "storms", "tides")


def passages() -> list[Document]:
    """Ten short passages, the "real" text."""
    texts = [
        f"Many people have looked closely at {thing} for hundreds of years, on maps and on foot. What they found about "
        f"{thing} fills whole shelves: how {thing} begin, how long {thing} last, and which plants and animals need "
        f"{thing} to live. Today, measurements from space show that {thing} change faster than anybody had thought."
        for thing in THINGS
    ]
    return [Document.make(text, f"lesson/{thing}", corpus="lesson") for thing, text in zip(THINGS, texts, strict=True)]


def script(request: Request, sample: int) -> str:
    """A teacher with known faults: refuses volcanoes, finds no end of storms, copies tides, likes one opening."""
    prompt = request.messages[-1].content
    thing = max(THINGS, key=prompt.count)
    if thing == "volcanoes":
        return "I'm sorry, but I can't help with that."
    if thing == "storms":
        return "Wind and rain make storms. " + "And then there is more rain. " * 200
    if thing == "tides":
        return next(document.text for document in passages() if thing in document.text)
    seasons = ("winter", "spring", "summer", "autumn")
    season = seasons[int(np.random.default_rng([THINGS.index(thing), sample]).integers(4))]
    return (
        f"Have you ever seen {thing} in {season}? People drew {thing} on old maps. Some plants and some animals "
        f"live only because there are {thing}. In {season}, cameras far above us see how quickly {thing} change."
    )


def wrap(folder: Path, name: str, dataset: Dataset, teacher: ScriptedTeacher, gates: GateConfig) -> SynthesisResult:
    """The recipe `wrap`, one of its four styles: each passage said again in simple words, four samples each."""
    return synthesize(
        dataset,
        folder / name,
        "wrap",
        teacher,
        SynthesisConfig(samples=4, gates=gates),
        Context(cache=folder / "cache"),  # each answer is written there as it lands
        options=Wrap(styles=("easy",)),
    )


def gates(folder: Path, dataset: Dataset, teacher: ScriptedTeacher) -> None:
    """The gates look at every answer, in order; what they drop is kept with its reason."""
    result = wrap(folder, "wrapped", dataset, teacher, GateConfig())
    for gate in result.gates:
        print(f"  {gate.gate:<15} {gate.samples_in:>3} in, {gate.samples_out:>3} out   {gate.reasons or ''}")
    reasons = {reason: n for gate in result.gates for reason, n in gate.reasons.items()}
    assert reasons["refused"] == reasons["cut_off"] == 4
    assert sum(reasons.values()) == 40 - result.samples_kept
    print(f"{result.samples_kept} of 40 answers are kept. Of one prompt, more samples soon say the same again.\n")


def another_threshold(folder: Path, dataset: Dataset, teacher: ScriptedTeacher) -> None:
    """Every answer is in the request cache, so a run with other gates asks for nothing."""
    before = teacher.answered.total()
    result = wrap(folder, "stricter", dataset, teacher, GateConfig(near_duplicate_threshold=0.3))
    assert teacher.answered.total() == before == 40
    print(f"With a stricter gate {result.samples_kept} are kept; nothing was asked again.\n")


def lineage(folder: Path, dataset: Dataset) -> None:
    """A sample knows its prompt, its teacher, the gates it passed, and the bytes that it was made from."""
    row = next(Dataset.open(folder / "wrapped" / "samples").batches(0)).to_pylist()[0]
    (origin,) = origins(row["lineage"], [dataset.folder])
    (answer,) = origin.entry["answers"]
    print(f"  sample   {row['text'][:70]}...")
    print(f"  prompt   {answer['prompt']}, version {answer['prompt_version']}, asked of {answer['teacher']}")
    print(f"  source   {origin.entry['source']}: {str(origin.text)[:50]}...\n")
    assert origin.text in [document.text for document in dataset]


def verified_samples() -> None:
    """Where an answer can be verified, sampling and verifying makes data that is better than its teacher.

    An accepted sample that the model writes with probability p carries -log2 p bits, and costs 1/p samples. So a sample
    spent gives p * -log2 p bits, most at p = 1/e: problems that are solved sometimes teach the most.
    """
    rng = np.random.default_rng(0)
    check = verifier("number")
    print("  right by chance   samples for one accepted   bits of it   bits a sample spent")
    for p in (0.9, 0.37, 0.05):
        accepted = tries = 0
        while accepted < 200:
            a, b = rng.integers(10, 100, size=2)
            problem = Problem.make(f"{a} + {b} = ", verifier="number", answer=str(a + b))
            answer = a + b if rng.random() < p else a + b + rng.integers(1, 10)
            tries += 1
            accepted += check.verify(problem, str(answer)).passed
        spent = tries / accepted
        bits = -math.log2(accepted / tries)
        print(f"  {p:>15.0%} {spent:>26.1f} {bits:>12.2f} {bits / spent:>21.2f}")
        assert abs(accepted / tries - p) < 0.05


def main() -> None:
    """The lesson, in order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = write_dataset(folder / "passages", passages(), made_by="lesson")
        teacher = ScriptedTeacher(script)
        gates(folder, dataset, teacher)
        another_threshold(folder, dataset, teacher)
        lineage(folder, dataset)
    verified_samples()


if __name__ == "__main__":
    main()
