"""The value of a dataset: its formula, its controls, and what a killed measurement leaves."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.assay import learner
from tilth.assay.arms import ARMS
from tilth.assay.config import ValueConfig
from tilth.assay.learner import BEFORE, Learner, LossRecord, arm_steps, batch_rows, document_nats, load_ids, save_array
from tilth.assay.result import ArmLoss, LearnerValue, Value
from tilth.assay.value import UNDEFINED, Losses, flips, longer_steps, measure_value, nu, percentile_interval, verdict
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.files import write_json
from tilth.intervals import Interval
from tilth.results import read_result, write_result
from tilth.tokenizer import Tokenizer
from tilth.training import initial_model, text_loss
from tilth.types import Document
from unit.assay.texts import dataset, docstrings

CONFIG = ValueConfig(
    seeds=(0, 1),
    depths=(1,),
    vocab_size=300,
    context_length=16,
    before_tokens=2000,
    before_epochs=1,
    arm_tokens=1200,
    batch_tokens=128,
    held_out_bytes=2000,
    bootstrap=100,
)
TEXTS = docstrings()
SOURCE, FRESH, HELD_OUT, OTHER = TEXTS[:150], TEXTS[150:250], TEXTS[250:280], TEXTS[280:380]
ONE = Context(workers=1)


def measure(
    folder: Path,
    of: Sequence[str] = OTHER,
    fresh: Sequence[str] | None = FRESH,
    source: Sequence[str] = SOURCE,
    config: ValueConfig = CONFIG,
    context: Context = ONE,
    generation_flops: float | None = None,
) -> Value:
    """Measures in `folder/out`; the datasets are beside it."""
    return measure_value(
        dataset(folder / "dataset", of),
        folder / "out",
        source=dataset(folder / "source", source),
        held_out=dataset(folder / "held_out", HELD_OUT),
        fresh=None if fresh is None else dataset(folder / "fresh", fresh),
        config=config,
        generation_flops=generation_flops,
        context=context,
    )


def losses_of(value: Value, depth: int = 1) -> dict[str, tuple[float, ...]]:
    learner = next(one for one in value.learners if one.depth == depth)
    return {BEFORE: learner.before, **{arm.arm: arm.losses for arm in learner.arms}}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Value]:
    folder = tmp_path_factory.mktemp("measured")
    return folder / "out", measure(folder)


# The formula


def curves(seed: int, **arms: float) -> dict[str, np.ndarray]:
    """Losses of arms, and of 200 resamples that differ a little."""
    rng = np.random.default_rng(seed)
    return {arm: loss + np.concatenate([[0.0], rng.normal(0, 0.01, 200)]) for arm, loss in arms.items()}


@given(
    before=st.floats(1, 4),
    repeat=st.floats(1, 4),
    gain=st.floats(0.2, 1),
    worse=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_the_ends_of_the_scale(before: float, repeat: float, gain: float, worse: float, seed: int) -> None:
    losses = curves(seed, before=before, repeat=repeat, fresh=min(before, repeat) - gain)
    assert nu({**losses, "dataset": losses["fresh"]}, "dataset").mean == 1
    for low in ("mean", "low", "high"):
        assert getattr(nu({**losses, "dataset": losses["fresh"]}, "dataset"), low) == pytest.approx(1)
        # The source again, or anything worse, is worth nothing: not in one resample.
        assert getattr(nu(losses, "repeat"), low) <= 0
        assert getattr(nu({**losses, "dataset": losses["repeat"] + worse}, "dataset"), low) <= 0
    half = {**losses, "dataset": (np.minimum(losses["before"], losses["repeat"]) + losses["fresh"]) / 2}
    assert nu(half, "dataset").mean == pytest.approx(0.5)


def test_no_value_where_fresh_text_does_not_help() -> None:
    assert nu(curves(0, before=2.0, repeat=2.0, fresh=2.0, dataset=1.0), "dataset") is UNDEFINED
    assert nu(curves(0, before=2.0, repeat=2.0, fresh=2.1, dataset=1.0), "dataset") is UNDEFINED
    assert math.isfinite(nu(curves(0, before=2.0, repeat=2.0, fresh=1.9, dataset=1.9), "dataset").mean)


def test_zero_is_the_better_of_stopping_and_repeating() -> None:
    arms = {"fresh": 1.0, "dataset": 1.5}
    assert nu(curves(0, before=2.0, repeat=3.0, **arms), "dataset").mean == pytest.approx(0.5)
    assert nu(curves(0, before=3.0, repeat=2.0, **arms), "dataset").mean == pytest.approx(0.5)


def test_an_interval_holds_its_estimate_and_most_resamples() -> None:
    samples = np.concatenate([[0.5], np.linspace(0, 1, 1001)])
    found = percentile_interval(samples)
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))


def losses(depth: int, bits: dict[str, list[list[float]]], ended: str = "") -> Losses:
    """Losses of one size of learner: arm -> seeds -> documents, in bits."""
    n_seeds = len(next(iter(bits.values())))
    learners = tuple(
        Learner(depth=depth, seed=seed, vocab_size=300, config=CONFIG, root=Path()) for seed in range(n_seeds)
    )
    records = {
        arm: tuple(
            LossRecord(nats=tuple(math.log(2) * bit for bit in row), tokens=1, flops=1.0, ended="" if row else ended)
            for row in rows
        )
        for arm, rows in bits.items()
    }
    n_documents = len(next(row for rows in bits.values() for row in rows if row))
    return Losses(learners=learners, records=records, sizes=np.full(n_documents, 10.0))


def test_resamples_are_of_seeds_and_documents_and_paired() -> None:
    one = losses(1, {"a": [[10, 20], [30, 40]], "b": [[11, 21], [31, 41]]})
    found = one.resampled(["a", "b"], 200)
    assert found is not None
    assert found["a"][0] == pytest.approx(2.5)
    assert found["b"] - found["a"] == pytest.approx(np.full(201, 0.1))
    # 2 seeds and 2 documents: the means of all that can be drawn.
    assert set(np.round(found["a"][1:], 6)) == {1, 1.5, 2, 2.5, 3, 3.5, 4}
    assert one.bits_per_byte("a") == pytest.approx((1.5, 3.5))
    again = losses(2, {"b": [[11, 21], [31, 41]], "a": [[10, 20], [30, 40]], "c": [[1, 1], [1, 1]]})
    other = again.resampled(["b", "a"], 200)
    assert other is not None
    assert (other["a"] == found["a"]).all()


def test_a_seed_in_which_an_arm_ended_is_left_out() -> None:
    one = losses(1, {"a": [[10, 20], []], "b": [[11, 21], [31, 41]]}, ended="It broke down.")
    found = one.resampled(["a", "b"], 100)
    assert found is not None
    assert found["b"][0] == pytest.approx(1.6)
    assert math.isnan(one.bits_per_byte("a")[1])
    assert losses(1, {"a": [[], []], "b": [[1, 2], [3, 4]]}).resampled(["a"], 100) is None


def test_flips_are_seen_beyond_the_intervals_only() -> None:
    small = losses(1, {BEFORE: [[9, 9]], "dataset": [[5, 5]], "fresh": [[6, 6]], "noise": [[9, 9]]})
    large = losses(3, {BEFORE: [[9, 9]], "dataset": [[6, 6]], "fresh": [[5, 5]], "noise": [[9, 9]]})
    unclear = losses(3, {BEFORE: [[9, 9]], "dataset": [[9, 2]], "fresh": [[5, 5]], "noise": [[9, 9]]})
    assert flips([small, large], 100) == ("dataset", "fresh")
    assert flips([small, small], 100) is None
    assert flips([small, unclear], 100) is None


# A measurement


def test_all_arms_are_measured_with_the_same_steps(measured: tuple[Path, Value]) -> None:
    out, value = measured
    (learner,) = value.learners
    assert {arm.arm for arm in learner.arms} == set(ARMS)
    assert {arm.tokens for arm in learner.arms} == {arm_steps(CONFIG) * 64}  # the other half is replayed
    assert {arm.flops for arm in learner.arms} == {arm_steps(CONFIG) * 128 * learner_shape().flops_per_token}
    assert all(len(arm.losses) == 2 and not arm.ended for arm in learner.arms)
    assert len({loss for arm in learner.arms for loss in arm.losses}) == 2 * len(ARMS)
    assert value.held_out_documents == 30
    assert value.held_out_bytes == 2000
    assert math.isnan(learner.longer_bits_removed.mean)
    assert not list(out.rglob("*.safetensors")), "weights stay"
    assert not list(out.rglob("*.npy")), "tokens stay"
    assert sum(map(len, content(out).values())) < 30_000


def learner_shape():
    return Learner(depth=1, seed=0, vocab_size=300, config=CONFIG, root=Path()).shape


def test_a_result_reads_back(measured: tuple[Path, Value]) -> None:
    out, value = measured
    assert read_result(Value, out / "value.json").verdict == value.verdict
    again = measure(out.parent / "again")
    assert content(out) == content(out.parent / "again" / "out")
    assert again.learners == value.learners or "nan" in repr(value)


def test_text_equal_to_fresh_text_is_worth_one(tmp_path: Path) -> None:
    value = measure(tmp_path, of=FRESH[::-1])
    found = losses_of(value)
    assert found["dataset"] == found["fresh"]
    assert value.learners[0].value.mean == 1 or math.isnan(value.learners[0].value.mean)


def test_a_copy_of_the_source_is_worth_what_repeating_it_is(tmp_path: Path) -> None:
    value = measure(tmp_path, of=SOURCE)
    found = losses_of(value)
    assert found["dataset"] == found["repeat"]
    assert not value.learners[0].value.mean > 0


def test_another_arm_changes_no_figure_of_the_others(tmp_path: Path, measured: tuple[Path, Value]) -> None:
    shape = learner_shape()
    arm_flops = arm_steps(CONFIG) * 128 * shape.flops_per_token
    value = measure(tmp_path, generation_flops=100 * arm_flops)
    before, after = losses_of(measured[1]), losses_of(value)
    assert set(after) == {*before, "longer"}
    assert {arm: after[arm] for arm in before} == before
    (longer,) = [arm for arm in value.learners[0].arms if arm.arm == "longer"]
    # It pays for the part of the dataset that the arm read, which is small, and for the arm's own training.
    assert arm_flops < longer.flops < 4 * arm_flops
    removed = value.learners[0].longer_bits_removed
    means = {arm: sum(after[arm]) / 2 for arm in after}
    assert removed.mean == pytest.approx(means[BEFORE] - means["longer"])


def test_longer_training_is_cut_to_a_multiple() -> None:
    learner = Learner(depth=1, seed=0, vocab_size=300, config=CONFIG, root=Path())
    steps = arm_steps(CONFIG)
    step_flops = batch_rows(CONFIG) * CONFIG.context_length * learner.shape.flops_per_token
    assert longer_steps(learner, 0.0) == (steps, steps)
    assert longer_steps(learner, 2 * steps * step_flops) == (3 * steps, 3 * steps)
    assert longer_steps(learner, 100 * steps * step_flops) == (4 * steps, 101 * steps)


def test_a_small_dataset_is_repeated_and_says_so(tmp_path: Path) -> None:
    value = measure(tmp_path, of=OTHER[:1])
    (learner,) = value.learners
    unique = {arm.arm: arm.unique_tokens for arm in learner.arms}
    assert unique["dataset"] < 500 < unique["fresh"] == 576
    assert any("different tokens" in note and "dataset" in note for note in value.notes)


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)fresh text holds .* lower `arm_tokens` to"):
        measure(tmp_path / "fresh", fresh=["A few words, and no more."])
    with pytest.raises(DataError, match="The source holds"):
        measure(tmp_path / "source", source=["Too short."], config=replace(CONFIG, context_length=64))
    with pytest.raises(DataError, match="no text that may be measured"):
        measure(tmp_path / "dataset", of=HELD_OUT)


def test_a_folder_of_another_measurement_is_refused(measured: tuple[Path, Value]) -> None:
    with pytest.raises(ConfigError, match="another call"):
        measure(measured[0].parent, config=replace(CONFIG, arm_tokens=1000))


def test_a_learner_that_diverges_ends_with_words(tmp_path: Path) -> None:
    value = measure(tmp_path, config=replace(CONFIG, learning_rate=1e30, seeds=(0,)))
    (learner,) = value.learners
    assert math.isnan(learner.before[0])
    assert all("broke down" in arm.ended and math.isnan(arm.losses[0]) for arm in learner.arms)
    assert "ended early" in value.verdict
    assert math.isnan(learner.value.mean)


def test_damage_is_not_taken_for_a_training_that_diverged(
    tmp_path: Path, measured: tuple[Path, Value], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = out / "depth-1/seed-0/before"
    shutil.copytree(measured[0], out)
    (out / "value.json").unlink()
    shutil.rmtree(before)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learner, "_finish", killed)
        with pytest.raises(KeyboardInterrupt):
            measure(tmp_path)
    (before / "training/metrics.jsonl").write_text("no JSON\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl"):
        measure(tmp_path)
    assert not (before / "loss.json").exists()
    (before / "training/metrics.jsonl").unlink()
    assert losses_of(measure(tmp_path)) == losses_of(measured[1])


def test_tokens_that_were_changed_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ids.npy"
    save_array(path, np.arange(50))
    assert load_ids(path).tolist() == list(range(50))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) * 2 // 3] ^= 1
    for content in (b"", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"ids\.npy"):
            load_ids(path)
    with pytest.raises(DataError, match=r"none\.npy"):
        load_ids(tmp_path / "none.npy")


def test_an_arm_that_ended_does_not_end_the_others(tmp_path: Path, measured: tuple[Path, Value]) -> None:
    ended = LossRecord(nats=(), tokens=64, flops=1.0, ended="Step 3 broke down: the loss is nan.")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".value.claim.json").write_bytes((measured[0] / ".value.claim.json").read_bytes())
    for seed in (0, 1):
        write_result(out / "depth-1" / f"seed-{seed}" / "dataset" / "loss.json", ended)
    value = measure(tmp_path)
    before, after = losses_of(measured[1]), losses_of(value)
    assert all(math.isnan(loss) for loss in after.pop("dataset"))
    assert after == {arm: loss for arm, loss in before.items() if arm != "dataset"}
    (arm,) = [arm for arm in value.learners[0].arms if arm.arm == "dataset"]
    assert arm.ended == "Seed 0: Step 3 broke down: the loss is nan. Seed 1: Step 3 broke down: the loss is nan."
    assert "the arm `dataset` ended early" in value.verdict


def test_an_error_that_is_no_divergence_is_not_the_end_of_an_arm(tmp_path: Path, measured: tuple[Path, Value]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".value.claim.json").write_bytes((measured[0] / ".value.claim.json").read_bytes())
    training = out / "depth-1" / "seed-0" / "dataset" / "training"
    write_json(training / ".training.claim.json", {"of": "another"})
    with pytest.raises(ConfigError, match="training of another call"):
        measure(tmp_path)
    assert not (training.parent / "loss.json").exists()


def test_losses_of_documents_are_those_of_the_training_stage() -> None:
    tokenizer = Tokenizer.train(SOURCE, vocab_size=300)
    model = initial_model(replace(learner_shape(), vocab_size=tokenizer.vocab_size), 0)
    separator = tokenizer.end_of_text
    assert separator is not None
    documents = [[separator, *tokenizer.encode(text), separator] for text in HELD_OUT[:4]]
    expected = [text_loss(model, tokenizer, [Document.make(text, source="")]).nats for text in HELD_OUT[:4]]
    assert document_nats(model, documents) == pytest.approx(expected, rel=1e-5)


def test_verdicts(measured: tuple[Path, Value]) -> None:
    (learner,) = measured[1].learners

    def says(
        low: float, mean: float, high: float, noise: float = -1.0, salad: float = -0.5, flipped: bool = False
    ) -> str:
        one = replace(
            learner,
            value=Interval(mean, low, high),
            noise_value=Interval(noise, noise - 0.2, noise + 0.2),
            word_salad_value=Interval(salad, salad - 0.2, salad + 0.2),
        )
        return verdict([one], ("dataset", "repeat") if flipped else None, n_documents=50)

    assert says(0.2, 0.5, 0.8).startswith("Worth 0.50 (95% interval 0.20 to 0.80) of as much new real text")
    assert says(1.1, 1.5, 1.8).startswith("Worth more than new real text")
    assert says(-0.2, 0.1, 0.8).startswith("No gain shown")
    assert "does not exceed that of random characters" in says(0.2, 0.5, 0.8, noise=0.3)
    assert "does not exceed that of words in random order" in says(0.2, 0.5, 0.8, salad=0.3)
    assert "But words in random order gained, too" in says(0.6, 0.8, 1.2, salad=0.3)
    assert "gained, too" not in says(0.2, 0.5, 0.8, salad=0.1)
    assert says(-0.8, -0.5, -0.2).startswith("Harmful")
    assert says(math.nan, math.nan, math.nan).startswith("The value is not defined: new real text lowered")
    assert "differs between the sizes" in says(0.2, 0.5, 0.8, flipped=True)


def test_a_verdict_says_that_few_seeds_or_documents_make_the_interval_too_narrow() -> None:
    def says(*losses: float, n_documents: int) -> str:
        arms = tuple(
            ArmLoss(arm=arm, losses=losses, tokens=1, unique_tokens=1, flops=1.0)
            for arm in ("dataset", "fresh", "repeat")
        )
        one = LearnerValue(
            depth=1, n_params=1, before=(2.0,) * len(losses), arms=arms, value=Interval(0.5, 0.4, 0.6),
            noise_value=UNDEFINED, bits_removed=UNDEFINED, longer_bits_removed=UNDEFINED,
        )  # fmt: skip
        return verdict([one], None, n_documents=n_documents)

    assert "too narrow" not in says(1.0, 1.0, 1.0, n_documents=10)
    assert "drawn from 2 seeds and 10 held-out documents" in says(1.0, math.nan, 1.0, n_documents=10)
    assert "drawn from 3 seeds and 1 held-out document;" in says(1.0, 1.0, 1.0, n_documents=1)


# Kills

KILLED = """
import sys
from pathlib import Path
from unit.assay.test_value import Context, measure
measure(Path(sys.argv[1]), context=Context(workers=1, checkpoint_seconds=0.0))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "mark", ["before/training/checkpoint/state.safetensors", "noise/training/metrics.jsonl", "noise/loss.json"]
)
def test_a_killed_measurement_ends_with_the_same_bytes(mark: str, tmp_path: Path, measured: tuple[Path, Value]) -> None:
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob(f"depth-1/seed-1/{mark}")):
        assert process.poll() is None and time.monotonic() < deadline, f"{mark} never came"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "value.json").exists()
    measure(tmp_path)
    assert content(tmp_path / "out") == content(measured[0])
