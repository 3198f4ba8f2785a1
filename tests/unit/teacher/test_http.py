"""`HttpTeacher` over real HTTP: routes, dialects, faults, usage, keys."""

import asyncio
import contextlib
import gzip
import json
import logging
import pickle
import time
import traceback
import zlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import TypeVar

import pytest

from raw_server import raw_server
from tilth.errors import ConfigError, TilthError
from tilth.teacher.cache import RequestCache
from tilth.teacher.connections import Exchange, Server, most_sockets
from tilth.teacher.dialects import DIALECTS, is_closed
from tilth.teacher.endpoint import Key, checked_url, find_key, is_loopback, key_variable
from tilth.teacher.fault_plan import FAULT_KINDS, FaultPlan
from tilth.teacher.faults import (
    AccessRefused,
    BadAnswer,
    ConnectionFault,
    Overloaded,
    RequestRefused,
    ServerFault,
    TeacherFault,
    TimedOut,
)
from tilth.teacher.gateway import Gateway
from tilth.teacher.http import HttpTeacher, retry_after
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.request import Answer, GenerationParams, Request, Teacher
from tilth.teacher.script import hashed_embeddings
from tilth.teacher.scripted import ScriptedTeacher
from tilth.types import Message

T = TypeVar("T")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def script(request: Request, sample: int) -> str:
    said = request.prompt if request.prompt is not None else request.messages[-1].content
    return f"{said} is answered {sample} END of it"


def chat(text: str = "hello", **params: object) -> Request:
    messages = (Message(role="system", content="be brief"), Message(role="user", content=text))
    return Request(messages=messages, params=GenerationParams(**params))  # type: ignore[arg-type]


def text(prompt: str = "once", **params: object) -> Request:
    return Request(prompt=prompt, params=GenerationParams(**params))  # type: ignore[arg-type]


def run(url: str, use: Callable[[HttpTeacher], Awaitable[T]], **options: object) -> T:
    async def work() -> T:
        teacher = HttpTeacher(url, "scripted", **options)  # type: ignore[arg-type]
        try:
            return await use(teacher)
        finally:
            await teacher.aclose()

    return asyncio.run(work())


def answer(url: str, request: Request, *, n: int = 1, first_sample: int = 0, **options: object) -> list[Answer]:
    return run(url, lambda teacher: teacher.answer(request, n=n, first_sample=first_sample), **options)


def encoded(status: str, body: object, *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def completion(*texts: str, **fields: object) -> dict[str, object]:
    return {"choices": [{"index": i, "text": t, "finish_reason": "stop"} for i, t in enumerate(texts)], **fields}


# Routes and parameters


def test_a_chat() -> None:
    with LoopbackServer(script, record=True) as server:
        (got,) = answer(server.url, chat(seed=3, temperature=0.5, top_p=0.9, stop=(" END",), max_tokens=9))
        (received,) = server.received
    assert (got.text, got.finish_reason, got.model) == ("hello is answered 3", "stop", "scripted")
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.estimated) == (3, 4, False)
    assert json.loads(received.body) == {
        "model": "scripted",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "max_tokens": 9,
        "seed": 3,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": [" END"],
    }
    assert "authorization" not in received.headers


def test_it_is_a_teacher_whose_identity_has_no_endpoint() -> None:
    teacher = HttpTeacher("http://127.0.0.1:1/v1/", "m", name="other")
    assert isinstance(teacher, Teacher)
    assert teacher.identity == {"kind": "http", "model": "m"}
    assert HttpTeacher("https://elsewhere.example/v1", "m").identity == teacher.identity
    assert HttpTeacher("http://127.0.0.1:1/v1", "m", revision="2").identity != teacher.identity
    assert teacher.endpoint == "http://127.0.0.1:1"


def test_a_text_is_continued_with_logprobs() -> None:
    with LoopbackServer(script) as server:
        (got,) = answer(server.url, text(max_tokens=3, logprobs=2))
        (same,) = answer(server.url, chat("once", max_tokens=3, logprobs=2))
        (none,) = answer(server.url, text(max_tokens=3))
    assert got.text == "once is answered" and got.finish_reason == "length"
    assert got.logprobs is not None and [token.token for token in got.logprobs] == ["once", " is", " answered"]
    assert got.logprobs == same.logprobs
    assert len(got.logprobs[0].top) == 2 and got.logprobs[0].top[0] == ("once", got.logprobs[0].logprob)
    assert none.logprobs is None


