"""Ordinary mistakes in recipes, options and paths: an error that says what to do, exit code 2, no traceback."""

import json
import os
import sys
from pathlib import Path

import pytest

from tilth.cli import main
from tilth.execute import Context
from tilth.steps import Step, in_order, needed_steps

FILES = {
    "syntax.py": "def recipe(:\n    pass\n",
    "absent.py": "import nonexistent_module\ndef recipe(): ...\n",
    "raises.py": "def recipe(*, n: int = 1):\n    return [1, 2][n + 5]\n",
    "other.py": "value = 5\ndef recipe(): pass\ndef number(): return 3\ndef text(corpus, depth): return corpus\n",
    "good.py": """
from pathlib import Path
from tilth import Source, Step
from tilth.execute import map_shards

def text(config, inputs, out, context): return "many"
def words(config, inputs, out, context): return {"a": "b"}
def empty(config, inputs, out, context): (out / "folder").mkdir(); raise KeyError("nothing there")
def begun(config, inputs, out, context): (out / "file").write_text("x"); raise ValueError("after a file")
def fine(config, inputs, out, context): (out / "file").write_text("x")
def three(config, inputs, out): ...
def full(config, inputs, out, context): raise OSError(28, "No space left on device", str(out / "file"))
def libraries(config, inputs, out, context): raise RuntimeError("PytorchStreamWriter failed writing file data/3: 1 2")
def workers(config, inputs, out, context): list(map_shards(one, [1, 2], context))
def one(n): raise OSError(28, "No space left on device")
def user_error(config, inputs, out, context): list(map_shards(wrong, [1, 2], context))
def wrong(n): return n["key"]

def step(fn, config=None, inputs={}): return Step(getattr(fn, "__name__", "odd"), fn, config or {}, inputs)
def counted(): return step(text)
def worded(): return step(words)
def failing(): return step(empty)
def failing_late(): return step(begun)
def too_few(): return step(three)
def no_function(): return step(7)
def number(): return step(fine, inputs={"x": 5})
def listed(): return step(fine, inputs=[1])
def numbered(): return Step(7, fine, {})
def labelled(): return Step("fine", fine, {}, label="a/b")
def set_config(): return step(fine, {1, 2})
def path_config(): return step(fine, {"path": Path("x")})
def unpicklable(): return step(fine, inputs={"a": Step("lambda", lambda *a: None, {})})
def absent(): return step(fine, inputs={"a": Source("gone")})
def source(): return step(fine, inputs={"a": Source(5)})
def disk(): return step(full)
def disk_of_libraries(): return step(libraries)
def disk_of_workers(): return step(workers)
def error_in_worker(): return step(user_error)
def ok(*, n: int = 1): return step(fine, {"n": n})
def path_source(): return step(fine, {}, {"a": Source(Path("texts"), "*.md")})
""",
}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "uses.py").write_text("from beside import tidy\n")
    (tmp_path / "lib" / "beside.py").write_text("def tidy(text): return text\n")
    (tmp_path / "mine.py").write_text(
        "from tilth.synthesis import recipe\n\n\n@recipe('glossary', version=1, shape='text')\n"
        "async def glossary(document, ask): return []\n"
    )
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a text")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "Traceback" not in said
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("run good.py", ["names a file, but no function", "`good.py:FUNCTION`", "It defines text, words"]),
        ("run good.py:okk", ["no `okk`", "`ok`"]),
        ("run gone.py:recipe", ["gone.py does not exist", "path of a Python file"]),
        ("run nomodule:recipe", ["There is no module `nomodule`", "`path/to/file.py:name`"]),
        ("run syntax.py:recipe", ["syntax.py, line 1: invalid syntax. def recipe(:", "Correct the file"]),
        ("run absent.py:recipe", ["absent.py, line 1", "import nonexistent_module", "Install what has the module"]),
        ("run lib/uses.py:recipe", ["lib/uses.py, line 1", "set `PYTHONPATH=lib` for what is beside it"]),
        ("synthesize mine.py:glosary data", ["no `glosary`", "`glossary`"]),
        ("run raises.py:recipe", ["raises.py, line 2, in recipe: IndexError", "return [1, 2][n + 5]", "--debug"]),
        ("run other.py:recipe", ["returned None, not a step", "A recipe returns its last `Step`"]),
        ("run other.py:number", ["returned 3, not a step"]),
        ("run other.py:value", ["`other.py:value` is 5, not a function", "Name a function"]),
        ("run other.py:text", ["--corpus STR", "--depth STR"]),
        ("run good.py:counted", ["'text' returned a str", "Return a mapping"]),
        ("run good.py:worded", ["`'a': 'b'`", "Return a mapping"]),
        ("run good.py:failing", ["good.py, line", "in empty: KeyError: 'nothing there'"]),
        ("run good.py:too_few", ["is three(config, inputs, out)", "four arguments"]),
        ("run good.py:no_function", ["is 7", "four arguments"]),
        ("run good.py:number", ["The input 'x' of the step 'fine' is a int", "names to steps"]),
        ("run good.py:listed", ["The inputs of the step 'fine' are a list", "names to steps"]),
        ("run good.py:numbered", ["A step cannot be named 7"]),
        ("run good.py:labelled", ["A step cannot be labelled 'a/b'", "Use letters"]),
        ("run good.py:set_config", ["config is a set", "Use numbers, text"]),
        ("run good.py:path_config", ["config.path is a PosixPath", "`Source`"]),
        ("run good.py:unpicklable --jobs 2", ["'lambda' cannot be sent", "top level", "`--jobs 1`"]),
        ("run good.py:absent", ["gone does not exist", "Give the path"]),
        ("run good.py:source", ["A source is 5", 'Source("texts")']),
        ("run good.py:disk", ["file: No space left on device", "Make room"]),
        ("run good.py:disk_of_libraries", ["failed writing", "Make room"]),
        ("run good.py:disk_of_workers --workers 2", ["No space left on device", "Make room"]),
        ("run good.py:error_in_worker --workers 2", ["in wrong: TypeError", 'return n["key"]']),
        ("run good.py:ok --name fine", ["that of a step", "--name my-novel-2"]),
        ("run good.py:ok --runs good.py", ["good.py: File exists", "Name another path"]),
        ("run good.py:ok --jobs 0", ["`--jobs` is 0", "Give 1 or more"]),
        ("run good.py:ok --n 1.5", ["'1.5' is a fraction", "10k"]),
        ("run good.py:ok --n 1 --n 2", ["`--n` is given twice"]),
        ("run quickstart --tokens 10x", ["'10x' is not a whole number", "1.5M"]),
        ("run quickstart --corpus texts texts", ["`texts` is given twice"]),
        ("plan quickstart --rounds -1", ["`--rounds` is -1", "0 leaves the loop out"]),
        ("why quickstart", ["is a recipe", "`tilth why STEP quickstart`"]),
        ("check texts", ["texts holds no finished step", "`tilth ls`"]),
        ("curate texts --out texts/out", ["texts/out is inside the corpus texts", "outside of the corpus"]),
        ("curate texts --out good.py", ["good.py is a file", "Name another folder"]),
        ("curate texts/*.md --out out", ["Nothing in texts matches `*.md`", "Mend the glob"]),
    ],
)  # fmt: skip
def test_a_mistake_says_what_to_do(words: str, says: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, *words.split())
    assert code == 2
    for piece in says:
        assert piece in said


