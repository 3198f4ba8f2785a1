"""What an answer is worth to a router: a critic's score, how sure its teacher was, or the gates that it would pass."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Protocol

from tilth.curation.operators import Drop
from tilth.synthesis.broken_answers import broken_answer
from tilth.synthesis.gates.gate import Gate
from tilth.synthesis.prompt_files import PromptFile
from tilth.teacher.faults import DeadLetter
from tilth.teacher.request import Asker, GenerationParams, Reply, Request
from tilth.types import Document, Sample

RECIPE = "reward"
"""What the ledger calls the critic's requests."""
MAX_SCORE = 10
_SCORE = re.compile(r"score:\s*(10|[0-9])\s*", re.IGNORECASE)


class Reward(Protocol):
    """Judges answers. It follows from request and reply alone, however often and in whatever order it is asked."""

    @property
    def name(self) -> str:
        """What pages call it."""
        ...

    @property
    def needs_logprobs(self) -> bool:
        """Whether answers must come with log-probabilities."""
        ...

    async def __call__(self, request: Request, reply: Reply, document: Document, asker: Asker) -> float:
        """Returns what an answer is worth, NaN if that cannot be said. Raises: BudgetSpent."""
        ...


class RubricReward:
    """A critic's score from 0 to 10 for how well an answer does what the request asks.

    A teacher that judges its own answers favours them (Zheng et al. 2023): name a critic that is none of them where
    there is one. An empty, refused or cut-off answer is worth 0 and is not sent.
    """

    name, needs_logprobs = "rubric", False

    def __init__(self, critic: str | None) -> None:
        """`critic`: which teacher judges; None: the gateway's only one."""
        self.critic, self._prompt = critic, PromptFile.load(RECIPE, "score")

    async def __call__(self, request: Request, reply: Reply, document: Document, asker: Asker) -> float:
        """Returns the score, NaN if the critic's last line is none."""
        if broken_answer(reply, ()):
            return 0.0
        messages = self._prompt.render({"task": rendered(request), "answer": reply.text})
        params = GenerationParams(max_tokens=300, temperature=0.0)
        try:
            (verdict,) = await asker.ask(Request(messages=messages, params=params), recipe=RECIPE, teacher=self.critic)
        except DeadLetter:
            return math.nan
        return parse_score(verdict.text)


class LogprobReward:
    """How likely the teacher that wrote an answer finds its tokens: exp of their mean log-probability, 0 to 1.

    It costs no request, and compares answers of one teacher well; of two teachers, the surer one need not be better.
    """

    name, needs_logprobs = "logprob", True

    async def __call__(self, request: Request, reply: Reply, document: Document, asker: Asker) -> float:
        """Returns the probability of a token in the geometric mean, NaN where the server gave no log-probabilities."""
        if not reply.answer.logprobs:
            return math.nan
        return math.exp(fmean(token.logprob for token in reply.answer.logprobs))


class GateReward:
    """1 for an answer that passes gates, as a sample of its own; 0 for one that does not.

    Only gates without a memory can be used: `near_duplicate` depends on what was kept before.
    """

    name, needs_logprobs = "gates", False

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = tuple(gate for gate in gates if gate.name != "near_duplicate")

    async def __call__(self, request: Request, reply: Reply, document: Document, asker: Asker) -> float:
        """Returns 1 or 0."""
        if broken_answer(reply, ()):
            return 0.0
        sample = Sample(id=reply.key, text=reply.text, source=document.source, language=document.language)
        return 0.0 if any(isinstance(gate.judge(sample, document), Drop) for gate in self.gates) else 1.0


def parse_score(text: str) -> float:
    """Returns the score in the last line of a critic's answer (`Score: 7`), NaN if it is none."""
    lines = [line.strip().strip("*").strip() for line in text.strip().splitlines() if line.strip()]
    found = _SCORE.fullmatch(lines[-1]) if lines else None
    return float(found[1]) if found else math.nan


def rendered(request: Request) -> str:
    """Returns a request as one text."""
    if request.prompt is not None:
        return request.prompt
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in request.messages)


def with_logprobs(request: Request) -> Request:
    """Returns a request that asks for log-probabilities."""
    if request.params.logprobs is not None:
        return request
    return replace(request, params=replace(request.params, logprobs=0))
