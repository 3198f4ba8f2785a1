"""Estimates grow with the work, by the nearest earlier run where there is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tilth import steps
from tilth.execute import Context
from tilth.perform import full_config
from tilth.recipes import estimates
from tilth.recipes.estimates import estimate, source_bytes, work_of
from tilth.recipes.quickstart import quickstart
from tilth.results import write_result
from tilth.step_record import RECORD, OutputFile, StepRecord
from tilth.steps import Identities, Planned, Step, in_order


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("word " * 20_000)
    return folder


def planned(target: Step, context: Context) -> dict[str, Planned]:
    return {one.step.label: one for one in steps.plan(target, context)}


def remember(target: Step, label: str, context: Context, *, seconds: float, **counts: float) -> None:
    """Writes the record of a finished run of one step of a recipe."""
    step = next(s for s in in_order(target, context) if s.label == label)
    identities = Identities(context.runs)
    folder = identities.folder(step)
    folder.mkdir(parents=True)
    work = identities.work(step, folder)
    record = StepRecord(
        name=step.name, label=label, fingerprint=work.fingerprint, version=step.version, seconds=seconds,
        config=full_config(step.config), inputs=dict(work.identity["inputs"]), input_steps=dict(work.input_steps),
        counts=dict(counts), outputs=dict[str, OutputFile](), finished_at=f"2026-01-01T00:00:{len(counts):02d}",
    )  # fmt: skip
    write_result(folder / RECORD, record)


def test_a_small_training_does_not_take_what_a_large_one_took(corpus: Path, tmp_path: Path) -> None:
    """4 layers and 3M tokens took ten minutes; one layer and 30k tokens are a thousandth of the work."""
    context = Context(runs=tmp_path / "runs")
    large, small = quickstart(corpus=str(corpus)), quickstart(corpus=str(corpus), depth=1, tokens=30_000)
    flops = work_of(next(s for s in in_order(large, context) if s.label == "pretrain"))
    assert flops is not None
    remember(large, "pretrain", context, seconds=600, flops=flops)
    expected = estimate(planned(small, context)["pretrain"], context)
    assert expected is not None and expected.from_run
    assert expected.seconds < 10
    again = estimate(planned(quickstart(corpus=str(corpus), seed=1), context)["pretrain"], context)
    assert again is not None and again.seconds == pytest.approx(600)


def test_a_large_training_does_not_take_the_start_of_a_small_one_many_times(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first try of a minute's size took 18 s, most of them to start: the whole recipe takes minutes, not hours."""
    monkeypatch.setattr(estimates, "matrix_flops_per_second", lambda: 5e10)
    context = Context(runs=tmp_path / "runs")
    large, small = (
        quickstart(corpus=str(corpus)),
        quickstart(corpus=str(corpus), depth=1, vocab_size=512, tokens=30_000),
    )
    alone = estimate(planned(large, context)["pretrain"], context)
    remember(small, "pretrain", context, seconds=9, flops=1.2e10)
    expected = estimate(planned(large, context)["pretrain"], context)
    assert alone is not None and expected is not None and expected.from_run
    assert alone.seconds < expected.seconds < 3 * alone.seconds


def test_without_an_earlier_run_training_goes_by_this_machine(corpus: Path, tmp_path: Path) -> None:
    context = Context(runs=tmp_path / "runs")
    times: list[float] = []
    for tokens in (1_000_000, 3_000_000):
        expected = estimate(planned(quickstart(corpus=str(corpus), tokens=tokens), context)["pretrain"], context)
        assert expected is not None and not expected.from_run
        times.append(expected.seconds - estimates.START_SECONDS["pretrain"])
    assert times[1] == pytest.approx(3 * times[0])


def test_curation_and_what_follows_go_by_bytes(corpus: Path, tmp_path: Path) -> None:
    context = Context(runs=tmp_path / "runs")
    before = quickstart(corpus=str(corpus))
    n_bytes = source_bytes(in_order(before, context)[0])
    assert n_bytes == 100_000
    remember(before, "curate", context, seconds=43, source_bytes=n_bytes)
    remember(before, "tokenizer", context, seconds=21, vocab_size=4096, documents=1)
    (corpus / "b.txt").write_text("other " * 50_000)  # four times the bytes in all
    now = planned(quickstart(corpus=str(corpus)), context)
    for label, seconds in (("curate", 3 + 4 * 40), ("tokenizer", 1 + 4 * 20)):
        expected = estimate(now[label], context)
        assert expected is not None and expected.seconds == pytest.approx(seconds)


def test_the_loop_grows_with_its_rounds_and_seeds(corpus: Path, tmp_path: Path) -> None:
    context = Context(runs=tmp_path / "runs")
    work = [
        work_of(
            next(s for s in in_order(quickstart(corpus=str(corpus), rounds=rounds), context) if s.name == "improve")
        )
        for rounds in (1, 8)
    ]
    assert work[0] is not None and work[1] is not None and 3 * work[0] < work[1] < 9 * work[0]


def test_a_loop_that_continues_a_model_takes_longer_for_a_larger_one(corpus: Path, tmp_path: Path) -> None:
    context = Context(runs=tmp_path / "runs")
    small, large = (
        work_of(next(s for s in in_order(quickstart(corpus=str(corpus), depth=depth), context) if s.name == "improve"))
        for depth in (2, 8)
    )
    assert small is not None and large is not None and large > 4 * small


def test_the_reasons_are_those_against_the_nearest_run(corpus: Path, tmp_path: Path) -> None:
    """The newest run differs in seven fields, an older one in a single one: that is the one to compare with."""
    context = Context(runs=tmp_path / "runs")
    remember(quickstart(corpus=str(corpus), tokens=9), "pretrain", context, seconds=5, flops=1.0)
    remember(quickstart(corpus=str(corpus), depth=1, tokens=8, seed=3), "pretrain", context, seconds=5, flops=1.0, a=1)
    now = planned(quickstart(corpus=str(corpus), tokens=10), context)["pretrain"]
    assert now.reasons == ["pretrain: training.tokens 9 -> 10"]


def test_a_cause_is_told_once(corpus: Path, tmp_path: Path) -> None:
    """The report reads seven steps, most of which are new for one reason."""
    context = Context(runs=tmp_path / "runs")
    before = quickstart(corpus=str(corpus))
    for step in in_order(before, context):
        remember(before, step.label, context, seconds=1)
    now = planned(quickstart(corpus=str(corpus), vocab_size=512), context)
    reasons = now["report"].reasons
    assert sum("tokenizer: vocab_size 4096 -> 512" in reason for reason in reasons) == 1
    assert len(reasons) == len(set(reasons)) < 30
    assert json.dumps(reasons)
