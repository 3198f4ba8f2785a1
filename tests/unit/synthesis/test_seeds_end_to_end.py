"""Annotation, routers and seeds through the runner, over HTTP and from the command line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tilth import cli
from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.recipes import singles
from tilth.results import read_result
from tilth.steps import Identities
from tilth.storage import Dataset, write_dataset
from tilth.synthesis.config import GateConfig, SynthesisConfig
from tilth.synthesis.define import Ask, Draft, recipe
from tilth.synthesis.judges import router_of
from tilth.synthesis.quality import train_classifier
from tilth.synthesis.recipes.bootstrap_options import Bootstrap
from tilth.synthesis.routing_result import ROUTER, RouterResult
from tilth.synthesis.run import synthesize
from tilth.synthesis.trial import FunctionAsker
from tilth.teacher.http import HttpTeacher
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.request import Request
from tilth.teacher.script import prompt_text
from tilth.teacher.scripted import ScriptedTeacher
from tilth.types import Document

GOOD = "Photosynthesis turns light into sugar. A plant needs water and air. For example, leaves are green."
BAD = "CLICK here!!! buy cheap SHOES $$$ 50% off | login | cart | free shipping 24/7"


def rate(request: Request, sample: int) -> str:
    text = prompt_text(request)
    if "number 7 " in text:
        return "I would say 4."
    return f"It has {'ads' if '!!!' in text else 'facts'}.\nEducational score: {1 if '!!!' in text else 4}"


def corpus(folder: Path, n: int = 60) -> Dataset:
    texts = [f"{GOOD} It is number {i} of the lessons." if i % 2 else f"{BAD} number {i} today" for i in range(n)]
    documents = [
        Document(id=f"d{i:02d}", text=text, source="s", language="de" if i % 3 else "en")
        for i, text in enumerate(texts)
    ]
    return write_dataset(folder, documents, made_by="test", shard_bytes=2000)


def test_annotation_over_http_then_a_classifier(tmp_path: Path) -> None:
    dataset = corpus(tmp_path / "d")
    with LoopbackServer(rate, model="m") as server:
        teacher = HttpTeacher(server.url, "m")
        result = synthesize(dataset, tmp_path / "out", "annotate", teacher, SynthesisConfig(), Context(workers=1))
    assert result.complete and result.samples_kept == 59
    assert {gate.gate: gate.reasons for gate in result.gates}["parsed"] == {"no_score": 1}
    samples = Dataset.open(tmp_path / "out" / "samples")
    texts = {document.id: document.text for document in dataset}
    for shard in range(len(samples.shards)):
        for batch in samples.batches(shard):
            for row in batch.to_pylist():
                assert row["text"] == texts[row["id"]]  # the document itself, with a score
                assert row["score_quality"] == (1.0 if "!!!" in row["text"] else 4.0)
                assert json.loads(row["meta"])["quality_reason"].startswith("It has")
                assert len(json.loads(row["lineage"])) == 1
    assert train_classifier(samples).report.classifier.f1 == 1.0


@recipe("retell", version=1, shape="text", prompts=("easy",))
async def retell(document: Document, ask: Ask) -> list[Draft]:
    """Says a document again."""
    reply = await ask("easy", {"passage": document.text}, str)
    return [Draft(text=reply.value, replies=(reply,))]


def teachers() -> dict[str, ScriptedTeacher]:
    def writer(name: str) -> ScriptedTeacher:
        return ScriptedTeacher(lambda request, _: f"{name} says {prompt_text(request)[-60:]} in other words",
                               name=name, n_params=1_000_000 if name == "small" else 10_000_000)  # fmt: skip

    def grade(request: Request, _: int) -> str:
        text = prompt_text(request)
        better = "big says" in text if "lessons" in text else "small says" in text
        return f"It is short.\nScore: {8 if better else 3}"

    return {"small": writer("small"), "big": writer("big"), "judge": ScriptedTeacher(grade, name="judge")}


@pytest.mark.parametrize("router", ["best", "learned", "bandit"])
def test_routers_through_the_runner(router: Any, tmp_path: Path) -> None:
    dataset = corpus(tmp_path / "d")
    gates = GateConfig(min_words=1, languages=(), near_duplicate_threshold=None, critic_teacher="judge")
    config = SynthesisConfig(router=router, router_documents=30, gates=gates)
    own = retell_with_prompt()
    result = synthesize(dataset, tmp_path / "out", own, teachers(), config, Context(workers=1, max_in_flight=16))
    assert result.complete and result.samples_kept == 60
    table = read_result(RouterResult, tmp_path / "out" / ROUTER)
    assert table.kind == router and table.reward == "rubric" and table.cost_unit == "flops"
    assert {row.teacher for row in table.teachers} == {"small", "big"}
    samples = Counter(
        (doc.text.split()[0], "lessons" in doc.text) for doc in Dataset.open(tmp_path / "out" / "samples")
    )
    if router != "bandit":
        assert samples == {("big", True): 30, ("small", False): 30}
        (worth,) = table.worth
        assert (worth.dearer, worth.pairs) == ("big", 60 if router == "best" else 30) and worth.cost_ratio > 5
        assert sum(row.answers for row in table.teachers) == (120 if router == "best" else 60 + 30)
    else:
        assert samples[("small", True)] + samples[("small", False)] > 40  # ten times cheaper


def retell_with_prompt() -> Any:
    """The prompt file of `wrap`, which is in every checkout."""
    from dataclasses import replace

    return replace(retell, name="wrap", fn=_as_built_in(retell.fn))


def _as_built_in(fn: Any) -> Any:
    fn.__module__ = "tilth.synthesis.recipes.wrap"
    return fn


def test_topics_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus(tmp_path / "d", 20)
    (tmp_path / "topics.txt").write_text("Plants: photosynthesis leaves\nShops: shoes cart\n")
    (tmp_path / "rate.py").write_text("def rate(request, sample):\n    return 'Clear.\\nEducational score: 3'\n")
    words = ["synthesize", "annotate", "d", "--teacher", "scripted:rate.py:rate", "--out", "out"]
    assert command([*words, "--topics", "topics.txt", "--per-topic", "4"]) == 0
    samples = Dataset.open(tmp_path / "out" / "samples")
    assert Counter(document.meta["topic"] for document in samples) == {"Plants": 4, "Shops": 4}
    assert command([*words[:-1], "grouped", "--group-topics", "2"]) == 0
    grouped = Dataset.open(tmp_path / "grouped" / "samples")
    assert len(grouped) == 20 and len({document.meta["topic"] for document in grouped}) == 2
    assert command([*words[:-1], "other", "--group-topics", "2", "--topics", "topics.txt"]) == 2
    assert "two ways" in capsys.readouterr().err


def command(words: list[str]) -> object:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    return end.value.code


def test_another_model_in_the_folder_is_another_step(tmp_path: Path) -> None:
    corpus(tmp_path / "d", 4)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_bytes(b"1")

    def identity() -> str:
        options = Bootstrap(model=str(tmp_path / "m"))
        step = singles.synthesize("bootstrap", tmp_path / "d", {}, SynthesisConfig(), options)
        assert str(tmp_path) not in repr(step.config)
        return Identities(tmp_path / "runs").fingerprint(step)

    before = identity()
    assert identity() == before
    (tmp_path / "m" / "model.safetensors").write_bytes(b"2")
    assert identity() != before


def test_seeds_follow_from_the_content_of_the_topics(tmp_path: Path) -> None:
    corpus(tmp_path / "d", 4)
    topics = tmp_path / "topics.txt"

    def identity(text: str) -> str:
        topics.write_text(text)
        return Identities(tmp_path / "runs").fingerprint(singles.seeds(tmp_path / "d", str(topics), 5))

    assert identity("Plants\n") == identity("Plants\n") != identity("Shops\n")
    with pytest.raises(ConfigError):
        singles.seeds(tmp_path / "d", str(tmp_path / "none.txt"), 5)


@pytest.mark.parametrize(
    ("gates", "reward"),
    [
        (GateConfig(), "gates"),
        (GateConfig(critic="reward"), "logprob"),
        (GateConfig(critic="reward", critic_teacher="judge"), "rubric"),
    ],
)
def test_what_a_router_compares_by(gates: GateConfig, reward: str) -> None:
    config = SynthesisConfig(router="best", gates=gates)
    given = teachers() if gates.critic_teacher else {name: teachers()[name] for name in ("small", "big")}
    router = router_of(config, given, FunctionAsker(lambda *_: ""), [], None)
    assert router is not None and router.result().reward == reward
    assert [row.teacher for row in router.result().teachers] == ["small", "big"]
