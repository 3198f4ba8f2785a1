"""The verbs over recipes and records, on a recipe of two seeds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.cli import main, terminal

RECIPE = '''
from pathlib import Path
from tilth.sources import Source
from tilth.steps import Step

def write(config, inputs, out, context):
    """Writes a file, and fails where it is told to."""
    (out / "file.txt").write_text(str(config))
    if config.get("fails"):
        raise OSError(28, "No space left on device")

def seeds(*, n: int = 2, corpus: str = "") -> Step:
    inputs = {"corpus": Source(corpus)} if corpus else {}
    each = {f"seed {i}": Step("write", write, {"seed": i}, inputs, label=f"seed {i}") for i in range(n)}
    return Step("last", write, {}, each)

def clash(*, jobs: int = 2) -> Step:
    return seeds(n=jobs)

def write_empty(config, inputs, out, context):
    (out / "empty").touch()

def empty() -> Step:
    return Step("write_empty", write_empty, {})

def full() -> Step:
    return Step("write", write, {"fails": True})
'''


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(RECIPE)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    out, err = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, out, err


def test_labels_are_what_people_see_and_ask_for(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, _, err = run(capsys, "run", "mine.py:seeds")
    assert code == 0
    assert "seed 0" in err
    assert "seed 1" in err
    _, listed, _ = run(capsys, "ls", "--steps")
    assert sum("write" in line and "seed" in line for line in listed.splitlines()) == 2
    _, why, _ = run(capsys, "why", "last", "mine.py:seeds", "--n", "3")
    assert why == "last: input seed 2 added\n"
    _, why, _ = run(capsys, "why", "seed 1", "mine.py:seeds")
    assert "seed 1 is cached" in why
    (shown, _) = (folder / "runs" / "write").glob("????????????????")
    _, said, _ = run(capsys, "show", str(shown))
    assert "(seed " in said
    assert "threads, torch" in said
    assert "wrote   1 files" in said


def test_a_fingerprint_is_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    run(capsys, "run", "mine.py:seeds")
    monkeypatch.setattr(terminal.OUT, "width", 60)
    _, listed, _ = run(capsys, "ls", "--steps")
    for path in folder.glob("runs/*/????????????????"):
        assert path.name in listed


def test_plan_says_that_a_step_was_begun(capsys: pytest.CaptureFixture[str]) -> None:
    _, planned, _ = run(capsys, "plan", "mine.py:full")
    assert "write has not been run before." in planned
    assert run(capsys, "run", "mine.py:full")[0] == 2
    _, planned, _ = run(capsys, "plan", "mine.py:full")
    assert "continues" in planned and "write was begun and has not ended." in planned


def test_a_damaged_step_is_planned_as_such_and_found_by_check(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    run(capsys, "run", "mine.py:seeds")
    assert run(capsys, "check")[0] == 0
    (step, _) = sorted((folder / "runs" / "write").glob("????????????????"))
    (step / "file.txt").unlink()
    code, planned, said = run(capsys, "plan", "mine.py:seeds")
    assert code == 0
    assert "damaged" in planned
    assert "Everything is cached" not in said
    code, _, said = run(capsys, "run", "mine.py:seeds")
    assert code == 2
    assert "file.txt is missing" in said
    code, listed, said = run(capsys, "check")
    assert code == 2
    assert "is missing" in listed
    assert "1 files in 1 of 3 steps" in said


@pytest.mark.parametrize("damage", ["no outputs", "record gone", "record a folder", "record a FIFO", "output a FIFO"])
def test_check_names_every_damaged_step_and_never_waits(
    capsys: pytest.CaptureFixture[str], folder: Path, damage: str
) -> None:
    run(capsys, "run", "mine.py:empty")
    (step,) = (folder / "runs" / "write_empty").glob("????????????????")
    record = step / "step.json"
    match damage:
        case "no outputs":
            record.write_text(record.read_text().replace('"outputs"', '"outpuds"'))
        case "record gone":
            record.unlink()
        case "record a folder":
            record.unlink()
            record.mkdir()
        case "record a FIFO":
            record.unlink()
            os.mkfifo(record)
        case _:
            (step / "empty").unlink()
            os.mkfifo(step / "empty")
    run(capsys, "run", "mine.py:seeds")
    code, listed, said = run(capsys, "check")
    assert code == 2
    assert step.name in listed
    assert "1 files in 1 of 4 steps" in said
    assert run(capsys, "ls")[0] == 0
    assert run(capsys, "run", "mine.py:empty")[0] == 2


def test_notes_that_only_save_time_may_be_anything(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("text")
    words = ("run", "mine.py:seeds", "--corpus", "texts")
    assert run(capsys, *words)[0] == 0
    for note in (".sources/hashes.json", ".verified.json"):
        (folder / "runs" / note).unlink()
        os.mkfifo(folder / "runs" / note)
    code, _, said = run(capsys, *words)
    assert code == 0
    assert "Everything is cached" in said


def test_plan_says_how_a_remote_corpus_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/planned/a.txt", b"text")
    code, _, said = run(capsys, "plan", "mine.py:seeds", "--corpus", "memory://planned")
    assert code == 0
    assert said.count("memory://planned is identified by size and time: its files were not read.") == 1
    run(capsys, "run", "mine.py:seeds", "--corpus", "memory://planned")
    (record, *_) = Path("runs/write").glob("*/step.json")
    assert '"corpus": "size and time"' in record.read_text()
    fs.rm("/planned", recursive=True)


def test_a_field_named_as_an_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run(capsys, "run", "mine.py:clash")
    assert code == 2
    assert "`jobs`" in said


@pytest.mark.parametrize("word", ["--jobs", "--workers", "--micro-batch-size"])
def test_runtime_options_are_checked(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run(capsys, "run", "mine.py:seeds", word, "0")
    assert code == 2
    assert f"`{word}` is 0" in said


def test_an_error_of_the_system_without_a_file_name_is_a_box(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run(capsys, "run", "mine.py:full")
    assert code == 2
    assert "No space left on device" in said
    assert "Make room" in said


def test_a_document_is_looked_for_in_tables_that_have_ids_only(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert run(capsys, "run", "mine.py:seeds", "--n", "1")[0] == 0
    (step,) = (folder / "runs" / "last").glob("????????????????")
    pq.write_table(pa.table({"step": [1]}), step / "curve.parquet")
    pq.write_table(pa.table({"id": ["abc"], "text": ["found"]}), step / "documents.parquet")
    code, said, _ = run(capsys, "show", str(step), "--id", "abc")
    assert (code, "found" in said) == (0, True)
    code, said, _ = run(capsys, "show", str(step), str(step), "--id", "abc", "--json")
    assert [found["document"] for found in json.loads(said)] == [{"id": "abc", "text": "found"}]
    code, _, err = run(capsys, "show", str(step), "--id", "nowhere")
    assert (code, "has the id nowhere" in err) == (2, True)
    pq.write_table(pa.table({"id": ["0123456789abcdef" * 2], "text": ["long"]}), step / "documents.parquet")
    assert [run(capsys, "show", str(step), "--id", part)[0] for part in ("01234567", "0123456")] == [0, 2]


def test_a_narrow_terminal_gets_blocks_instead_of_columns_of_letters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, "run", "mine.py:seeds", "--name", "a-first-try")
    monkeypatch.setattr(terminal.OUT, "_width", 40)
    code, out, _ = run(capsys, "ls")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["run", "a-first-try"] in lines and ["recipe", "mine.py:seeds"] in lines and ["state", "finished"] in lines
    monkeypatch.setattr(terminal.OUT, "_width", 200)
    code, out, _ = run(capsys, "ls")
    assert any(line.split()[:2] == ["a-first-try", "mine.py:seeds"] for line in out.splitlines())


def test_show_without_a_name_shows_the_newest_run(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "run", "mine.py:seeds", "--name", "first")
    run(capsys, "run", "mine.py:seeds", "--n", "1", "--name", "second")
    code, out, _ = run(capsys, "show")
    assert code == 0 and out.startswith("second  ")


def test_a_closed_pipe_is_no_failure(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    run(capsys, "run", "mine.py:seeds")
    reader, writer = os.pipe()
    os.close(reader)
    for words in (["ls"], ["--help"]):
        ended = subprocess.run([sys.executable, "-m", "tilth", *words], cwd=folder, stdout=writer, check=False)
        assert ended.returncode == 0
    os.close(writer)
