"""A teacher behind an OpenAI-compatible HTTP API: vLLM, llama.cpp's server, TGI, TensorRT-LLM, Ollama, hosted ones.

Answers are read whole and not as streams: a stream's events cost CPU for every token, and an answer that was cut off is
asked for again either way. A time-out therefore counts for the whole answer.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from tilth.errors import TilthError
from tilth.teacher.answers import error_message, read_answers, read_embeddings, read_models
from tilth.teacher.connections import Exchange, Response, Server
from tilth.teacher.dialects import (
    DIALECT_OF_OWNER,
    DIALECTS,
    DialectName,
    body_of,
    dialect_named,
    needs_more,
    route_of,
)
from tilth.teacher.endpoint import Key, bounded, checked_url, key_variable
from tilth.teacher.faults import (
    AccessRefused,
    BadAnswer,
    Overloaded,
    RequestRefused,
    ServerFault,
    TeacherFault,
    TimedOut,
)
from tilth.teacher.request import Answer, GenerationParams, Price, Request

T = TypeVar("T")
MOST_SAMPLES = 128
"""Samples that are drawn in one request; hosted APIs refuse more."""
_ROUTES = {"chat": "/chat/completions", "completions": "/completions"}
_MODERATED = re.compile(r"moderation|flagged|usage guidelines|content policy", re.IGNORECASE)
"""Of a 403 that is about the request's content (OpenRouter, xAI) and not about the user."""
_Held = tuple[str, GenerationParams, int]
"""Key of the prompt, parameters, sample."""


