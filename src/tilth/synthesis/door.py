"""Teachers as a run is given them, and the gateway that it asks them through."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

from tilth.errors import ConfigError
from tilth.event_loop import run_to_end
from tilth.execute import Context
from tilth.progress import SILENT
from tilth.synthesis.config import Budget, SynthesisConfig
from tilth.teacher.faults import AccessRefused, ConnectionFault, TeacherFault, TimedOut
from tilth.teacher.questions import Reuse
from tilth.teacher.request import Asker, Teacher

REQUESTS = "requests.sqlite"
"""The request cache, in `Context.cache`."""

Teachers = Teacher | Sequence[Teacher] | Mapping[str, Teacher] | Callable[[], Mapping[str, Teacher]]
"""One teacher or several, or a function that opens them: it may go to other machines, which teachers cannot."""


def opened(teachers: Teachers) -> Mapping[str, Teacher]:
    """Returns the teachers by name. Raises: ConfigError if there is none, or if two have one name."""
    if isinstance(teachers, Teacher):
        return {teachers.name: teachers}
    if isinstance(teachers, Mapping):
        found = cast("Mapping[str, Teacher]", teachers)
    elif callable(teachers):
        found = teachers()
    else:
        found = {teacher.name: teacher for teacher in teachers}
        if len(found) < len(teachers):
            raise ConfigError("Two teachers have one name.", fix="Give them names of their own.")
    if not found:
        raise ConfigError("No teacher is given.", fix="Name one: `--teacher http://HOST:PORT/v1#MODEL`.")
    return found


def check_budget(budget: Budget, teachers: Sequence[Teacher]) -> None:
    """Raises ConfigError where a limit would stop nothing: of money without any price, of FLOPs without parameters."""
    if budget.max_money is not None and not any(t.price.prompt or t.price.completion for t in teachers):
        raise ConfigError(
            "`max_money` limits nothing: no price is known of any teacher.",
            fix="Give `price_prompt` and `price_completion` in teachers.toml, or limit `max_total_tokens`.",
        )
    if budget.max_flops is not None and not any(t.n_params for t in teachers):
        raise ConfigError(
            "`max_flops` limits nothing: the parameters of no teacher are known.",
            fix="Give `n_params` in teachers.toml, or limit `max_total_tokens`.",
        )


def gateway_door(
    teachers: Teachers, config: SynthesisConfig, context: Context
) -> Callable[[Budget], AbstractAsyncContextManager[Asker]]:
    """Returns what opens the gateway to the teachers, with the machine's request cache."""
    cache = None if context.cache is None else context.cache / REQUESTS
    say = None if context.executor == "ray" else context.progress.say  # a terminal does not go to other machines
    return partial(
        _gateway, teachers=teachers, cache=cache, reuse=config.reuse, max_in_flight=context.max_in_flight, say=say
    )


@asynccontextmanager
async def _gateway(
    budget: Budget,
    *,
    teachers: Teachers,
    cache: Path | None,
    reuse: Reuse,
    max_in_flight: int,
    say: Callable[[str], None] | None,
) -> AsyncGenerator[Asker]:
    from tilth.teacher.cache import RequestCache
    from tilth.teacher.gateway import Gateway

    tell = say or SILENT.say
    with ExitStack() as stack:
        stored = None
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            stored = stack.enter_context(RequestCache(cache, say=tell))
        gateway = Gateway(
            opened(teachers), cache=stored, budget=budget, reuse=reuse, max_in_flight=max_in_flight, say=tell
        )
        async with gateway:
            yield gateway


def check_reachable(teachers: Sequence[Teacher], seconds: float = 15.0) -> list[str]:
    """Asks servers for their models, which costs nothing, and closes them; returns their names.

    Raises: ConfigError if one cannot be reached; AccessRefused if it takes no request with this key.
    """
    failed: list[tuple[Teacher, str]] = []

    servers = [teacher for teacher in teachers if hasattr(teacher, "models")]

    async def check() -> None:
        for teacher in servers:
            models: Callable[[], Awaitable[object]] = getattr(teacher, "models")  # noqa: B009 (not of the protocol)
            try:
                await asyncio.wait_for(models(), seconds)
            except AccessRefused as error:
                if not re.search(r" answers (404|405|501|505)\b", error.message):  # a server need not list its models
                    raise
            except (ConnectionFault, TimedOut, TimeoutError) as error:
                failed.append((teacher, str(error) or f"no answer within {seconds:g} seconds"))
            except TeacherFault:
                pass  # it answers; what it answers to a request is the run's business
            finally:
                await teacher.aclose()

    run_to_end(check())
    if failed:
        teacher, why = failed[0]
        raise ConfigError(
            f"The teacher `{teacher.name}` at {teacher.endpoint} cannot be reached: {why}",
            fix="Start the server, or correct the address.",
        )
    return [teacher.name for teacher in servers]