def test_samples_have_the_same_text_in_one_request_or_several() -> None:
    with LoopbackServer(script, record=True) as server:
        together = answer(server.url, chat(seed=0), n=4)
        apart = answer(server.url, chat(seed=0), n=2) + answer(server.url, chat(seed=0), n=2, first_sample=2)
        single = answer(server.url, chat(seed=0), n=4, dialect="llama.cpp")
        assert len(server.received) == 1 + 2 + 4
    assert [a.text for a in together] == [f"hello is answered {i} END of it" for i in range(4)]
    assert [a.text for a in apart] == [a.text for a in single] == [a.text for a in together]
    # The server's usage is shared out: the prompt is counted once, the completions whole.
    assert [a.usage.prompt_tokens for a in together] == [3, 0, 0, 0]
    assert sum(a.usage.completion_tokens for a in together) == sum(a.usage.completion_tokens for a in single)


def test_a_server_that_does_not_know_n_is_asked_for_the_rest() -> None:
    bodies = [
        encoded("200 OK", completion("a"), "Connection: close"),
        encoded("200 OK", completion("b")),
        encoded("200 OK", completion("c")),
    ]
    with raw_server(*bodies) as (url, received):
        got = answer(url, text(), n=3)
    assert sorted(a.text for a in got) == ["a", "b", "c"] and got[0].text == "a"
    assert [b'"n":3' in body for body in received] == [True, False, False]


def test_a_sample_that_was_paid_is_not_asked_again_when_another_failed() -> None:
    plan = FaultPlan(rate=0.5, kinds=("server_error",), most_in_a_row=3, seed=1)
    with LoopbackServer(script, faults=plan) as server:

        async def tries(teacher: HttpTeacher) -> list[Answer]:
            got: list[Answer] = []
            for _ in range(40):
                with contextlib.suppress(ServerFault):
                    got += await teacher.answer(chat(seed=0), n=6 - len(got), first_sample=len(got))
                if len(got) == 6:
                    return got
            raise AssertionError("all tries failed")

        got = run(server.url, tries, dialect="ollama")
        assert server.faults_sent["server_error"] > 0
        assert set(server.answered.values()) == {1}
    assert [a.text for a in got] == [f"hello is answered {i} END of it" for i in range(6)]


def test_embeddings_and_models() -> None:
    with LoopbackServer(script) as server:
        vectors = run(server.url, lambda teacher: teacher.embed(["a b", "c"]))
        assert run(server.url, lambda teacher: teacher.models()) == {"scripted": "tilth"}
        assert run(server.url, lambda teacher: teacher.embed([])).shape[0] == 0
    assert vectors == pytest.approx(hashed_embeddings(["a b", "c"]))


@pytest.mark.parametrize(
    ("dialect", "request_", "expected"),
    [
        ("vllm", chat(top_k=5, repetition_penalty=1.1), {"top_k": 5, "repetition_penalty": 1.1}),
        ("tensorrt-llm", text(top_k=5, repetition_penalty=1.1), {"top_k": 5, "repetition_penalty": 1.1}),
        ("llama.cpp", chat(top_k=5, repetition_penalty=1.1), {"top_k": 5, "repeat_penalty": 1.1}),
        ("tgi", text(repetition_penalty=1.1), {"repetition_penalty": 1.1}),
    ],
)
def test_extra_parameters_go_by_the_servers_names(dialect: str, request_: Request, expected: dict[str, object]) -> None:
    with LoopbackServer(script, record=True) as server:
        answer(server.url, request_, dialect=dialect)
        body = json.loads(server.received[0].body)
    assert {key: value for key, value in body.items() if key not in ("model", "messages", "prompt", "max_tokens")} == (
        expected
    )


