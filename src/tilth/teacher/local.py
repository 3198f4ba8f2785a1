"""A teacher in this process: a model folder of ours, or one of Hugging Face's that holds a Llama.

Requests that come at the same time are answered in one batch, in one thread. A sample is drawn with its own seed, so
which requests share its batch decides nothing about it (but for the last bits of the sums, as with any batching).
A batch runs until its longest answer ends; what comes meanwhile forms the next one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from tilth.errors import DataError
from tilth.identity import canonical_json
from tilth.inference.config import SamplingParams
from tilth.teacher.chat_format import ChatFormat, read_chat_format
from tilth.teacher.faults import RequestRefused
from tilth.teacher.request import Answer, Price, Request, TokenLogprob, Usage

if TYPE_CHECKING:
    from tilth.inference import Completion, Engine
    from tilth.tokenizer import Tokenizer

GATHER_SECONDS = 0.003
"""How long a batch waits for further requests before it begins."""
_MOST_SEED = 1 << 63
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "*.tiktoken", "vocab.json")
_MODEL_FILES = ("model.json", "config.json")
_INSIDE = (".", "export", "model")


@dataclass(frozen=True, kw_only=True)
class _Sampling:
    """What all answers of a batch have in common."""

    params: SamplingParams
    stop_texts: tuple[str, ...]
    n_logprobs: int | None


@dataclass(eq=False, kw_only=True)
class _Job:
    """One sample to draw."""

    prompt: str | list[int]
    seed: int
    sampling: _Sampling
    answer: asyncio.Future[Answer]


class LocalTeacher:
    """Answers with an engine in this process."""

    def __init__(
        self,
        engine: Engine,
        *,
        name: str = "local",
        chat: ChatFormat | None = None,
        price: Price | None = None,
        batch_size: int = 32,
    ) -> None:
        """`batch_size`: most samples that are drawn together."""
        self.engine, self.name, self.chat, self.batch_size = engine, name, chat or ChatFormat(), batch_size
        self.price = price or Price()
        self.endpoint = f"local:{name}"
        self._identity = _identity(engine, self.chat)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tilth-teacher")
        self._waiting: list[_Job] = []
        self._pump: asyncio.Task[None] | None = None
        self.timeout: float | None = None
        """A batch that was given up would be drawn again, to the same end: the gateway sets no limit."""
        self.batches: list[int] = []
        """Sizes of the batches so far."""

    @classmethod
    def load(
        cls, folder: Path | str, *, name: str | None = None, device: str = "cpu", price: Price | None = None,
        batch_size: int = 32,
    ) -> LocalTeacher:  # fmt: skip
        """Loads a model with its tokenizer and chat template; `folder` may also be that of a run or a training.

        Raises: DataError if there is no model or no tokenizer; ConfigError for a device that is not there.
        """
        from tilth.inference import Engine
        from tilth.model import load_model
        from tilth.tokenizer import Tokenizer

        inner = model_folder(Path(folder))
        if not any(path for kind in _TOKENIZER_FILES for path in inner.glob(kind)):
            raise DataError(
                f"{inner} holds no tokenizer.",
                fix=f"Give an export, which has one: `tilth export {inner} --tokenizer TOKENIZER --out exported`.",
            )
        engine = Engine(load_model(inner, device=device), Tokenizer.load(inner), batch_size=batch_size)
        chat = read_chat_format(inner)
        return cls(engine, name=name or Path(folder).name, chat=chat, price=price, batch_size=batch_size)

    @property
    def identity(self) -> Mapping[str, object]:
        """Fingerprint of weights, shape, tokenizer and chat template."""
        return {"kind": "local", "model": self._identity}

    @property
    def n_params(self) -> int | None:
        """Parameters of the model."""
        return self.engine.model.config.n_params

    async def answer(self, request: Request, *, n: int = 1, first_sample: int = 0) -> list[Answer]:
        """Draws samples, in a batch with those of other requests.

        Without a seed, the prompt's hash is one: an answer is always the same. The engine cannot hold to a schema: what
        reads the answer has to check it, as with any teacher. Raises: RequestRefused for a prompt that leaves no room
        in the context.
        """
        sampling = _sampling(request, self.chat)
        prompt = self._prompt(request)
        seed = int(request.prompt_key, 16) if request.params.seed is None else request.params.seed
        loop = asyncio.get_running_loop()
        jobs = [
            _Job(
                prompt=prompt, seed=(seed + sample) % _MOST_SEED, sampling=sampling, answer=loop.create_future()
            )
            for sample in range(first_sample, first_sample + n)
        ]  # fmt: skip
        self._waiting += jobs
        if self._pump is None or self._pump.done():
            self._pump = loop.create_task(self._work(loop))
        try:
            answers = await asyncio.gather(*(job.answer for job in jobs))
        except BaseException:
            for job in jobs:
                job.answer.cancel()
            raise
        # The prompt is read once for all of its samples, as servers count it.
        return [answer if index == 0 else _without_prompt(answer) for index, answer in enumerate(answers)]

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Returns the means of the last states over each text's tokens, of length 1: (texts, d_model).

        Raises: RequestRefused for a text that is longer than the context.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _embed, self.engine, list(texts))

    async def aclose(self) -> None:
        """Drops what waits; a batch at work is waited for."""
        for job in self._waiting:
            job.answer.cancel()
        self._waiting = []
        if self._pump is not None and self._pump.get_loop() is asyncio.get_running_loop():
            await asyncio.gather(self._pump, return_exceptions=True)

    def _prompt(self, request: Request) -> str | list[int]:
        engine = self.engine
        prompt = request.prompt if request.prompt is not None else self.chat.encode(request.messages, engine.tokenizer)
        context = engine.model.config.context_length
        if isinstance(prompt, str):
            ids = engine.tokenizer.encode_ordinary(prompt)
            bos = engine.tokenizer.special_tokens.get(self.chat.bos_token)
            if not engine.separator and bos is not None:
                prompt = [bos, *ids]  # what this model's documents begin with
            length = len(engine.separator) + len(ids) if isinstance(prompt, str) else len(prompt)
        else:
            length = len(prompt)
        if not 0 < length < context:
            raise RequestRefused(f"The prompt has {length:,} tokens, and the context of {self.name} is {context:,}.")
        return prompt

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answers batch after batch until nothing waits."""
        await asyncio.sleep(GATHER_SECONDS)
        while self._waiting:
            self._waiting = [job for job in self._waiting if not job.answer.done()]
            if not self._waiting:
                return
            first = self._waiting[0]
            batch = [job for job in self._waiting if _fits(job, first)][: self.batch_size]
            chosen = {id(job) for job in batch}
            self._waiting = [job for job in self._waiting if id(job) not in chosen]
            self.batches.append(len(batch))
            try:
                answers = await loop.run_in_executor(self._thread, _draw, self.engine, self.name, batch)
            except DataError as error:
                _fail(batch, RequestRefused(error.message))
            except Exception as error:
                _fail(batch, error)
            else:
                for job, answer in zip(batch, answers, strict=True):
                    if not job.answer.done():
                        job.answer.set_result(answer)


