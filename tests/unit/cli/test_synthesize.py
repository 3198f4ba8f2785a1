"""`tilth synthesize`, in this process, over scripted teachers and a server on loopback."""

import json
import re
from collections.abc import Generator
from pathlib import Path

import pytest

from tilth import execute, synthesis
from tilth.cli import main
from tilth.storage import Dataset, write_dataset
from tilth.synthesis.define import BUILT_IN
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.request import Request
from tilth.types import Document

RECIPE = f"{Path(__file__).parents[2] / 'toy_recipe.py'}:toy"
N = 12


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    documents = [Document.make(f"Text {i} about soil, {i * 7} stones, and roots.", f"corpus/{i}.txt") for i in range(N)]
    write_dataset(tmp_path / "data", documents, made_by="test", shard_bytes=200)
    return tmp_path


def answer(request: Request, sample: int) -> str:
    number = re.search(r"Text (\d+)", request.messages[-1].content)
    which = number[1] if number else "?"
    kinds = ["Layers", "of", "clay,", "sand,", "silt,", "loam,", "peat,", "chalk", "and", "gravel"]
    return f"Number {which} is said here in eleven other words: {kinds[int(which) % 10 % len(kinds)]} {which} {which}."


@pytest.fixture
def server() -> Generator[LoopbackServer]:
    with LoopbackServer(answer, model="m") as running:
        yield running


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(("synthesize", *words))
    out, err = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, out, " ".join(err.replace("│", " ").split())


def spec(server: LoopbackServer) -> str:
    return f"{server.url}#m"


ECHO = ("--teacher", "scripted:echo", "--out", "o")
OPEN = ("--languages", "en", "de", "fr", "--near-duplicate-threshold", "None", "--max-copied", "1")


def test_a_run_ends_with_the_yield_the_costs_and_the_next_command(
    capsys: pytest.CaptureFixture[str], folder: Path, server: LoopbackServer
) -> None:
    code, out, _ = run(capsys, RECIPE, "data", "--teacher", spec(server), "--out", "out", "--workers", "1")
    assert code == 0
    for wanted in (
        "parsed",
        "near duplicate",
        "out/samples",
        "out/report.html",
        "tilth show out --id",
        "tilth tokenize",
    ):
        assert wanted in out
    assert (folder / "out" / "report.html").stat().st_size > 1000
    kept = Dataset.open(folder / "out" / "samples").n_documents
    code, out, _ = run(capsys, RECIPE, "data", "--teacher", spec(server), "--out", "out", "--json")
    assert (code, json.loads(out)["samples_kept"]) == (0, kept)
    assert sum(server.answered.values()) == 2 * N


def test_preview_then_run_pays_once_and_show_walks_a_sample(
    capsys: pytest.CaptureFixture[str], folder: Path, server: LoopbackServer
) -> None:
    code, out, _ = run(capsys, RECIPE, "data", "--preview", "2", "--teacher", spec(server))
    assert code == 0 and sum(server.answered.values()) == 4
    for wanted in ("prompt 1", "answer 1", "length:", "requests", "time", "Say this again"):
        assert wanted in out
    code, out, _ = run(capsys, RECIPE, "data", "--teacher", spec(server), "--out", "out", "--json", "--workers", "1")
    assert sum(server.answered.values()) == 2 * N
    example = json.loads(out)["kept_examples"][0]
    with pytest.raises(SystemExit):
        main(("show", "out", "--id", example["id"]))
    shown = capsys.readouterr().out
    where = f"in        {Path('data').absolute()}"
    for wanted in ("prompt toy/say, version 1", "teacher m", "gate", example["source_id"], where, "| Text"):
        assert wanted in shown


def test_preview_without_a_number_and_with_json(capsys: pytest.CaptureFixture[str], server: LoopbackServer) -> None:
    code, out, _ = run(capsys, RECIPE, "data", "--teacher", spec(server), "--preview", "--json")
    assert code == 0 and len(json.loads(out)["documents"]) == 3
    code, out, _ = run(capsys, RECIPE, "data", "--teacher", spec(server), "--preview=0", "--json")
    shown = json.loads(out)
    assert code == 0 and not shown["asked"] and sum(server.answered.values()) == 6