@pytest.mark.parametrize(
    ("dialect", "request_", "match"),
    [
        ("openai", chat(top_k=5), "`top_k` is set.*openai"),
        ("ollama", chat(repetition_penalty=1.1), "`repetition_penalty`.*ollama"),
        ("tgi", chat(repetition_penalty=1.1), "`repetition_penalty`.*tgi.*chat"),
        ("openai", Request(prompt="x", schema=SCHEMA), "`schema`.*completions"),
    ],
)
def test_what_a_dialect_lacks_is_refused(dialect: str, request_: Request, match: str) -> None:
    with LoopbackServer(script) as server, pytest.raises(ConfigError, match=match):
        answer(server.url, request_, dialect=dialect)
    assert not server.tries


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("route", ["chat", "completions"])
def test_a_schema_arrives_by_every_dialect(dialect: str, route: str) -> None:
    if route not in DIALECTS[dialect].schema:
        pytest.skip("the dialect has no field for it")
    request = Request(prompt="x", schema=SCHEMA) if route == "completions" else Request(
        messages=(Message(role="user", content="x"),), schema=SCHEMA
    )  # fmt: skip
    with LoopbackServer(lambda asked, _: json.dumps(asked.schema)) as server:
        (got,) = answer(server.url, request, dialect=dialect)
    assert json.loads(got.text) == SCHEMA


def test_only_closed_schemas_are_strict() -> None:
    assert is_closed(SCHEMA)
    assert not is_closed({**SCHEMA, "required": []})
    assert is_closed({**SCHEMA, "properties": {"a": SCHEMA}})
    assert not is_closed({**SCHEMA, "properties": {"a": {**SCHEMA, "additionalProperties": True}}})
    assert not is_closed({"type": "array", "items": {"type": "object", "properties": {}}})
    assert not is_closed({**SCHEMA, "$defs": {"b": {"type": "object", "properties": {"c": {}}}}})


def test_a_server_is_asked_what_it_is_only_when_that_matters() -> None:
    with LoopbackServer(script, record=True) as server:
        answer(server.url, chat())
        answer(server.url, chat(top_k=5))
        assert [received.path for received in server.received] == [
            "/v1/chat/completions",
            "/v1/models",
            "/v1/chat/completions",
        ]
    unknown = {"data": [{"id": "scripted", "owned_by": "somebody"}]}
    for listed in (encoded("200 OK", unknown), encoded("404 Not Found", b"")):
        with raw_server(listed) as (url, _), pytest.raises(ConfigError, match="`top_k` is set"):
            answer(url, chat(top_k=5))


def test_openai_itself_gets_max_completion_tokens() -> None:
    teacher = HttpTeacher("https://api.openai.com/v1", "gpt")
    assert teacher._limit == "max_completion_tokens"


# Faults

RAISED = {
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


@pytest.mark.parametrize("kind", [kind for kind in FAULT_KINDS if kind != "slow"])
def test_each_fault_has_its_kind_and_the_next_try_succeeds(kind: str) -> None:
    plan = FaultPlan(rate=1.0, kinds=(kind,), most_in_a_row=1, retry_after=600.0)  # type: ignore[arg-type]
    with LoopbackServer(script, faults=plan) as server:

        async def twice(teacher: HttpTeacher) -> tuple[TeacherFault, list[Answer]]:
            with pytest.raises(RAISED[kind]) as caught:
                await teacher.answer(chat())
            return caught.value, await teacher.answer(chat())

        fault, answers = run(server.url, twice, timeout=3.0 if kind == "time_out" else 60.0)
    assert fault.retryable and answers[0].text.startswith("hello is answered")
    if isinstance(fault, Overloaded):
        assert fault.retry_after is not None and 300 < fault.retry_after <= 600
    if kind in ("cut", "malformed", "no_choices", "empty", "over_long"):
        assert "{" in fault.raw  # what came back is kept
    # The scripted teacher fails in the same way.
    with pytest.raises(RAISED[kind]):
        asyncio.run(ScriptedTeacher(script, faults=plan).answer(chat()))


def test_a_slow_answer_comes_whole_unless_it_takes_too_long() -> None:
    plan = FaultPlan(rate=1.0, kinds=("slow",), slow_seconds=0.4, most_in_a_row=99)
    with LoopbackServer(script, faults=plan) as server:
        assert answer(server.url, chat())[0].text == "hello is answered 0 END of it"
        with pytest.raises(TimedOut) as caught:
            answer(server.url, chat(), timeout=0.15)
    assert "within 0.15 s" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "raised", "match"),
    [
        ("400 Bad", {"error": {"message": "context too long"}}, RequestRefused, "context too long"),
        ("413 Big", {"detail": "big"}, RequestRefused, "big"),
        ("422 No", {"error": "inputs", "error_type": "validation"}, RequestRefused, "inputs"),
        ("401 No", {"error": {"message": "key sk-1 is wrong"}}, AccessRefused, "refuses access"),
        ("403 No", b"", AccessRefused, "refuses access"),
        ("404 No", {"error": {"message": "no model m."}}, AccessRefused, r"no model m\.\nCheck"),
        ("302 Found", b"", AccessRefused, "redirects"),
        ("429 Many", {"error": {"message": "x", "code": "insufficient_quota"}}, AccessRefused, "no credit"),
        ("429 Many", b"not json", Overloaded, "not json"),
        ("503 Loading", {"error": {"message": "Loading model"}}, Overloaded, "Loading model"),
        ("529 Overloaded", {}, Overloaded, "529"),
        ("504 Gateway", b"", TimedOut, "504"),
        ("502 Gateway", b"<html>", ServerFault, "502"),
        ("424 Failed", {"error": "generation failed"}, ServerFault, "generation failed"),
    ],
)
def test_each_status_has_its_kind(status: str, body: object, raised: type[Exception], match: str) -> None:
    with raw_server(encoded(status, body, "Location: http://evil.example/v1")) as (url, _), pytest.raises(
        raised, match=match
    ) as caught:  # fmt: skip
        answer(url, chat())
    if isinstance(caught.value, RequestRefused):
        assert not caught.value.retryable