def model_folder(folder: Path) -> Path:
    """Returns the folder of a model: `folder`, or `export` or `model` in it where a run or a training is named.

    Raises: DataError if there is none.
    """
    for name in _INSIDE:
        if any((folder / name / file).is_file() for file in _MODEL_FILES):
            return folder / name
    raise DataError(
        f"{folder} holds no model." if folder.exists() else f"There is no folder {folder}.",
        fix="Give the folder of an export, a training or a run; `tilth ls` lists what was run.",
    )


def _sampling(request: Request, chat: ChatFormat) -> _Sampling:
    params = request.params
    return _Sampling(
        params=SamplingParams(
            max_tokens=params.max_tokens,
            temperature=1.0 if params.temperature is None else params.temperature,
            top_k=params.top_k,
            top_p=1.0 if params.top_p is None else params.top_p,
            repetition_penalty=1.0 if params.repetition_penalty is None else params.repetition_penalty,
            stop_tokens=chat.stop_tokens,
        ),
        stop_texts=params.stop,
        n_logprobs=params.logprobs,
    )


def _fits(job: _Job, other: _Job) -> bool:
    """Whether two samples can share a batch: the engine heals text and takes ids as they are."""
    return job.sampling == other.sampling and isinstance(job.prompt, str) == isinstance(other.prompt, str)


