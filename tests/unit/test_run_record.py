"""Records of runs: their names, locks, links and how they end."""

from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from tilth import steps
from tilth.errors import ConfigError, StepError
from tilth.listing import list_files
from tilth.run_record import LATEST, LIVE, RUN, ActiveRun, begin, find_run, name_from, read_run, read_runs, slug


def begun(
    runs: Path, name: str | None = None, *, word: str = "a", suggestion: str = "my novel", taken: set[str] | None = None
) -> AbstractContextManager[ActiveRun]:
    return begin(
        runs,
        name=name,
        recipe="quickstart",
        command=f"tilth run quickstart --word {word}",
        fields={"word": word},
        corpora=["novel.txt"],
        suggestion=suggestion,
        taken=taken or {"curate", "report"},
    )


def make_step(runs: Path, name: str = "curate", fingerprint: str = "0123") -> Path:
    folder = runs / name / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "step.json").write_text("{}")
    return folder


def one(runs: Path) -> str:
    (record,) = read_runs(runs)
    return record.status


def test_a_run_is_recorded_from_its_begin_to_its_end(tmp_path: Path) -> None:
    with begun(tmp_path) as active:
        assert active.folder == tmp_path / "my-novel"
        assert one(tmp_path) == "running"
        active.add_step("curate", make_step(tmp_path))
        assert read_runs(tmp_path)[0].steps == {"curate": "curate/0123"}
    (record,) = read_runs(tmp_path)
    assert record.status == "finished" and record.finished_at is not None
    assert record.corpora == ("novel.txt",)
    assert record.command == "tilth run quickstart --word a"
    assert (tmp_path / "my-novel" / "curate" / "step.json").exists()
    assert (tmp_path / "my-novel" / "curate").readlink() == Path("../curate/0123")
    assert (tmp_path / LATEST).readlink() == Path("my-novel")
    assert find_run(tmp_path, "quickstart", {"word": "a"}) == record
    assert find_run(tmp_path, "quickstart", {"word": "b"}) is None


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [(StepError("It is\nbroken."), "failed", "It is broken."), (KeyboardInterrupt(), "stopped", "")],
)
def test_how_a_run_ended_is_recorded(error: BaseException, status: str, told: str, tmp_path: Path) -> None:
    with suppress(StepError, KeyboardInterrupt), begun(tmp_path):
        raise error
    (record,) = read_runs(tmp_path)
    assert (record.status, record.error) == (status, told)
    assert record.finished_at is not None


def test_a_run_whose_process_is_gone_is_stopped(tmp_path: Path) -> None:
    with begun(tmp_path):
        killed = (tmp_path / "my-novel" / RUN).read_bytes()
    assert one(tmp_path) == "finished"
    (tmp_path / "my-novel" / RUN).write_bytes(killed)
    assert b'"running"' in killed
    assert one(tmp_path) == "stopped"


def test_two_processes_cannot_have_one_run(tmp_path: Path) -> None:
    with begun(tmp_path), pytest.raises(StepError, match="at work in another process"), begun(tmp_path):
        raise AssertionError
    assert one(tmp_path) == "finished"
    with begun(tmp_path):  # the lock is free again
        pass


def test_a_command_keeps_its_name_and_another_gets_a_number(tmp_path: Path) -> None:
    names: list[str] = []
    for word in ("a", "b", "a", "c", "b"):
        with begun(tmp_path, word=word) as active:
            active.add_step("curate", make_step(tmp_path))
            names.append(active.record.name)
    assert names == ["my-novel", "my-novel-2", "my-novel", "my-novel-3", "my-novel-2"]
    assert [record.name for record in read_runs(tmp_path)] == ["my-novel-2", "my-novel-3", "my-novel"]


def test_a_run_that_did_nothing_gives_its_name_away(tmp_path: Path) -> None:
    with suppress(StepError), begun(tmp_path, word="a"):
        raise StepError("broken")
    with begun(tmp_path, word="b") as active:
        assert active.record.name == "my-novel"


