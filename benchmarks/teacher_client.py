"""What a request costs its client: CPU seconds for each, with hundreds in flight, beside peers on the same server.

A server in a process of its own (`tilth.teacher.loopback`) answers each chat after `--latency` seconds with as many
words as asked for. Each client is a process of its own that sends the same prompts, keeps `--in-flight` of them on the
way, and counts the CPU seconds that `--requests` of them take, after its imports and `--warm-up` requests: by then the
connections are open, and the gateway, which begins with few requests, has them all in flight. `in flight` is
measured: answers a second times seconds an answer, against which the client's own delays count. Clients take turns;
the best of `--rounds` counts.

    python benchmarks/teacher_client.py --requests 3000 --in-flight 500 --latency 1 --peer-python VENV/bin/python

`--peer-python` is a Python that has httpx, openai and distilabel (which is tried without its cache); without it this
one is used, and who is not installed is left out. `bare sockets` do no more than write and read bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

WORDS = 100
PROMPT = "Passage {}: " + "the pressure of the air is lower on a mountain, so water boils earlier there. " * 8
OURS = ("tilth gateway + cache", "tilth gateway", "tilth HttpTeacher", "bare sockets")
PEERS = ("aiohttp", "httpx", "httpx, 125 clients", "openai", "distilabel OpenAILLM", "distilabel pipeline")
Ask = Callable[[int], Awaitable[str]]


def fixed_answer(request: object, sample: int) -> str:
    """The server's script."""
    return "water " * WORDS


def message(i: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPT.format(i)}]


def body(i: int) -> bytes:
    return json.dumps({"model": "scripted", "messages": message(i), "max_tokens": WORDS, "seed": i}).encode()


# Clients: each takes the URL and the number in flight, and returns how to ask and how to close.


async def bare_sockets(url: str, in_flight: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    host, port = url.split("/")[2].split(":")
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(i: int) -> str:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, int(port))
        data = body(i)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data)
        writer.write(head + data)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        text = json.loads(await reader.readexactly(length))["choices"][0]["message"]["content"]
        idle.append((reader, writer))
        return text

    async def close() -> None:
        for _, writer in idle:
            writer.close()

    return ask, close


