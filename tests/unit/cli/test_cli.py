import io
import os
from pathlib import Path
from typing import cast

import pytest

from tilth import cli, steps
from tilth.cli import VERBS, Verb, main, stages
from tilth.errors import DataError
from tilth.model import ModelConfig, Transformer, save_model
from tilth.results import write_result
from tilth.run_record import RunRecord
from tilth.sources import Source
from tilth.steps import Step


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    printed = capsys.readouterr().out
    assert all(f"  {verb} " in printed for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help") == 0
    printed = capsys.readouterr()
    assert f"tilth {verb}" in printed.out + printed.err


def test_every_verb_is_there() -> None:
    for verb in VERBS.values():
        assert callable(verb.load())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("tilth 0.")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rnu",), ["no command called `rnu`", "`run`"]),
        (("run", "quickstrat"), ["no recipe called `quickstrat`", "`quickstart`"]),
        (("run", "gone.py:recipe"), ["gone.py does not exist"]),
        (("run", "quickstart", "--depth", "0"), ["`--depth` is 0"]),
        (("run", "quickstart", "--corpus", "no/such/folder"), ["no/such/folder does not exist"]),
        (("run", "quickstart", "--workers", "0"), ["`--workers` is 0"]),
        (("why", "curation"), ["no step called `curation`", "`curate`"]),
        (("show", "nothing"), ["nothing does not belong to a run or a finished step"]),
        (("report", "quickstart"), ["No step of this recipe is done yet"]),
        (("chat", "no/model"), ["no/model"]),
        (("tokenize", "show", "no/tokenizer"), ["no/tokenizer"]),
        (("tokenize", "tarin"), ["`tarin`", "`train`"]),
        (("train", "no/dataset", "--tokenizer", "no/tokenizer", "--out", "x"), ["no/"]),
        (("curate", "no/corpus", "--out", "x"), ["no/corpus does not exist"]),
        (("curate", "--out", "x"), ["No corpus is given"]),
        (("curate", ".", "--out", "x", "--shingle-words", "0"), ["`shingle_words` is 0", "at least 1"]),
        (("curate", ".", "--out", "x", "--operators", "rulse"), ["`rulse`", "extract"]),
        (("run", "quickstart", "texts"), ["`texts` stands where", "`--corpus texts`"]),
        (("run", "quickstart", "--corpus", "texts", "./texts/"), ["given twice"]),
        (("quickstart",), ["`quickstart` is a recipe", "`tilth run quickstart`"]),
        (("show",), ["No run or folder is given", "`tilth show RUN`"]),
        (("show", "--id", "f691d821cfebe2fecbe5ea5c8250a00b"), ["No run or folder is given"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_users_mistake_is_named_and_costs_no_traceback(
    words: tuple[str, ...], says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    for piece in says:
        assert piece in printed


def test_a_model_without_a_tokenizer_says_which_option_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(Transformer(ModelConfig(vocab_size=8, d_model=8, n_layers=1, n_heads=1)), tmp_path / "model")
    for words in (("chat", "model", "--prompt", "a"), ("eval", "model", "held_out")):
        assert run(*words) == 2
        printed = capsys.readouterr().err
        assert "model holds no tokenizer" in printed and "--tokenizer FOLDER" in printed


def test_an_operator_that_is_not_there_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a text of some words")
    (tmp_path / "mine.py").write_text("def factory(config): ...\n")
    for spec, says in (("gone.py:factory", "gone.py does not exist"), ("mine.py:fact", "mine.py has no `fact`")):
        assert run("curate", "texts", "--out", "curated", "--operators", "extract", spec) == 2
        printed = capsys.readouterr().err
        assert says in printed and "a.txt" not in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "texts"]


@pytest.mark.parametrize(
    "words",
    [("run", "quickstart", "--dept", "3"), ("run", "quickstart", "--depth", "x"), ("chat",), ("run",)],
)
def test_words_that_do_not_fit_exit_with_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert "Traceback" not in capsys.readouterr().err


def stand_in(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(words: object) -> None:
        raise error

    monkeypatch.setattr(cli, "VERBS", {"ls": Verb("", "")})
    monkeypatch.setattr(Verb, "load", lambda self: fail)


def test_debug_keeps_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, DataError("broken", fix="mend it"))
    assert run("ls") == 2
    with pytest.raises(DataError):
        main(["ls", "--debug"])


def test_ctrl_c_says_that_the_work_continues(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, KeyboardInterrupt())
    assert run("ls") == 130
    assert "continues with the rest" in capsys.readouterr().err


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["ls"])


def test_a_file_that_cannot_be_opened_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, PermissionError(13, os.strerror(13), "/secret/file"))
    assert run("ls") == 2
    assert "/secret/file: Permission denied" in capsys.readouterr().err


def test_a_recipe_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "from tilth import Step\n"
        "def write(config, inputs, out, context):\n"
        "    (out / 'x').write_text(config['word'])\n"
        "def recipe(*, word: str = 'soil') -> Step:\n"
        "    return Step('mine', write, {'word': word})\n"
    )
    assert run("run", "mine.py:recipe", "--word", "seed") == 0
    assert run("run", "mine.py:recipe", "--word", "seed") == 0
    assert "Everything is cached" in capsys.readouterr().err
    (written,) = Path("runs/mine").glob("*/x")
    assert written.read_text() == "seed"
    assert run("show", str(written)) == 0
    assert '"word": "seed"' in capsys.readouterr().out
    assert run("why", "mine", "mine.py:recipe", "--word", "root") == 0
    assert 'word "seed" -> "root"' in capsys.readouterr().out
    assert run("ls") == 0
    assert "mine" in capsys.readouterr().out
    assert steps.read_record(written.parent) is not None


def test_links_that_leave_a_corpus_are_followed_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Step] = []
    monkeypatch.setattr(stages, "run_single", lambda step, out, context: built.append(step))
    monkeypatch.setattr(stages, "_show_ledger", lambda folder, as_json: None)
    for asked in ([], ["--follow-links"]):
        stages.curate([str(tmp_path), "--out", "out", *asked])
    assert [cast(Source, step.inputs[tmp_path.name]).follow_links for step in built] == [False, True]


def test_runs_are_no_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "quickstart", "--corpus", str(tmp_path), "--runs", "s3://bucket/runs") == 2
    assert "s3:/bucket/runs is a URL" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_encoding_of_the_terminal_lacks_ends_no_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    record = RunRecord(name="a", recipe="quickstart", command="tilth run caf\udce9", started_at="2026")
    write_result(tmp_path / "runs" / "a" / "run.json", record)
    printed = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, encoding="utf-8"))
    assert run("show", "runs/a") == 0
    assert rb"tilth run caf\udce9" in printed.getvalue()