def test_names_of_steps_and_of_other_folders_are_left_alone(tmp_path: Path) -> None:
    make_step(tmp_path, "pretrain")
    for suggestion, name in (("curate", "curate-2"), ("pretrain", "pretrain-2"), ("latest", "latest-2")):
        with begun(tmp_path, word=name, suggestion=suggestion) as active:
            assert active.record.name == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("curate", "that of a step"),
        ("kept", "not the folder of a run"),
        ("latest", "newest run"),
        (".hidden", "begins with a dot"),
        ("a/b", "not the name of a folder"),
        ("..", "begins with a dot"),
        ("a\0b", "not the name of a folder"),
        ("", "not the name of a folder"),
        ("x" * 101, "not the name of a folder"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(ConfigError, match=says) as raised, begun(tmp_path, name):
        pass
    assert raised.value.fix is not None and "--name" in raised.value.fix
    assert read_runs(tmp_path) == []


def test_a_given_name_belongs_to_one_command(tmp_path: Path) -> None:
    for _ in range(2):
        with begun(tmp_path, "mine") as active:
            active.add_step("curate", make_step(tmp_path))
    with pytest.raises(ConfigError, match="quickstart --word a"), begun(tmp_path, "mine", word="b"):
        pass


def test_without_links_all_else_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with begun(tmp_path) as active:
        active.add_step("curate", make_step(tmp_path))
    (record,) = read_runs(tmp_path)
    assert record.step_folder(tmp_path, "curate") == tmp_path / "curate/0123"
    assert not (tmp_path / LATEST).exists()
    assert not list(tmp_path.rglob("*.tmp"))


def test_links_are_not_counted_as_steps(tmp_path: Path) -> None:
    step = make_step(tmp_path)
    with begun(tmp_path) as active:
        active.add_step("curate", step)
    assert steps.finished_folders(tmp_path) == [step]
    (step / ".step.claim.json").touch()
    (step / "step.json").unlink()
    assert steps.unrecorded_folders(tmp_path) == [step]


def test_a_label_of_a_file_of_the_run_is_no_link(tmp_path: Path) -> None:
    with begun(tmp_path) as active:
        for label in (RUN, "report.html", "live", ".hidden"):
            active.add_step(label, make_step(tmp_path))
    assert not any(path.is_symlink() for path in active.folder.iterdir())
    record = read_run(active.folder)
    assert record is not None and record.status == "finished"


def test_a_folder_of_runs_in_a_corpus_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with begun(tmp_path / "runs") as active:
        (active.folder / "page.txt").write_text("what a step wrote")
    assert [file.name for file in list_files(str(tmp_path))] == ["a.txt"]


@pytest.mark.parametrize(
    ("corpora", "name"),
    [
        (["texts/My novel.txt"], "my-novel"),
        (["dump.v2.jsonl.zst"], "dump-v2"),
        (["https://example.org/a/Book%20One.txt?x=1"], "book-20one"),
        (["hf://datasets/nobody/tales"], "tales"),
        (["a.txt", "b.txt"], "a-b"),
        ([f"texts/{i}.txt" for i in range(5)], "texts"),
        (["a", "b", "c", "d", "x/e"], "a-b-c-and-2-more"),
        (["Война и мир.txt"], "война-и-мир"),
        ([], "sizes"),
    ],
)
def test_a_name_is_made_from_the_corpus_or_the_recipe(corpora: list[str], name: str) -> None:
    assert name_from(corpora, "recipes/mine.py:sizes") == name


def test_a_name_is_never_empty_nor_hidden() -> None:
    assert [slug(text) for text in ("...", "", "--", ".git")] == ["run", "run", "run", "git"]


def test_what_an_earlier_run_left_is_removed_when_it_is_run_again(tmp_path: Path) -> None:
    for labels in (("first", "second"), ("second",)):
        with begun(tmp_path) as active:
            assert not (active.folder / LIVE).exists()
            (active.folder / LIVE / "second").mkdir(parents=True)
            for label in labels:
                active.add_step(label, make_step(tmp_path))
    assert [path.name for path in active.folder.iterdir() if path.is_symlink()] == ["second"]
    with suppress(StepError), begun(tmp_path) as active:
        raise StepError("stopped in the middle")
    (active.folder / LIVE).mkdir()
    with begun(tmp_path) as active:  # it continues: what was seen of it stays
        assert (active.folder / LIVE).exists()
