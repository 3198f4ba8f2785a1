"""A teacher that is a function: deterministic, free, with faults on demand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tilth.teacher.fault_plan import FaultKind, FaultPlan
from tilth.teacher.faults import BadAnswer, ConnectionFault, Overloaded, ServerFault, TeacherFault, TimedOut
from tilth.teacher.request import Answer, Price, Request
from tilth.teacher.script import Script, answer_of, hashed_embeddings


class ScriptedTeacher:
    """Answers with a script. The faults are those that `HttpTeacher` makes of the same plan on a `LoopbackServer`."""

    def __init__(
        self,
        script: Script,
        *,
        name: str = "scripted",
        revision: str = "",
        faults: FaultPlan | None = None,
        price: Price | None = None,
        n_params: int | None = None,
        latency: float = 0.0,
        capacity: int | None = None,
        endpoint: str | None = None,
    ) -> None:
        """`revision` tells scripts of one name apart. `latency`: seconds that each try takes; `capacity`: with more
        tries than this in flight it is overloaded."""
        self.script, self.faults, self.latency, self.capacity = script, faults, latency, capacity
        self.name, self.revision = name, revision
        self.price, self.n_params = price or Price(), n_params
        self.endpoint = endpoint or f"scripted:{name}"
        self.answered: Counter[tuple[str, int]] = Counter()
        """(key of the prompt, sample) -> answers that were given."""
        self.tries: Counter[str] = Counter()
        """Key of the prompt and first sample -> tries."""
        self.in_flight = self.most_in_flight = 0

    @property
    def identity(self) -> Mapping[str, object]:
        """The script's name and revision."""
        return {"kind": "scripted", "model": self.name, "revision": self.revision}

    async def answer(self, request: Request, *, n: int = 1, first_sample: int = 0) -> list[Answer]:
        """Has the script answer, unless the plan says that this try fails."""
        key = f"{request.prompt_key}/{first_sample}"
        attempt = self.tries[key]
        self.tries[key] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.capacity is not None and self.in_flight > self.capacity:
                raise Overloaded(f"{self.name} answers {self.capacity} requests at a time.")
            fault = None if self.faults is None else self.faults.decide(key, attempt)
            await asyncio.sleep(self.latency)
            if fault is not None and self.faults is not None:
                await _fail(fault, self.faults)
        finally:
            self.in_flight -= 1
        samples = range(first_sample, first_sample + n)
        answers = [answer_of(self.script, request, sample, model=self.name) for sample in samples]
        self.answered.update((request.prompt_key, sample) for sample in samples)
        return answers

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Returns vectors of hashed words: texts that share words are near each other."""
        await asyncio.sleep(self.latency)
        return hashed_embeddings(texts)

    async def aclose(self) -> None:
        """Does nothing: there are no connections."""


async def _fail(kind: FaultKind, plan: FaultPlan) -> None:
    """Raises what a try with this fault comes to; a slow one only waits."""
    if kind == "slow":
        await asyncio.sleep(plan.slow_seconds)
        return
    faults: dict[FaultKind, TeacherFault] = {
        "overloaded": Overloaded("Too many requests (429).", retry_after=plan.retry_after),
        "overloaded_date": Overloaded("Too many requests (429).", retry_after=plan.retry_after),
        "server_error": ServerFault("The server failed (500).", raw='{"error": "scripted fault"}'),
        "time_out": TimedOut("No answer in time."),
        "disconnect": ConnectionFault("The server closed the connection."),
        "cut": ConnectionFault("The connection broke off within the answer.", raw='{"choices": [{"mess'),
        "malformed": BadAnswer("The answer is not JSON.", raw='{"choices": [{"message": {"content": "never end'),
        "no_choices": BadAnswer("The answer has no choices.", raw='{"object": "chat.completion"}'),
        "empty": BadAnswer("The answer has no text.", raw='{"choices": [{"message": {"content": ""}}]}'),
        "over_long": BadAnswer("The answer is longer than was asked for.", raw="again again again"),
    }
    raise faults[kind]