@pytest.mark.parametrize(
    ("sent", "raised"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", BadAnswer),
        (b"SSH-2.0-OpenSSH\r\n\r\n", BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n", BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionFault),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", ConnectionFault),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 70_000, ConnectionFault),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 15_000, BadAnswer),
        (encoded("200 OK", [1]), BadAnswer),
        (encoded("200 OK", {"choices": [7]}), BadAnswer),
        (encoded("200 OK", {"choices": [{"text": 3}]}), BadAnswer),
        (encoded("200 OK", {"choices": []}), BadAnswer),
        (encoded("200 OK", b"[" * 100_000), BadAnswer),
    ],
)
def test_what_is_no_answer_is_a_fault(sent: bytes, raised: type[Exception]) -> None:
    with raw_server(sent) as (url, _), pytest.raises(raised):
        answer(url, text())


def test_bodies_come_by_length_chunks_or_until_the_connection_closes() -> None:
    data = json.dumps(completion("grün")).encode()
    chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in (data[:7], data[7:]))
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    bodies = [
        encoded("200 OK", data, "Connection: close"),
        early + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + data,
    ]
    for body in bodies:
        with raw_server(body) as (url, _):
            assert answer(url, text())[0].text == "grün"


def test_nobody_listens() -> None:
    with raw_server(b"") as (url, _):
        pass
    with pytest.raises(ConnectionFault, match="No connection to 127.0.0.1"):
        answer(url, chat())


def test_a_connection_is_used_again_and_never_after_a_fault() -> None:
    plan = FaultPlan(rate=1.0, kinds=("cut",), most_in_a_row=1)
    with LoopbackServer(script) as server:

        async def several(teacher: HttpTeacher) -> None:
            for _ in range(5):
                await teacher.answer(chat())

        run(server.url, several)
        assert server.n_connections == 1
    with LoopbackServer(script, faults=plan) as server:

        async def after(teacher: HttpTeacher) -> None:
            with pytest.raises(ConnectionFault):
                await teacher.answer(chat())
            await teacher.answer(chat())
            await teacher.answer(chat())

        run(server.url, after)
        assert server.n_connections == 2


def test_a_connection_that_the_server_closed_while_idle_is_left() -> None:
    with raw_server(encoded("200 OK", completion("a")), encoded("200 OK", completion("b"))) as (url, _):

        async def two(teacher: HttpTeacher) -> list[str]:
            first = await teacher.answer(text())
            await asyncio.sleep(0.05)
            return [first[0].text, (await teacher.answer(text()))[0].text]

        assert run(url, two) == ["a", "b"]


