"""What the gateway asks, in one form: samples of a prompt, or embeddings of texts, each a list of numbered items.

An item has a key, may be in the cache, has a cost, and is asked together with the items next to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from tilth.teacher.admission import Admission
from tilth.teacher.budget import Cost
from tilth.teacher.cache import Entry, RequestCache, Vector
from tilth.teacher.keys import RequestKeys, embedding_key, identity_text
from tilth.teacher.request import Answer, Request, Teacher, Usage
from tilth.types import Message

V = TypeVar("V")
Reuse = Literal["exact", "same_prompt"]
MOST_TEXTS = 64
"""Texts that are embedded in one call."""
MOST_SAMPLES = 128
"""Samples that are drawn in one call; hosted APIs refuse more."""
TOKENS_AROUND = 64
"""Most tokens that a chat template is thought to add to a prompt, and to each message."""


class Lane:
    """A teacher with what the gateway keeps about it."""

    def __init__(self, teacher: Teacher, admission: Admission) -> None:
        self.teacher, self.admission = teacher, admission
        self.name = teacher.name
        self.identity = identity_text(teacher.identity)
        self.ends_tries = hasattr(teacher, "timeout")
        """It ends a try by itself after its own time."""
        self._flops_per_token = 2.0 * (teacher.n_params or 0)

    def cost(self, usage: Usage) -> Cost:
        """Returns what an answer costs: about 2 FLOPs a parameter and token."""
        tokens = usage.prompt_tokens + usage.completion_tokens
        return Cost(tokens, self.teacher.price.of(usage), self._flops_per_token * tokens)


@dataclass(frozen=True, slots=True)
class Found(Generic[V]):
    """An item's value and its key in the cache."""

    key: bytes
    value: V
    cached: bool
    """It cost nothing."""


class Question(Protocol[V]):
    """Items that are asked of one teacher for one recipe."""

    @property
    def lane(self) -> Lane: ...
    @property
    def recipe(self) -> str: ...
    @property
    def most_at_once(self) -> int:
        """Items that one call may ask for."""
        ...

    def key(self, item: int) -> bytes:
        """Key in the cache."""
        ...

    def flight_key(self, item: int) -> object:
        """Equal for items that are to be asked only once, if they are asked at the same time."""
        ...

    def look_up(self, cache: RequestCache, item: int) -> Found[V] | None:
        """Returns what the cache holds."""
        ...

    def entry(self, item: int, value: V) -> Entry:
        """Returns what the cache is to hold."""
        ...

    def usage(self, item: int, value: V) -> Usage:
        """Returns the tokens that were really used."""
        ...

    def estimate(self, items: Sequence[int]) -> Usage:
        """Returns the most tokens that items can use."""
        ...

    async def send(self, items: Sequence[int]) -> Sequence[V]:
        """Asks the teacher once for neighbouring items. Raises: TeacherFault."""
        ...


class Samples:
    """Samples of one prompt; an item is the number of a sample."""

    def __init__(self, lane: Lane, recipe: str, request: Request, reuse: Reuse) -> None:
        self.lane, self.recipe, self.request, self.reuse = lane, recipe, request, reuse
        self._keys = RequestKeys(lane.identity, request)
        self._exact: dict[int, bytes] = {}

    @property
    def most_at_once(self) -> int:
        """As the teacher says, where it does."""
        return int(getattr(self.lane.teacher, "samples_per_call", MOST_SAMPLES))

    def key(self, item: int) -> bytes:
        """Key of the exact request."""
        key = self._exact.get(item)
        if key is None:
            key = self._exact[item] = self._keys.exact(item)
        return key

    def flight_key(self, item: int) -> object:
        """The exact key, or the prompt's."""
        return self.key(item) if self.reuse == "exact" else (self._keys.prompt, item)

    def look_up(self, cache: RequestCache, item: int) -> Found[Answer] | None:
        """The answer to this very request before any other to the prompt."""
        key = self.key(item)
        if (answer := cache.answer(key)) is not None:
            return Found(key, answer, True)
        if self.reuse == "same_prompt" and (found := cache.answer_to_prompt(self._keys.prompt, item)) is not None:
            return Found(*found, True)
        return None

    def entry(self, item: int, value: Answer) -> Entry:
        """A row of the cache."""
        return Entry(self.key(item), self._keys.prompt, item, value)

    def usage(self, item: int, value: Answer) -> Usage:
        """As the teacher counted."""
        return value.usage

    def estimate(self, items: Sequence[int]) -> Usage:
        """A token of a prompt has a byte at least."""
        request = self.request
        prompt = (len(_bytes(request.prompt or "")) + TOKENS_AROUND) + sum(map(_most_tokens, request.messages))
        if request.schema is not None:
            prompt += len(_bytes(str(request.schema)))  # some servers write it into the prompt
        return Usage(prompt_tokens=prompt * len(items), completion_tokens=request.params.max_tokens * len(items))

    async def send(self, items: Sequence[int]) -> Sequence[Answer]:
        """One call for all."""
        return await self.lane.teacher.answer(self.request, n=len(items), first_sample=items[0])


class Embeddings:
    """Embeddings of texts, all of them different; an item is the number of a text."""

    most_at_once = MOST_TEXTS

    def __init__(self, lane: Lane, recipe: str, texts: Sequence[str]) -> None:
        self.lane, self.recipe, self.texts = lane, recipe, texts
        self._keys = [embedding_key(lane.identity, text) for text in texts]

    def key(self, item: int) -> bytes:
        """Key of the text."""
        return self._keys[item]

    def flight_key(self, item: int) -> object:
        """Key of the text."""
        return self._keys[item]

    def look_up(self, cache: RequestCache, item: int) -> Found[Vector] | None:
        """The vector in the cache."""
        vector = cache.vector(self._keys[item])
        return None if vector is None else Found(self._keys[item], vector, True)

    def entry(self, item: int, value: Vector) -> Entry:
        """A row of the cache; it answers no prompt."""
        return Entry(self._keys[item], b"", 0, value)

    def usage(self, item: int, value: Vector) -> Usage:
        """Teachers do not say it: a token is taken to have four bytes."""
        return Usage(prompt_tokens=math.ceil(len(_bytes(self.texts[item])) / 4), completion_tokens=0)

    def estimate(self, items: Sequence[int]) -> Usage:
        """A token has a byte at least."""
        return Usage(prompt_tokens=sum(len(_bytes(self.texts[item])) for item in items), completion_tokens=0)

    async def send(self, items: Sequence[int]) -> Sequence[Vector]:
        """One call for all."""
        return list(await self.lane.teacher.embed([self.texts[item] for item in items]))


def _most_tokens(message: Message) -> int:
    return len(_bytes(message.content)) + TOKENS_AROUND


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
