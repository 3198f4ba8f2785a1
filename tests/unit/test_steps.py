import dataclasses
import json
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from tilth import steps
from tilth.errors import StepError
from tilth.execute import Context
from tilth.sources import Source
from tilth.steps import Counts, Inputs, Step


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
    return {p.step.name: p.state for p in steps.plan(target, context)}


def test_a_run_is_kept_and_a_second_run_does_nothing(corpus: Path, context: Context) -> None:
    assert states(chain(corpus), context) == {"first": "new", "second": "new", "third": "new"}
    outcomes = steps.run(chain(corpus), context)
    assert [o.cached for o in outcomes] == [False] * 3
    assert (outcomes[-1].folder / "number").read_text() == "232alphabeta"
    record = json.loads((outcomes[0].folder / "recipe.json").read_text())
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
    assert "second: version 1 -> 2" in steps.why(steps.in_order(bumped)[1], context)


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
    assert json.loads((outcome.folder / "recipe.json").read_text())["resumed"] is True


def test_a_step_that_another_process_works_on_is_refused(corpus: Path, context: Context) -> None:
    step = Step("first", write_number, Config(), {"corpus": Source(str(corpus))})
    print_ = steps.fingerprint(step, context)
    (context.runs / "first").mkdir(parents=True)
    held, release = multiprocessing.Event(), multiprocessing.Event()

    def hold() -> None:
        with FileLock(context.runs / "first" / f".{print_}.lock"):
            held.set()
            release.wait(20)

    import threading

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(20)
        with pytest.raises(StepError, match="Another process"):
            steps.run(step, context)
    finally:
        release.set()
        thread.join()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("x"), {1, 2}, {1: "a"}, object(), print])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(StepError, match="identity|text keys|finite"):
        steps.canonical({"field": value})


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_canonical_json_is_one_text_and_round_trips(value: object) -> None:
    text = steps.canonical_json(value)
    assert json.loads(text) == value
    assert steps.canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_canonical_json_ignores_the_order_of_keys(value: dict[str, int]) -> None:
    assert steps.canonical_json(value) == steps.canonical_json(dict(reversed(value.items())))


def test_two_steps_may_not_share_a_name() -> None:
    a = Step("same", write_number, Config(factor=1))
    b = Step("same", write_number, Config(factor=2), {"a": a})
    with pytest.raises(StepError, match="'same'"):
        steps.in_order(b)


def test_a_cache_hit_with_a_changed_function_says_so(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Listener:
        def say(self, line: str) -> None:
            said.append(line)

    step = Step("first", write_number, Config())
    steps.run(step, context)
    loud = dataclasses.replace(context, progress=Listener())  # type: ignore[arg-type]
    steps.run(step, loud)
    assert said == []
    monkeypatch.setattr(steps, "_function_sha256", lambda fn: "another")
    steps.run(step, loud)
    assert len(said) == 1
    assert "first" in said[0]