def test_what_comes_unasked_is_not_taken_for_the_next_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(encoded("200 OK", completion("asked")))
        await asyncio.sleep(0.03)
        writer.write(encoded("200 OK", completion("unasked")))
        await reader.read()
        writer.close()

    async def twice() -> list[str]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        teacher = HttpTeacher(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "m")
        texts: list[str] = []
        for _ in range(2):
            texts.append((await teacher.answer(text()))[0].text)
            await asyncio.sleep(0.06)
        await teacher.aclose()
        server.close()
        return texts

    assert asyncio.run(twice()) == ["asked", "asked"]


def test_choices_come_in_the_order_of_their_indices() -> None:
    backwards = {"choices": list(reversed(completion("a", "b", "c")["choices"]))}  # type: ignore[call-overload]
    with raw_server(encoded("200 OK", backwards)) as (url, _):
        assert [got.text for got in answer(url, text(), n=3)] == ["a", "b", "c"]


def test_a_cancelled_request_does_not_answer_the_next_one() -> None:
    with LoopbackServer(script, latency=0.1) as server:

        async def cancelled(teacher: HttpTeacher) -> str:
            task = asyncio.create_task(teacher.answer(chat("first")))
            await asyncio.sleep(0.03)
            task.cancel()
            return (await teacher.answer(chat("second")))[0].text

        assert run(server.url, cancelled).startswith("second")


def test_many_in_flight_with_a_limit_of_connections() -> None:
    with LoopbackServer(script, latency=0.02) as server:

        async def many(teacher: HttpTeacher) -> list[list[Answer]]:
            return await asyncio.gather(*(teacher.answer(chat(str(i))) for i in range(300)))

        answers = run(server.url, many, most_connections=40)
        assert server.n_connections <= 40 and server.most_in_flight > 20
    assert [a[0].text.split()[0] for a in answers] == [str(i) for i in range(300)]


@pytest.mark.parametrize(("files", "connections"), [(64, 16), (256, 192), (1024, 960), (1 << 20, 1024)])
def test_connections_leave_files_for_all_else(files: int, connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert min(Server(url="http://127.0.0.1:1").most_connections, most_sockets()) == connections


def test_a_teacher_works_in_one_event_loop_after_another() -> None:
    with LoopbackServer(script) as server:
        teacher = HttpTeacher(server.url, "scripted")

        async def once() -> str:
            answers = await teacher.answer(chat())
            await teacher.aclose()
            return answers[0].text

        assert asyncio.run(once()) == asyncio.run(once())


# What an answer says


def test_usage_is_estimated_where_the_server_counts_nothing() -> None:
    with raw_server(encoded("200 OK", completion("x" * 40))) as (url, _):
        (got,) = answer(url, text("y" * 20))
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.estimated) == (5, 10, True)


def test_an_empty_answer_is_one_only_if_the_model_wrote_something() -> None:
    counted = completion("", usage={"prompt_tokens": 3, "completion_tokens": 1})
    with raw_server(encoded("200 OK", counted)) as (url, _):
        assert answer(url, text())[0].text == ""
    null = {"choices": [{"message": {"content": None}, "finish_reason": "stop"}], "usage": {"completion_tokens": 0}}
    with raw_server(encoded("200 OK", null)) as (url, _), pytest.raises(BadAnswer, match="no text"):
        answer(url, chat())


def test_reasons_and_surrogates() -> None:
    choice = {"text": "a\ud83d", "finish_reason": "eos_token"}
    odd = {"text": "b", "finish_reason": "tool_calls"}
    with raw_server(encoded("200 OK", {"choices": [{"index": 0, **choice}, {"index": 1, **odd}]})) as (url, _):
        first, second = answer(url, text(), n=2)
    assert (first.finish_reason, second.finish_reason) == ("stop", "unknown")
    assert first.text == "a\ufffd"


@pytest.mark.parametrize(
    ("said", "reason"), [("eos", "stop"), ("model_length", "length"), ("MAX_TOKENS", "length"), (None, "unknown")]
)
def test_reasons_of_other_servers(said: str | None, reason: str) -> None:
    body = {"choices": [{"index": 0, "text": "a", "finish_reason": said}]}
    with raw_server(encoded("200 OK", body)) as (url, _):
        assert answer(url, text())[0].finish_reason == reason


