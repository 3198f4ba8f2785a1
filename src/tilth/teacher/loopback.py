"""A real HTTP server on 127.0.0.1 that speaks the OpenAI routes over a script, with faults on demand.

For tests and benchmarks of whatever asks a teacher: in a thread of this process, or as a process of its own that
survives its clients:

    python -m tilth.teacher.loopback --port 0 --script echo --fault-rate 0.3 --log answered.jsonl

It prints its URL as its first line. `--log` gets a line for each sample that was answered, which is what a caller paid.
"""

from __future__ import annotations

import argparse
import asyncio
import email.utils
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from tilth.errors import ConfigError
from tilth.teacher.fault_plan import FaultKind, FaultPlan
from tilth.teacher.loopback_routes import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MODELS,
    Refused,
    answer_body,
    embeddings_body,
    models_body,
    read_request,
    with_seed,
)
from tilth.teacher.request import Request
from tilth.teacher.script import Script, answer_of, load_script, over_long

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed",
            413: "Payload Too Large", 429: "Too Many Requests", 500: "Internal Server Error"}  # fmt: skip
_MOST_HEAD = 1 << 16
_MOST_BODY = 64 << 20
_DRIBBLES = 10
"""Pieces of a slow answer."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    """Names in lower case."""
    body: bytes


class LoopbackServer:
    """Serves a script on 127.0.0.1; `with LoopbackServer(script) as server:` runs it in a thread."""

    def __init__(
        self,
        script: Script,
        *,
        model: str = "scripted",
        faults: FaultPlan | None = None,
        port: int = 0,
        latency: float = 0.0,
        capacity: int | None = None,
        key: str | None = None,
        base_seed: int = 0,
        log: Path | None = None,
        record: bool = False,
    ) -> None:
        """`capacity`: with more requests than this in flight it answers 429. `key`: what a client must send. A sample's
        number is its seed less `base_seed`. `record` keeps what was received in `received`."""
        self.script, self.model, self.faults, self.latency = script, model, faults, latency
        self.capacity, self.key, self.base_seed, self.record = capacity, key, base_seed, record
        self.port, self.log = port, log
        self.answered: Counter[tuple[str, int]] = Counter()
        """(key of the prompt, sample) -> answers that were generated, those to clients that went away included."""
        self.tries: Counter[str] = Counter()
        """Key of the prompt and first sample -> tries."""
        self.faults_sent: Counter[FaultKind] = Counter()
        self.received: list[Received] = []
        self.n_connections = self.in_flight = self.most_in_flight = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._log: IO[str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """What a client is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Serves in a thread of its own from now on."""
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve(started)), daemon=True)
        self._thread.start()
        if not started.wait(30):
            raise ConfigError(f"The loopback server did not start on port {self.port}.", fix="Take another port.")

    def stop(self) -> None:
        """Closes all connections and ends the thread."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(30)

    def __enter__(self) -> LoopbackServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    async def serve(self, started: threading.Event | None = None) -> None:
        """Serves until `stop`."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self.log is not None:
            self._log = self.log.open("a", encoding="utf-8")
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=2048, limit=_MOST_HEAD)
        self.port = server.sockets[0].getsockname()[1]
        if started is not None:
            started.set()
        try:
            await self._stop.wait()
        finally:
            server.close()
            for connection in list(self._connections):
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            if self._log is not None:
                self._log.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.n_connections += 1
        try:
            while (received := await _receive(reader)) is not None:
                if self.record:
                    self.received.append(received)
                if not await self._answer(received, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _answer(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers a request; returns whether the connection stays open."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self._check(received)
            if received.path == MODELS:
                return await _send(writer, 200, models_body([self.model]))
            if received.path == EMBEDDINGS:
                return await _send(writer, 200, embeddings_body(received.body, model=self.model))
            return await self._generate(received, reader, writer)
        except Refused as refused:
            error = {"error": {"message": refused.message, "type": "refused", "code": refused.status}}
            return await _send(writer, refused.status, error)
        finally:
            self.in_flight -= 1

    def _check(self, received: Received) -> None:
        if received.path not in (CHAT, COMPLETIONS, EMBEDDINGS, MODELS):
            raise Refused(404, f"There is no route {received.path}.")
        if (received.method == "GET") != (received.path == MODELS):
            raise Refused(405, f"{received.method} is not for {received.path}.")
        if self.key is not None and received.headers.get("authorization") != f"Bearer {self.key}":
            # As some hosted services do: the answer repeats what was sent.
            raise Refused(401, f"Wrong key: {received.headers.get('authorization', 'none')}.")
        if self.capacity is not None and self.in_flight > self.capacity:
            raise Refused(429, "Too many requests.")

    async def _generate(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request, n = read_request(received.path, received.body, model=self.model)
        seed = request.params.seed
        first = 0 if seed is None else seed - self.base_seed
        request = with_seed(request, None if seed is None else self.base_seed)
        prompt_key = request.prompt_key
        key = f"{prompt_key}/{first}"
        attempt = self.tries[key]
        self.tries[key] += 1
        fault = None if self.faults is None else self.faults.decide(key, attempt)
        if self.latency:
            await asyncio.sleep(self.latency)
        if fault is not None and self.faults is not None:
            self.faults_sent[fault] += 1
            if fault != "slow":
                return await self._fail(fault, self.faults, received.path, request, reader, writer)
        samples = range(first, first + n)
        answers = [answer_of(self.script, request, sample, model=self.model) for sample in samples]
        # Counted before it is sent: whoever has read an answer finds it here, and a model has done the work by then.
        for sample in samples:
            self.answered[prompt_key, sample] += 1
            if self._log is not None:
                self._log.write(json.dumps({"prompt": prompt_key, "sample": sample}) + "\n")
        if self._log is not None:
            self._log.flush()
        seconds = self.faults.slow_seconds if self.faults is not None and fault == "slow" else 0.0
        return await _send(writer, 200, answer_body(received.path, answers, model=self.model), seconds=seconds)

    async def _fail(
        self,
        fault: FaultKind,
        plan: FaultPlan,
        path: str,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        answer = answer_of(self.script, request, 0, model=self.model)
        body = json.dumps(answer_body(path, [answer], model=self.model)).encode()
        match fault:
            case "overloaded":
                headers = {"Retry-After": f"{plan.retry_after:g}"}
                return await _send(writer, 429, {"error": {"message": "Too many requests."}}, headers=headers)
            case "overloaded_date":
                headers = {"Retry-After": email.utils.formatdate(time.time() + plan.retry_after, usegmt=True)}
                return await _send(writer, 429, {"error": {"message": "Too many requests."}}, headers=headers)
            case "server_error":
                return await _send(writer, 500, {"error": {"message": "Scripted fault."}})
            case "time_out":
                await _until_gone(reader, plan.hang_seconds)
                return False
            case "disconnect":
                return False
            case "cut":
                writer.write(_head(200, len(body)) + body[: len(body) // 2])
                await writer.drain()
                return False
            case "malformed":
                return await _send_bytes(writer, 200, body[: len(body) // 2])
            case "no_choices":
                return await _send(writer, 200, {"object": "chat.completion", "model": self.model})
            case "empty":
                bare = answer_body(path, [answer_of(lambda _, __: "", request, 0)], model=self.model)
                bare["usage"]["completion_tokens"] = 0
                return await _send(writer, 200, bare)
            case _:
                long = over_long(answer, request.params)
                return await _send(writer, 200, answer_body(path, [long], model=self.model))


async def _receive(reader: asyncio.StreamReader) -> Received | None:
    """Reads a request; None: the client closed the connection. Raises: ConnectionError for what is no HTTP."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3:
        raise ConnectionError("not HTTP")
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", "0"))
    if length > _MOST_BODY:
        raise ConnectionError("body too large")
    body = await reader.readexactly(length)
    return Received(method=parts[0], path=parts[1].partition("?")[0], headers=headers, body=body)


