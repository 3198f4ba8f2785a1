"""Which of several teachers answers: fixed, the best of all, a learned choice, or a bandit on value per FLOP.

A router stands between a recipe's `Ask` and the gateway. It gives each document an `Asker` of its own:

    async with router.document(document, index) as asker:
        ...  # everything that the recipe asks for this document

- `fixed`: the first teacher.
- `best`: all teachers answer, and a reward picks the answer (multilingual arbitrage, Odumakinde et al. 2024).
- `learned`: `best` for the first documents; a classifier trained on who won chooses for all others.
- `bandit`: Thompson sampling on reward per cost. Decisions for a block of documents use the rewards of the blocks
  before it only.

The choice never depends on the order in which answers arrive: blocks are waited for, and sums are made in the order of
the documents. What was observed is in `router_log.jsonl` when a document is left, so a killed run continues with it;
documents that are run again, from the cache, are observed again, with the same outcome. Memory: about 1 kB an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from tilth.errors import ConfigError
from tilth.files import atomic_path
from tilth.results import write_result
from tilth.synthesis.define import ParseError, Rejected
from tilth.synthesis.learned_router import Contest, TeacherClassifier, train_classifier
from tilth.synthesis.rewards import Reward, rendered, with_logprobs
from tilth.synthesis.routing_result import ROUTER, Observation, RouterResult, cost_of, row_of, summarise
from tilth.teacher.faults import BudgetSpent, DeadLetter
from tilth.teacher.request import Asker, Reply, Request, Teacher
from tilth.types import Document

Kind = Literal["fixed", "best", "learned", "bandit"]
LOG = "router_log.jsonl"
PROMPT_CHARACTERS = 2000
"""Of a request, for the learned router."""
LEAST_IN_BUCKET = 8
"""Answers of each teacher in a language and topic from which the bandit trusts them; before, it uses all."""
LEAST_OF_TEACHER = 3
"""Answers of each teacher before the bandit compares at all; until then teachers take turns."""


class Router(Protocol):
    """Chooses teachers, one document at a time."""

    def document(self, document: Document, index: int) -> AbstractAsyncContextManager[Asker]:
        """Gives the asker of a document, `index` being its place in the run, from 0 and without gaps.

        It may wait until documents before it are done, so they must have been started, or be in the log of a run that
        was killed. An error that ends a document goes through it, so that others do not wait for ever.
        """
        ...

    def result(self) -> RouterResult:
        """Returns what was observed so far."""
        ...

    def close(self) -> RouterResult:
        """Writes `router.json`, and the log in the order of the documents."""
        ...


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """How teachers are compared."""

    kind: Kind = "fixed"
    train_documents: int = 200
    """Documents that all teachers answer before the learned router chooses alone."""
    block_documents: int = 32
    """Documents of a block of the bandit: as many can be under way at a time."""
    floor: float = 0.0
    """Reward up to which an answer is worth nothing to the bandit."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"There is no router {self.kind!r}.", fix=f"Give one of {', '.join(get_args(Kind))}.")
        for name in ("train_documents", "block_documents"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` is {getattr(self, name)}.", fix="Give 1 or more.")


def make_router(
    config: RouterConfig,
    teachers: Mapping[str, Teacher],
    asker: Asker,
    *,
    reward: Reward | None = None,
    folder: Path | None = None,
) -> Router:
    """Returns the router of a run; `teachers` are those that may answer, the first being the fixed one.

    `folder` None: nothing is written, and nothing continued.
    Raises: ConfigError if there is no teacher, or nothing to compare several by.
    """
    if not teachers:
        raise ConfigError("There is no teacher.", fix="Name one: `--teacher`.")
    if config.kind != "fixed" and len(teachers) < 2:
        raise ConfigError(
            f"The router `{config.kind}` has one teacher to choose from.",
            fix="Give several, or the router `fixed`; one that judges (`critic_teacher`) does not write.",
        )
    if config.kind != "fixed" and reward is None:
        raise ConfigError(f"The router `{config.kind}` has nothing to compare answers by.", fix="Give it a reward.")
    kinds = {"fixed": _Fixed, "best": _Best, "learned": _Learned, "bandit": _Bandit}
    return kinds[config.kind](config, teachers, asker, reward, folder)


class _Base:
    """What all routers do: the log, the waiting, the costs."""

    def __init__(
        self,
        config: RouterConfig,
        teachers: Mapping[str, Teacher],
        asker: Asker,
        reward: Reward | None,
        folder: Path | None,
    ) -> None:
        self.config, self.teachers, self.asker, self.reward = config, teachers, asker, reward
        self.names = tuple(teachers)
        self.folder = folder
        self.cost_unit = _cost_unit(teachers)
        self.observed: dict[int, list[Observation]] = {}
        """Documents that are done -> their answers."""
        self._changed = asyncio.Condition()
        self._first_open = 0
        self._failure: BaseException | None = None
        if folder is not None:
            self.observed = _read_log(folder / LOG)

    @asynccontextmanager
    async def document(self, document: Document, index: int) -> AsyncGenerator[Asker]:
        """Gives the asker of a document."""
        await self._wait_for_block(index)
        asking = _DocumentAsker(self, document, index)
        try:
            yield asking
        except (ParseError, Rejected, DeadLetter):
            await self._done(index, asking.observations)
            raise
        except BaseException as error:
            await self.fail(error)
            raise
        if not asking.cut_short:
            await self._done(index, asking.observations)

    def result(self) -> RouterResult:
        """Returns what was observed so far."""
        every = [one for index in sorted(self.observed) for one in self.observed[index]]
        reward = self.reward.name if self.reward is not None and self.config.kind != "fixed" else ""
        return summarise(every, self.names, kind=self.config.kind, reward=reward, cost_unit=self.cost_unit)

    def close(self) -> RouterResult:
        """Writes `router.json`, and the log in the order of the documents."""
        result = self.result()
        if self.folder is not None:
            with atomic_path(self.folder / LOG) as target:
                target.write_text("".join(_line(index, self.observed[index]) for index in sorted(self.observed)))
            write_result(self.folder / ROUTER, result)
        return result

    async def answer(
        self, document: Document, index: int, request: Request, arguments: Mapping[str, Any]
    ) -> tuple[list[Reply], list[Observation]]:
        """Answers a request, and says what was observed."""
        raise NotImplementedError

    async def from_all(
        self, document: Document, index: int, request: Request, arguments: Mapping[str, Any]
    ) -> tuple[list[Reply], list[Observation]]:
        """Asks all teachers and picks, for each sample, the answer of the highest reward (ties: the first teacher's).

        A teacher whose request failed takes no part, unless all failed.
        """
        asked = await asyncio.gather(
            *(self._or_lost(request, name, arguments) for name in self.names), return_exceptions=False
        )
        lost = [found for found in asked if isinstance(found, DeadLetter)]
        answers = [found for found in asked if not isinstance(found, DeadLetter)]
        if not answers:
            raise lost[0]
        kept: list[Reply] = []
        observations: list[Observation] = []
        for replies in zip(*answers, strict=True):
            rewards = await asyncio.gather(*(self.judge(request, reply, document) for reply in replies))
            best = max(range(len(replies)), key=lambda i: (_or_least(rewards[i]), -i))
            kept.append(replies[best])
            for i, (reply, reward) in enumerate(zip(replies, rewards, strict=True)):
                observations.append(self.observation(document, index, request, reply, reward, won=i == best))
        return kept, observations

    async def from_one(
        self, name: str, document: Document, index: int, request: Request, arguments: Mapping[str, Any], *, judged: bool
    ) -> tuple[list[Reply], list[Observation]]:
        """Asks one teacher."""
        replies = await self.asker.ask(request, teacher=name, **arguments)
        rewards = [math.nan] * len(replies)
        if judged:
            rewards = list(await asyncio.gather(*(self.judge(request, reply, document) for reply in replies)))
        return replies, [
            self.observation(document, index, request, reply, reward, won=True)
            for reply, reward in zip(replies, rewards, strict=True)
        ]

    async def judge(self, request: Request, reply: Reply, document: Document) -> float:
        """Returns the reward of an answer."""
        assert self.reward is not None
        return await self.reward(request, reply, document, self.asker)

    def observation(
        self, document: Document, index: int, request: Request, reply: Reply, reward: float, *, won: bool
    ) -> Observation:
        """Notes an answer down."""
        teacher, usage = self.teachers[reply.teacher], reply.answer.usage
        tokens = usage.prompt_tokens + usage.completion_tokens
        return Observation(
            index=index,
            prompt_key=request.prompt_key,
            sample=reply.sample,
            teacher=reply.teacher,
            bucket=bucket_of(document),
            reward=reward,
            won=won,
            tokens=tokens,
            money=teacher.price.of(usage),
            flops=2.0 * (teacher.n_params or 0) * tokens,
            prompt=rendered(request)[-PROMPT_CHARACTERS:] if self.needs_prompt(index) else "",
        )

    async def fail(self, error: BaseException) -> None:
        """Ends the waiting of documents that this one should come before: they get the error, too."""
        self._failure = self._failure or error
        await self._notify()

    def needs_prompt(self, index: int) -> bool:
        """Whether the text of this document's requests is kept: where a classifier is trained on it."""
        return self.config.kind == "learned" and index < self.config.train_documents

    async def _or_lost(self, request: Request, name: str, arguments: Mapping[str, Any]) -> list[Reply] | DeadLetter:
        try:
            return await self.asker.ask(request, teacher=name, **arguments)
        except DeadLetter as error:
            return error

    async def _wait_for_block(self, index: int) -> None:
        begin = self.block_begin(index)
        if begin:
            async with self._changed:
                await self._changed.wait_for(lambda: self._failure is not None or self._done_up_to() >= begin)
        if self._failure is not None:
            raise self._failure
        self.begin_block(begin)

    def _done_up_to(self) -> int:
        """The first document that is not done."""
        while self._first_open in self.observed:
            self._first_open += 1
        return self._first_open

    def block_begin(self, index: int) -> int:
        """Returns how many documents must be done before this one begins."""
        return 0

    def begin_block(self, begin: int) -> None:
        """Takes note that all documents before `begin` are done."""

    async def _done(self, index: int, observations: list[Observation]) -> None:
        self.observed[index] = observations
        if self.folder is not None and self.config.kind != "fixed":
            with (self.folder / LOG).open("a", encoding="utf-8") as log:
                log.write(_line(index, observations))
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@dataclass
class _DocumentAsker:
    """What a recipe asks with, for one document."""

    router: _Base
    document: Document
    index: int

    def __post_init__(self) -> None:
        self.observations: list[Observation] = []
        self.cut_short = False
        """The budget was spent before all was asked: what was observed is not the whole document's."""

    async def ask(
        self, request: Request, *, recipe: str, teacher: str | None = None, n: int = 1, first_sample: int = 0
    ) -> list[Reply]:
        """Asks the teacher that the router chooses; one that is named is asked as it is."""
        arguments: dict[str, Any] = {"recipe": recipe, "n": n}
        if first_sample:
            arguments["first_sample"] = first_sample
        if teacher is not None:
            return await self.router.asker.ask(request, teacher=teacher, **arguments)
        if self.router.reward is not None and self.router.reward.needs_logprobs and self.router.config.kind != "fixed":
            request = with_logprobs(request)
        try:
            replies, observations = await self.router.answer(self.document, self.index, request, arguments)
        except BudgetSpent as error:
            self.cut_short = True
            await self.router.fail(error)
            raise
        self.observations.extend(observations)
        return replies


class _Fixed(_Base):
    async def answer(
        self, document: Document, index: int, request: Request, arguments: Mapping[str, Any]
    ) -> tuple[list[Reply], list[Observation]]:
        return await self.from_one(self.names[0], document, index, request, arguments, judged=False)


class _Best(_Base):
    async def answer(
        self, document: Document, index: int, request: Request, arguments: Mapping[str, Any]
    ) -> tuple[list[Reply], list[Observation]]:
        return await self.from_all(document, index, request, arguments)


class _Learned(_Base):
    classifier: TeacherClassifier | None = None

    def block_begin(self, index: int) -> int:
        """Two blocks: the documents that all teachers answer, and all others."""
        return self.config.train_documents if index >= self.config.train_documents else 0

    def begin_block(self, begin: int) -> None:
        """Trains the classifier, once."""
        if begin and self.classifier is None:
            self.classifier = train_classifier(self._contests(begin), self.names)
            if self.folder is not None:
                self.classifier.save(self.folder)

    async def answer(
        self, document: Document, index: int, request: Request, arguments: Mapping[str, Any]
    ) -> tuple[list[Reply], list[Observation]]:
        if not self.block_begin(index) or self.classifier is None:
            return await self.from_all(document, index, request, arguments)
        name = self.classifier.predict(rendered(request)[-PROMPT_CHARACTERS:], bucket_of(document))
        return await self.from_one(name, document, index, request, arguments, judged=False)

    def result(self) -> RouterResult:
        """Returns what was observed, and how well the classifier does."""
        result = super().result()
        if self.classifier is None:
            return result
        learned = self.classifier
        return replace(
            result, trained_on=learned.trained_on, agreement=learned.agreement, always_best=learned.always_best
        )

    def _contests(self, end: int) -> list[Contest]:
        answered: dict[tuple[int, str, int], list[Observation]] = defaultdict(list)
        for index in range(end):
            for one in self.observed[index]:
                answered[index, one.prompt_key, one.sample].append(one)
        contests: list[Contest] = []
        for key in sorted(answered):
            rated = [one for one in answered[key] if not math.isnan(one.reward)]
            if len(rated) < 2:
                continue
            best, second = sorted(rated, key=lambda o: (-o.reward, self.names.index(o.teacher)))[:2]
            margin = best.reward - second.reward
            contests.append(Contest(prompt=best.prompt, bucket=best.bucket, winner=best.teacher, margin=margin))
        return contests


@dataclass
class _Arm:
    """Sums over a teacher's answers."""

    n: int = 0
    value: float = 0.0
    squares: float = 0.0
    cost: float = 0.0

    def add(self, value: float, cost: float) -> None:
        self.n += 1
        self.value += value
        self.squares += value * value
        self.cost += cost

    def draw(self, rng: np.random.Generator, spread: float) -> float:
        """Draws the value per cost from what is known of it; `spread` is what one answer's value is taken to vary by,
        at least."""
        mean = self.value / self.n
        deviation = math.sqrt(max(self.squares / self.n - mean * mean, spread * spread / self.n))
        return (mean + rng.standard_normal() * deviation / math.sqrt(self.n)) / max(self.cost / self.n, 1e-300)


class _Bandit(_Base):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._arms: dict[tuple[str, str], _Arm] = defaultdict(_Arm)
        """(bucket, teacher) -> its sums over the blocks before; the bucket "" is all."""
        self._added_up_to = 0
        self._largest = 0.0

    def block_begin(self, index: int) -> int:
        """All blocks before must be done."""
        return index - index % self.config.block_documents

    def begin_block(self, begin: int) -> None:
        """Adds the blocks before, in the order of documents and requests."""
        for index in range(self._added_up_to, begin):
            for one in sorted(self.observed[index], key=lambda o: (o.prompt_key, o.sample, o.teacher)):
                if math.isnan(one.reward):
                    continue
                value, cost = max(0.0, one.reward - self.config.floor), cost_of(one, self.cost_unit)
                self._largest = max(self._largest, value)
                for bucket in ("", one.bucket):
                    self._arms[bucket, one.teacher].add(value, cost)
        self._added_up_to = max(self._added_up_to, begin)

    async def answer(
        self, document: Document, index: int, request: Request, arguments: Mapping[str, Any]
    ) -> tuple[list[Reply], list[Observation]]:
        name = self._chosen(document, index, request)
        return await self.from_one(name, document, index, request, arguments, judged=True)

    def _chosen(self, document: Document, index: int, request: Request) -> str:
        for one in self.observed.get(index, ()):
            if one.prompt_key == request.prompt_key:
                return one.teacher  # what a killed run chose, when it knew less than its log does
        text = f"{self.config.seed}\0{document.id}\0{request.prompt_key}"
        seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        bucket = bucket_of(document)
        arms = [self._arms.get((bucket, name), _Arm()) for name in self.names]
        if min(arm.n for arm in arms) < LEAST_IN_BUCKET:
            arms = [self._arms.get(("", name), _Arm()) for name in self.names]
        fewest = min(arm.n for arm in arms)
        if fewest < LEAST_OF_TEACHER:
            least_known = [name for name, arm in zip(self.names, arms, strict=True) if arm.n == fewest]
            return least_known[index % len(least_known)]
        rng = np.random.default_rng(seed)
        drawn = [arm.draw(rng, self._largest) for arm in arms]
        return self.names[max(range(len(drawn)), key=lambda i: (drawn[i], -i))]


def bucket_of(document: Document) -> str:
    """Returns language and topic of a document: what teachers are compared within."""
    topic = document.meta.get("topic")
    return " / ".join(part for part in (document.language or "", str(topic) if topic else "") if part) or "all"


def _cost_unit(teachers: Mapping[str, Teacher]) -> str:
    if all(teacher.n_params for teacher in teachers.values()):
        return "flops"
    prices = [teacher.price for teacher in teachers.values()]
    return "money" if all(price.prompt + price.completion > 0 for price in prices) else "tokens"


def _or_least(reward: float) -> float:
    return -math.inf if math.isnan(reward) else reward


def _line(index: int, observations: Sequence[Observation]) -> str:
    ordered = sorted(observations, key=lambda o: (o.prompt_key, o.sample, o.teacher))
    row = {"index": index, "answers": [row_of(one) for one in ordered]}
    return json.dumps(row, ensure_ascii=True) + "\n"


def _read_log(path: Path) -> dict[int, list[Observation]]:
    """Reads the log of a run; the last line may be broken, where the run was killed while it was written."""
    found: dict[int, list[Observation]] = {}
    if not path.exists():
        return found
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    for line in whole:
        row = json.loads(line)
        answers = [answer | {"reward": math.nan if answer["reward"] is None else answer["reward"]}
                   for answer in row["answers"]]  # fmt: skip
        found[row["index"]] = [Observation(**answer) for answer in answers]
    if len(whole) < len(lines):
        with atomic_path(path) as target:
            target.write_text("".join(whole), encoding="utf-8")
    return found
