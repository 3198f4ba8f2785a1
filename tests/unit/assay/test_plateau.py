"""The plateau experiment: its arms, its samples, what a kill or a divergence leaves, and what it says."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tilth.assay.config import ValueConfig
from tilth.assay.experiment import Experiment
from tilth.assay.law import QualityLaw
from tilth.assay.law_runs import LawConfig, measure_law
from tilth.assay.learner import save_array
from tilth.assay.plateau import ARMS, BITS, measure_plateau
from tilth.assay.plateau_config import PlateauConfig
from tilth.assay.plateau_findings import findings
from tilth.assay.plateau_samples import Selected, gate, score_rows
from tilth.errors import ConfigError, DataError
from tilth.evaluation.ngram import NgramModel
from tilth.execute import Context
from tilth.recipes import load_recipe
from tilth.recipes.plateau import config_of
from tilth.results import read_result
from tilth.steps import in_order
from tilth.storage import Dataset
from unit.assay.texts import dataset, docstrings

CONFIG = PlateauConfig(
    token_counts=(128, 256, 512),
    training=ValueConfig(
        seeds=(0, 1),
        depths=(1,),
        vocab_size=300,
        context_length=16,
        before_tokens=2000,
        before_epochs=1,
        batch_tokens=128,
        held_out_bytes=2000,
    ),
    prompt_tokens=4,
    candidates=3,
    block_tokens=5,
    verifier_tokens=3000,
)
TEXTS = docstrings()
ONE = Context(workers=1)


def opened(folder: Path, texts: Sequence[str]) -> Dataset:
    """Returns the dataset that is there, or writes it."""
    return Dataset.open(folder) if (folder / "dataset.json").exists() else dataset(folder, texts)


def measure(folder: Path, config: PlateauConfig = CONFIG, texts: Sequence[str] = TEXTS[:300]) -> Experiment:
    """Measures in `folder/out`; the datasets are beside it."""
    return measure_plateau(
        opened(folder / "text", texts),
        folder / "out",
        held_out=opened(folder / "held_out", TEXTS[300:330]),
        config=config,
        context=ONE,
    )


def content(folder: Path) -> dict[str, bytes]:
    """Returns all files but for the seconds that were taken."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found["experiment.json"] = b"".join(
        line for line in found["experiment.json"].splitlines(True) if b'"seconds"' not in line
    )
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Experiment]:
    """An experiment that was never stopped."""
    folder = tmp_path_factory.mktemp("plateau")
    return folder / "out", measure(folder)


def test_every_arm_is_measured_at_every_count_with_every_seed(measured: tuple[Path, Experiment]) -> None:
    experiment = measured[1]
    places = {(p.arm, p.seed, p.x) for p in experiment.points}
    assert places == {(arm.name, seed, x) for arm in ARMS for seed in (0, 1) for x in (0, 128, 256, 512)}
    assert all(0 < p.values[BITS] < 10 for p in experiment.points)
    assert not experiment.ended
    starts = {p.values[BITS] for p in experiment.points if p.x == 0 and p.seed == 0}
    assert len(starts) == 1
    ends = {p.values[BITS] for p in experiment.points if p.x == 512 and p.seed == 0}
    assert len(ends) == len(ARMS)
    assert read_result(Experiment, measured[0] / "experiment.json").points == experiment.points


def test_generation_is_paid_for_by_those_who_generate(measured: tuple[Path, Experiment]) -> None:
    flops = {p.arm: p.flops for p in measured[1].points if p.seed == 0 and p.x == 512}
    assert flops["fresh"] == flops["repeat"] < flops["plain"] < flops["verified"]
    half = {p.arm: p.flops for p in measured[1].points if p.seed == 0 and p.x == 256}
    start = next(p.flops for p in measured[1].points if p.x == 0)
    for arm in ("plain", "verified"):
        assert (flops[arm] - start) == pytest.approx(2 * (half[arm] - start), rel=0.02)