class HttpTeacher:
    """Asks a model behind HTTP, one try a call."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        name: str | None = None,
        revision: str = "",
        dialect: DialectName | None = None,
        price: Price | None = None,
        n_params: int | None = None,
        key: Key | None = None,
        timeout: float = 600.0,
        connect_timeout: float = 10.0,
        max_in_flight: int | None = None,
        most_connections: int = 1024,
    ) -> None:
        """`url` is the API's base, such as `http://localhost:8000/v1`. Without `dialect` the server is asked what it is
        when a request needs more than OpenAI's API has; one that does not say is taken for OpenAI's. `revision` is part
        of the identity: it tells models apart that servers call the same. `max_in_flight` is for the gateway.

        `key` goes into the header of each request and nowhere else; `open_teacher` finds it in the environment.
        """
        self.url, self.model, self.name, self.revision = checked_url(url), model, name or model, revision
        self.dialect, self.price, self.n_params = dialect_named(dialect or "openai"), price or Price(), n_params
        self._knows_dialect = dialect is not None
        self.max_in_flight = max_in_flight
        self.timeout: float | None = timeout
        """The gateway leaves it to the teacher to end a try."""
        self._key = key
        parts = urlsplit(self.url)
        self.endpoint, self._base = f"{parts.scheme}://{parts.netloc}", parts.path
        server = Server(
            url=self.endpoint,
            headers={} if key is None else key.header(),
            timeout=timeout,
            connect_timeout=connect_timeout,
            most_connections=most_connections,
        )
        self._exchange = Exchange(server)
        # OpenAI's newer models refuse `max_tokens` in a chat; other servers may not know the new name.
        self._limit = "max_completion_tokens" if parts.hostname == "api.openai.com" else "max_tokens"
        self._draws_several = self.dialect.draws_several
        self._held: dict[_Held, Answer] = {}
        """Samples that were drawn by requests of their own beside one that failed: the next try takes them."""

    def __repr__(self) -> str:
        return f"HttpTeacher({self.url!r}, {self.model!r}, name={self.name!r})"

    @property
    def identity(self) -> Mapping[str, object]:
        """The model's name at its server, and the revision where one was given."""
        return {"kind": "http", "model": self.model} | ({"revision": self.revision} if self.revision else {})

    @property
    def samples_per_call(self) -> int:
        """So many samples the gateway asks for in one call: where each is a request of its own, each takes a turn."""
        return MOST_SAMPLES if self._draws_several else 1

    async def answer(self, request: Request, *, n: int = 1, first_sample: int = 0) -> list[Answer]:
        """Makes one try at `n` samples: in one request where the server draws several, else in one each. Returns fewer
        where some failed behind the first.

        Raises: TeacherFault; AccessRefused; ConfigError for a parameter that the server's dialect lacks.
        """
        if n == 1 and not self._held:
            return (await self._ask(request, 1, first_sample))[:1]
        samples = range(first_sample, first_sample + n)
        held = self._held and any(self._place(request, sample) in self._held for sample in samples)
        if n == 1 or held or not self._draws_several:
            return await self._one_by_one(request, samples)
        answers = (await self._ask(request, n, first_sample))[:n]
        if len(answers) == n:
            return answers
        if len(answers) == 1:  # the server does not know `n`
            self._draws_several = False
        try:
            return answers + await self._one_by_one(request, samples[len(answers) :])
        except (TeacherFault, TilthError):
            return answers  # what was paid for is kept; the next call meets the fault, if it is still there

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Returns the embeddings of texts, (texts, dimensions), in one request."""
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        body = json.dumps({"model": self.model, "input": list(texts)}).encode()
        return await self._send("POST", "/embeddings", body, lambda data: read_embeddings(data, len(texts)))

    async def models(self) -> dict[str, str]:
        """Returns the names of the server's models -> who owns them."""
        return await self._send("GET", "/models", b"", read_models)

    async def aclose(self) -> None:
        """Closes connections."""
        await self._exchange.aclose()

    async def _ask(self, request: Request, n: int, first_sample: int) -> list[Answer]:
        if not self._knows_dialect and needs_more(request):
            await self._find_dialect()
        seed = None if request.params.seed is None else request.params.seed + first_sample
        fields = body_of(request, self.dialect, model=self.model, n=n, seed=seed, completion_limit=self._limit)
        body = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        return await self._send("POST", _ROUTES[route_of(request)], body, lambda data: read_answers(data, request))

    async def _find_dialect(self) -> None:
        """Asks the server what it is. Raises: TeacherFault where it does not answer at all."""
        try:
            models = await self.models()
            # llama.cpp's server answers to any name, and lists its model under its file's.
            owners = {models[self.model]} if self.model in models else set(models.values())
            owner = owners.pop() if len(owners) == 1 else ""
        except (AccessRefused, BadAnswer, RequestRefused):
            owner = ""  # it has no list of models
        self.dialect = DIALECTS[DIALECT_OF_OWNER.get(owner, "openai")]
        self._draws_several = self._draws_several and self.dialect.draws_several
        self._knows_dialect = True

    async def _one_by_one(self, request: Request, samples: Sequence[int]) -> list[Answer]:
        """Draws samples side by side. If one fails, those before it are returned, and those behind it are kept for the
        next try. Raises: the first fault if there are none before it."""
        if len(samples) == 1:
            return [await self._one(request, samples[0])]
        outcomes = await asyncio.gather(*(self._one(request, sample) for sample in samples), return_exceptions=True)
        answers: list[Answer] = []
        fault: BaseException | None = None
        for sample, outcome in zip(samples, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                fault = fault or outcome
            elif fault is None:
                answers.append(outcome)
            else:
                self._held[self._place(request, sample)] = outcome
        if fault is not None and not answers:
            raise fault
        return answers

    async def _one(self, request: Request, sample: int) -> Answer:
        held = self._held.pop(self._place(request, sample), None) if self._held else None
        return held or (await self._ask(request, 1, sample))[0]

    def _place(self, request: Request, sample: int) -> _Held:
        return request.prompt_key, request.params, sample

    async def _send(self, method: str, path: str, body: bytes, read: Callable[[bytes], T]) -> T:
        """Sends a request and reads its answer; each fault keeps what came back, without the key."""
        try:
            response = await self._exchange.send(method, self._base + path, body)
            if not 200 <= response.status < 300:
                raise self._refusal(response)
            # Were a server to write the key into an answer, the answer would be stored with it.
            body_of_answer = response.body if self._key is None else self._key.scrub_answer(response.body)
            try:
                return read(body_of_answer)
            except BadAnswer as fault:
                fault.raw = body_of_answer.decode("utf-8", "replace")
                raise
        except TeacherFault as fault:
            fault.message, fault.raw = bounded(fault.message, self._key), bounded(fault.raw, self._key)
            fault.args = (fault.message,)
            raise

    def _refusal(self, response: Response) -> Exception:
        """What a status other than success comes to."""
        status, raw = response.status, response.body.decode("utf-8", "replace")
        message, code = error_message(response.body)
        says = bounded(f"{self.name} answers {status}: {(message or 'nothing').rstrip('.')}", self._key)
        if status == 429 and code == "insufficient_quota":
            return AccessRefused(f"The account of the teacher `{self.name}` has no credit left (429).")
        if status in (429, 503, 529):
            return Overloaded(says, retry_after=retry_after(response.headers), raw=raw)
        if status in (408, 504):
            return TimedOut(says, raw=raw)
        if status in (409, 424, 425) or (status >= 500 and status not in (501, 505)):
            return ServerFault(says, raw=raw)
        if status == 403 and _MODERATED.search(raw):
            return RequestRefused(says, raw=raw)
        if status in (401, 402, 403):
            # Not what the server says: some repeat parts of the key.
            return AccessRefused(
                f"The server of the teacher `{self.name}` refuses access ({status}).",
                fix="A key was sent; check it and the account."
                if self._key
                else f"No key was sent. Set `{key_variable(self.name)}`, or `key_env` in teachers.toml.",
            )
        if 300 <= status < 400:
            return AccessRefused(
                f"The server of the teacher `{self.name}` redirects elsewhere ({status}).",
                fix="No key is sent to another address; give the final URL.",
            )
        if status in (404, 405, 501, 505):
            model = f" and the model `{self.model}`" if self.model else ""
            return AccessRefused(f"{says}.", fix=f"Check the URL {self.url} (it mostly ends in /v1){model}.")
        return RequestRefused(says, raw=raw)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that a server asks to wait: given as such, or as a date; None if it does not say."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if seconds < float("inf") else None
