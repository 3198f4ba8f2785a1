"""`tilth compare`: runs by name, folder, link or step; what differs; errors that name the known runs."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tilth.cli import main
from unit.report.made_up_run import RUN, Files


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def write(runs: Path, name: str, files: Files, **record: Any) -> None:
    """Writes the steps of a run where they belong, and its record."""
    steps: dict[str, str] = {}
    for of_step in files.values():
        step = of_step["step.json"]
        folder = runs / step["name"] / step["fingerprint"]
        folder.mkdir(parents=True, exist_ok=True)
        steps[step["label"]] = str(folder.relative_to(runs))
        for file_name, value in of_step.items():
            lines = value if file_name.endswith(".jsonl") else [value]
            (folder / file_name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (runs / name).mkdir()
    fields = {"name": name, "recipe": "quickstart", "command": "tilth run quickstart", "steps": steps}
    fields |= {"started_at": "2026-11-21T10:00:00", "status": "finished", "fields": {}, "corpora": []}
    (runs / name / "run.json").write_text(json.dumps(fields | record))


def changed() -> Files:
    """The made-up run with another training of more tokens, worse, and other samples."""
    files = {name: copy.deepcopy(RUN[name]) for name in ("curate", "tokenizer", "pretrain", "samples", "baselines")}
    for digit, name in enumerate(("pretrain", "samples", "baselines"), 10):
        files[name]["step.json"] |= {"fingerprint": f"{digit:x}" * 16, "tilth_version": "0.0.9"}
    files["pretrain"]["step.json"]["config"]["nested"] = {"d_model": 256}
    files["pretrain"]["summary.json"] |= {"tokens": 9_000_000}
    files["baselines"]["baselines.json"]["bits_per_byte"]["model"] = 1.8
    files["samples"]["samples.json"][0]["after"] += " Or <b>another</b>."
    return files


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    runs = tmp_path / "runs"
    write(runs, "first-run", RUN)
    write(runs, "second-run", changed(), fields={"depth": "6"}, status="stopped", started_at="2026-11-21T11:00:00")
    (runs / "latest").symlink_to("second-run")
    return runs


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run("compare", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_what_differs_is_told(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, "first-run", "second-run")
    differ = found["differing_fields"]
    assert differ["pretrain.nested.d_model"] == ["128", "256"]
    assert differ["field depth"] == ["", "6"] and differ["status"] == ["finished", "stopped"]
    assert differ["tilth"] == ["0.1.0", "0.0.9, 0.1.0"]
    assert differ["step improve"] == ["done", "not done"]
    assert not [name for name in differ if name.startswith("improve.")], "of a step that only one run has"
    assert found["equal_fields"]["pretrain.seed"] == "0"
    assert found["figures"]["bits per byte"] == [1.6234, 1.8]
    assert found["figures"]["training tokens"] == [4_915_200, 9_000_000]
    assert found["same_held_out_text"] is True
    assert found["documents"]["kept for training"] == [1931, 1931]
    assert [name for name, _ in found["samples"][0]["texts"]] == ["first-run", "second-run"]


def test_the_page_shows_all_of_it_as_text(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "first-run", "latest", "--out", "pages/both.html") == 0
    printed = capsys.readouterr()
    assert "pages/both.html" in printed.err and "“first-run” needs the fewest bits per byte, 1.623" in printed.out
    page = Path("pages/both.html").read_text()
    for key in ("figures", "curves", "fields", "curation", "samples"):
        assert f'<section id="compare_{key}"' in page
    assert "Not finished: second-run." in page
    assert "Or &lt;b&gt;another&lt;/b&gt;." in page and "<b>another" not in page
    assert page.count('<path class="line') == 12, "two runs in six charts"
    assert run("compare", "first-run", "latest", "--out", "again.html") == 0
    assert Path("again.html").read_text() == page


def test_names_folders_links_and_steps(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = runs / "pretrain" / ("a" * 16)
    record = json.loads((step / "step.json").read_text())
    record["input_steps"] = {"train": "curate", "tokenizer": "tokenizer"}
    (step / "step.json").write_text(json.dumps(record))
    found = compared(capsys, "runs/first-run", "runs/latest", "second-run", str(step))
    assert [one["name"] for one in found["runs"]] == ["first-run", "second-run", "second-run (2)", "pretrain/aaaaaa"]
    assert found["figures"]["documents read"] == [3412] * 4, "a step comes with what it was made from"
    assert found["figures"]["training tokens"][1:] == [9_000_000] * 3


def test_a_training_at_work_is_compared(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (done,) = (runs / "pretrain").glob("a*")
    record = json.loads((runs / "second-run" / "run.json").read_text())
    record["steps"] = {label: record["steps"][label] for label in ("curate", "tokenizer")}
    (runs / "second-run" / "run.json").write_text(json.dumps(record))
    partial = done.with_name("a" * 16 + ".partial")
    shutil.move(done, partial)
    for name in ("step.json", "summary.json"):
        (partial / name).unlink()
    inputs = {"train": f"{'1' * 16}/train", "tokenizer": "2" * 16}
    (partial / ".step.claim.json").write_text(json.dumps({"name": "pretrain", "inputs": inputs}))
    found = compared(capsys, "first-run", "second-run")
    assert found["figures"]["bits per byte"][1] == pytest.approx(1.6234), "the last point of its curve"
    (partial / ".step.claim.json").write_text(json.dumps({"name": "pretrain", "inputs": {"train": "e" * 16}}))
    assert compared(capsys, "first-run", "second-run")["figures"]["bits per byte"][1] is None, "another run's training"


def test_results_of_another_version_are_left_out_and_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "tokenizer" / ("2" * 16) / "statistics.json").write_text('{"of": "another version"}')
    assert run("compare", "first-run", "second-run") == 0
    assert "Left out of first-run" in capsys.readouterr().err
    found = compared(capsys, "first-run", "second-run")
    assert "statistics.json" in found["runs"][0]["unreadable"][0]
    assert found["figures"]["parameters"] == [1_312_256] * 2
    assert "statistics.json" in Path("compare.html").read_text()


def test_other_held_out_text_is_said(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = runs / "baselines" / ("c" * 16) / "baselines.json"
    measured = json.loads(path.read_text())
    path.write_text(json.dumps(measured | {"held_out_bytes": 7}))
    assert run("compare", "first-run", "second-run") == 0
    assert "different held-out text" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("first-run",), ["needs two runs; 1 given", "second-run, first-run"]),
        (("first-run", "second-rum"), ["no run called `second-rum`", "Did you mean `second-run`", "first-run"]),
        (("first-run", "x", "--runs", "none"), ["There are no runs in none"]),
    ],
)
def test_mistakes_name_the_known_runs(
    words: tuple[str, ...], says: list[str], runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", *words) == 2
    printed = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "Traceback" not in printed
    for piece in says:
        assert piece in printed
    assert not Path("compare.html").exists()
