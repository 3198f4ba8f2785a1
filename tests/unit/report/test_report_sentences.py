"""Sentences are computed: they follow the results where they are good and where they are not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tilth.report import RunResults
from tilth.report.views import cost, curation, header, provenance, samples, tokenizer, training
from unit.report.made_up_run import RUN, Files, collected, with_seeds


def training_sentence(run_files: Files, root: Path, **bits: float | None) -> str:
    run_files["baselines"]["baselines.json"]["bits_per_byte"] |= bits
    return training.takeaway(collected(run_files, root))


def test_model_that_wins_is_called_best(run_files: Files, tmp_path: Path) -> None:
    sentence = training_sentence(run_files, tmp_path)
    assert sentence.startswith("The model needs 1.62 bits per byte on held-out text")
    assert "a 5-gram model needs 1.94 and zstd -19 needs 1.81" in sentence
    assert "predicts this text best" in sentence and "worse" not in sentence
    assert "Before the first step it needed 3.41." in sentence


@pytest.mark.parametrize(
    ("bits", "verdict"),
    [
        (1.85, "worse than zstd -19"),
        (2.5, "worse than a 5-gram model and zstd -19"),
        (1.8121, "equal to zstd -19"),
    ],
)
def test_model_that_loses_is_called_worse(run_files: Files, tmp_path: Path, bits: float, verdict: str) -> None:
    sentence = training_sentence(run_files, tmp_path, model=bits)
    assert verdict in sentence and "best" not in sentence


def test_training_that_does_not_help_is_said_so(run_files: Files, tmp_path: Path) -> None:
    assert "training did not help" in training_sentence(run_files, tmp_path, model=3.5)
    assert "did not help" not in training_sentence(run_files, tmp_path, model=3.0)


def test_without_baselines_nothing_is_compared(run_files: Files, tmp_path: Path) -> None:
    run = collected({"pretrain": run_files["pretrain"]}, tmp_path)
    assert training.takeaway(run) == (
        "The model needs 1.62 bits per byte on held-out text. Before the first step it needed 3.41."
    )


def test_baselines_without_a_training_are_told(run_files: Files, tmp_path: Path) -> None:
    run = collected({"baselines": run_files["baselines"]}, tmp_path)
    assert training.takeaway(run).startswith("The model needs 1.62 bits per byte on held-out text; a 5-gram model")


def test_weights_that_are_not_the_last_are_told_and_marked(run_files: Files, tmp_path: Path) -> None:
    summary = run_files["pretrain"]["summary.json"]
    summary |= {"best_tokens": 2_000_000, "stopped_early": True, "budget_tokens": 9_000_000, "pass_tokens": 1_000_000}
    run = collected({"pretrain": run_files["pretrain"]}, tmp_path / "early")
    assert training.takeaway(run).endswith(
        "Training stopped early, after 4.92 M of 9.00 M tokens, because the loss on held-out text no longer "
        "fell; the weights after 2.00 M tokens are kept."
    )
    view = training.view(run)
    assert view is not None and "4.92 passes over the text" in view.facts
    assert view.curves[1].count('<line class="moment"') == 2
    assert ">weights kept</text>" in view.curves[1] and ">stopped early</text>" in view.curves[1]

    summary["stopped_early"] = False
    assert training.takeaway(collected({"pretrain": run_files["pretrain"]}, tmp_path / "whole")).endswith(
        "The weights after 2.00 M of 4.92 M tokens are kept: later ones were worse on held-out text."
    )
    summary["best_tokens"] = summary["tokens"]
    run = collected({"pretrain": run_files["pretrain"]}, tmp_path / "last")
    view = training.view(run)
    assert "kept" not in training.takeaway(run) and view is not None and "moment" not in view.curves[1]


def test_several_trainings_are_compared(tmp_path: Path) -> None:
    files = with_seeds(RUN)
    assert training.takeaway(collected(files, tmp_path / "a")) == (
        "2 trainings need 1.62–1.66 bits per byte on held-out text, least with “seed 0”; "
        "a 5-gram model needs 1.94 and zstd -19 needs 1.81."
    )
    files["baselines"]["baselines.json"]["bits_per_byte"]["model"] = None
    files["baselines 2"]["baselines.json"]["bits_per_byte"] |= {"model": 1.9, "zstd -19": 1.7}
    assert training.takeaway(collected(files, tmp_path / "b")) == (
        "2 trainings need 1.90 bits per byte on held-out text, least with “seed 1”. "
        "1 training diverged. None of them is better than zstd -19."
    )


def curation_sentence(ledger: dict[str, Any], root: Path) -> str:
    view = curation.view(collected({"curate": {"ledger.json": ledger}}, root))
    assert view is not None
    return view.takeaway


def test_curation_names_the_most_frequent_reason(run_files: Files, tmp_path: Path) -> None:
    assert curation_sentence(run_files["curate"]["ledger.json"], tmp_path) == (
        "Of 3,412 documents read, 2,011 (59%) were kept. "
        "The most frequent reason to drop one was “too few words”, with 702 documents."
    )


def test_curation_that_keeps_all_or_nothing_says_so(run_files: Files, tmp_path: Path) -> None:
    ledger = run_files["curate"]["ledger.json"]
    assert "no rule dropped any" in curation_sentence(ledger | {"rejects": []}, tmp_path)
    nothing = {"documents": 0, "bytes": 0}
    assert "None of 3,412" in curation_sentence(ledger | {"train": nothing, "held_out": nothing}, tmp_path)


def test_other_sentences(run_files: Files, tmp_path: Path) -> None:
    run = collected(run_files, tmp_path / "one")
    views = [header.view(run), tokenizer.view(run), samples.view(run), cost.view(run), provenance.view(run)]
    assert [view.takeaway for view in views if view is not None] == [
        "A language model of 1.31 M parameters, trained on 1,931 documents (26.9 MB of text).",
        "On held-out text a token holds 3.87 bytes on average. 92% of the 8,192 tokens in the vocabulary occur.",
        "3 prompts, each continued before and after training. All continuations changed.",
        "8 steps took 12 min 26 s in all; improve took the most, 6 min 41 s (54%).",
        "A step is identified by the fingerprint of its config and inputs. "
        "A step whose fingerprint is known is not computed again.",
    ]
    run_files["curate"]["step.json"]["tilth_version"] = "0.0.9"
    view = provenance.view(collected(run_files, tmp_path / "two"))
    assert view is not None and "2 versions of tilth" in view.takeaway


def test_sentences_on_several(tmp_path: Path) -> None:
    run = collected(with_seeds(RUN), tmp_path)
    views = [header.view(run), tokenizer.view(run), samples.view(run)]
    assert [view.takeaway for view in views if view is not None] == [
        "2 language models of 1.31 M parameters, trained on 1,931 documents (26.9 MB of text).",
        "2 tokenizers: a token holds 3.41–3.87 bytes of held-out text on average, most with “tokenizer”.",
        "3 prompts, each continued by 2 models before and after training. All continuations changed.",
    ]


def test_provenance_shows_the_machine_and_links_inputs_to_steps(whole_run: RunResults) -> None:
    view = provenance.view(whole_run)
    assert view is not None
    assert dict(view.versions) == {
        "tilth": "0.1.0",
        "git commit": "5b1c0c7e9f",
        "device": "cpu: 2 cores",
        "threads": "2",
        "libraries": "pyarrow 18.0.0, torch 2.5.1",
    }
    pretrain = view.steps[2]
    assert {"Label": "pretrain", "Device": "cpu: 2 cores", "Threads": "2"}.items() <= dict(pretrain.facts).items()
    assert [(i.name, i.anchor) for i in pretrain.inputs] == [("train", "step-1"), ("tokenizer", "step-2")]


def test_flops_are_those_that_steps_counted(whole_run: RunResults) -> None:
    assert header.total_flops(whole_run) == pytest.approx(4.61e13 + 2.1e12 + 9.3e12)
    assert header.total_flops(dataclasses.replace(whole_run, steps=())) is None


def test_the_head_gives_the_bits_per_byte_of_the_section_on_training(run_files: Files, tmp_path: Path) -> None:
    """The curve is measured on less text than the comparison, so its last value is another figure."""
    run_files["pretrain"]["summary.json"] |= {"bits_per_byte_before": 3.3, "bits_per_byte_after": 1.5}
    figures = {one.label: one.value for one in header.view(collected(run_files, tmp_path / "a")).key_figures}
    assert figures["bits per byte"] == "3.41 → 1.62"
    run_files["pretrain"]["summary.json"]["held_out_bytes"] = 50_000
    view = training.view(collected(run_files, tmp_path / "b"))
    assert view is not None and "bits per byte of the first 50.0 kB of held-out text" in view.curves[1]
    del run_files["baselines"]
    run = collected(run_files, tmp_path / "c")
    assert "3.30 → 1.50" in [one.value for one in header.view(run).key_figures]


def test_a_document_that_is_cut_for_measuring_is_kept_once(run_files: Files, tmp_path: Path) -> None:
    ledger = run_files["curate"]["ledger.json"]
    ledger["split"] |= {"threshold": 0.0, "tails": ledger["held_out"]["documents"]}
    run = collected(run_files, tmp_path)
    kept = f"{ledger['train']['documents']:,}"
    assert kept in {one.value for one in header.view(run).key_figures if one.label == "documents kept"}
    assert f"read, {kept} (" in curation_sentence(ledger, tmp_path / "b")
