"""Scripts and the teacher that answers with one: deterministic, cut as a server cuts, faults from a plan."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from tilth.errors import ConfigError
from tilth.teacher.fault_plan import FAULT_KINDS, FaultPlan
from tilth.teacher.faults import BadAnswer, ConnectionFault, Overloaded, ServerFault, TeacherFault, TimedOut
from tilth.teacher.request import Answer, GenerationParams, Request, Teacher
from tilth.teacher.script import EMBEDDING_DIMENSIONS, cut, echo, hashed_embeddings, load_script
from tilth.teacher.scripted import ScriptedTeacher
from tilth.types import Message

KIND_OF = {
    "overloaded": Overloaded,
    "overloaded_date": Overloaded,
    "server_error": ServerFault,
    "time_out": TimedOut,
    "disconnect": ConnectionFault,
    "cut": ConnectionFault,
    "malformed": BadAnswer,
    "no_choices": BadAnswer,
    "empty": BadAnswer,
    "over_long": BadAnswer,
}


def numbered(request: Request, sample: int) -> str:
    return f"{request.prompt} answered {sample}"


def ask(text: str = "one two", **params: object) -> Request:
    return Request(prompt=text, params=GenerationParams(**params))  # type: ignore[arg-type]


def test_samples_are_numbered_and_counted() -> None:
    teacher = ScriptedTeacher(numbered, name="a")
    assert isinstance(teacher, Teacher)
    answers = asyncio.run(teacher.answer(ask(), n=2, first_sample=3))
    assert [answer.text for answer in answers] == ["one two answered 3", "one two answered 4"]
    assert answers[0].usage.prompt_tokens == 2 and answers[0].usage.completion_tokens == 4
    assert teacher.answered == Counter({(ask().prompt_key, 3): 1, (ask().prompt_key, 4): 1})
    assert teacher.identity == {"kind": "scripted", "model": "a", "revision": ""}


def test_answers_are_cut_at_stop_texts_and_at_max_tokens() -> None:
    assert cut("a b STOP c", GenerationParams(stop=("c", " STOP"))) == ("a b", "stop")
    assert cut("a b c\n", GenerationParams(max_tokens=2)) == ("a b", "length")
    assert cut("a b\n", GenerationParams(max_tokens=2)) == ("a b\n", "stop")


def test_logprobs_cover_the_text() -> None:
    (answer,) = asyncio.run(ScriptedTeacher(numbered).answer(ask(logprobs=2)))
    assert answer.logprobs is not None
    assert "".join(token.token for token in answer.logprobs) == answer.text
    assert all(token.logprob < 0 and len(token.top) == 2 for token in answer.logprobs)


@pytest.mark.parametrize("kind", [kind for kind in FAULT_KINDS if kind != "slow"])
def test_each_fault_is_of_its_kind_and_ends(kind: str) -> None:
    plan = FaultPlan(rate=1.0, kinds=(kind,), most_in_a_row=2)  # type: ignore[arg-type]
    teacher = ScriptedTeacher(numbered, faults=plan)

    async def tries() -> list[Answer]:
        for _ in range(2):
            with pytest.raises(KIND_OF[kind]) as caught:
                await teacher.answer(ask())
            assert isinstance(caught.value, TeacherFault) and caught.value.retryable
            if isinstance(caught.value, Overloaded):
                assert caught.value.retry_after == plan.retry_after
        assert not teacher.answered
        return await teacher.answer(ask())

    assert asyncio.run(tries())[0].text == "one two answered 0"


def test_a_plan_depends_on_request_try_and_seed_alone() -> None:
    plan, other = FaultPlan(rate=0.3, seed=1), FaultPlan(rate=0.3, seed=2)
    decided = [plan.decide(str(i), 0) for i in range(4000)]
    assert decided == [FaultPlan(rate=0.3, seed=1).decide(str(i), 0) for i in range(4000)]
    assert decided != [other.decide(str(i), 0) for i in range(4000)]
    assert decided != [plan.decide(str(i), 1) for i in range(4000)]
    failed = [kind for kind in decided if kind is not None]
    assert 0.25 < len(failed) / 4000 < 0.35
    assert set(failed) == set(FAULT_KINDS)
    assert all(plan.decide(str(i), 4) is None for i in range(100))


def test_a_plan_is_checked() -> None:
    with pytest.raises(ConfigError, match="rate"):
        FaultPlan(rate=1.5)
    with pytest.raises(ConfigError, match="Unknown kinds"):
        FaultPlan(kinds=("flood",))  # type: ignore[arg-type]


def test_more_than_the_capacity_is_overloaded() -> None:
    teacher = ScriptedTeacher(numbered, capacity=2, latency=0.01)

    async def three() -> list[object]:
        return list(await asyncio.gather(*(teacher.answer(ask()) for _ in range(3)), return_exceptions=True))

    outcomes = asyncio.run(three())
    assert [type(outcome) for outcome in outcomes] == [list, list, Overloaded]
    assert teacher.in_flight == 0 and teacher.most_in_flight == 3


def test_echo_writes_sentences_of_the_prompts_words() -> None:
    passage = "Water boils at a lower temperature on a mountain because the pressure of the air is lower there."
    request = Request(messages=(Message(role="system", content="zebra"), Message(role="user", content=passage)))
    text = echo(request, 0)
    assert text == echo(request, 0) != echo(request, 1)
    words = {word.strip(".").lower() for word in text.split()}
    assert words <= {word.strip(".").lower() for word in passage.split()}
    assert len(text.split()) > 50 and text.endswith(".")


def test_echo_follows_a_schema() -> None:
    import jsonschema

    schema = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 3},
            "score": {"type": "integer", "minimum": 2, "maximum": 5},
            "sure": {"type": ["boolean", "null"]},
            "of": {"anyOf": [{"const": 7}, {"type": "null"}]},
        },
        "required": ["title", "tags", "score", "sure", "of"],
    }
    for sample in range(5):
        jsonschema.validate(json.loads(echo(Request(prompt="some words", schema=schema), sample)), schema)


def test_scripts_are_loaded_by_name_or_file(tmp_path: Path) -> None:
    assert load_script("echo")[0] is echo
    file = tmp_path / "mine.py"
    file.write_text("VALUE = 1\ndef answer(request, sample):\n    return f'mine {sample}'\n")
    script, revision = load_script(f"{file}:answer")
    assert script(ask(), 2) == "mine 2"
    file.write_text(file.read_text() + "# changed\n")
    assert load_script(f"{file}:answer")[1] != revision
    with pytest.raises(ConfigError, match="no function"):
        load_script(f"{file}:VALUE")
    with pytest.raises(ConfigError, match="no script `reverb`"):
        load_script("reverb")


def test_embeddings_are_near_where_words_are_shared() -> None:
    vectors = hashed_embeddings(["the cold lake", "a cold lake", "seven green engines", ""])
    assert vectors.shape == (4, EMBEDDING_DIMENSIONS)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert (vectors[3] == 0).all()
    assert (asyncio.run(ScriptedTeacher(numbered).embed(["a cold lake"])) == vectors[1]).all()
