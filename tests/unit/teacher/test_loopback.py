"""The loopback server, asked over plain sockets: routes, counts, faults, and its life as a process."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tilth.teacher.fault_plan import FaultPlan
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.request import Request


def script(request: Request, sample: int) -> str:
    said = request.prompt if request.prompt is not None else request.messages[-1].content
    return f"{said} is answered {sample} END of it"


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(script, record=True) as running:
        yield running


def call(
    server: LoopbackServer, path: str, body: object = None, *, timeout: float = 10, **headers: str
) -> tuple[int, dict[str, object], dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), dict(response.getheaders())
    finally:
        connection.close()


def chat(content: str = "hello", **fields: object) -> dict[str, object]:
    return {"model": "scripted", "messages": [{"role": "user", "content": content}], **fields}


def test_chat(server: LoopbackServer) -> None:
    status, body, _ = call(server, "/v1/chat/completions", chat(n=2, seed=5, stop=[" END"], logprobs=True))
    assert status == 200
    choices = body["choices"]
    assert [c["message"]["content"] for c in choices] == ["hello is answered 5", "hello is answered 6"]
    assert choices[0]["finish_reason"] == "stop" and len(choices[0]["logprobs"]["content"]) == 4
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 8, "total_tokens": 9}
    assert sorted(sample for _, sample in server.answered) == [5, 6]


def test_completions_and_length(server: LoopbackServer) -> None:
    fields = {"model": "scripted", "prompt": "once", "max_tokens": 2, "logprobs": 1}
    _, body, _ = call(server, "/v1/completions", fields)
    (choice,) = body["choices"]
    assert choice["text"] == "once is" and choice["finish_reason"] == "length"
    assert choice["logprobs"]["tokens"] == ["once", " is"]


def test_embeddings_and_models(server: LoopbackServer) -> None:
    _, body, _ = call(server, "/v1/embeddings", {"model": "scripted", "input": ["a", "b"]})
    assert [row["index"] for row in body["data"]] == [0, 1]
    assert [model["id"] for model in call(server, "/v1/models")[1]["data"]] == ["scripted"]


@pytest.mark.parametrize(
    "extra",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "null"}}}},
        {"guided_json": {"type": "null"}},
        {"structured_outputs": {"json": {"type": "null"}}},
        {"response_format": {"type": "json", "value": {"type": "null"}}},
    ],
)
def test_a_schema_reaches_the_script(extra: dict[str, object]) -> None:
    with LoopbackServer(lambda request, _: json.dumps(request.schema)) as server:
        _, body, _ = call(server, "/v1/chat/completions", chat(**extra))
    assert body["choices"][0]["message"]["content"] == '{"type": "null"}'


def test_what_is_wrong_is_refused(server: LoopbackServer) -> None:
    assert call(server, "/v1/nothing", {})[0] == 404
    assert call(server, "/v1/chat/completions", {**chat(), "model": "other"})[0] == 404
    assert call(server, "/v1/chat/completions", {"model": "scripted"})[0] == 400
    assert call(server, "/v1/chat/completions")[0] == 405
    assert not server.answered


def test_a_key_is_asked_for() -> None:
    with LoopbackServer(script, key="s3cret") as server:
        assert call(server, "/v1/models", Authorization="Bearer wrong")[0] == 401
        assert call(server, "/v1/models", Authorization="Bearer s3cret")[0] == 200


def test_more_than_the_capacity_is_overloaded() -> None:
    with LoopbackServer(script, capacity=1, latency=0.3) as server, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(call, server, "/v1/chat/completions", chat(str(i))) for i in range(2)]
        assert sorted(done.result()[0] for done in asked) == [200, 429]


def test_connections_are_kept(server: LoopbackServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/v1/chat/completions", json.dumps(chat()))
        assert connection.getresponse().read()
    connection.close()
    assert server.n_connections == 1


def faulty(kind: str, **fields: object) -> LoopbackServer:
    return LoopbackServer(script, faults=FaultPlan(rate=1.0, kinds=(kind,), most_in_a_row=1, **fields))  # type: ignore[arg-type]


def test_overloaded_says_when() -> None:
    with faulty("overloaded", retry_after=3) as server:
        status, _, headers = call(server, "/v1/chat/completions", chat())
        assert (status, headers["Retry-After"]) == (429, "3")
    with faulty("overloaded_date", retry_after=30) as server:
        _, _, headers = call(server, "/v1/chat/completions", chat())
        assert 20 < parsedate_to_datetime(headers["Retry-After"]).timestamp() - time.time() < 40


def test_faults_of_the_server_come_once() -> None:
    with faulty("server_error") as server:
        assert [call(server, "/v1/chat/completions", chat())[0] for _ in range(2)] == [500, 200]
        assert server.faults_sent == {"server_error": 1} and sum(server.answered.values()) == 1


def test_a_body_is_cut() -> None:
    with faulty("cut") as server, pytest.raises(http.client.IncompleteRead):
        call(server, "/v1/chat/completions", chat())
    with faulty("disconnect") as server, pytest.raises(http.client.RemoteDisconnected):
        call(server, "/v1/chat/completions", chat())


def test_a_hanging_answer_never_comes() -> None:
    with faulty("time_out") as server, pytest.raises(TimeoutError):
        call(server, "/v1/chat/completions", chat(), timeout=0.2)


def test_bodies_that_are_no_answers() -> None:
    with faulty("malformed") as server, pytest.raises(json.JSONDecodeError):
        call(server, "/v1/chat/completions", chat())
    with faulty("no_choices") as server:
        assert "choices" not in call(server, "/v1/chat/completions", chat())[1]
    with faulty("empty") as server:
        body = call(server, "/v1/chat/completions", chat())[1]
        assert body["choices"][0]["message"]["content"] == "" and body["usage"]["completion_tokens"] == 0
    with faulty("over_long") as server:
        body = call(server, "/v1/chat/completions", chat(max_tokens=10))[1]
        assert body["usage"]["completion_tokens"] > 200
    with faulty("slow", slow_seconds=0.01) as server:
        assert call(server, "/v1/chat/completions", chat())[1]["choices"]


def test_as_a_process_it_logs_what_was_answered(tmp_path: Path) -> None:
    log = tmp_path / "answered.jsonl"
    command = [sys.executable, "-m", "tilth.teacher.loopback", "--log", str(log), "--until-stdin-closes"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    url = process.stdout.readline().strip()
    server = LoopbackServer(script, port=int(url.split(":")[2].partition("/")[0]))  # not started: only its address
    _, body, _ = call(server, "/v1/chat/completions", chat("a b c", seed=2))
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()
    assert body["choices"][0]["message"]["content"].endswith(".")
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["sample"] == 2
