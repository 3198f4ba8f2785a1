"""Sentences are computed: they follow the data where it is good and where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from tilth.report.artefacts import RunArtefacts
from tilth.report.load import load
from tilth.report.views import cost, curation, header, provenance, samples, tokenizer, training


def training_sentence(artefacts: dict[str, Any], **bits: float) -> str:
    artefacts["baselines"]["bits_per_byte"] |= bits
    return training.takeaway(load(RunArtefacts(**artefacts)))


def test_model_that_wins_is_called_best(artefacts: dict[str, Any]) -> None:
    sentence = training_sentence(artefacts)
    assert sentence.startswith("The model needs 1.62 bits per byte on text it never saw")
    assert "a 5-gram model needs 1.94 and zstd -19 needs 1.81" in sentence
    assert "predicts this text best" in sentence and "behind" not in sentence
    assert "Before training it needed 3.41." in sentence


@pytest.mark.parametrize(
    ("bits", "verdict"),
    [
        (1.85, "still behind zstd -19"),
        (2.5, "still behind a 5-gram model and zstd -19"),
        (1.8121, "level with zstd -19"),
    ],
)
def test_model_that_loses_is_called_behind(artefacts: dict[str, Any], bits: float, verdict: str) -> None:
    sentence = training_sentence(artefacts, model=bits)
    assert verdict in sentence and "best" not in sentence


def test_training_that_does_not_help_is_said_so(artefacts: dict[str, Any]) -> None:
    assert "so training did not help" in training_sentence(artefacts, model=3.5)
    assert "did not help" not in training_sentence(artefacts, model=3.0)


def test_without_baselines_nothing_is_compared(artefacts: dict[str, Any]) -> None:
    data = load(RunArtefacts(training=artefacts["training"]))
    assert training.takeaway(data) == (
        "The model needs 1.62 bits per byte on text it never saw. Before training it needed 3.41."
    )


def curation_sentence(ledger: dict[str, Any]) -> str:
    view = curation.view(load(RunArtefacts(ledger=ledger)))
    assert view is not None
    return view.takeaway


def test_curation_names_the_largest_loss(artefacts: dict[str, Any]) -> None:
    assert curation_sentence(artefacts["ledger"]) == (
        "Of 3,412 documents read, 2,011 (59%) were kept; the largest loss was “too few words” with 702."
    )


def test_curation_that_keeps_all_or_nothing_says_so(artefacts: dict[str, Any]) -> None:
    ledger = artefacts["ledger"]
    assert "no rule dropped any" in curation_sentence(ledger | {"drops": []})
    nothing = {"documents": 0, "bytes": 0}
    assert "Nothing was kept of 3,412" in curation_sentence(ledger | {"train": nothing, "held_out": nothing})


def test_other_sentences(artefacts: dict[str, Any]) -> None:
    run = RunArtefacts(**artefacts)
    data = load(run)
    views = [tokenizer.view(data), samples.view(data), cost.view(run, data), provenance.view(run, data)]
    sentences = [view.takeaway for view in views if view is not None]
    assert sentences == [
        "One token stands for 3.87 bytes of held-out text, with a vocabulary of 8,192, of which 92% is in use.",
        "3 prompts, each continued before and after training: judge for yourself.",
        "6 steps took 12 min 20 s in all; improve took the most, 6 min 41 s (54%). "
        "2 of them came from the cache, which saved 54 s.",
        "Same config and inputs, same fingerprint; and the same fingerprint is not computed twice.",
    ]
    artefacts["recipes"][0]["tilth_version"] = "0.0.9"
    mixed = load(RunArtefacts(**artefacts))
    view = provenance.view(run, mixed)
    assert view is not None and "2 versions of the code" in view.takeaway


def test_flops_come_from_steps_or_else_from_training_and_loop(artefacts: dict[str, Any]) -> None:
    whole = load(RunArtefacts(**artefacts))
    assert header.total_flops(whole) == pytest.approx(4.61e13 + 2.1e12 + 9.3e12)
    bare = load(RunArtefacts(training=artefacts["training"]))
    assert header.total_flops(bare) == pytest.approx(4.61e13)
    assert header.total_flops(load(RunArtefacts())) is None