@pytest.mark.parametrize(
    "words",
    [
        "run quickstart", "plan quickstart", "why curate", "report quickstart", "curate texts --out out",
        "tokenize train texts --out out", "train texts --tokenizer texts --out out", "eval texts texts",
        "improve --out out", "export texts --tokenizer texts --out out", "chat texts",
    ],
)  # fmt: skip
def test_a_device_that_is_not_there_is_told_before_any_work(
    words: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    before = sorted(folder.iterdir())
    code, said = run(capsys, *words.split(), "--device", "cuda:4096")
    assert code == 2
    assert "The device `cuda:4096` is not available" in said
    assert "Use `--device cpu`" in said
    assert sorted(folder.iterdir()) == before


def test_a_step_that_wrote_nothing_leaves_nothing(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    for _ in range(2):
        assert "nothing there" in run(capsys, "run", "good.py:failing")[1]
        assert not list(folder.glob("runs/*/*.partial"))
    for _ in range(2):
        assert "after a file" in run(capsys, "run", "good.py:failing_late")[1]
        assert len(list(folder.glob("runs/*/*.partial"))) == 1
    (folder / "other.txt").write_text(
        " ".join(f"A text of the words number {n} that is kept and have it be." for n in range(9))
    )
    assert run(capsys, "curate", "missing.txt", "--out", "out")[0] == 2
    assert run(capsys, "curate", "other.txt", "--out", "out", "--operators", "extract")[0] == 0


def test_a_path_is_taken_as_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "run", "good.py:path_source")[0] == 0


def test_a_bug_in_a_recipe_keeps_its_traceback_where_asked(folder: Path) -> None:
    with pytest.raises(IndexError):
        main(["run", "raises.py:recipe", "--debug"])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize(
    "words", ["run good.py:ok --runs closed/runs", "curate closed/in --out out", "ls --runs closed"]
)
def test_what_may_not_be_read_or_written_is_told(words: str, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o000)
    code, said = run(capsys, *words.split())
    assert code == (0 if words.startswith("ls") else 2)
    assert "Permission denied" in said or "ls" in words


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/sys is a folder of Linux")
def test_a_folder_that_takes_no_files_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "run", "good.py:ok", "--runs", "/sys/runs")
    assert code == 2
    assert "/sys/runs: " in said and "(`--runs`, `--out`)" in said