def _fail(batch: Sequence[_Job], error: Exception) -> None:
    for job in batch:
        if not job.answer.done():
            job.answer.set_exception(error)


def _draw(engine: Engine, name: str, batch: Sequence[_Job]) -> list[Answer]:
    """Draws a batch; runs in the engine's thread."""
    sampling = batch[0].sampling
    completions = engine.generate(
        cast("list[str]", [job.prompt for job in batch]),  # or lists of ids, all of one kind: `_fits`
        sampling.params,
        seeds=[job.seed for job in batch],
        stop_texts=sampling.stop_texts,
    )
    return [_answer(engine, name, completion, sampling) for completion in completions]


def _answer(engine: Engine, name: str, completion: Completion, sampling: _Sampling) -> Answer:
    n = sampling.n_logprobs
    usage = Usage(prompt_tokens=len(completion.prompt_tokens), completion_tokens=len(completion.tokens))
    return Answer(
        text=completion.text,
        finish_reason=completion.finish_reason,
        usage=usage,
        logprobs=None if n is None else _logprobs(engine, completion, n),
        model=name,
    )


def _logprobs(engine: Engine, completion: Completion, n_top: int) -> tuple[TokenLogprob, ...]:
    """Of all tokens that were drawn, that which ended the answer included."""
    tops: list[tuple[tuple[str, float], ...]] = [()] * len(completion.tokens)
    if n_top:
        found = engine.probabilities(completion.prompt_tokens, completion.tokens, n_alternatives=n_top)
        tops = [
            tuple((_token(engine.tokenizer, token), float(np.log(max(p, 1e-45)))) for token, p in entry.alternatives)
            for entry in found
        ]
    return tuple(
        TokenLogprob(token=_token(engine.tokenizer, token), logprob=logprob, top=top)
        for token, logprob, top in zip(completion.tokens, completion.logprobs, tops, strict=True)
    )


def _token(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.decode([token])


def _without_prompt(answer: Answer) -> Answer:
    return replace(answer, usage=replace(answer.usage, prompt_tokens=0))


def _embed(engine: Engine, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Texts of like length go together, filled up on the right, where causal attention does not look."""
    import torch

    context = engine.model.config.context_length
    ids = [[*engine.separator, *engine.tokenizer.encode_ordinary(text)] for text in texts]
    for index, tokens in enumerate(ids):
        if not 0 < len(tokens) <= context:
            raise RequestRefused(f"Text {index} has {len(tokens):,} tokens; 1 to {context:,} can be embedded.")
    vectors = np.zeros((len(texts), engine.model.config.d_model), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda index: len(ids[index]))
    with torch.inference_mode():
        for start in range(0, len(order), engine.batch_size):
            rows = order[start : start + engine.batch_size]
            longest = max(len(ids[row]) for row in rows)
            filled = torch.tensor([ids[row] + [0] * (longest - len(ids[row])) for row in rows])
            states = engine.model.hidden(filled.to(engine.model.device)).float().cpu()
            for state, row in zip(states, rows, strict=True):
                mean = state[: len(ids[row])].mean(dim=0)
                vectors[row] = (mean / mean.norm().clamp(min=1e-12)).numpy()
    return vectors


def _identity(engine: Engine, chat: ChatFormat) -> str:
    """Returns the fingerprint of all that decides an answer: weights, shape, tokenizer, chat template."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(engine.model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    digest.update(canonical_json(engine.model.config).encode())
    digest.update(engine.tokenizer.fingerprint.encode())
    digest.update(repr(chat).encode())
    return digest.hexdigest()[:32]