async def teacher(url: str, in_flight: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    from tilth.teacher.http import HttpTeacher

    client = HttpTeacher(url, "scripted")

    async def ask(i: int) -> str:
        return (await client.answer(our_request(i)))[0].text

    return ask, client.aclose


def our_request(i: int) -> Any:
    from tilth.teacher.request import GenerationParams, Request
    from tilth.types import Message

    params = GenerationParams(max_tokens=WORDS, seed=i)
    return Request(messages=(Message(role="user", content=PROMPT.format(i)),), params=params)


def gateway(cached: bool) -> Any:
    async def open_gateway(url: str, in_flight: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
        from tilth.teacher.cache import RequestCache
        from tilth.teacher.gateway import Gateway
        from tilth.teacher.http import HttpTeacher

        folder = tempfile.TemporaryDirectory()
        cache = RequestCache(Path(folder.name) / "cache.sqlite") if cached else None
        entered = await Gateway({"t": HttpTeacher(url, "scripted")}, cache=cache, max_in_flight=in_flight).__aenter__()

        async def ask(i: int) -> str:
            return (await entered.ask(our_request(i), recipe="bench"))[0].text

        async def close() -> None:
            await entered.__aexit__(None, None, None)
            if cache is not None:
                cache.close()
            folder.cleanup()

        return ask, close

    return open_gateway


def plain_httpx(n_clients: int) -> Any:
    async def open_httpx(url: str, in_flight: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        clients = [httpx.AsyncClient(limits=limits, timeout=600, trust_env=False) for _ in range(n_clients)]

        async def ask(i: int) -> str:
            headers = {"Content-Type": "application/json"}
            client = clients[i % n_clients]
            response = await client.post(f"{url}/chat/completions", content=body(i), headers=headers)
            return response.json()["choices"][0]["message"]["content"]

        async def close() -> None:
            for client in clients:
                await client.aclose()

        return ask, close

    return open_httpx


async def openai_client(url: str, in_flight: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="none", timeout=600)

    async def ask(i: int) -> str:
        response = await client.chat.completions.create(
            model="scripted", messages=message(i), max_tokens=WORDS, seed=i  # type: ignore[arg-type]
        )  # fmt: skip
        return response.choices[0].message.content or ""

    return ask, client.close


async def plain_aiohttp(url: str, in_flight: int) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar())

    async def ask(i: int) -> str:
        headers = {"Content-Type": "application/json"}
        async with session.post(f"{url}/chat/completions", data=body(i), headers=headers) as response:
            return json.loads(await response.read())["choices"][0]["message"]["content"]

    return ask, session.close


ASYNC_CLIENTS: dict[str, Any] = {
    "tilth gateway + cache": gateway(cached=True),
    "tilth gateway": gateway(cached=False),
    "tilth HttpTeacher": teacher,
    "bare sockets": bare_sockets,
    "aiohttp": plain_aiohttp,
    "httpx": plain_httpx(1),
    "httpx, 125 clients": plain_httpx(125),
    "openai": openai_client,
}


async def run_async(name: str, url: str, requests: int, in_flight: int, warm_up: int) -> dict[str, float]:
    """Counts from one answer to another while requests stay in flight, so that neither begin nor end is in it."""
    ask, close = await ASYNC_CLIENTS[name](url, in_flight)
    waiting = iter(range(warm_up + requests + in_flight))
    answered = characters = 0
    marks: list[tuple[float, float]] = []

    async def work() -> None:
        nonlocal answered, characters
        for i in waiting:
            text = await ask(i)
            answered += 1
            characters += len(text) if warm_up < answered <= warm_up + requests else 0
            if answered in (warm_up, warm_up + requests):
                marks.append((cpu_seconds(), time.perf_counter()))

    await asyncio.gather(*(work() for _ in range(in_flight)))
    (cpu, wall), (cpu_end, wall_end) = marks
    await close()
    return {"cpu": cpu_end - cpu, "wall": wall_end - wall, "characters": characters}


def run_distilabel_llm(url: str, requests: int, in_flight: int, warm_up: int) -> dict[str, float]:
    """The LLM alone, without a pipeline: `generate` takes a batch and waits for the whole of it."""
    from distilabel.models import OpenAILLM

    llm = OpenAILLM(model="scripted", base_url=url, api_key="none", generation_kwargs={"max_new_tokens": WORDS})  # type: ignore[arg-type]
    llm.load()

    def ask(first: int, last: int) -> int:
        characters = 0
        for start in range(first, last, in_flight):
            inputs = [message(i) for i in range(start, min(start + in_flight, last))]
            outputs = llm.generate_outputs(inputs=inputs, max_new_tokens=WORDS)
            characters += sum(len(output["generations"][0] or "") for output in outputs)
        return characters

    ask(requests, requests + warm_up)
    cpu, wall = cpu_seconds(), time.perf_counter()
    characters = ask(0, requests)
    return {"cpu": cpu_seconds() - cpu, "wall": time.perf_counter() - wall, "characters": characters}


def run_distilabel_pipeline(url: str, requests: int, in_flight: int, warm_up: int) -> dict[str, float]:
    """Its usual form; what a run of `warm_up` requests takes (processes that start, imports) is taken off."""
    few = _pipeline(url, warm_up, in_flight)
    many = _pipeline(url, warm_up + requests, in_flight)
    return {key: many[key] - few[key] for key in many}


def _pipeline(url: str, requests: int, in_flight: int) -> dict[str, float]:
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    cpu, wall = cpu_seconds(), time.perf_counter()
    with Pipeline(name="bench", cache_dir=tempfile.mkdtemp()) as pipeline:
        rows = [{"instruction": PROMPT.format(i)} for i in range(requests)]
        load = LoadDataFromDicts(data=rows, batch_size=in_flight)
        llm = OpenAILLM(model="scripted", base_url=url, api_key="none", generation_kwargs={"max_new_tokens": WORDS})  # type: ignore[arg-type]
        load >> TextGeneration(llm=llm, input_batch_size=in_flight)
    distiset = pipeline.run(use_cache=False)
    texts = distiset["default"]["train"]["generation"]
    characters = sum(len(text) for text in texts)
    return {"cpu": cpu_seconds() - cpu, "wall": time.perf_counter() - wall, "characters": characters}


def cpu_seconds() -> float:
    """CPU time of this process and of those that it started and that ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_client(name: str, url: str, requests: int, in_flight: int, warm_up: int) -> dict[str, float]:
    """Runs one client in this process."""
    warnings.simplefilter("ignore")
    if name == "distilabel OpenAILLM":
        return run_distilabel_llm(url, requests, in_flight, warm_up)
    if name == "distilabel pipeline":
        return run_distilabel_pipeline(url, requests, in_flight, warm_up)
    return asyncio.run(run_async(name, url, requests, in_flight, warm_up))


def measure(name: str, options: argparse.Namespace, url: str) -> dict[str, float] | None:
    """Runs one client in a process of its own; None if it cannot run."""
    requests = options.requests
    python = options.peer_python if name in PEERS else sys.executable
    command = [python, __file__, "--client", name, "--url", url, "--requests", str(requests)]
    command += ["--in-flight", str(options.in_flight), "--warm-up", str(options.warm_up)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TQDM_DISABLE": "1"})
    if done.returncode:
        print(f"{name} is left out: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}", file=sys.stderr)
        return None
    result = json.loads(done.stdout.strip().splitlines()[-1])
    lost = requests * 6 * WORDS - result["characters"]
    assert 0 <= lost <= requests, result  # a peer may strip the space at an answer's end
    return {"cpu": result["cpu"] / requests, "wall": result["wall"], "requests": requests}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--in-flight", type=int, default=500)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds before each answer")
    parser.add_argument("--warm-up", type=int, default=2500, help="requests before those that count")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--client")
    parser.add_argument("--url")
    options = parser.parse_args()
    if options.client:
        print(json.dumps(run_client(options.client, options.url, options.requests, options.in_flight, options.warm_up)))
        return
    serve = [sys.executable, "-m", "tilth.teacher.loopback", "--until-stdin-closes", "--script"]
    serve += [f"{Path(__file__).resolve()}:fixed_answer", "--latency", str(options.latency)]
    server = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None
    url = server.stdout.readline().strip()
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for name in options.only or (*OURS, *PEERS):
            result = measure(name, options, url)
            if result is not None:
                found.setdefault(name, []).append(result)
    server.stdin.close()
    server.wait()
    show(found, options)


def show(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    best = {name: min(results, key=lambda result: result["cpu"]) for name, results in found.items()}
    ours = best.get("tilth gateway + cache") or next(iter(best.values()))
    print(f"\n{options.in_flight} in flight, {options.latency:g} s an answer; best of {options.rounds}\n")
    print("| client | CPU s per 1,000 requests | to ours | requests a second | in flight | CPU / wall |")
    print("|---|---|---|---|---|---|")
    for name, result in best.items():
        rate = result["requests"] / result["wall"]
        print(
            f"| {name} | {1000 * result['cpu']:.3f} | {result['cpu'] / ours['cpu']:.2f}x | {rate:,.0f} "
            f"| {rate * options.latency:.0f} | {result['cpu'] * rate:.1%} |"
        )


if __name__ == "__main__":
    main()
