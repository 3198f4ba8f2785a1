"""Work side by side, results in order: at most a window of items is begun and not yet handed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    fn: Callable[[T], Awaitable[R]], items: AsyncIterable[T] | Iterable[T], *, window: int
) -> AsyncGenerator[R]:
    """Yields `await fn(item)` for each item, in order.

    At most `window` are begun and not yet yielded: a slow one holds up those behind it only when the window is full,
    and memory stays bounded. Raises: the first error, in the order of the items; what is at work is cancelled.
    """
    waiting: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue()
    room = asyncio.Semaphore(max(window, 1))
    begun: set[asyncio.Task[Any]] = set()

    async def feed() -> None:
        try:
            async with aclosing(_async(items)) as source:
                async for item in source:
                    await room.acquire()
                    task = asyncio.ensure_future(_call(fn, item))
                    begun.add(task)
                    waiting.put_nowait(task)
        finally:
            waiting.put_nowait(None)

    feeder = asyncio.ensure_future(feed())
    try:
        while (task := await waiting.get()) is not None:
            result = await task
            begun.discard(task)
            room.release()
            yield result
        await feeder
    finally:
        for task in (feeder, *begun):
            task.cancel()
        await asyncio.gather(feeder, *begun, return_exceptions=True)


async def _call(fn: Callable[[T], Awaitable[R]], item: T) -> R:
    return await fn(item)


async def _async(items: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T]:
    if isinstance(items, AsyncGenerator):
        async with aclosing(items):
            async for item in items:
                yield item
        return
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    for item in items:
        yield item