def test_a_budget_stops_and_the_same_command_with_more_goes_on(
    capsys: pytest.CaptureFixture[str], folder: Path, server: LoopbackServer
) -> None:
    words = (RECIPE, "data", "--teacher", spec(server), "--out", "out", "--workers", "1", *OPEN)
    code, _, err = run(capsys, *words, "--max-total-tokens", "1000")
    assert code == 0 and "Not complete" in err and "--max-total-tokens" in err
    paid = sum(server.answered.values())
    assert 0 < paid < 2 * N
    code, _, err = run(capsys, *words, "--max-total-tokens", "1M")
    assert code == 0 and "made anew from the answers" in err and "Not complete" not in err
    assert sum(server.answered.values()) == 2 * N
    assert Dataset.open(folder / "out" / "samples").n_documents > 0
    code, _, err = run(capsys, *words)
    assert code == 0 and "out is there already" in err


def test_another_first_teacher_is_another_run(
    capsys: pytest.CaptureFixture[str], folder: Path, server: LoopbackServer
) -> None:
    words = ("--out", "out", "--workers", "1", *OPEN)
    code, _, _ = run(capsys, RECIPE, "data", "--teacher", spec(server), "scripted:echo", *words)
    assert code == 0
    code, _, err = run(capsys, RECIPE, "data", "--teacher", "scripted:echo", spec(server), *words)
    assert code == 2 and "another step's output" in err


def test_what_a_budget_stopped_is_left_alone_by_a_run_over_other_documents(
    capsys: pytest.CaptureFixture[str], folder: Path, server: LoopbackServer
) -> None:
    words = ("--teacher", spec(server), "--out", "out", "--workers", "1", *OPEN)
    run(capsys, RECIPE, "data", *words, "--max-total-tokens", "1000")
    kept = (folder / "out" / "synthesis.json").read_bytes()
    write_dataset(folder / "others", [Document.make("Text 99 about chalk.", "b/99.txt")], made_by="test")
    code, _, err = run(capsys, RECIPE, "others", *words)
    assert code == 2 and "another step's output" in err
    assert (folder / "out" / "synthesis.json").read_bytes() == kept


def test_other_gates_need_no_answers(capsys: pytest.CaptureFixture[str], server: LoopbackServer) -> None:
    run(capsys, RECIPE, "data", "--teacher", spec(server), "--out", "a", "--workers", "1")
    code, _, _ = run(capsys, RECIPE, "data", "--teacher", spec(server), "--out", "b", "--workers", "1", *OPEN)
    assert code == 0 and sum(server.answered.values()) == 2 * N
    code, _, err = run(capsys, RECIPE, "data", "--teacher", spec(server), "--out", "b", "--shout", "--workers", "1")
    assert code == 2 and "another step's output" in err


def test_the_recipe_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, RECIPE, "--help")
    assert code == 0
    for wanted in ("Say a passage again", "nothing but a test", "toy/say, version 1", "--shout", "--max-money", "tone"):
        assert wanted in out
    assert "recipe options" in out and "run options" in out and "options options" not in out