def test_no_document_is_in_two_pools(measured: tuple[Path, Experiment]) -> None:
    folder = measured[0] / "text"
    names = ("seed-0-before", "seed-0-fresh", "verifier")
    grams = [
        {tuple(row) for row in np.lib.stride_tricks.sliding_window_view(np.load(folder / f"{name}.npy"), 40)}
        for name in names
    ]
    assert all(grams)
    assert not grams[0] & grams[1] and not grams[0] & grams[2] and not grams[1] & grams[2]


def test_a_verifier_moves_samples_towards_its_text(measured: tuple[Path, Experiment]) -> None:
    for seed in (0, 1):
        found = read_result(Selected, measured[0] / "samples" / f"seed-{seed}" / "selected.json")
        assert found.guided_verifier_bits_per_token < found.plain_verifier_bits_per_token
        assert found.held_out_verifier_bits_per_token < found.plain_verifier_bits_per_token
        rows = np.load(measured[0] / "samples" / f"seed-{seed}" / "verified.npy")
        assert rows.shape == (found.kept, 16) and len(np.unique(rows, axis=0)) == found.kept


def test_rows_are_scored_token_by_token() -> None:
    model = NgramModel.fit([[1, 2, 3, 1, 2, 3, 0, 1, 2]], vocab_size=4, separator=0, order=3)
    rows = np.array([[1, 2, 3], [3, 0, 1]])
    scored = score_rows(model, rows)
    assert scored.shape == rows.shape
    assert scored[0].tolist() == pytest.approx(model.token_losses([[1, 2, 3]])[:3].tolist())
    # Behind a separator, a new context begins.
    assert scored[1, 2] == pytest.approx(scored[0, 0])


def test_the_gate_drops_copies_and_near_duplicates() -> None:
    config = dataclasses.replace(CONFIG, prompt_tokens=2)
    before = np.arange(100, 140)
    new = np.arange(0, 14)
    rows = np.stack(
        [np.append([7, 7], before[3:17]), np.append([7, 7], new), np.append([8, 8], new), np.arange(50, 66)]
    )
    assert gate(rows, before, config) == ([1, 3], 1, 1)


