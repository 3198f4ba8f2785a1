"""A run that asks many requests through the gateway and writes all answers: `asking_run.py URL CACHE OUT N`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tilth.progress import PlainProgress
from tilth.teacher import Gateway, RequestCache
from tilth.teacher.http import HttpTeacher
from tilth.teacher.request import GenerationParams, Reply, Request
from tilth.types import Message

SEED = 7
MOST_IN_FLIGHT = 32
PARAMS = GenerationParams(max_tokens=120, temperature=0.7, seed=SEED)


def request(i: int) -> Request:
    return Request(messages=(Message(role="user", content=f"Passage {i}: größer, 日本語."),), params=PARAMS)


def samples(i: int) -> int:
    return 3 if i % 20 == 0 else 1


async def main(url: str, cache: Path, out: Path, n: int) -> None:
    teacher = HttpTeacher(url, "scripted", timeout=0.5)
    with RequestCache(cache) as held:
        async with Gateway(
            {"scripted": teacher}, cache=held, max_in_flight=MOST_IN_FLIGHT, backoff_seconds=0.02
        ) as gateway:
            with gateway.shown(PlainProgress(), expected=sum(map(samples, range(n)))):
                asked = [gateway.ask(request(i), recipe=f"recipe {i % 3}", n=samples(i)) for i in range(n)]
                replies = [reply for several in await asyncio.gather(*asked) for reply in several]
            (out.parent / f"{out.name}.spending").write_text(json.dumps([asdict(each) for each in gateway.spending()]))
            print(gateway.status_line())
    out.write_text("".join(map(line, replies)), encoding="utf-8")


def line(reply: Reply) -> str:
    return json.dumps({"key": reply.key, "sample": reply.sample, "answer": asdict(reply.answer)}) + "\n"


if __name__ == "__main__":
    url, cache, out, n = sys.argv[1:]
    asyncio.run(main(url, Path(cache), Path(out), int(n)))
