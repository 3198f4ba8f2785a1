"""A small recipe with two prompts, and an asker over a script, with a cache on disk and answers that arrive in any
order: what tests of the engine run."""

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tilth.curation.operators import Drop
from tilth.synthesis.config import Budget
from tilth.synthesis.define import Ask, Draft, ParseError, Rejected, recipe
from tilth.synthesis.gates.gate import Pass
from tilth.synthesis.result import Spending
from tilth.teacher.faults import BadAnswer, BudgetSpent, DeadLetter
from tilth.teacher.request import Answer, GenerationParams, Reply, Request, Usage
from tilth.types import Document, Sample


@dataclass(frozen=True, kw_only=True)
class Toy:
    """Options of the toy recipe."""

    shout: bool = False
    """Write the samples in capitals."""


def at_least_three_words(text: str) -> str:
    if len(text.split()) < 3:
        raise ParseError("too_few_words", f"{len(text.split())} words")
    return text


@recipe(
    "toy",
    version=1,
    shape="text",
    prompts=("say", "title"),
    options=Toy,
    params=GenerationParams(max_tokens=100, temperature=0.5),
    axes={"tone": {"dry": 1, "warm": 3}},
    source="nothing but a test",
)
async def toy(document: Document, ask: Ask) -> list[Draft]:
    """Say a passage again, under a title."""
    if document.text.startswith("skip"):
        raise Rejected("skipped", "as the document says")
    said = await ask("say", {"passage": document.text}, at_least_three_words)
    titles = await ask.each([("title", {"passage": document.text})], lambda text: text)
    found = [Draft(text=f"{said.value} {document.text[:20]}", replies=(said,), part="plain", span=(0, 20))]
    if titles[0] is not None:
        text = f"{titles[0].value}: {said.value}"
        found.append(Draft(text=text.upper() if ask.options.shout else text, replies=(said, titles[0]), part="titled"))
    return found


def scripted(request: Request, sample: int) -> str:
    """An answer that the request decides."""
    asked = request.messages[-1].content
    passage = asked.split("<<<")[-1]
    if "title" in asked.split("<<<")[0]:
        return f"Title {hashlib.sha256(passage.encode()).hexdigest()[:6]}"
    return f"Again {sample}: {hashlib.sha256(passage.encode()).hexdigest()[:8]} said so"


@dataclass
class ScriptedDoor:
    """Opens an asker over a script, with a cache that outlives it; `answered` counts what a server was asked."""

    cache: Path
    script: Any = scripted
    max_delay: float = 0.0
    stop_after: int | None = None
    """Answers after which a kill is imitated."""
    answered: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    spent: dict[str, Spending] = field(default_factory=dict)
    budgets: list[Budget] = field(default_factory=list)

    @asynccontextmanager
    async def __call__(self, budget: Budget) -> AsyncGenerator["ScriptedDoor"]:
        self.budgets.append(budget)
        self.budget, self.paid, self.spent = budget, 0, {}
        yield self

    def spending(self) -> list[Spending]:
        return list(self.spent.values())

    async def ask(
        self, request: Request, *, recipe: str, teacher: str | None = None, n: int = 1, first_sample: int = 0
    ) -> list[Reply]:
        return [await self._one(request, recipe, sample) for sample in range(first_sample, first_sample + n)]

    async def _one(self, request: Request, recipe: str, sample: int) -> Reply:
        key = hashlib.sha256(f"{request.prompt_key} {request.params} {sample}".encode()).hexdigest()[:16]
        path = self.cache / key
        cached = path.exists()
        if not cached:
            await self._pay(request, path, sample)
        answer = json.loads(path.read_text())
        if "lost" in answer:
            raise DeadLetter(BadAnswer("no answer", raw=answer["lost"]), tries=3, key=key, teacher="script")
        usage = Usage(prompt_tokens=10, completion_tokens=len(answer["text"].split()))
        self._count(recipe, usage, cached)
        found = Answer(text=answer["text"], finish_reason=answer.get("finish", "stop"), usage=usage)
        return Reply(answer=found, request=request, key=key, teacher="script", sample=sample, cached=cached)

    async def _pay(self, request: Request, path: Path, sample: int) -> None:
        if self.budget.max_total_tokens is not None and self.paid >= self.budget.max_total_tokens:
            raise BudgetSpent("The budget of tokens is spent.")
        if self.stop_after is not None and sum(self.answered.values()) >= self.stop_after:
            raise KeyboardInterrupt
        self.paid += 1  # a token an answer
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(random.random() * self.max_delay)
        self.in_flight -= 1
        answer = self.script(request, sample)
        self.answered[request.messages[-1].content.split("\n")[0]] += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(answer if isinstance(answer, dict) else {"text": answer}))

    def _count(self, recipe: str, usage: Usage, cached: bool) -> None:
        before = self.spent.get(recipe, Spending(recipe=recipe, teacher="script"))
        self.spent[recipe] = Spending(
            recipe=recipe,
            teacher="script",
            requests=before.requests + (not cached),
            cached=before.cached + cached,
            prompt_tokens=before.prompt_tokens + usage.prompt_tokens,
            completion_tokens=before.completion_tokens + usage.completion_tokens,
        )


class NoTeacher:
    """A teacher by name only: the door answers."""

    name, price, n_params, endpoint = "script", None, None, "script"
    identity: Mapping[str, object] = {"kind": "script"}

    async def answer(self, request: Request, *, n: int = 1, first_sample: int = 0) -> list[Answer]:
        raise NotImplementedError

    async def embed(self, texts: Any) -> Any:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


class LongEnough:
    """A gate without memory."""

    name = "length"

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        n = len(sample.text)
        if n < self.least:
            return Drop("too_short", f"{n} < {self.least}", n, self.least)
        return Pass(measure=n, limit=self.least)


class NeverTwice:
    """A gate that remembers: its verdicts depend on the order."""

    name = "near_duplicate"

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def judge(self, sample: Sample, seed: Document) -> Drop | Pass:
        key = hashlib.sha256(sample.text.encode()).hexdigest()[0]
        if key in self.seen:
            return Drop("seen_before", key)
        self.seen.add(key)
        return Pass()
