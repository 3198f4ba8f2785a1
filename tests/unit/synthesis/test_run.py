"""A recipe over a dataset: order, resumption, what is asked again and what is not."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.storage import Dataset, finish_dataset, shard_name, write_table
from tilth.synthesis.config import Budget, GateConfig, SynthesisConfig
from tilth.synthesis.define import Draft, Recipe, recipe
from tilth.synthesis.result import SYNTHESIS, SynthesisResult
from tilth.synthesis.run import synthesize
from tilth.synthesis.write import EXAMPLE_CHARACTERS
from tilth.types import Document, documents_table
from toy_recipe import LongEnough, NeverTwice, NoTeacher, ScriptedDoor, Toy, scripted, toy

N = 60
SHARD = 9


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sixty documents in seven shards."""
    documents = [
        Document.make(f"Document {i} says ünlike things about soil and stones, {i * i} of them.", f"corpus/{i}.txt")
        for i in range(N)
    ]
    documents[5] = Document.make("skip this one, it has nothing to say", "corpus/5.txt")
    folder = tmp_path / "source"
    names = [shard_name(i) for i in range(-(-N // SHARD))]
    for i, name in enumerate(names):
        write_table(folder / name, documents_table(documents[i * SHARD : (i + 1) * SHARD]))
    finish_dataset(folder, shards=names, made_by="test")
    return folder


def run(source: Path | None, out: Path, door: ScriptedDoor, recipe: Recipe = toy, **changes: Any) -> SynthesisResult:
    gates = changes.pop("gates", None) or [LongEnough(), NeverTwice()]
    options = changes.pop("options", None)
    context = changes.pop("context", Context(workers=1, max_in_flight=4))
    config_gates = changes.pop("config_gates", GateConfig())
    config = SynthesisConfig(gates=config_gates, **changes)
    return synthesize(
        source, out, recipe, NoTeacher(), config, context, options=options, gates=gates, open_asker=door
    )  # fmt: skip


def files(out: Path) -> dict[str, bytes]:
    """What must be the same bytes."""
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    result = json.loads(found.pop(SYNTHESIS))
    for name in ("seconds", "spending"):
        result.pop(name)
    return found | {SYNTHESIS: json.dumps(result).encode()}


def samples(out: Path) -> list[dict[str, Any]]:
    paths = sorted((out / "samples").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_counts_add_up_and_samples_are_a_dataset(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(source, out, ScriptedDoor(tmp_path / "cache"))
    by_name = {gate.gate: gate for gate in result.gates}
    assert result.complete and result.documents == result.documents_done == N
    assert by_name["parsed"].samples_in == 2 * (N - 1) + 1
    assert by_name["parsed"].reasons == {"skipped": 1}
    assert by_name["length"].samples_in == by_name["length"].samples_out == 2 * (N - 1)
    assert by_name["near_duplicate"].samples_out == result.samples_kept == 16  # one of each first hex digit
    dataset = Dataset.open(out / "samples", verify=True)
    assert dataset.n_documents == 16 and dataset.parents == (Dataset.open(source).fingerprint,)
    assert sum(result.parts.values()) == 16
    assert len(rows(out / "rejects")) == 2 * (N - 1) - 16 + 1
    (spending,) = result.spending
    assert spending.samples_kept == 16 and 0 < spending.tokens_kept < spending.completion_tokens
    assert not (out / "work").exists()


def test_order_of_arrival_changes_nothing(source: Path, tmp_path: Path) -> None:
    calm, rough = ScriptedDoor(tmp_path / "a"), ScriptedDoor(tmp_path / "b", max_delay=0.02)
    run(source, tmp_path / "calm", calm, context=Context(workers=1, max_in_flight=1))
    random.seed(4)
    run(source, tmp_path / "rough", rough, context=Context(workers=1, max_in_flight=16))
    assert calm.most_in_flight <= 4 < 16 < rough.most_in_flight  # across shards of nine documents
    assert files(tmp_path / "calm") == files(tmp_path / "rough")


def test_a_killed_run_pays_nothing_twice_and_ends_the_same(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "calm", (calm := ScriptedDoor(tmp_path / "a")))
    answered: Counter[str] = Counter()
    for stop_after in (13, 29, None):
        door = ScriptedDoor(tmp_path / "b", stop_after=stop_after, max_delay=0.001)
        if stop_after is None:
            run(source, tmp_path / "killed", door)
        else:
            with pytest.raises(KeyboardInterrupt):
                run(source, tmp_path / "killed", door)
        answered.update(door.answered)
    assert answered == calm.answered
    assert files(tmp_path / "calm") == files(tmp_path / "killed")


def test_a_change_of_gates_or_post_rules_asks_nothing(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "first", ScriptedDoor(tmp_path / "cache"))
    again = ScriptedDoor(tmp_path / "cache")
    stricter = run(source, tmp_path / "stricter", again, gates=[LongEnough(45)])
    shouted = run(source, tmp_path / "shouted", again, options=Toy(shout=True))
    other_parser = replace(toy, version=2)
    run(source, tmp_path / "parser", again, recipe=other_parser)
    assert not again.answered
    assert {gate.gate: gate.reasons for gate in stricter.gates}["length"]["too_short"] > 0
    assert shouted.samples_kept and any(row["text"].isupper() for row in samples(tmp_path / "shouted"))


def test_a_changed_prompt_asks_only_for_itself(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(source, tmp_path / "first", ScriptedDoor(tmp_path / "cache"))
    from tilth.synthesis import run as runs
    from tilth.synthesis.prompt_files import PromptFile, load_prompts

    def changed(recipe: Recipe) -> dict[str, PromptFile]:
        prompts = load_prompts(recipe)
        text = prompts["title"].text.replace("six words", "five words").replace("version: 1", "version: 2")
        return prompts | {"title": PromptFile.parse(text, name="toy/title")}

    monkeypatch.setattr(runs, "load_prompts", changed)
    again = ScriptedDoor(tmp_path / "cache")
    run(source, tmp_path / "second", again)
    (asked,) = again.answered
    assert "five words" in asked and again.answered[asked] == N - 1
    with pytest.raises(ConfigError, match="another call"):
        run(source, tmp_path / "first", again)


def test_a_spent_budget_ends_cleanly_and_a_larger_one_goes_on(source: Path, tmp_path: Path) -> None:
    out, door = tmp_path / "out", ScriptedDoor(tmp_path / "cache", max_delay=0.002)
    part = run(source, out, door, budget=Budget(max_total_tokens=40))
    assert not part.complete and part.stopped_by and 0 < part.documents_done < N
    assert Dataset.open(out / "samples").n_documents == part.samples_kept
    assert sum(door.answered.values()) == 40
    rest = ScriptedDoor(tmp_path / "cache")
    whole = run(source, out, rest, budget=Budget(max_total_tokens=1000))
    assert whole.complete and whole.documents_done == N
    assert sum(rest.answered.values()) == 2 * (N - 1) - 40
    run(source, tmp_path / "calm", ScriptedDoor(tmp_path / "other"))
    assert files(out) == files(tmp_path / "calm")


def test_lost_requests_are_dead_letters_with_the_raw_answer(source: Path, tmp_path: Path) -> None:
    def script(request: Any, sample: int) -> Any:
        asked = request.messages[-1].content
        if "Document 7 " in asked and "title" in asked:
            return {"lost": '{"choi'}
        return {"lost": "<html>"} if "Document 8 " in asked else scripted(request, sample)

    out = tmp_path / "out"
    result = run(source, out, ScriptedDoor(tmp_path / "cache", script=script))
    dead = {row["source"]: row for row in rows(out / "dead_letters")}
    assert result.documents_lost == 2 and result.documents_done == N
    assert {source: row["text"] for source, row in dead.items()} == {"corpus/7.txt": '{"choi', "corpus/8.txt": "<html>"}
    assert dead["corpus/7.txt"]["prompt"] == "toy/title"
    by_seed = Counter(
        json.loads(row["lineage"])[-1]["source"] for row in samples(out) + rows(out / "rejects") if row["lineage"]
    )
    assert by_seed["corpus/7.txt"] == 1 and by_seed["corpus/8.txt"] == 0 and by_seed["corpus/9.txt"] == 2


def test_too_many_lost_requests_end_the_run(source: Path, tmp_path: Path) -> None:
    door = ScriptedDoor(tmp_path / "cache", script=lambda request, sample: {"lost": "x"})
    with pytest.raises(DataError, match="max_dead_letters"):
        run(source, tmp_path / "out", door)


def test_answers_that_are_none_are_rejected_with_their_text(source: Path, tmp_path: Path) -> None:
    def script(request: Any, sample: int) -> Any:
        asked = request.messages[-1].content
        odd = {
            "Document 1 ": "I'm sorry, but I cannot help with that request.",
            "Document 2 ": {"text": "it goes on and on and", "finish": "length"},
            "Document 3 ": "  ",
            "Document 4 ": f"Sure. {asked}",
            "Document 6 ": "two words",
            "Document 9 ": "half of a pair \ud800 is here",
        }
        found = [answer for name, answer in odd.items() if name in asked]
        return found[0] if found and "title" not in asked.split("<<<")[0] else scripted(request, sample)

    out = tmp_path / "out"
    result = run(source, out, ScriptedDoor(tmp_path / "cache", script=script), gates=[LongEnough()])
    reasons = {gate.gate: gate.reasons for gate in result.gates}["parsed"]
    assert reasons == dict.fromkeys(("refused", "cut_off", "empty", "echo", "too_few_words", "skipped"), 1)
    raw = {row["reason"]: row for row in rows(out / "rejects")}
    assert raw["too_few_words"]["text"] == "two words" and raw["too_few_words"]["prompt"] == "toy/say"
    assert raw["refused"]["key"] and raw["refused"]["source"] == "corpus/1.txt"
    assert any("half of a pair ?" in row["text"] for row in samples(out))
    assert {one.reason for one in result.rejected_examples} == set(reasons)


def test_more_samples_pay_for_the_new_ones_only(source: Path, tmp_path: Path) -> None:
    first, more = ScriptedDoor(tmp_path / "cache"), ScriptedDoor(tmp_path / "cache")
    run(source, tmp_path / "one", first, gates=[LongEnough()])
    result = run(source, tmp_path / "two", more, gates=[LongEnough()], samples=2)
    assert sum(more.answered.values()) == sum(first.answered.values()) == 2 * (N - 1)
    assert result.samples_kept == 4 * (N - 1)


def test_some_documents_are_those_of_the_lowest_hashes(source: Path, tmp_path: Path) -> None:
    few = run(source, tmp_path / "few", ScriptedDoor(tmp_path / "cache"), documents=10, gates=[LongEnough()])
    more = run(source, tmp_path / "more", ScriptedDoor(tmp_path / "cache"), documents=20, gates=[LongEnough()])
    seeds = [
        {json.loads(row["lineage"])[-1]["source_id"] for row in samples(tmp_path / name)} for name in ("few", "more")
    ]
    assert (few.documents, more.documents) == (10, 20) and seeds[0] < seeds[1]


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_shards_elsewhere_end_the_same(source: Path, tmp_path: Path, executor: str, monkeypatch: Any) -> None:
    """Generation by shard, on the local executor: what a Ray task does is the same function."""
    from tilth import execute

    monkeypatch.setattr(execute, "RayExecutor", execute.LocalExecutor)
    context = Context(workers=2, executor=executor, max_in_flight=4)  # pyright: ignore[reportArgumentType]
    door = ScriptedDoor(tmp_path / "cache", max_delay=0.002)
    result = run(source, tmp_path / "out", door, context=context)
    run(source, tmp_path / "calm", ScriptedDoor(tmp_path / "other"))
    assert files(tmp_path / "out") == files(tmp_path / "calm")
    assert result.spending[0].requests == 2 * (N - 1)


def test_a_bug_of_a_recipe_ends_the_run_and_names_the_document(source: Path, tmp_path: Path) -> None:
    async def broken(document: Document, ask: Any) -> Any:
        return [] if "Document 3 " not in document.text else 1 / 0

    with pytest.raises(ZeroDivisionError) as error:
        run(source, tmp_path / "out", ScriptedDoor(tmp_path / "cache"), recipe=replace(toy, fn=broken, prompts=()))
    assert any("corpus/3.txt" in note for note in error.value.__notes__)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "returned `NoneType`"),
        ("text", "returned `str`"),
        (["text", 5], "returned a list of `int`, `str`"),
        ([Draft(text=5)], "`text` is '5'"),  # type: ignore[arg-type]
        ([Draft(text="a", meta={"n": float("nan")})], "`meta` is"),
        ([Draft(text="a", meta={"n": object()})], "`meta` is"),
        ([Draft(text="a", scores={"n": "high"})], "`scores` is"),  # type: ignore[dict-item]
        ([Draft(text="a", messages=({"role": "user"},))], "`messages` is"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_draft_is_the_users_mistake(returned: Any, says: str, source: Path, tmp_path: Path) -> None:
    async def odd(document: Document, ask: Any) -> Any:
        return returned

    with pytest.raises(ConfigError, match=says):
        run(source, tmp_path / "out", ScriptedDoor(tmp_path / "cache"), recipe=replace(toy, fn=odd, prompts=()))


def test_a_recipe_is_a_coroutine_function() -> None:
    def plain(document: Document, ask: Any) -> Any:
        return []

    async def yields(document: Document, ask: Any) -> Any:
        yield Draft(text="a")

    for fn in (plain, yields):
        with pytest.raises(ConfigError, match="no `async def` function"):
            recipe("odd", version=1, shape="text", prompts=(), source="nothing but a test")(fn)


def test_recipes_that_need_documents_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="works on documents"):
        run(None, tmp_path / "out", ScriptedDoor(tmp_path / "cache"))
    alone = replace(toy, needs_documents=False)
    with pytest.raises(ConfigError, match="how many"):
        run(None, tmp_path / "out", ScriptedDoor(tmp_path / "cache"), recipe=alone)
    result = run(
        None, tmp_path / "out", ScriptedDoor(tmp_path / "cache"), recipe=alone, documents=5, gates=[LongEnough()]
    )
    assert result.documents_done == 5


def test_what_gates_compare_with_counts_by_its_content(source: Path, tmp_path: Path) -> None:
    """An evaluation set that changed is another run; one that lies elsewhere is not."""
    door, first, moved = ScriptedDoor(tmp_path / "cache"), tmp_path / "a.jsonl", tmp_path / "elsewhere" / "a.jsonl"
    first.write_text('{"question": "Which of the many kinds of soil holds the most water after rain?"}\n')
    moved.parent.mkdir()
    moved.write_bytes(first.read_bytes())

    def again(path: Path) -> SynthesisResult:
        return run(source, tmp_path / "out", door, config_gates=GateConfig(decontaminate=(str(path),)))

    assert again(first).complete and again(moved).complete
    first.write_text('{"question": "Which of the few kinds of stone holds the least water after rain?"}\n')
    with pytest.raises(ConfigError, match="another call"):
        again(first)


def test_examples_are_cut_and_rows_are_not(source: Path, tmp_path: Path) -> None:
    def script(request: Any, sample: int) -> Any:
        return "a b" * 9000 if "title" in request.messages[-1].content.split("<<<")[0] else "too short" * 9000

    result = run(source, tmp_path / "out", ScriptedDoor(tmp_path / "cache", script=script))
    assert {len(one.text) for one in (*result.kept_examples, *result.rejected_examples)} <= {0, EXAMPLE_CHARACTERS}
    assert (tmp_path / "out" / SYNTHESIS).stat().st_size < 1_000_000
    assert max(len(row["text"]) for row in rows(tmp_path / "out" / "rejects")) >= 9 * 9000


def test_gate_limits_are_checked() -> None:
    with pytest.raises(ConfigError):
        GateConfig(min_words=5, max_words=4)


@pytest.mark.parametrize("field", [{"temperature": float("nan")}, {"temperature": -1.0}, {"max_answer_tokens": 0}])
def test_how_answers_are_drawn_is_checked_before_anything_runs(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        SynthesisConfig(**field)