KILLED = """
import sys
from pathlib import Path
from unit.assay.test_plateau import measure
measure(Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["samples/seed-1/plain-0000.npy", "depth-1/seed-1/plain-256/loss.json"])
def test_a_killed_experiment_ends_with_the_same_bytes(
    mark: str, tmp_path: Path, measured: tuple[Path, Experiment]
) -> None:
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / mark).exists():
        assert process.poll() is None and time.monotonic() < deadline, f"{mark} never came"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "experiment.json").exists()
    measure(tmp_path)
    assert content(tmp_path / "out") == content(measured[0])


def test_an_arm_that_diverges_ends_in_words(tmp_path: Path) -> None:
    wild = dataclasses.replace(CONFIG.training, learning_rate=1e30, muon_learning_rate=1e30, seeds=(0,))
    experiment = measure(tmp_path, dataclasses.replace(CONFIG, training=wild))
    assert {one.arm for one in experiment.ended} == {arm.name for arm in ARMS}
    assert all("ended before" in one.why for one in experiment.ended)
    assert experiment.findings


def test_samples_that_are_all_rejected_end_their_arm_alone(tmp_path: Path, measured: tuple[Path, Experiment]) -> None:
    for name in ("text", "held_out", "out"):
        shutil.copytree(measured[0].parent / name, tmp_path / name)
    # As if the model of seed 0 had written nothing but what it read.
    before = np.load(tmp_path / "out/text/seed-0-before.npy")
    samples = tmp_path / "out/samples/seed-0"
    drawn = len(np.load(samples / "verified-0000.npy"))
    starts = np.arange(drawn) % (len(before) - 16)
    save_array(samples / "verified-0000.npy", before[starts[:, None] + np.arange(16)].astype(np.int64))
    (samples / "selected.json").unlink()
    experiment = measure(tmp_path)
    assert [(one.arm, one.seed, one.why) for one in experiment.ended] == [
        ("verified", 0, "The gates rejected every sample.")
    ]
    assert {p.seed for p in experiment.points if p.arm == "verified" and p.x > 0} == {1}
    others = [p for p in measured[1].points if p.arm != "verified"]
    assert [p for p in experiment.points if p.arm != "verified"] == others
    assert "copies of text read before" in " ".join(experiment.findings)


def test_findings_say_what_the_points_say(measured: tuple[Path, Experiment]) -> None:
    experiment = measured[1]
    selected = [read_result(Selected, p) for p in sorted((measured[0] / "samples").glob("*/selected.json"))]
    better = {"fresh": 1.0, "verified": 1.5, "plain": 1.8, "repeat": 1.9}
    points = tuple(
        dataclasses.replace(
            p, values={**p.values, BITS: better[p.arm] - 1e-4 * p.x * (p.arm == "fresh") + 1e-3 * p.seed + 1e-5 * p.x}
        )
        for p in experiment.points
    )
    said = findings(dataclasses.replace(experiment, points=points), selected, CONFIG)
    assert all("from the start to 512 tokens" in sentence for sentence in said[:4])
    assert "the loss fell from" in said[0] and "-0.0461" in said[0] and "rose" in said[1]
    assert "still fell" in said[4] and "new real text" in said[4]
    assert "rose" in said[5]
    # A straight line has no end.
    assert "does not fall outside" in said[8] and "verified samples, plain samples, the same text again" in said[8]
    assert "Where the curve of new real text would end, these token counts do not tell" in said[9]
    bent = tuple(
        dataclasses.replace(p, values={**p.values, BITS: 1 + 900 / (2000 + p.x / 2) + 1e-4 * p.seed})
        if p.arm == "fresh"
        else p
        for p in points
    )
    said = findings(dataclasses.replace(experiment, points=bent), selected, CONFIG)
    assert "new real text 1.0" in said[8] and "end at E" in said[8]


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    for change in (
        {"token_counts": (256, 128, 512)},
        {"token_counts": (64, 128, 512)},
        {"training": dataclasses.replace(CONFIG.training, depths=(1, 2))},
        {"prompt_tokens": 16},
        {"candidates": 0},
        {"max_overlap": 0.0},
        {"temperature": 0.0},
        {"verifier_order": 1},
    ):
        with pytest.raises(ConfigError):
            dataclasses.replace(CONFIG, **change)  # pyright: ignore
    with pytest.raises(DataError, match="too little|holds"):
        measure(tmp_path, texts=TEXTS[:6])


def test_the_recipe_has_one_dial(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    target = load_recipe("plateau")(corpus=str(tmp_path), effort=0.1)
    assert [step.name for step in in_order(target, Context(runs=tmp_path / "runs"))][-1] == "report"
    assert config_of((0, 1, 2), 2, 1024, 1.0) == PlateauConfig()
    small = config_of((0,), 1, 300, 1e-6)
    assert small.token_counts[0] == small.training.batch_tokens
    with pytest.raises(ConfigError, match="effort"):
        load_recipe("plateau")(effort=0)


def law(folder: Path) -> QualityLaw:
    """Measures a law of docstrings and of the same words in alphabetical order."""
    sorted_words = [" ".join(sorted(text.split())) for text in TEXTS[:150]]
    return measure_law(
        {"real": opened(folder / "real", TEXTS[:150]), "sorted": opened(folder / "sorted", sorted_words)},
        folder / "out",
        held_out=opened(folder / "held_out", TEXTS[300:330]),
        config=LawConfig(
            token_counts=(2000, 4000, 8000, 10**7),
            training=dataclasses.replace(CONFIG.training, depths=(1,)),
            resamples=20,
        ),
        context=ONE,
    )


def test_a_measured_law_ranks_text_above_its_sorted_words(tmp_path: Path) -> None:
    found = law(tmp_path)
    assert len(found.points) == 2 * 3 * 2
    assert sum("holds less than 10,000,000 tokens" in note for note in found.notes) == 2
    assert found.law("quality").sources[1].quality.mean < 1
    assert all(math.isfinite(point.loss) for point in found.points)
    path = tmp_path / "out" / "law.json"
    before = path.read_bytes()
    path.unlink()
    law(tmp_path)
    assert path.read_bytes() == before
