"""The gateway with the real client over real HTTP: keys show nowhere, and a cache serves another endpoint."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from tilth.errors import TilthError
from tilth.teacher import Gateway, RequestCache
from tilth.teacher.endpoint import Key
from tilth.teacher.fault_plan import FaultPlan
from tilth.teacher.faults import DeadLetter
from tilth.teacher.http import HttpTeacher
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.request import Reply
from unit.teacher.controlled import request

SECRET = "sk-very-secret-0123456789"


async def asked(url: str, cache: Path, said: list[str], *, key: Key | None = None, text: str = "a") -> list[Reply]:
    with RequestCache(cache, say=said.append) as held:
        teacher = HttpTeacher(url, "scripted", key=key)
        async with Gateway(
            {"scripted": teacher}, cache=held, max_tries=2, backoff_seconds=0, say=said.append
        ) as gateway:
            try:
                await gateway.embed([text], recipe="r")
                return await gateway.ask(request(text), recipe="r", n=2)
            except (DeadLetter, TilthError) as error:
                said += [str(error), repr(error), *(str(each) for each in vars(error).values())]
                if isinstance(error, DeadLetter):
                    said += [error.fault.raw, repr(error.fault)]
                return []
            finally:
                said += [repr(gateway.status()), repr(gateway.spending()), repr(vars(gateway)), repr(teacher)]


def test_a_key_is_in_no_byte_of_the_cache_and_in_no_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    path = tmp_path / "cache.sqlite"
    with LoopbackServer(lambda *_: f"Your key is {SECRET}.", key=SECRET) as server:
        replies = asyncio.run(asked(server.url, path, said, key=Key(SECRET)))
        assert len(replies) == 2
        wrong = asyncio.run(asked(server.url, path, said, key=Key(f"{SECRET}-wrong"), text="b"))
        assert wrong == []
    kinds = ("malformed", "server_error", "cut")
    with LoopbackServer(lambda *_: SECRET, key=SECRET, faults=FaultPlan(rate=1, kinds=kinds)) as server:
        assert asyncio.run(asked(server.url, path, said, key=Key(SECRET), text="c")) == []
    said += [reply.text for reply in replies] + [record.getMessage() for record in caplog.records]
    assert not [line for line in said if SECRET in line]
    files = [file for file in tmp_path.iterdir() if file.is_file()]
    assert path in files and not [file for file in files if SECRET.encode() in file.read_bytes()]


def test_an_answer_serves_wherever_the_model_is_reached(tmp_path: Path) -> None:
    said: list[str] = []
    first, second = LoopbackServer(lambda *_: "one"), LoopbackServer(lambda *_: "two")
    with first, second:
        one = asyncio.run(asked(first.url, tmp_path / "c", said))
        two = asyncio.run(asked(second.url, tmp_path / "c", said))
    assert [reply.text for reply in two] == ["one", "one"] == [reply.text for reply in one]
    assert first.answered.total() == 2 and second.answered.total() == 0
    assert all(reply.cached for reply in two)


def test_samples_that_are_requests_of_their_own_take_turns_and_are_kept_when_another_fails(tmp_path: Path) -> None:
    async def ask(url: str) -> list[Reply]:
        teacher = HttpTeacher(url, "scripted", dialect="ollama", max_in_flight=2)
        with RequestCache(tmp_path / "c") as cache:
            async with Gateway({"t": teacher}, cache=cache, max_tries=1, backoff_seconds=0) as gateway:
                return await gateway.ask(request(seed=0), recipe="r", n=8)

    script = lambda *_: "said"  # noqa: E731
    faults = FaultPlan(rate=0.3, kinds=("server_error",), most_in_a_row=1, seed=2)
    with LoopbackServer(script, faults=faults) as server:
        with pytest.raises(DeadLetter):
            asyncio.run(ask(server.url))
        assert len(asyncio.run(ask(server.url))) == 8
        assert server.faults_sent["server_error"] > 0
        assert server.most_in_flight <= 2
        assert set(server.answered.values()) == {1}
