"""A teacher that does what a test says, and an event loop whose clock jumps over waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tilth.teacher.request import Answer, GenerationParams, Price, Request, Usage
from tilth.types import Message

T = TypeVar("T")


def request(text: str = "question", **params: Any) -> Request:
    return Request(messages=(Message(role="user", content=text),), params=GenerationParams(**params))


def answer(text: str, prompt_tokens: int = 10, completion_tokens: int = 5) -> Answer:
    usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    return Answer(text=text, finish_reason="stop", usage=usage, model="model-1")


def text_for(request: Request, sample: int) -> str:
    return f"{request.messages[0].content} -> {sample}"


class Controlled:
    """Answers `text_for`, after `before(call)` has run, which may wait or raise; `call` counts from 0."""

    def __init__(
        self,
        before: Callable[[int], Awaitable[None]] | None = None,
        *,
        name: str = "teacher",
        model: str = "model-1",
        price: Price | None = None,
        n_params: int | None = None,
        endpoint: str = "endpoint",
    ) -> None:
        self.before = before
        self.name, self.model, self.endpoint = name, model, endpoint
        self.price, self.n_params = price or Price(), n_params
        self.calls: list[tuple[str, int, int]] = []
        """(text, first sample, samples) of each call."""
        self.embedded: list[list[str]] = []
        self.in_flight = self.most_in_flight = self.cancelled = 0
        self.closed = False

    @property
    def identity(self) -> Mapping[str, object]:
        return {"kind": "controlled", "model": self.model}

    async def answer(self, request: Request, *, n: int = 1, first_sample: int = 0) -> list[Answer]:
        call = len(self.calls)
        self.calls.append((request.messages[0].content, first_sample, n))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.before is not None:
                await self.before(call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        return [answer(text_for(request, sample)) for sample in range(first_sample, first_sample + n)]

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.embedded.append(list(texts))
        return np.array([[len(text), ord(text[0]) / 3] for text in texts], dtype=np.float32)

    async def aclose(self) -> None:
        self.closed = True


class JumpingLoop(asyncio.SelectorEventLoop):
    """Waits take no time: when nothing is ready, the clock jumps to the next timer. Only for tests without threads."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        really = self._selector.select

        def select(timeout: float | None = None) -> Any:
            if timeout is None or timeout <= 0:
                return really(timeout)
            events = really(0)
            if not events:
                self.now += timeout
            return events

        self._selector.select = select

    def time(self) -> float:
        return self.now


def run(work: Coroutine[Any, Any, T], *, jumping: bool = True) -> T:
    """Runs a coroutine, and fails if it leaves a task or an error that nobody has seen."""
    troubles: list[dict[str, Any]] = []

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        result = await work
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=JumpingLoop if jumping else None) as runner:
        result = runner.run(watched())
    assert not troubles, troubles
    return result
