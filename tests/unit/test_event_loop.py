"""A coroutine runs to its end, in a loop of its own."""

import asyncio

import pytest

from tilth.event_loop import run_to_end


async def note(found: list[int]) -> None:
    await asyncio.sleep(0)
    found.append(1)


async def fail() -> None:
    raise ConnectionError("refused")


def test_it_works_without_and_inside_a_running_loop() -> None:
    found: list[int] = []
    run_to_end(note(found))

    async def notebook() -> None:
        run_to_end(note(found))

    asyncio.run(notebook())
    assert found == [1, 1]


def test_errors_come_through() -> None:
    async def notebook() -> None:
        run_to_end(fail())

    with pytest.raises(ConnectionError, match="refused"):
        run_to_end(fail())
    with pytest.raises(ConnectionError, match="refused"):
        asyncio.run(notebook())
