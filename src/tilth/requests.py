"""Work that waits on a network: an async function over thousands of items, bounded, resumable item by item.

The async sibling of `execute.map_shards`. Each result is appended to a JSONL file as it comes, under the key of its
item; a killed run does again only what was in flight.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from tilth.errors import DataError
from tilth.execute import Context
from tilth.identity import canonical_json, fingerprint_of

T = TypeVar("T")
R = TypeVar("R")


def map_requests(
    fn: Callable[[T], Awaitable[R]],
    items: Sequence[T],
    context: Context,
    *,
    limit: int = 64,
    name: str = "requests",
    results: Path | None = None,
    key: Callable[[T], str] = fingerprint_of,
) -> list[R]:
    """Returns `await fn(item)` for each item, in order, at most `limit` at a time, and shows progress under `name`.

    With `results`, a local JSONL file, each result is appended to it as it comes (so it must be JSON), and those that
    are there already are not asked for again. The file belongs to one `fn` and its settings: the caller claims the
    folder. `key` tells items apart; items with equal keys are asked for once. Tries again are `fn`'s own business: the
    first error it raises ends the call, what was finished is kept.
    Raises: what `fn` raises, with the item's key as a note; DataError if `results` holds something else.
    """
    keys = [key(item) for item in items]
    done = {} if results is None else _stored(results)
    missing = {k: item for k, item in zip(keys, items, strict=True) if k not in done}
    n_items = len(set(keys))
    with (
        context.progress.bar(name, n_items, "requests", done=n_items - len(missing)) as bar,
        _appending(results) as append,
    ):

        def keep(k: str, result: R) -> None:
            done[k] = append(k, result)
            bar.advance()

        run_to_end(_map(fn, missing, limit, keep))
    return [done[k] for k in keys]


async def _map(
    fn: Callable[[Any], Awaitable[Any]], missing: dict[str, Any], limit: int, keep: Callable[[str, Any], None]
) -> None:
    waiting = iter(missing.items())

    async def work() -> None:
        for k, item in waiting:
            try:
                result = await fn(item)
            except Exception as error:
                error.add_note(f"It was raised for the item with the key {k}: {_short(item)}")
                raise
            keep(k, result)

    workers = [asyncio.create_task(work()) for _ in range(min(max(limit, 1), len(missing)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def run_to_end(work: Any) -> None:
    """Runs a coroutine to its end, also where a loop is running already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


@contextmanager
def _appending(path: Path | None) -> Generator[Callable[[str, object], Any]]:
    """Yields a function that appends a result to the file; each is with the system before the next is begun.

    It returns the result as it will be read from the file: JSON knows no tuples, so a call that was killed and one that
    was not must not differ in that.
    """
    if path is None:
        yield lambda key, result: result
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:

        def append(key: str, result: object) -> Any:
            line = json.dumps({"key": key, "result": result}).encode() + b"\n"
            file.write(line)
            file.flush()
            return json.loads(line)["result"]

        yield append
        os.fsync(file.fileno())


def _stored(path: Path) -> dict[str, Any]:
    """Returns key -> result of what is in the file; a last line that a kill cut is taken off it."""
    if not path.exists():
        return {}
    found: dict[str, Any] = {}
    with path.open("r+b") as file:
        end = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            key, result = _entry(line, f"{path}, line {number}")
            found[key] = result
            end += len(line)
        _truncate(file, end)
    return found


def _truncate(file: IO[bytes], end: int) -> None:
    file.seek(0, os.SEEK_END)
    if file.tell() != end:
        file.truncate(end)


def _entry(line: bytes, where: str) -> tuple[str, Any]:
    try:
        entry: object = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or not isinstance(cast("dict[str, Any]", entry).get("key"), str):
        raise DataError(f"{where} is no result of a request.", fix="Delete the file to ask for everything again.")
    entries = cast("dict[str, Any]", entry)
    return entries["key"], entries.get("result")


def _short(item: object) -> str:
    try:
        text = canonical_json(item)
    except Exception:
        text = repr(item)
    return text if len(text) <= 200 else text[:197] + "..."
