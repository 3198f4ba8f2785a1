"""What is asked of a language model and what it answers: the one interface to all teachers.

A `Teacher` makes one try. Everything around a try (cache, budget, concurrency, tries again, ledger) is the gateway's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tilth.errors import ConfigError
from tilth.identity import fingerprint_of
from tilth.types import Message

FinishReason = Literal["stop", "length", "content_filter", "unknown"]


@dataclass(frozen=True, kw_only=True)
class GenerationParams:
    """How a teacher draws its answer; None: whatever the server does by itself, and nothing is sent."""

    max_tokens: int = 1024
    """Most tokens of an answer."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    """Not part of OpenAI's API; sent as vLLM, llama.cpp and TGI name it."""
    repetition_penalty: float | None = None
    """Not part of OpenAI's API; sent as vLLM names it."""
    seed: int | None = None
    """Sample i of a prompt is drawn with `seed + i`."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer."""
    logprobs: int | None = None
    """Ask for the log-probability of each token, and of this many likeliest beside it."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"`max_tokens` is {self.max_tokens}.", fix="Ask for 1 token or more.")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise ConfigError(f"`temperature` is {self.temperature}.", fix="Give 0 (greedy) or a positive number.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"`top_p` is {self.top_p}.", fix="Give a share above 0 and up to 1.")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"`top_k` is {self.top_k}.", fix="Give 1 or more.")
        if self.repetition_penalty is not None and not 0 < self.repetition_penalty < math.inf:
            raise ConfigError(f"`repetition_penalty` is {self.repetition_penalty}.", fix="Give a positive number.")
        if isinstance(self.stop, str) or not all(self.stop):
            raise ConfigError(
                f"`stop` is {self.stop!r}.", fix='Give a tuple of texts that are not empty, such as `("\\n\\n",)`.'
            )
        if self.logprobs is not None and self.logprobs < 0:
            raise ConfigError(f"`logprobs` is {self.logprobs}.", fix="Give 0 or more.")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question: a chat to answer (`messages`), or a text to continue (`prompt`)."""

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    params: GenerationParams = GenerationParams()
    schema: Mapping[str, object] | None = None
    """JSON schema that the answer is to follow; the server is asked to hold to it, and whoever reads checks it."""

    def __post_init__(self) -> None:
        if bool(self.messages) == (self.prompt is not None):
            raise ConfigError("A request needs messages or a prompt, and not both.")

    @property
    def prompt_key(self) -> str:
        """Hash of the rendered prompt and the schema alone: equal whatever the parameters are."""
        return fingerprint_of(
            {
                "messages": [[message.role, message.content] for message in self.messages],
                "prompt": self.prompt,
                "schema": None if self.schema is None else dict(self.schema),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one answer, as the teacher counts them."""

    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False
    """The teacher counted nothing: a token is taken for four bytes."""


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """A token of an answer and its log-probability in nats."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens there, with theirs."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a teacher wrote, in one try."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] | None = None
    model: str = ""
    """Which model the server says it was."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer as it comes through the gateway, with what it takes to find it again."""

    answer: Answer
    request: Request
    key: str
    """Key of the answer in the request cache."""
    teacher: str
    """Name of the teacher in the ledger."""
    sample: int = 0
    """Which of the samples that were drawn for the request."""
    cached: bool = False

    @property
    def text(self) -> str:
        """What the teacher wrote."""
        return self.answer.text


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a teacher costs: money per million tokens, in whatever currency the user thinks in."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, usage: Usage) -> float:
        """Returns the price of an answer."""
        return (self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens) / 1e6


@runtime_checkable
class Teacher(Protocol):
    """A language model that can be asked. Implementations: `HttpTeacher`, `LocalTeacher`, `ScriptedTeacher`."""

    @property
    def name(self) -> str:
        """What the ledger, records and pages call it."""
        ...

    @property
    def identity(self) -> Mapping[str, object]:
        """What decides its answers (kind, model, revision or fingerprint); never an endpoint, a key or a machine."""
        ...

    @property
    def price(self) -> Price:
        """What its tokens cost."""
        ...

    @property
    def n_params(self) -> int | None:
        """Its parameters, where they are known: an answer takes about 2 FLOPs a parameter and token."""
        ...

    @property
    def endpoint(self) -> str:
        """What its concurrency is adapted for: requests to one endpoint share a limit."""
        ...

    async def answer(self, request: Request, *, n: int = 1, first_sample: int = 0) -> list[Answer]:
        """Makes one try at `n` samples, those from `first_sample` on; sample i is drawn with `params.seed + i`.

        Raises: TeacherFault (`tilth.teacher.faults`) of the kind that says whether to try again.
        """
        ...

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Returns the embeddings of texts, (texts, dimensions).

        Raises: TeacherFault; ConfigError where the teacher has no embeddings.
        """
        ...

    async def aclose(self) -> None:
        """Closes connections."""
        ...


class Asker(Protocol):
    """What synthesis needs of the gateway."""

    async def ask(
        self, request: Request, *, recipe: str, teacher: str | None = None, n: int = 1, first_sample: int = 0
    ) -> list[Reply]:
        """Returns `n` samples, those from `first_sample` on, each from the cache if it is there.

        `teacher` None: the only one.

        Raises: DeadLetter after the last try, BudgetSpent; both of `tilth.teacher.faults`.
        """
        ...
