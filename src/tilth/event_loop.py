"""Running a coroutine from code that is not async, wherever that code runs."""

from __future__ import annotations

import asyncio
import threading
from typing import Any


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