def nothing(config: object, inputs: object, out: Path, context: Context) -> None: ...


def test_a_chain_of_steps_may_be_long(tmp_path: Path) -> None:
    step = Step("link", nothing, {"n": 0}, label="0")
    for n in range(1, 1500):
        step = Step("link", nothing, {"n": n}, {"before": step}, label=str(n))
    assert [one.label for one in needed_steps(step)] == [str(n) for n in range(1500)]
    assert in_order(step, Context(runs=tmp_path)) == needed_steps(step)


def test_a_table_is_one_document_where_asked(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    def document(*words: str) -> object:
        with pytest.raises(SystemExit) as exit_:
            main([*words, "--json"])
        assert exit_.value.code == 0
        return json.loads(capsys.readouterr().out)

    run(capsys, "run", "good.py:ok")
    listed = document("ls")
    assert isinstance(listed, dict)
    assert [(run_["name"], run_["status"]) for run_ in listed["runs"]] == [("ok", "finished")]
    assert [step["runs"] for step in listed["steps"]] == [["ok"]]
    shown = document("show", "latest")
    assert isinstance(shown, list) and shown[0]["run"]["command"] == "tilth run good.py:ok"
    assert document("check") == {"steps": 1, "damaged": []}
    planned = document("plan", "good.py:ok", "--n", "2")
    assert isinstance(planned, dict) and planned["steps"][0]["state"] == "new"
    assert document("why", "fine", "good.py:ok", "--n", "2") == {
        "step": "fine", "is_cached": False, "reasons": ["fine: n 1 -> 2"],
    }  # fmt: skip
    curated = document("curate", "texts", "--out", "curated", "--min-words", "1", "--operators", "extract")
    assert isinstance(curated, dict) and curated["table"][0] == {
        "stage": "read", "reason": "found", "documents": 1, "bytes": 6,
    }  # fmt: skip
