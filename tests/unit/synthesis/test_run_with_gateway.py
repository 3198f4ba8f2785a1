"""Runs through the real gateway: requests in flight, critics, routers, verifiers, teachers that a recipe makes."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.progress import SILENT
from tilth.results import read_result
from tilth.storage import finish_dataset, shard_name, write_table
from tilth.synthesis.config import Budget, GateConfig, SynthesisConfig
from tilth.synthesis.define import Draft, Recipe, recipe
from tilth.synthesis.generate import left_of
from tilth.synthesis.preview_run import preview
from tilth.synthesis.result import SYNTHESIS, SynthesisResult
from tilth.synthesis.routing_result import ROUTER, RouterResult
from tilth.synthesis.run import STATUS, synthesize
from tilth.teacher.budget import Cost
from tilth.teacher.faults import BudgetSpent, RequestRefused
from tilth.teacher.request import Price, Request
from tilth.teacher.scripted import ScriptedTeacher
from tilth.types import Document, Message, documents_table
from toy_recipe import LongEnough, scripted, toy

N = 45
ANY_TEXT = GateConfig(min_words=1, languages=(), max_copied=1.0, near_duplicate_threshold=None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Forty-five documents in nine shards of five."""
    names = [shard_name(i) for i in range(N // 5)]
    for i, name in enumerate(names):
        texts = [f"Document {n} about soil, {n * n}." for n in range(i * 5, i * 5 + 5)]
        of_shard = [Document.make(text, f"corpus/{text.split()[1]}.txt") for text in texts]
        write_table(tmp_path / "source" / name, documents_table(of_shard))
    finish_dataset(tmp_path / "source", shards=names, made_by="test")
    return tmp_path / "source"


def run(source: Path, out: Path, *teachers: ScriptedTeacher, of: Recipe = toy, **changes: Any) -> SynthesisResult:
    context = changes.pop("context", Context(workers=1, max_in_flight=24, cache=out.parent / "cache"))
    config = SynthesisConfig(**{"gates": ANY_TEXT, **changes})
    return synthesize(source, out, of, teachers, config, context)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_requests_stay_in_flight_across_shards(source: Path, tmp_path: Path) -> None:
    teacher = ScriptedTeacher(scripted, latency=0.01)
    result = run(source, tmp_path / "out", teacher)
    assert teacher.most_in_flight > 15  # a shard has five documents
    assert result.samples_kept == 2 * N and result.spending[0].requests == 2 * N
    assert len(result.diversity) > 1 and result.diversity[-1].samples == 2 * N
    again = ScriptedTeacher(scripted)
    assert run(source, tmp_path / "again", again).spending[0].cached == 2 * N and not again.answered


def test_money_is_a_budget(source: Path, tmp_path: Path) -> None:
    teacher = ScriptedTeacher(scripted, price=Price(prompt=1000.0, completion=1000.0), latency=0.001)
    part = run(source, tmp_path / "out", teacher, budget=Budget(max_money=1.0))
    assert not part.complete and 0 < part.spending[0].paid_money <= 1.0
    whole = run(source, tmp_path / "out", teacher, budget=Budget(max_money=100.0))
    assert whole.complete and max(teacher.answered.values()) == 1


@pytest.mark.parametrize(("limits", "says"), [({"max_money": 1.0}, "no price"), ({"max_flops": 1.0}, "parameters")])
def test_a_limit_that_would_stop_nothing_is_refused(
    source: Path, tmp_path: Path, limits: dict[str, float], says: str
) -> None:
    teacher = ScriptedTeacher(scripted)
    with pytest.raises(ConfigError, match=f"limits nothing: .*{says}"):
        run(source, tmp_path / "out", teacher, budget=Budget(**limits))  # pyright: ignore[reportArgumentType]
    assert not teacher.answered
    priced = ScriptedTeacher(scripted, name="priced", price=Price(prompt=1.0, completion=1.0))
    if "max_money" in limits:  # a server of one's own beside one that costs
        assert run(source, tmp_path / "out", teacher, priced, budget=Budget(**limits)).complete  # pyright: ignore[reportArgumentType]


def test_the_critic_is_asked_for_survivors_only_and_in_the_ledger(source: Path, tmp_path: Path) -> None:
    def judge(request: Request, sample: int) -> str:
        return f"Well.\nScore: {5 if 'Title' in request.messages[-1].content else 1}"

    critic = ScriptedTeacher(judge, name="judge")
    gates = replace(ANY_TEXT, critic="rubric", critic_teacher="judge", min_words=7)
    result = run(source, tmp_path / "out", ScriptedTeacher(scripted), critic, gates=gates)
    by_name = {gate.gate: gate for gate in result.gates}
    assert by_name["critic"].samples_in == by_name["near_duplicate"].samples_out == sum(critic.answered.values())
    assert by_name["critic"].reasons == {"low_score": by_name["critic"].samples_in - result.samples_kept}
    assert {row["part"] for row in rows(tmp_path / "out" / "samples")} == {"titled"}
    kept = json.loads(rows(tmp_path / "out" / "samples")[0]["lineage"])[-1]["gates"]
    assert [one["gate"] for one in kept] == ["length", "language", "copy", "near_duplicate", "critic"]
    assert {one.recipe: one.samples_kept for one in result.spending} == {"critic": 0, "toy": result.samples_kept}


def test_a_router_chooses_and_says_whether_the_dearer_one_was_worth_it(source: Path, tmp_path: Path) -> None:
    cheap = ScriptedTeacher(lambda request, sample: "too short", name="cheap", price=Price(completion=1.0))
    dear = ScriptedTeacher(scripted, name="dear", price=Price(completion=9.0))
    gates = replace(ANY_TEXT, min_words=3)
    result = run(source, tmp_path / "out", cheap, dear, router="best", gates=gates)
    assert {one.teacher: one.requests for one in result.spending} == {"cheap": 2 * N, "dear": 2 * N}
    entries = [json.loads(row["lineage"])[-1] for row in rows(tmp_path / "out" / "samples")]
    assert all(entry["answers"][0]["teacher"] == "dear" for entry in entries)
    routed = read_result(RouterResult, tmp_path / "out" / ROUTER)
    assert {row.teacher: row.answers for row in routed.teachers} == {"cheap": 2 * N, "dear": 2 * N}
    with pytest.raises(ConfigError, match=r"one teacher to choose from[\s\S]*one that judges"):
        run(source, tmp_path / "other", dear, router="best")


@recipe("sums", version=1, shape="problem", prompts=())
async def sums(document: Document, ask: Any) -> list[Draft]:
    """A sum with a solution that is wrong for every third document."""
    n = int(document.text.split()[1])
    reply = await ask.continue_text(f"{n} + 1 =", lambda text: text.strip(), name="sum")
    said = (Message(role="user", content=f"{n} + 1"), Message(role="assistant", content=reply.value))
    return [Draft(prompt=f"{n} + 1", answer=str(n + 1), verifier="number", messages=said, replies=(reply,))]


def wrong_thirds(request: Request, sample: int) -> str:
    n = int((request.prompt or "").split()[0])
    return str(n + (2 if n % 3 == 0 else 1))


@pytest.mark.parametrize("workers", [1, 2])
def test_verifiers_judge_last_and_are_counted(source: Path, tmp_path: Path, workers: int) -> None:
    context = Context(workers=workers, cache=tmp_path / "cache")
    result = run(source, tmp_path / "out", ScriptedTeacher(wrong_thirds), of=sums, context=context)
    gate = result.gates[-1]
    assert (gate.gate, gate.samples_in, gate.samples_out) == ("verifier", N, N - N // 3)
    assert result.samples_kept == N - N // 3 == len(rows(tmp_path / "out" / "samples"))
    for row in rows(tmp_path / "out" / "samples"):
        assert int(row["prompt"].split()[0]) % 3 and row["verifier"] == "number"
        assert row["text"] == f"{row['prompt']}\n\n{row['answer']}"
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]  # beside its shape's columns
    assert {row["stage"] for row in rows(tmp_path / "out" / "rejects")} == {"verifier"}
    unverified = replace(ANY_TEXT, verify=False)
    all_kept = run(source, tmp_path / "b", ScriptedTeacher(wrong_thirds), of=sums, context=context, gates=unverified)
    assert all_kept.samples_kept == N


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Options of a recipe that brings its teacher along."""

    words: int = 3


def trained(dataset: Any, work: Path, options: Trained, context: Context) -> ScriptedTeacher:
    (work / "trained").touch()
    return ScriptedTeacher(lambda request, sample: "word " * options.words, name="own")


def test_a_recipe_may_make_its_teacher(source: Path, tmp_path: Path) -> None:
    @recipe("own", version=1, shape="text", options=Trained, prepare=trained)
    async def own(document: Document, ask: Any) -> list[Draft]:
        """Continues a document."""
        reply = await ask.continue_text(document.text, str, name="document")
        return [Draft(text=f"{document.text} {reply.value}", replies=(reply,))]

    result = run(source, tmp_path / "out", of=own)
    assert result.teachers == ("own",) and result.samples_kept == N
    with pytest.raises(ConfigError, match="No teacher is given"):
        run(source, tmp_path / "none")


def test_what_is_there_so_far_can_be_looked_at(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tilth.synthesis import run as runs

    monkeypatch.setattr(runs, "_LIVE_SECONDS", 0.0)
    live = tmp_path / "live"
    live.mkdir()
    context = Context(workers=1, live=live, progress=SILENT)
    result = run(source, tmp_path / "out", ScriptedTeacher(scripted), context=context)
    seen = read_result(SynthesisResult, live / SYNTHESIS)
    assert seen.documents_done == N and not seen.complete and seen.samples_kept == result.samples_kept
    assert json.loads((live / STATUS).read_text())["done"] == 2 * N


def test_a_finished_run_is_read_and_not_repeated(source: Path, tmp_path: Path) -> None:
    first = run(source, tmp_path / "out", ScriptedTeacher(scripted))
    second = run(source, tmp_path / "out", ScriptedTeacher(scripted))
    assert first == second
    with pytest.raises(ConfigError, match="another call"):
        run(source, tmp_path / "out", ScriptedTeacher(scripted), samples=2)
    with pytest.raises(ConfigError, match="another call"):
        run(source, tmp_path / "out", ScriptedTeacher(scripted, revision="2"))


def test_gates_that_are_given_replace_those_of_the_config(source: Path, tmp_path: Path) -> None:
    teacher, context = ScriptedTeacher(scripted), Context(workers=1)
    result = synthesize(source, tmp_path / "o", toy, teacher, context=context, gates=[LongEnough(10_000)])
    assert result.samples_kept == 0 and result.complete
    assert [gate.gate for gate in result.gates] == ["parsed", "length"]


@recipe("unseeded", version=1, shape="text", prompts=("ask",), needs_documents=False)
async def unseeded(document: Document, ask: Any) -> list[Draft]:
    """The same prompt for every document: answers differ by the seed."""
    reply = await ask.continue_text("A user asks:", str, name="begin")
    return [Draft(text=reply.value, replies=(reply,))]


def test_the_same_prompt_for_many_documents_has_many_answers(tmp_path: Path) -> None:
    """An answer serves its own document again when a parameter changes, and no other document."""
    alone = replace(unseeded, prompts=())
    context = Context(workers=1, max_in_flight=4, cache=tmp_path / "cache")

    def make(name: str, teacher: ScriptedTeacher, **changes: Any) -> list[str]:
        config = SynthesisConfig(documents=8, gates=ANY_TEXT, reuse="same_prompt", **changes)
        synthesize(None, tmp_path / name, alone, teacher, config, context)
        return [row["text"] for row in rows(tmp_path / name / "samples")]

    first = ScriptedTeacher(lambda request, sample: f"question number {request.params.seed}")
    made = make("first", first)
    assert len(set(made)) == len(made) == 8
    again = ScriptedTeacher(scripted)
    assert make("again", again, temperature=1.3) == made and not again.answered


def test_a_budget_holds_for_the_critic_where_shards_were_made_elsewhere(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tilth import execute

    monkeypatch.setattr(execute, "RayExecutor", execute.LocalExecutor)
    price = Price(prompt=1000.0, completion=1000.0)
    writer, critic = ScriptedTeacher(scripted), ScriptedTeacher(well_done, name="judge", price=price)
    gates = replace(ANY_TEXT, critic="rubric", critic_teacher="judge")
    context = Context(workers=1, executor="ray", max_in_flight=4, cache=tmp_path / "cache")
    part = run(source, tmp_path / "out", writer, critic, gates=gates, context=context, budget=Budget(max_money=9.0))
    assert not part.complete and part.stopped_by and 0 < part.documents_done < N
    assert 0 < sum(one.paid_money for one in part.spending) <= 9.0
    whole = run(source, tmp_path / "out", writer, critic, gates=gates, context=context)
    assert whole.complete and whole.samples_kept == 2 * N


def well_done(request: Request, sample: int) -> str:
    return "Well.\nScore: 5"


def test_what_is_left_of_a_budget() -> None:
    budget = Budget(max_total_tokens=10, max_flops=5.0)
    assert left_of(budget, Cost(4, 3.0, 7.0)) == Budget(max_total_tokens=6, max_flops=0.0)
    assert left_of(Budget(), Cost(4, 3.0, 7.0)) == Budget()


def test_a_preview_that_the_critic_has_no_budget_for_says_so(source: Path, tmp_path: Path) -> None:
    price = Price(prompt=1000.0, completion=1000.0)
    teachers = [ScriptedTeacher(scripted), ScriptedTeacher(well_done, name="judge", price=price)]
    gates = replace(ANY_TEXT, critic="rubric", critic_teacher="judge")
    config = SynthesisConfig(gates=gates, budget=Budget(max_money=0.001))
    with pytest.raises(BudgetSpent, match="before the preview is done"):
        preview(source, toy, teachers, config, Context(cache=tmp_path / "cache"))


def test_the_order_of_teachers_is_part_of_what_a_run_is(source: Path, tmp_path: Path) -> None:
    """The first one answers: with another first one, a finished run is another."""
    one, two = ScriptedTeacher(scripted, name="one"), ScriptedTeacher(scripted, name="two")
    run(source, tmp_path / "out", one, two)
    with pytest.raises(ConfigError, match="another call"):
        run(source, tmp_path / "out", two, one)


def test_what_no_critic_could_judge_is_a_reject_with_its_text(source: Path, tmp_path: Path) -> None:
    def judge(request: Request, sample: int) -> str:
        if "Document 7 about" in request.messages[-1].content:
            raise RequestRefused("too long", raw="<html>")
        return "Well.\nScore: 5"

    gates = replace(ANY_TEXT, critic="rubric", critic_teacher="judge")
    critic = ScriptedTeacher(judge, name="judge")
    result = run(source, tmp_path / "out", ScriptedTeacher(scripted), critic, gates=gates)
    refused, dead = rows(tmp_path / "out" / "rejects"), rows(tmp_path / "out" / "dead_letters")
    assert result.samples_lost == len(refused) == len(dead) > 0
    assert {(row["stage"], row["reason"], row["source_id"]) for row in refused} == {
        ("critic", "no_answer", dead[0]["id"])
    }
    assert all(row["text"] and row["lineage"] for row in refused) and dead[0]["text"] == "<html>"
    assert sum(sum(gate.reasons.values()) for gate in result.gates) == len(refused)


def test_a_critic_of_the_config_judges_beside_ones_own_gates(source: Path, tmp_path: Path) -> None:
    gates = replace(ANY_TEXT, critic="rubric", critic_teacher="judge")
    teachers = (ScriptedTeacher(scripted), critic := ScriptedTeacher(well_done, name="judge"))
    context = Context(workers=1, cache=tmp_path / "cache")
    config = SynthesisConfig(gates=gates)
    result = synthesize(source, tmp_path / "out", toy, teachers, config, context, gates=[LongEnough()])
    assert [gate.gate for gate in result.gates] == ["parsed", "length", "critic"] and critic.answered


@recipe("filed", version=1, shape="problem", prompts=())
async def filed(document: Document, ask: Any) -> list[Draft]:
    """Names a verifier that is a file."""
    return [Draft(prompt="1 + 1", answer="2", verifier=f"{__file__}:anything")]


def test_samples_of_a_built_in_recipe_name_no_verifier_in_a_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="has no `anything`"):  # of one's own recipe the file is loaded
        run(source, tmp_path / "own", ScriptedTeacher(scripted), of=filed)
    monkeypatch.setattr("tilth.synthesis.run.is_built_in", lambda recipe: True)
    with pytest.raises(ConfigError, match="There is no verifier"):
        run(source, tmp_path / "built-in", ScriptedTeacher(scripted), of=filed)