async def _until_gone(reader: asyncio.StreamReader, seconds: float) -> None:
    """Waits until the client closes the connection, at most so long."""
    try:
        await asyncio.wait_for(reader.read(1), seconds)
    except TimeoutError:
        return


def _head(status: int, length: int, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", "Content-Type: application/json", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    content: object,
    *,
    headers: dict[str, str] | None = None,
    seconds: float = 0.0,
) -> bool:
    return await _send_bytes(writer, status, json.dumps(content).encode(), headers=headers, seconds=seconds)


async def _send_bytes(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    *,
    headers: dict[str, str] | None = None,
    seconds: float = 0.0,
) -> bool:
    """Sends an answer, over so many seconds in pieces; returns True: the connection stays open."""
    head = _head(status, len(body), headers)
    if not seconds:
        writer.write(head + body)
        await writer.drain()
        return True
    whole = head + body
    size = len(whole) // _DRIBBLES + 1
    for start in range(0, len(whole), size):
        writer.write(whole[start : start + size])
        await writer.drain()
        await asyncio.sleep(seconds / _DRIBBLES)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Serves until it is ended by a signal, or until its standard input closes where `--until-stdin-closes` says so."""
    parser = argparse.ArgumentParser(prog="python -m tilth.teacher.loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--script", default="echo", help="echo, or FILE.py:function")
    parser.add_argument("--model", default="scripted")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--capacity", type=int, default=None, help="with more requests in flight it answers 429")
    parser.add_argument("--fault-rate", type=float, default=0.0)
    parser.add_argument("--fault-seed", type=int, default=0)
    parser.add_argument("--base-seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=None, help="a line for each sample that was answered")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end together with the parent process")
    options = parser.parse_args(arguments)
    faults = FaultPlan(rate=options.fault_rate, seed=options.fault_seed) if options.fault_rate else None
    server = LoopbackServer(
        load_script(options.script)[0],
        model=options.model,
        faults=faults,
        port=options.port,
        latency=options.latency,
        capacity=options.capacity,
        base_seed=options.base_seed,
        log=options.log,
    )
    server.start()
    print(server.url, flush=True)
    try:
        if options.until_stdin_closes:
            sys.stdin.read()
        else:
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    server.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
