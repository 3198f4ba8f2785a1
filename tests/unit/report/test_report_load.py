"""Reading artefacts: what is absent, what is broken, what is found in folders."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tilth.errors import ConfigError, DataError
from tilth.report.artefacts import RunArtefacts
from tilth.report.load import load


def test_missing_file_counts_as_left_out(tmp_path: Path) -> None:
    data = load(RunArtefacts(ledger=tmp_path / "ledger.json", metrics=tmp_path / "metrics.jsonl"))
    assert data.ledger is None and data.metrics is None


def test_missing_key_is_named_with_its_file(artefacts: dict[str, Any], tmp_path: Path) -> None:
    del artefacts["ledger"]["stages"][1]["documents_out"]
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(artefacts["ledger"]))
    with pytest.raises(DataError, match=r"ledger\.json\.stages\[1\]` has no `documents_out"):
        load(RunArtefacts(ledger=path))


@pytest.mark.parametrize("wrong", ["many", True, 1.5, None, [1]])
def test_wrong_kind_is_named(artefacts: dict[str, Any], wrong: object) -> None:
    artefacts["tokenizer"]["vocab_size"] = wrong
    with pytest.raises(DataError, match=r"statistics\.json\.vocab_size` holds .* where int belongs"):
        load(RunArtefacts(tokenizer=artefacts["tokenizer"]))


def test_unknown_keys_are_passed_over(artefacts: dict[str, Any]) -> None:
    assert load(RunArtefacts(training=artefacts["training"] | {"new": [1]})).training is not None


def test_null_reads_as_no_number(artefacts: dict[str, Any]) -> None:
    data = load(RunArtefacts(training=artefacts["training"] | {"bits_per_byte_after": None}))
    assert data.training is not None and math.isnan(data.training.bits_per_byte_after)


def test_broken_json_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "improve.json"
    path.write_text("{")
    with pytest.raises(DataError, match=r"improve\.json` is not JSON"):
        load(RunArtefacts(improve=path))


def test_accuracy_must_fit_the_lengths(artefacts: dict[str, Any]) -> None:
    artefacts["improve"]["arms"]["vote"]["accuracy"][2].pop()
    with pytest.raises(DataError, match=r"arms\.vote\.accuracy"):
        load(RunArtefacts(improve=artefacts["improve"]))


def test_line_cut_by_a_kill_is_left_out(artefacts: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = "".join(json.dumps(line) + "\n" for line in artefacts["metrics"])
    path.write_text(whole + '{"step": 601, "tok')
    metrics = load(RunArtefacts(metrics=path)).metrics
    assert metrics is not None
    assert len(metrics.train) == 601 and len(metrics.held_out) == 11

    path.write_text('{"step": 601, "tok\n' + whole)
    with pytest.raises(DataError, match=r"metrics\.jsonl\[0\]` is not JSON"):
        load(RunArtefacts(metrics=path))


def test_collect_finds_artefacts_by_name(artefacts: dict[str, Any], tmp_path: Path) -> None:
    for folder, name, content in [
        ("curate", "ledger.json", artefacts["ledger"]),
        ("curate", "recipe.json", artefacts["recipes"][0]),
        ("train", "summary.json", artefacts["training"]),
        ("train", "recipe.json", artefacts["recipes"][2]),
    ]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(json.dumps(content))
    run = RunArtefacts.collect([tmp_path / "curate", tmp_path / "train", tmp_path / "absent"], name="mine")
    assert (run.name, run.ledger) == ("mine", tmp_path / "curate" / "ledger.json")
    assert [step.name for step in load(run).steps] == ["curate", "train"]
    assert run.improve is None

    with pytest.raises(ConfigError, match="the same kind of artefact"):
        RunArtefacts.collect([tmp_path / "curate", tmp_path / "curate"])