def test_help_of_options_is_one_line_in_the_source() -> None:
    # tyro keeps a line break before an indented line, so that the help would break off in the middle of a sentence.
    package = Path(synthesis.__file__).parent
    files = [package / "config.py", package / "topic_config.py", *package.glob("recipes/*.py")]
    files += [package.parent / "training" / "config.py", package.parent / "tokenizer" / "config.py"]
    for file in files:
        for found in re.findall(r'^    \w+: .+\n    """([^"]*)"""', file.read_text(encoding="utf-8"), re.MULTILINE):
            assert "\n" not in found, f"{file}: {found}"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rwap", "data", "--teacher", "scripted:echo", "--out", "o"), "Did you mean `wrap`"),
        (("--out", "o"), "recipe comes first"),
        (("data", RECIPE, *ECHO), "`data` is a folder, no recipe. The recipe comes first"),
        ((RECIPE, "data", *ECHO, "--max-money", "1"), "no price is known"),
        ((RECIPE, "data", "--teacher", "scripted:echo", "--preview", "0", "--max-flops", "1"), "parameters of no"),
        ((RECIPE, "data", "--out", "o"), "No teacher is given"),
        ((RECIPE, "data", "--teacher", "scripted:echo"), "`--out` is not given"),
        ((RECIPE, "nowhere", "--teacher", "scripted:echo", "--out", "o"), "no dataset at nowhere"),
        ((RECIPE, "--teacher", "scripted:echo", "--out", "o"), "works on documents"),
        ((RECIPE, "raw", "--teacher", "scripted:echo", "--out", "o"), "tilth curate raw --out curated"),
        ((RECIPE, ".", "--teacher", "scripted:echo", "--out", "o"), "Give data."),
        ((RECIPE, "data", "--teacher", "http://127.0.0.1:9/v1#m", "--out", "o"), "cannot be reached"),
        ((RECIPE, "data", "--teacher", "nobody", "--out", "o"), "There is no teacher `nobody`"),
        ((RECIPE, "data", "--teacher", "keyed", "--out", "o"), "`SOME_KEY`"),
        ((RECIPE, "data", *ECHO, "--critic-teacher", "x", "--critic", "rubric"), "none of the teachers"),
        ((RECIPE, "data", *ECHO, "--against", "nowhere"), "no dataset at nowhere"),
        (("magpie", *ECHO), "--documents N"),
        ((RECIPE, "data", *ECHO, "--max-in-flight", "0"), "Give 1 or more"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_any_work(
    capsys: pytest.CaptureFixture[str], folder: Path, words: tuple[str, ...], says: str
) -> None:
    (folder / "raw").mkdir()
    (folder / "teachers.toml").write_text(
        '[keyed]\nurl = "https://api.example.com/v1"\nmodel = "x"\nkey_env = "SOME_KEY"\n'
    )
    code, _, err = run(capsys, *words)
    assert (code, says in err) == (2, True), err
    assert "Traceback" not in err and not list(folder.glob("o*"))


def test_a_refused_key_is_told_at_once_and_not_shown(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILTH_M_KEY", "not-the-right-one")
    with LoopbackServer(answer, model="m", key="the-right-one") as server:
        code, out, err = run(capsys, RECIPE, "data", "--teacher", spec(server), "--out", "o")
        assert code == 2 and "401" in err and "not-the-right" not in out + err
        assert not server.answered and not list(folder.glob("o*"))
        monkeypatch.setenv("TILTH_M_KEY", "the-right-one")
        assert run(capsys, RECIPE, "data", "--teacher", spec(server), "--out", "o", "--workers", "1")[0] == 0
    for path in folder.rglob("*"):
        assert not path.is_file() or b"the-right-one" not in path.read_bytes()


def test_the_list_has_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--list")
    assert code == 0 and all(name in out for name in BUILT_IN)


def test_shards_on_other_machines_give_the_same_samples(
    capsys: pytest.CaptureFixture[str], folder: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes to Ray goes to processes here, so that all of it must pickle."""
    monkeypatch.setattr(execute, "RayExecutor", execute.LocalExecutor)
    words = (RECIPE, "data", "--teacher", spec(server), "--workers", "2")
    assert run(capsys, *words, "--out", "here")[0] == 0
    code, _, err = run(capsys, *words, "--out", "there", "--executor", "ray", "--cache", "other")
    assert code == 0, err
    assert sum(server.answered.values()) == 4 * N
    fingerprints = {Dataset.open(folder / name / "samples").fingerprint for name in ("here", "there")}
    assert len(fingerprints) == 1 and Dataset.open(folder / "here" / "samples").n_documents > 1