def test_an_answer_that_the_server_broke_off_is_none_and_says_what_it_cost() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 9}
    choices = [{"index": i, "text": "half", "finish_reason": reason} for i, reason in enumerate(("stop", "abort"))]
    both = encoded("200 OK", {"choices": choices, "usage": usage}, "Connection: close")
    with raw_server(both) as (url, received):
        assert [a.text for a in answer(url, text(), n=2)] == ["half", "half"] and len(received) == 2
    body = {"choices": choices[1:], "usage": usage}
    with raw_server(encoded("200 OK", body)) as (url, _), pytest.raises(BadAnswer, match="abort") as caught:
        answer(url, text())
    assert caught.value.usage is not None and caught.value.usage.completion_tokens == 9


def test_thoughts_are_no_text_and_not_counted_against_the_limit() -> None:
    parts = [
        {"type": "thinking", "thinking": []},
        {"type": "reasoning", "text": "x"},
        {"type": "text", "text": "a"},
        "b",
    ]
    usage = {"completion_tokens": 900, "completion_tokens_details": {"reasoning_tokens": 890}}
    body = {"choices": [{"message": {"content": parts}, "finish_reason": "stop"}], "usage": usage}
    with raw_server(encoded("200 OK", body)) as (url, _):
        (got,) = answer(url, chat(max_tokens=10))
    assert (got.text, got.usage.completion_tokens) == ("ab", 900)


def test_a_refusal_is_the_text_where_there_is_no_content() -> None:
    message = {"content": None, "refusal": "I cannot help with that."}
    with raw_server(encoded("200 OK", {"choices": [{"message": message, "finish_reason": "stop"}]})) as (url, _):
        assert answer(url, chat())[0].text == "I cannot help with that."


def test_log_probabilities_that_nobody_asked_for_are_not_read() -> None:
    with raw_server(encoded("200 OK", {"choices": [{"text": "a", "logprobs": [1, 2]}]})) as (url, _):
        assert answer(url, text())[0].logprobs is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"text": "a", "index": 1e999}]}',
        b'{"choices": [{"text": "a", "index": -1e999}]}',
    ],
)
def test_numbers_that_are_none_are_no_crash(body: bytes) -> None:
    with raw_server(encoded("200 OK", body)) as (url, _), pytest.raises(BadAnswer):
        answer(url, text())


def test_counts_below_zero_are_not_taken() -> None:
    usage = {"prompt_tokens": -4, "completion_tokens": -9}
    with raw_server(encoded("200 OK", completion("abc", usage=usage))) as (url, _):
        (got,) = answer(url, text())
    assert got.usage.estimated and got.usage.prompt_tokens >= 0 and got.usage.completion_tokens == 1


def test_errors_of_other_forms_are_said() -> None:
    hidden = encoded("200 OK", {"error": {"message": "upstream is full", "code": 502}})
    listed = encoded("429 Too Many", [{"error": {"message": "quota of today", "code": 429}}])
    with raw_server(hidden) as (url, _), pytest.raises(BadAnswer, match="upstream is full"):
        answer(url, text())
    with raw_server(listed) as (url, _), pytest.raises(Overloaded, match="quota of today"):
        answer(url, text())
    with raw_server(encoded("500 Error", b"[" * 100_000)) as (url, _), pytest.raises(ServerFault):
        answer(url, text())


def test_a_403_about_the_content_refuses_the_request_and_not_the_user() -> None:
    error = {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"flagged_input": "..."}}}
    with raw_server(encoded("403 Forbidden", error)) as (url, _), pytest.raises(RequestRefused, match="flagged"):
        answer(url, text())


@pytest.mark.parametrize(
    ("owner", "field"), [("tensorrt_llm", b'"repetition_penalty":'), ("llamacpp", b'"repeat_penalty":')]
)
def test_the_server_is_known_by_its_only_model_whatever_that_is_called(owner: str, field: bytes) -> None:
    models = {"data": [{"id": "/models/some.gguf", "owned_by": owner}]}
    with raw_server(encoded("200 OK", models, "Connection: close"), encoded("200 OK", completion("a"))) as (
        url,
        received,
    ):
        answer(url, text(repetition_penalty=1.5, logprobs=0))
    assert field in received[1] and b'"logprobs":1' in received[1]  # 0 gives none with these servers


