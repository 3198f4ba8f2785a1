"""`tilth run` leaves a record of what it was asked for: a name, a page, links, and what `ls` and `show` tell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tilth.cli import main
from tilth.cli.options import RecipeOptions
from tilth.cli.recipes import _recipe  # pyright: ignore[reportPrivateUsage]
from tilth.run_record import begin

RECIPE = '''
from tilth import Source, Step
from tilth.evaluation.result import BASELINES, Baselines
from tilth.results import write_result

def measure(config, inputs, out, context):
    """Leaves the bits per byte of a model, and says where it may write what is only looked at."""
    bits = {"model": config["bits"], "5-gram": 2.0}
    write_result(out / BASELINES, Baselines(held_out_bytes=1, held_out_documents=1, bits_per_byte=bits))
    assert context.live is not None and context.live.name == "measure"
    if config["bits"] > 9:
        raise KeyError("too many")

def export(config, inputs, out, context):
    (out / "generation_config.json").write_text("{}")

def recipe(*, corpus: str = "", bits: float = 1.5) -> Step:
    inputs = {"texts": Source(corpus)} if corpus else {}
    measured = Step("measure", measure, {"bits": bits}, inputs)
    return Step("export", export, {}, {"measure": measured})
'''


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(RECIPE)
    for name in ("german", "My Novel.txt"):
        path = tmp_path / name / "a.txt" if "." not in name else tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("text")
    return tmp_path


def tilth(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    out, err = capsys.readouterr()
    assert exit_.value.code == code, err
    return out, err


def test_a_run_has_a_page_links_and_a_record(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    _, said = tilth(capsys, "run", "mine.py:recipe", "--corpus", "My Novel.txt")
    assert said.rstrip().endswith("Report:  runs/my-novel/report.html\nChat:    tilth chat runs/my-novel/export")
    page = (folder / "runs" / "latest" / "report.html").read_text()
    assert "<h1>my-novel</h1>" in page
    assert "<title>my-novel · tilth</title>" in page
    assert "<code>tilth run mine.py:recipe --corpus &#39;My Novel.txt&#39;</code>" in page
    record = json.loads((folder / "runs" / "my-novel" / "run.json").read_text())
    assert record["command"] == "tilth run mine.py:recipe --corpus 'My Novel.txt'"
    assert record["fields"] == {"corpus": "My Novel.txt"}
    assert record["corpora"] == ["My Novel.txt"]
    assert record["status"] == "finished"
    assert (folder / "runs" / "latest" / "export" / "step.json").exists()
    # None of it is part of a step's identity.
    again = tilth(capsys, "run", "mine.py:recipe", "--corpus", "My Novel.txt", "--name", "other")[1]
    assert "Everything is cached" in again
    assert "<h1>other</h1>" in (folder / "runs" / "other" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "given", "name"),
    [
        ("german/*.txt", "german/*.txt", "a"),
        ("g*/", "./g*", "german"),
        ("x=./g*", "./g*", "german"),
        ("texts/*.md", "texts/*.md", "texts"),
    ],
)
def test_a_run_over_a_glob_is_named_after_what_matches_and_keeps_the_glob(
    words: str, given: str, name: str, folder: Path
) -> None:
    (folder / "texts").mkdir()
    for number in range(5):
        (folder / "texts" / f"{number}.md").write_text("text")
    call = _recipe("run", ["quickstart", "--corpus", words], RecipeOptions())
    assert call.name == name
    with call.begin() as active:
        assert active.record.corpora == (given,)


def test_an_answer_of_no_leaves_nothing_and_an_earlier_run_as_it_is(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tilth(capsys, "run", "mine.py:recipe")
    page = (folder / "runs" / "latest" / "report.html").read_bytes()
    for module in ("look", "recipes"):
        monkeypatch.setattr(f"tilth.cli.{module}.is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: "n")
    words = ("quickstart", "--corpus", "german", "--depth", "1", "--vocab-size", "512", "--rounds", "0")
    said = tilth(capsys, "run", *words)[1]
    assert "Nothing of the sample would be kept" in said
    assert "Nothing was run." in said
    assert {path.parent.name for path in (folder / "runs").glob("*/run.json")} == {"recipe", "latest"}
    assert (folder / "runs" / "latest" / "report.html").read_bytes() == page


def test_ls_tells_runs_apart(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--corpus", "german"), ("--corpus", "german", "--bits", "1.25"), ("--corpus", "german")):
        tilth(capsys, "run", "mine.py:recipe", *words)
    tilth(capsys, "run", "mine.py:recipe", "--bits", "9.5", code=2)
    rows = [line.split() for line in tilth(capsys, "ls")[0].splitlines() if "mine.py" in line]
    assert [(row[0], row[-1]) for row in rows] == [
        ("recipe-2", "failed"), ("german", "1.500"), ("german-2", "1.250"), ("recipe", "1.500"),
    ]  # fmt: skip
    assert ["german" in row[2] for row in rows] == [False, True, True, False]
    steps, _ = tilth(capsys, "ls", "--steps")
    owned = [line.split()[-1] for line in steps.splitlines() if line.strip().startswith("export")]
    assert sorted(owned) == ["german", "german-2", "recipe"]
    assert sum("unfinished" in line for line in steps.splitlines()) == 1
    listed = json.loads(tilth(capsys, "ls", "--json")[0])
    assert [run["name"] for run in listed["runs"]] == ["recipe-2", "german", "german-2", "recipe"]
    assert listed["runs"][0]["error"] == "KeyError: 'too many'"
    assert len(listed["steps"]) == 7
    assert "6 steps checked" in tilth(capsys, "check")[1]
    assert "2 steps checked" in tilth(capsys, "check", "runs/latest/../german-2")[1]


@pytest.mark.parametrize("named", ["german", "latest", "runs/latest", "runs/german/report.html"])
def test_show_tells_what_a_run_was(named: str, capsys: pytest.CaptureFixture[str]) -> None:
    tilth(capsys, "run", "mine.py:recipe", "--corpus", "german")
    shown, _ = tilth(capsys, "show", named)
    assert shown.startswith("german  runs/german\n    command tilth run mine.py:recipe --corpus german\n")
    assert "    corpus  german\n" in shown
    assert "report  runs/german/report.html" in shown
    assert shown.count("\n    made    ") == 2


def test_show_follows_a_link_to_its_step_and_on_to_its_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    tilth(capsys, "run", "mine.py:recipe", "--corpus", "german")
    shown, _ = tilth(capsys, "show", "runs/latest/export")
    first, *_ = Path("runs/export").glob("????????????????")
    assert shown.startswith(f"export  {first}\n")
    assert "\nmeasure  runs/measure/" in shown


def test_a_report_has_the_name_of_the_run_it_is_about(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    tilth(capsys, "run", "mine.py:recipe", "--corpus", "german", "--name", "tales")
    tilth(capsys, "report", "mine.py:recipe", "--corpus", "german")
    page = (folder / "report.html").read_text()
    assert "<h1>tales</h1>" in page
    assert "<code>tilth run mine.py:recipe --corpus german --name tales</code>" in page


def test_a_run_that_is_at_work_is_not_started_twice(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    words = ("run", "mine.py:recipe", "--corpus", "german")
    asked = {"recipe": "mine.py:recipe", "command": "tilth", "fields": {"corpus": "german"}, "suggestion": "german"}
    with begin(folder / "runs", **asked):  # pyright: ignore[reportArgumentType]
        _, said = tilth(capsys, *words, code=2)
        assert "The run `german` is at work in another process" in said
        assert "--name NAME" in said
        tilth(capsys, *words, "--name", "second")
    tilth(capsys, *words)


def test_a_mistake_in_the_words_leaves_no_run(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    tilth(capsys, "run", "mine.py:recipe", "--corpus", "gone", code=2)
    tilth(capsys, "run", "mine.py:recipe", "--name", "a/b", code=2)
    assert not list(folder.glob("runs/*/run.json"))


def test_the_command_is_tilth_however_it_was_called(folder: Path) -> None:
    environment = os.environ | {"COLUMNS": "200"}
    subprocess.run(
        [sys.executable, "-m", "tilth", "run", "mine.py:recipe", "--corpus=german"], env=environment, check=True,
        capture_output=True,
    )  # fmt: skip
    record = json.loads((folder / "runs" / "german" / "run.json").read_text())
    assert record["command"] == "tilth run mine.py:recipe --corpus=german"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--corpus", "german"], "german"),
        (["--corpus=german"], "german"),
        (["--corpus", "ger*"], "german"),
        (["--corpus", "x=german", "My Novel.txt"], "german-my-novel"),
        (["--depth", "2"], "quickstart"),
        (["--corpus", "."], None),
    ],
)
def test_quickstart_is_named_after_its_text(words: list[str], name: str | None, folder: Path) -> None:
    call = _recipe("run", ["quickstart", *words], RecipeOptions())
    assert call.name == (name or folder.name.lower())


def test_a_page_that_cannot_be_written_is_told_and_the_run_is_finished(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "odd.py").write_text(
        "from tilth import Step\n"
        "def odd(config, inputs, out, context): (out / 'summary.json').write_text('[]')\n"
        "def recipe() -> Step: return Step('odd', odd, {})\n"
    )
    _, said = tilth(capsys, "run", "odd.py:recipe")
    assert "No report:" in said and "summary.json" in said
