"""Reading the results of steps: what is missing, what is broken, what is there several times."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilth.errors import DataError
from tilth.report import collect, render
from tilth.report.labels import Labelled, unique_labels
from unit.report.made_up_run import RUN, Files, collected, with_seeds, write_run

FOLDER_OF = {name: folder for folder, files in RUN.items() for name in files if name != "step.json"}


def test_folders_without_results_give_an_empty_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = collect([tmp_path / "empty", tmp_path / "absent"])
    assert not any((run.ledgers, run.tokenizers, run.trainings, run.samples, run.baselines, run.loops, run.steps))


def test_every_result_is_read_with_the_label_of_its_step(run_files: Files, tmp_path: Path) -> None:
    run_files["tokenizer"]["step.json"]["label"] = "small vocabulary"
    run = collected(run_files, tmp_path)
    assert [entry.label for entry in run.tokenizers] == ["small vocabulary"]
    assert run.ledgers[0].result.rejects[3].documents == 702
    assert run.trainings[0].result.summary is not None
    assert [step.result.name for step in run.steps] == list(RUN)


def test_a_folder_without_a_record_is_named_after_itself(run_files: Files, tmp_path: Path) -> None:
    del run_files["curate"]["step.json"]
    run = collected({"my corpus": run_files["curate"]}, tmp_path)
    assert [entry.label for entry in run.ledgers] == ["my corpus"]
    assert run.steps == ()


def test_a_folder_named_twice_counts_once(run_files: Files, tmp_path: Path) -> None:
    folders = write_run(run_files, tmp_path)
    assert collect([*folders, *folders]) == collect(folders)


def test_missing_key_is_named_with_its_file(run_files: Files, tmp_path: Path) -> None:
    del run_files["curate"]["ledger.json"]["stages"][1]["documents_out"]
    with pytest.raises(DataError, match=r"ledger\.json\.stages\[1\]` has no `documents_out"):
        collected(run_files, tmp_path)


@pytest.mark.parametrize("wrong", ["many", True, 1.5, None, [1]])
def test_wrong_kind_is_named(run_files: Files, tmp_path: Path, wrong: object) -> None:
    run_files["tokenizer"]["statistics.json"]["vocab_size"] = wrong
    with pytest.raises(DataError, match=r"statistics\.json\.vocab_size` holds .* where int belongs"):
        collected(run_files, tmp_path)


@pytest.mark.parametrize("wrong", [None, [], "text", {}, {"name": "curate", "seconds": 1.0, "fingerprint": None}])
def test_a_record_of_another_shape_is_named(run_files: Files, tmp_path: Path, wrong: object) -> None:
    run_files["curate"]["step.json"] = wrong
    with pytest.raises(DataError, match=r"curate/step\.json"):
        collected(run_files, tmp_path)


@pytest.mark.parametrize("name", [*FOLDER_OF, "step.json"])
@pytest.mark.parametrize("content", ["{", "\xff", "null"])
def test_broken_file_is_named(run_files: Files, tmp_path: Path, name: str, content: str) -> None:
    folders = write_run(run_files, tmp_path)
    path = tmp_path / FOLDER_OF.get(name, "curate") / name
    path.write_bytes(content.encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        collect(folders)


def test_unknown_keys_are_passed_over(run_files: Files, tmp_path: Path) -> None:
    run_files["pretrain"]["summary.json"]["new"] = [1]
    assert collected(run_files, tmp_path).trainings[0].result.summary is not None


def test_null_reads_as_no_number(run_files: Files, tmp_path: Path) -> None:
    run_files["baselines"]["baselines.json"]["bits_per_byte"]["model"] = None
    assert math.isnan(collected(run_files, tmp_path).baselines[0].result.bits_per_byte["model"])


@pytest.mark.parametrize("wrong", [[], [[1.0]]])
def test_accuracy_must_fit_the_difficulties(run_files: Files, tmp_path: Path, wrong: list[list[float]]) -> None:
    run_files["improve"]["improve.json"]["seeds"][0]["arms"]["vote"]["accuracy"] = wrong
    with pytest.raises(DataError, match=r"improve\.json`: `seeds\[0\]\.arms\.vote\.accuracy`"):
        collected(run_files, tmp_path)


def test_loop_without_seeds_is_refused(run_files: Files, tmp_path: Path) -> None:
    run_files["improve"]["improve.json"]["seeds"] = []
    with pytest.raises(DataError, match=r"improve\.json`: There are no seeds"):
        collected(run_files, tmp_path)


def test_line_cut_by_a_kill_is_left_out(run_files: Files, tmp_path: Path) -> None:
    (folder,) = write_run({"pretrain": run_files["pretrain"]}, tmp_path)
    path = folder / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"step": 601, "tok')
    metrics = collect([folder]).trainings[0].result.metrics
    assert metrics is not None
    assert len(metrics.train) == 601 and len(metrics.held_out) == 11

    path.write_text('{"step": 601, "tok\n' + whole)
    with pytest.raises(DataError, match=r"metrics\.jsonl:1 is not JSON"):
        collect([folder])


def test_several_results_of_a_kind_are_told_apart(tmp_path: Path) -> None:
    run = collected(with_seeds(RUN), tmp_path)
    assert [entry.label for entry in run.trainings] == ["seed 0", "seed 1"]
    assert [entry.label for entry in run.tokenizers] == ["tokenizer", "tokenizer of 4096"]
    assert {"pretrain, seed 0", "pretrain, seed 1"} <= {entry.label for entry in run.steps}


def test_measurements_are_joined_to_the_training_that_they_read(tmp_path: Path) -> None:
    files = with_seeds(RUN)
    for name in ("samples 2", "baselines 2"):  # equal configs: only their inputs tell them apart
        files[name]["step.json"]["config"]["seed"] = 0
    run = collect(write_run(files, tmp_path)[::-1])
    bits = {entry.label: run.baselines_of(entry) for entry in run.trainings}
    assert {label: b.bits_per_byte["model"] for label, b in bits.items() if b} == {"seed 0": 1.6234, "seed 1": 1.6559}
    assert sorted(entry.label for entry in run.samples) == ["seed 0", "seed 1"]


def test_labels_name_what_differs() -> None:
    def of(name: str, fingerprint: str = "", **config: object) -> Labelled:
        return Labelled(name=name, config=config, fingerprint=fingerprint)

    assert unique_labels([of("a"), of("b")]) == ["a", "b"]
    assert unique_labels([of("a", seed=0, tokens=5), of("b"), of("a", seed=1, tokens=5)]) == [
        "a, seed 0",
        "b",
        "a, seed 1",
    ]
    nested = [of("a", model={"depth": 2}, loop={"depth": d}, note="x") for d in (1, 3)]
    assert unique_labels(nested, short=True) == ["depth 1", "depth 3"]
    both = [of("a", model={"depth": d}, loop={"depth": d}) for d in (1, 3)]
    assert unique_labels(both, short=True) == ["model.depth 1, loop.depth 1", "model.depth 3, loop.depth 3"]
    assert unique_labels([of("a", "0123456789"), of("a", "abcdef0123")]) == ["a, 012345", "a, abcdef"]
    assert unique_labels([of("a"), of("a")], short=True) == ["a, 1", "a, 2"]


names = st.sampled_from(["a", "a, 1", "a, seed 0", ""])
configs = st.dictionaries(st.sampled_from(["seed", "b"]), st.none() | st.integers(0, 2) | st.just({"seed": 1}))


@given(st.lists(st.builds(Labelled, name=names, config=configs, fingerprint=names)), st.booleans())
def test_labels_are_unique(items: list[Labelled], short: bool) -> None:
    labels = unique_labels(items, short=short)
    assert len(set(labels)) == len(labels) == len(items)


def paths_of(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Paths to the values in JSON data; of a list to its first two items."""
    if isinstance(value, dict):
        return [path, *(p for key, item in value.items() for p in paths_of(item, (*path, key)))]
    if isinstance(value, list):
        return [path, *(p for index, item in enumerate(value[:2]) for p in paths_of(item, (*path, index)))]
    return [path]


PATHS = [path for path in paths_of(RUN) if len(path) >= 2]
HOSTILE_VALUES = [None, True, -1, 0, 10**30, -0.5, 1e308, math.inf, math.nan, "", "x", [], {}, [None], {"x": 1}]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), value=st.sampled_from(HOSTILE_VALUES))
def test_any_changed_value_gives_a_page_or_a_named_error(
    path: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    run = copy.deepcopy(RUN)
    at: object = run
    for key in path[:-1]:
        at = at[key]  # type: ignore[index]
    if path[1] == "metrics.jsonl" and len(path) == 2:
        value = [value]
    at[path[-1]] = value  # type: ignore[index]
    try:
        results = collected(run, tmp_path)
    except DataError as error:
        named = f"{path[0]}/{path[1]}" in error.message
    else:
        named = render(results, tmp_path / "page.html").stat().st_size > 10_000
    assert named