def test_retry_after() -> None:
    assert retry_after({}) is None and retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "1.5"}) == 1.5 and retry_after({"retry-after": "-3"}) == 0
    assert retry_after({"retry-after": formatdate(time.time() - 60, usegmt=True)}) == 0
    assert retry_after({"retry-after": "inf"}) is None
    assert retry_after({"retry-after": f"Wed, 21 Oct {'9' * 20} 07:28:00 GMT"}) is None


# Keys

SECRET = "sk-hush-0123456789"


@pytest.mark.parametrize("kind", ["cut", "malformed", "no_choices", "server_error"])
def test_the_key_is_in_no_fault_log_or_repr(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    plan = FaultPlan(rate=1.0, kinds=(kind,), most_in_a_row=99)  # type: ignore[arg-type]
    # The worst server: its answer repeats the header.
    said = f"You sent Bearer {SECRET} " * 20
    with LoopbackServer(lambda _, __: said, faults=plan, key=SECRET, record=True) as server:
        key = Key(SECRET)
        with pytest.raises(TeacherFault) as caught:
            answer(server.url, chat(), key=key)
        assert server.received[0].headers["authorization"] == f"Bearer {SECRET}"
    fault = caught.value
    shown = [str(fault), repr(fault), fault.raw, fault.message, "".join(traceback.format_exception(fault)), caplog.text]
    shown += [
        repr(key),
        str(key),
        repr(HttpTeacher(server.url, "m", key=key)),
        str(HttpTeacher("http://localhost", "m").identity),
    ]
    assert not any(SECRET in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_wrong_key_ends_the_run_without_showing_it() -> None:
    with LoopbackServer(script, key="other") as server, pytest.raises(AccessRefused) as caught:
        answer(server.url, chat(), key=Key(SECRET))
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert "401" in str(caught.value)


def test_a_server_that_writes_the_key_into_its_answer_does_not_get_it_stored(tmp_path: Path) -> None:
    cache = RequestCache(tmp_path / "cache.sqlite")

    async def ask(url: str) -> list[str]:
        teacher = HttpTeacher(url, "scripted", key=Key(SECRET))
        async with Gateway({"t": teacher}, cache=cache, backoff_seconds=0.0) as gateway:
            return [reply.text for reply in await gateway.ask(chat(), recipe="r")]

    plan = FaultPlan(rate=1.0, kinds=("malformed",), most_in_a_row=2)
    with LoopbackServer(lambda _, __: f"You sent Bearer {SECRET}", key=SECRET, faults=plan) as server:
        assert asyncio.run(ask(server.url)) == ["You sent Bearer [key]"]
    cache.close()
    files = list(tmp_path.iterdir())
    assert files and not any(SECRET.encode() in file.read_bytes() for file in files)


def test_a_word_for_a_key_stays_in_the_answers() -> None:
    with LoopbackServer(lambda _, __: "there is none", key="none") as server:
        assert answer(server.url, chat(), key=Key("none"))[0].text == "there is none"


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TILTH_BIG_MODEL_KEY", "OPENAI_API_KEY", "MINE"):
        monkeypatch.delenv(name, raising=False)
    url = "https://api.openai.com/v1"
    assert key_variable("big-model") == "TILTH_BIG_MODEL_KEY"
    assert find_key("big-model", url) is None
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    found = find_key("big-model", url)
    assert found is not None and found.header() == {"Authorization": "Bearer general"}
    assert find_key("big-model", "https://elsewhere.example/v1") is None
    monkeypatch.setenv("TILTH_BIG_MODEL_KEY", "own\n")
    found = find_key("big-model", url)
    assert found is not None and found.header() == {"Authorization": "Bearer own"}
    found = find_key("big-model", url, given={"big-model": "context"})
    assert found is not None and found.header() == {"Authorization": "Bearer context"}
    with pytest.raises(ConfigError, match="`MINE`, which is not set"):
        find_key("big-model", url, variable="MINE")


def test_a_key_goes_over_http_to_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILTH_A_KEY", SECRET)
    with pytest.raises(ConfigError, match="unencrypted") as caught:
        find_key("a", "http://10.0.0.5:8000/v1")
    assert SECRET not in str(caught.value)
    assert find_key("a", "http://10.0.0.5:8000/v1", allow_http=True) is not None
    assert find_key("a", "http://localhost:8000/v1") is not None
    assert find_key("a", "http://[::1]:8000/v1") is not None
    assert not is_loopback("localhost.example") and not is_loopback("128.0.0.1")


def test_what_cannot_be_a_key_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILTH_A_KEY", f"{SECRET}\r\nX-Injected: 1")
    with pytest.raises(ConfigError, match="TILTH_A_KEY") as caught:
        find_key("a", "https://a.example/v1")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["https://me:hush@a.example/v1", "https://a.example/v1?key=hush"])
def test_urls_hold_no_secrets(url: str) -> None:
    with pytest.raises(ConfigError, match="password or a query") as caught:
        checked_url(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ftp://a/v1", "http:///v1", "a.example/v1", "http://a:99999/v1", "http://a/v 1\r\nX: y"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="no URL|characters"):
        checked_url(url)


def test_nothing_is_redirected_with_the_key() -> None:
    with LoopbackServer(script, record=True) as other:
        moved = encoded("307 Temporary Redirect", b"", f"Location: {other.url}/chat/completions")
        with raw_server(moved) as (url, received), pytest.raises(TilthError, match="redirects"):
            answer(url, chat(), key=Key(SECRET))
        assert SECRET.encode() in received[0] and not other.received


@pytest.mark.parametrize("stop", ["END", ("",), ("a", "")])
def test_stop_texts_that_would_empty_every_answer_are_refused(stop: object) -> None:
    with pytest.raises(ConfigError, match="stop"):
        text(stop=stop)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_a_server_compresses_unasked_is_read(encoding: str) -> None:
    data = json.dumps(completion("packed")).encode()
    body = gzip.compress(data) if encoding == "gzip" else zlib.compress(data)
    with raw_server(encoded("200 OK", body, f"Content-Encoding: {encoding}")) as (url, _):
        assert answer(url, text())[0].text == "packed"
    for wrong in (body[: len(body) // 2], data):
        damaged = encoded("200 OK", wrong, f"Content-Encoding: {encoding}")
        with raw_server(damaged) as (url, _), pytest.raises(BadAnswer):
            answer(url, text())
    with raw_server(encoded("200 OK", body, "Content-Encoding: br")) as (url, _), pytest.raises(BadAnswer):
        answer(url, text())


def test_an_answer_that_inflates_beyond_all_bounds_is_none() -> None:
    bomb = gzip.compress(json.dumps(completion("a" * (1 << 20))).encode())
    with raw_server(encoded("200 OK", bomb, "Content-Encoding: gzip")) as (url, _):
        exchange = Exchange(Server(url=url.removesuffix("/v1"), most_bytes=1 << 16))

        async def ask() -> None:
            try:
                await exchange.send("POST", "/v1/completions")
            finally:
                await exchange.aclose()

        with pytest.raises(BadAnswer, match="longer than"):
            asyncio.run(ask())


def test_a_name_that_no_host_has_ends_the_run() -> None:
    with pytest.raises(AccessRefused, match="no address"):
        answer("http://a..b:1/v1", text())


def test_a_proxy_of_the_environment_carries_all_but_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(encoded("200 OK", completion("by proxy"), "Connection: close")) as (proxy, received):
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.removesuffix("/v1"))
        for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert answer("http://teacher.example:8000/v1", text())[0].text == "by proxy"
        assert received[0].startswith(b"POST http://teacher.example:8000/v1/completions HTTP/1.1")
        with LoopbackServer(script) as server:
            assert answer(server.url, text())[0].text.startswith("once is answered")
        assert len(received) == 1
    with pytest.raises(ConnectionFault, match="No connection to the proxy"):
        answer("http://teacher.example:8000/v1", text())


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("localhost:1", "No connection to the proxy"),
        ("ftp://me:secret@p:1", "kind ftp"),
        ("socks5://p:1", "kind socks5"),
    ],
)
def test_proxies_that_cannot_be_used_are_said(proxy: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises((ConnectionFault, ConfigError), match=said) as caught:
        answer("http://teacher.example:8000/v1", text())
    assert "secret" not in "".join(traceback.format_exception(caught.value))
