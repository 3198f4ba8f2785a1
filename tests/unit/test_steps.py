import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tilth import environment, outputs, perform, steps
from tilth.environment import LIBRARIES
from tilth.errors import ConfigError, DataError, StepError
from tilth.execute import Context
from tilth.files import write_bytes
from tilth.progress import SILENT, Bar
from tilth.sources import Source
from tilth.step_record import OutputFile
from tilth.steps import Counts, Inputs, Step
from tilth.user_code import load_object


@dataclass(frozen=True, kw_only=True)
class Config:
    factor: int = 2
    note: str = ""


def write_number(config: Config, inputs: Inputs, out: Path, context: Context) -> Counts:
    text = "".join((folder / "number").read_text() for folder in inputs.folders.values())
    for source in inputs.sources.values():
        text += "".join(Path(f.path).read_text() for f in source.files())
    (out / "number").write_text(f"{config.factor}{text}")
    return {"characters": len(text)}


def write_some(config: Config, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes three files, and takes those that are there already to be its own."""
    for n in range(3):
        if not (out / f"number-{n}").exists():
            write_bytes(out / f"number-{n}", str(config.factor).encode())


def write_two(config: object, inputs: Inputs, out: Path, context: Context) -> None:
    for name in "ab":
        (out / name).mkdir()
        (out / name / "number").write_text(name)


def write_and_touch(config: Config, inputs: Inputs, out: Path, context: Context) -> None:
    write_number(config, inputs, out, context)
    Path(inputs.sources["corpus"].files()[0].path).write_text("changed while it was read")


def note_run(config: dict[str, str], inputs: Inputs, out: Path, context: Context) -> None:
    Path(config["folder"], f"run-{time.monotonic_ns()}").touch()
    (out / "number").write_text("")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_release(config: dict[str, str], inputs: Inputs, out: Path, context: Context) -> None:
    write_bytes(Path(config["folder"], "begun"), str(os.getpid()).encode())
    wait_until(Path(config["folder"], "release").exists)
    (out / "number").write_text("")


def run_slow(folder: Path, context: Context) -> None:
    steps.run(Step("slow", wait_for_release, {"folder": str(folder)}), context)


def fail_when_begun(config: dict[str, str], inputs: Inputs, out: Path, context: Context) -> None:
    if Path(config["folder"], "release").exists():
        (out / "number").write_text("")
        return
    wait_until(Path(config["folder"], "begun").exists)
    raise DataError("broken on purpose")


def meet(config: dict[str, str], inputs: Inputs, out: Path, context: Context) -> None:
    Path(config["folder"], config["me"]).touch()
    wait_until(lambda: len(list(Path(config["folder"]).iterdir())) >= 2)
    context.progress.say(f"{config['me']} has {context.workers} workers")
    with context.progress.bar("wait", 3, "units") as bar:
        bar.advance(3)
    (out / "number").write_text(config["me"])


def die(config: object, inputs: Inputs, out: Path, context: Context) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Listener:
    """Progress that remembers what is said."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> AbstractContextManager[Bar]:
        return SILENT.bar(name, total, unit, done)

    def say(self, line: str) -> None:
        self.said.append(line)


def fail(config: Config, inputs: Inputs, out: Path, context: Context) -> None:
    if (out / "begun").exists():
        (out / "went_on").write_text("yes")
        return
    (out / "begun").write_text("yes")
    raise RuntimeError("broken on purpose")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(runs=tmp_path / "runs", workers=1)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("alpha")
    (tmp_path / "corpus" / "b.txt").write_text("beta")
    return tmp_path / "corpus"


def chain(corpus: Path, *, first: int = 2, second: int = 3, version: int = 1) -> Step:
    a = Step("first", write_number, Config(factor=first), {"corpus": Source(str(corpus))})
    b = Step("second", write_number, Config(factor=second), {"first": a}, version)
    return Step("third", write_number, Config(), {"second": b})


def states(target: Step, context: Context) -> dict[str, str]:
    return {p.step.label: p.state for p in steps.plan(target, context)}


def test_a_run_is_kept_and_a_second_run_does_nothing(corpus: Path, context: Context) -> None:
    assert states(chain(corpus), context) == {"first": "new", "second": "new", "third": "new"}
    outcomes = steps.run(chain(corpus), context)
    assert [o.cached for o in outcomes] == [False] * 3
    assert (outcomes[-1].folder / "number").read_text() == "232alphabeta"
    record = json.loads((outcomes[0].folder / "step.json").read_text())
    assert record["config"] == {"factor": 2, "note": ""}
    assert record["counts"] == {"characters": 9}
    assert not list(context.runs.glob("*/*.partial"))
    before = {p: p.stat().st_mtime_ns for p in context.runs.rglob("number")}
    assert all(o.cached for o in steps.run(chain(corpus), context))
    assert before == {p: p.stat().st_mtime_ns for p in context.runs.rglob("number")}


def test_a_changed_field_reruns_what_depends_on_it_and_no_more(corpus: Path, context: Context) -> None:
    steps.run(chain(corpus), context)
    changed = chain(corpus, second=4)
    assert states(changed, context) == {"first": "cached", "second": "new", "third": "new"}
    third = steps.why(changed, context)
    assert any("second: factor 3 -> 4" in line for line in third)
    assert steps.why(chain(corpus), context) == []
    bumped = chain(corpus, version=2)
    assert "second: version 1 -> 2" in steps.why(steps.in_order(bumped, context)[1], context)


def test_a_changed_file_is_named(corpus: Path, context: Context) -> None:
    steps.run(chain(corpus), context)
    (corpus / "b.txt").write_text("gamma")
    (corpus / "c.txt").write_text("new")
    assert set(states(chain(corpus), context).values()) == {"new"}
    lines = "\n".join(steps.why(chain(corpus), context))
    assert "1 files changed: b.txt" in lines
    assert "1 files added: c.txt" in lines


def test_identity_does_not_know_the_machine(corpus: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in corpus.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    here = Context(runs=tmp_path / "one", workers=1)
    there = Context(runs=tmp_path / "two", workers=7, device="cuda")
    assert steps.fingerprint(chain(corpus), here) == steps.fingerprint(chain(moved), there)


def test_a_failed_step_goes_on_in_its_partial_folder(context: Context) -> None:
    step = Step("fragile", fail, Config())
    with pytest.raises(RuntimeError, match="on purpose"):
        steps.run(step, context)
    assert states(step, context) == {"fragile": "partial"}
    (outcome,) = steps.run(step, context)
    assert (outcome.folder / "went_on").exists()
    assert json.loads((outcome.folder / "step.json").read_text())["resumed"] is True


def test_a_step_that_another_process_works_on_is_refused(tmp_path: Path, context: Context) -> None:
    step = Step("slow", wait_for_release, {"folder": str(tmp_path)})
    other = multiprocessing.get_context("spawn").Process(target=run_slow, args=(tmp_path, context))
    other.start()
    try:
        wait_until((tmp_path / "begun").exists)
        with pytest.raises(StepError, match="Another process"):
            steps.run(step, context)
    finally:
        (tmp_path / "release").touch()
        other.join(60)
    assert other.exitcode == 0
    assert states(step, context) == {"slow": "cached"}


def test_a_step_that_is_finished_between_check_and_lock_is_not_run_again(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, real = Step("first", note_run, {"folder": str(tmp_path)}), perform.FileLock

    def late(path: Path, timeout: float) -> object:
        monkeypatch.setattr(perform, "FileLock", real)
        assert not steps.run(step, context)[0].cached  # the other process
        return real(path, timeout=timeout)

    monkeypatch.setattr(perform, "FileLock", late)
    assert steps.run(step, context)[0].cached
    assert len(list(tmp_path.glob("run-*"))) == 1


def test_steps_built_equal_are_one_and_run_once(tmp_path: Path, context: Context) -> None:
    first, again = (Step("first", note_run, {"folder": str(tmp_path)}) for _ in range(2))
    named = Step("first", note_run, {"folder": str(tmp_path)}, label="the same work under another label")
    last = Step("last", write_number, Config(), {"a": first, "b": again, "c": named})
    assert [step.name for step in steps.in_order(last, context)] == ["first", "last"]
    assert len(steps.run(last, context)) == 2
    assert len(list(tmp_path.glob("run-*"))) == 1


def test_steps_of_one_kind_have_labels_of_their_own(context: Context) -> None:
    seeds = {f"seed {n}": Step("first", write_number, Config(factor=n), label=f"seed {n}") for n in (3, 4, 5)}
    sweep = Step("last", write_number, Config(), seeds)
    assert set(states(sweep, context)) == {*seeds, "last"}
    results = steps.run(sweep, context)
    assert (results[-1].folder / "number").read_text() == "2345"
    assert len(list((context.runs / "first").glob("????????????????"))) == 3
    record = steps.read_record(results[0].folder)
    assert record is not None
    assert (record.name, record.label) == ("first", "seed 3")
    assert steps.fingerprint(Step("first", write_number, Config(factor=3)), context) == record.fingerprint
    more = Step("first", write_number, Config(factor=6), label="seed 4")
    assert steps.why(more, context) == ["seed 4: factor 4 -> 6"]  # of its own label, not the newest of its kind


def test_steps_that_only_their_functions_tell_apart_are_refused(context: Context) -> None:
    one, two = (Step("same", fn, {}, label=fn.__name__) for fn in (write_some, write_two))
    with pytest.raises(StepError, match="'write_some' and 'write_two' have one identity") as caught:
        steps.run(Step("last", write_number, Config(), {"one": one, "two": two}), context)
    assert "another name than 'same'" in str(caught.value)


@pytest.mark.parametrize("name", ["", "..", "../../evil", "/tmp/evil", "a/b", "a\0b", "n" * 300])
def test_a_step_stays_in_the_folder_of_runs(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be named"):
        Step(name, write_number, Config())
    if name and name != "a/b" and name != "n" * 300:
        with pytest.raises(ConfigError, match="no part of the step 'fine'"):
            Step("fine", write_number, Config()) / name


def test_two_different_steps_may_not_share_a_label(context: Context) -> None:
    a = Step("same", write_number, Config(factor=1))
    b = Step("same", write_number, Config(factor=2), {"a": a})
    with pytest.raises(StepError, match="'same'") as caught:
        steps.in_order(b, context)
    assert "label" in str(caught.value.fix)


def load(path: Path, body: str) -> Any:
    path.write_text(f"def made(config, inputs, out, context):\n    {body}\n")
    return load_object(f"{path}:made")


def test_a_changed_function_is_told_where_its_work_is_used_or_continued(tmp_path: Path, context: Context) -> None:
    said: list[str] = []
    loud = replace(context, progress=Listener(said))
    path = tmp_path / "own.py"
    steps.run(Step("first", load(path, "(out / 'x').touch()"), {}), loud)
    steps.run(Step("first", load(path, "(out / 'x').touch()"), {}), loud)
    assert said == []
    steps.run(Step("first", load(path, "(out / 'y').touch()"), {}), loud)
    assert [line for line in said if "first: cached, but its function changed" in line] == said != []
    said.clear()
    with pytest.raises(ZeroDivisionError):
        steps.run(Step("second", load(path, "(out / 'x').touch(); 1 / 0"), {}), loud)
    with pytest.raises(ZeroDivisionError):
        steps.run(Step("second", load(path, "(out / 'x').touch(); 1 / 0"), {}), loud)
    assert said == []
    steps.run(Step("second", load(path, "return {'a': 1}"), {}), loud)
    assert len(said) == 1
    assert "second: continues unfinished work, but its function changed" in said[0]


def test_a_changed_file_that_the_config_names_a_function_of_is_told(tmp_path: Path, context: Context) -> None:
    said: list[str] = []
    loud = replace(context, progress=Listener(said))
    (tmp_path / "rules.py").write_text("threshold = 1")
    step = Step("first", write_two, {"operators": ("extract", f"{tmp_path}/rules.py:factory")})
    for _ in range(2):
        steps.run(step, loud)
    assert said == []
    (tmp_path / "rules.py").write_text("threshold = 2")
    steps.run(step, loud)
    assert len(said) == 1
    assert "its function changed" in said[0]


@pytest.mark.parametrize("name", ["s3://bucket/out", "memory://out", ".", "..", "/"])
def test_outputs_go_to_local_folders_with_a_name(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"is a URL|itself"):
        steps.run_into(Step("first", write_number, Config()), Path(name), context)
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_may_be_a_link_to_another_disk(tmp_path: Path, context: Context) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    steps.run_into(Step("first", write_number, Config()), tmp_path / "out", context)
    assert (tmp_path / "disk" / "number").exists()
    assert steps.run_into(Step("first", write_number, Config()), tmp_path / "out", context).cached


def test_the_record_says_what_made_it_and_what_each_file_is(corpus: Path, context: Context) -> None:
    step = Step("first", write_number, Config(factor=7), {"corpus": Source(str(corpus))}, label="a label")
    (result,) = steps.run(step, context)
    record = steps.read_record(result.folder)
    assert record is not None
    content = (result.folder / "number").read_bytes()
    assert record.outputs == {"number": OutputFile(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())}
    assert record.label == "a label"
    assert record.config == {"factor": 7, "note": ""}
    assert record.source_bases == {"corpus": "content"}
    assert record.device == "cpu"
    assert record.threads >= 1
    assert record.libraries["pyarrow"]
    assert record.libraries["torch"]
    assert record.tilth_version
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {re.split("[<>=]", name)[0] for name in project["dependencies"]} <= set(LIBRARIES)


@pytest.mark.parametrize("config", [None, "text", 3, [1, 2], {"a": 1}])
def test_a_config_may_be_any_plain_value(context: Context, config: object) -> None:
    steps.run(Step("plain", write_two, config), context)
    assert states(Step("plain", write_two, config), context) == {"plain": "cached"}
    assert any("a" in line for line in steps.why(Step("plain", write_two, {"a": 2}), context))


def test_the_commit_is_that_of_tilth_s_own_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    here = environment.git_commit()
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    (tmp_path / "a").touch()
    git("add", "a")
    git("commit", "-qm", "somebody's own project")
    environment.git_commit.cache_clear()
    assert environment.git_commit() == here
    # Installed below somebody's repository: not tracked there, so that commit says nothing about it.
    installed = tmp_path / "venv" / "tilth"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert environment.git_commit(installed) is None
    git("add", "venv")
    git("commit", "-qm", "tracked")
    environment.git_commit.cache_clear()
    assert environment.git_commit(installed) == git("rev-parse", "--short=12", "HEAD")
    (installed / "__init__.py").write_text("changed")
    environment.git_commit.cache_clear()
    assert environment.git_commit(installed) == git("rev-parse", "--short=12", "HEAD") + "+"


# Damage


def drop(folder: Path) -> None:
    (folder / "number").unlink()


def cut(folder: Path) -> None:
    (folder / "number").write_bytes((folder / "number").read_bytes()[:-1])


def flip(folder: Path) -> None:
    (folder / "number").write_bytes((folder / "number").read_bytes()[:-1] + b"?")


def no_record(folder: Path) -> None:
    (folder / "step.json").unlink()


def record_of(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "step.json").write_text(content) and None


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (drop, "number is missing"),
        (cut, "number has 10 bytes, 11 were written"),
        (no_record, "no step.json"),
        (record_of("{"), "step.json"),
        (record_of("null"), "step.json"),
        (record_of("[]"), "step.json"),
        (record_of('{"name": 3}'), "step.json"),
        (record_of("[" * 100_000), "step.json"),
    ],
)
def test_what_is_damaged_is_not_cached_and_named(
    corpus: Path, context: Context, damage: Callable[[Path], None], word: str
) -> None:
    step = chain(corpus)
    folder = steps.run(step, context)[1].folder
    damage(folder)
    with pytest.raises(StepError) as caught:
        steps.run(step, context)
    assert word in str(caught.value)
    assert str(folder) in str(caught.value)
    assert states(step, context)["second"] == "damaged"
    assert states(step, context)["third"] == "cached"
    shutil.rmtree(folder)
    assert [result.cached for result in steps.run(step, context)] == [True, False, True]


def test_the_content_of_an_input_is_checked_before_it_is_used(corpus: Path, context: Context) -> None:
    folder = steps.run(chain(corpus), context)[1].folder
    flip(folder)
    changed = Step("other", write_number, Config(factor=9), {"second": steps.in_order(chain(corpus), context)[1]})
    with pytest.raises(StepError, match="number has another content") as caught:
        steps.run(changed, context)
    assert str(folder) in str(caught.value)
    assert not (context.runs / "other" / steps.fingerprint(changed, context)).exists()


def test_only_the_part_that_is_an_input_is_read_and_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = outputs.sha256_file
    monkeypatch.setattr(outputs, "sha256_file", lambda path: read.append(path.name) or real(path))
    two = Step("two", write_two, {})
    steps.run(two, context)
    (context.runs / outputs.VERIFIED).unlink()
    for factor in (5, 6):
        steps.run(Step("reader", write_number, Config(factor=factor), {"two": two / "a"}), context)
    assert read == ["number"]
    assert json.loads((context.runs / outputs.VERIFIED).read_text())
    (context.runs / outputs.VERIFIED).write_text("[1]")  # it only saves time: what does not fit is ignored
    steps.run(Step("reader", write_number, Config(factor=7), {"two": two / "a"}), context)
    assert read == ["number", "number"]


def test_an_output_that_is_a_source_again_is_checked(corpus: Path, context: Context, tmp_path: Path) -> None:
    made = Step("first", write_number, Config(), {"corpus": Source(str(corpus))})
    out = steps.run_into(made, tmp_path / "out", context).folder
    flip(out)
    reader = Step("reader", write_number, Config(), {"out": Source(str(out), exclude=("*/step.json",))})
    with pytest.raises(StepError, match="number has another content"):
        steps.run_into(reader, tmp_path / "read", context)


def test_a_file_that_changes_while_it_is_read_is_no_result(corpus: Path, context: Context) -> None:
    step = Step("first", write_and_touch, Config(), {"corpus": Source(str(corpus))})
    with pytest.raises(StepError, match=r"a\.txt"):
        steps.run(step, context)
    (corpus / "a.txt").write_text("alpha")
    assert states(step, context) == {"first": "new"}  # nothing of the mixture is left to continue from


# Claims of folders


def test_a_partial_folder_is_never_a_finished_one(corpus: Path, context: Context) -> None:
    (result, *_) = steps.run(chain(corpus), context)
    shutil.copytree(result.folder, result.folder.with_name("0123456789abcdef.partial"))
    assert len(steps.records(context.runs, "first")) == 1
    assert steps.finished_folders(context.runs, "first") == [result.folder]


def test_a_partial_folder_of_unknown_origin_is_refused(context: Context, tmp_path: Path) -> None:
    step = Step("first", write_number, Config())
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "mine.txt").touch()
    with pytest.raises(StepError, match="unknown origin"):
        steps.run_into(step, tmp_path / "out", context)
    assert [path.name for path in (tmp_path / "out.partial").iterdir()] == ["mine.txt"]


def test_a_chosen_folder_says_what_differs(context: Context, tmp_path: Path) -> None:
    steps.run_into(Step("first", write_number, Config()), tmp_path / "out", context)
    assert steps.run_into(Step("first", write_number, Config()), tmp_path / "out", context).cached
    with pytest.raises(StepError, match="factor 2 -> 3"):
        steps.run_into(Step("first", write_number, Config(factor=3)), tmp_path / "out", context)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    with pytest.raises(StepError, match="no step's output"):
        steps.run_into(Step("first", write_number, Config()), tmp_path / "mine", context)


def die_at(operation: int, step: Step, folder: Path, context: Context) -> None:
    """Runs a step and kills this process at the nth operation on a file that it does."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    steps.run_into(step, folder, context)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="forks a process for each operation")
def test_a_kill_between_any_two_operations_leaves_no_files_to_another_config(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    first, second = (Step("first", write_some, Config(factor=n)) for n in (1, 2))
    codes: list[int | None] = []
    for operation in range(1, 100):
        context = Context(runs=tmp_path / f"{operation}", workers=1)
        out = context.runs / "out"
        process = fork.Process(target=die_at, args=(operation, first, out, context))
        process.start()
        process.join()
        codes.append(process.exitcode)
        try:
            steps.run_into(second, out, context)
        except (StepError, ConfigError):  # it is the first's, finished or not: that is continued
            steps.run_into(first, out, context)
            wanted = "1"
        else:
            wanted = "2"
        assert {path.name: path.read_text() for path in out.glob("number-*")} == {
            f"number-{n}": wanted for n in range(3)
        }, f"killed at operation {operation}"
        assert not list(out.glob(".*.tmp"))
        if process.exitcode == 0:
            break
    assert codes[-1] == 0
    assert codes[:-1] == [-signal.SIGKILL] * (len(codes) - 1)
    assert len(codes) > 12


# Side by side


def test_independent_steps_run_side_by_side_and_give_the_same_files(tmp_path: Path) -> None:
    def meeting(folder: Path) -> Step:
        # Two steps that each wait for the other: they end only if they run at the same time.
        pair = {n: Step("meet", meet, {"me": n, "folder": str(folder)}, label=f"meet {n}") for n in ("a", "b")}
        return Step("last", write_number, Config(), pair)

    folder = tmp_path / "meeting"
    folder.mkdir()
    said: list[str] = []
    context = Context(runs=tmp_path / "side", workers=4, jobs=2, progress=Listener(said))
    results = steps.run(meeting(folder), context)
    assert [result.step.label for result in results] == ["meet a", "meet b", "last"]
    assert sorted(said) == ["a has 2 workers", "b has 2 workers"]
    one = steps.run(meeting(folder), Context(runs=tmp_path / "one", workers=2))
    for side, alone in zip(results, one, strict=True):
        assert side.folder.name == alone.folder.name
        assert (side.folder / "number").read_bytes() == (alone.folder / "number").read_bytes()
    assert all(result.cached for result in steps.run(meeting(folder), context))


def test_an_error_in_one_ends_the_others_and_what_they_did_is_continued(tmp_path: Path) -> None:
    slow = Step("slow", wait_for_release, {"folder": str(tmp_path)})
    bad = Step("bad", fail_when_begun, {"folder": str(tmp_path)})
    both = Step("last", write_number, Config(), {"slow": slow, "bad": bad})
    context = Context(runs=tmp_path / "runs", workers=2, jobs=2)
    with pytest.raises(DataError, match="broken on purpose"):
        steps.run(both, context)
    pid = int((tmp_path / "begun").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    # The one that failed had written nothing: what is left of it would be taken for work.
    assert states(both, context) == {"slow": "partial", "bad": "new", "last": "new"}
    (tmp_path / "release").touch()
    assert len(steps.run(both, context)) == 3


def test_a_dead_job_is_told(tmp_path: Path) -> None:
    step = Step("dies", die, {})
    with pytest.raises(StepError, match="'dies' was killed by signal 9"):
        steps.run(step, Context(runs=tmp_path, workers=1, jobs=2))


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="becomes another user, so root alone can")
def test_a_read_only_folder_serves_what_is_cached(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    try:
        (folder / "a.txt").write_text("alpha")
        step = Step("first", write_number, Config(), {"corpus": Source(str(folder / "a.txt"))})
        context = Context(runs=folder / "runs", workers=1)
        steps.run(step, context)
        for path in (context.runs / ".sources").iterdir():
            path.unlink()
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            (result,) = steps.run(step, context)
            os._exit(0 if result.cached else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert not list((context.runs / ".sources").iterdir())
    finally:
        shutil.rmtree(folder)
