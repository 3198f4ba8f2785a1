"""From the JSON of a server's answer to `Answer`s: choices, usage, log-probabilities, embeddings."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tilth.teacher.faults import BadAnswer
from tilth.teacher.request import Answer, FinishReason, Request, TokenLogprob, Usage

_BYTES_PER_TOKEN = 4
"""What an estimate goes by where a server counts nothing."""
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "eos_token": "stop",  # TGI
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "model_length": "length",  # Mistral: the context is full
    "max_tokens": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
}
"""Servers' reasons, in lower case."""
_BROKEN_OFF = ("abort", "cancelled", "error", "insufficient_system_resource")
"""Reasons of an answer that the server itself gave up: vLLM's, Mistral's and OpenRouter's, DeepSeek's."""
_MOST_CHARACTERS_PER_TOKEN = 64
_MOST_TOKENS = 1 << 31
"""A usage from here on is no count."""
_WRONG_FORM = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What reading raises where values are not of the API's form; `int` of an infinity overflows."""


def read_answers(body: bytes, request: Request) -> list[Answer]:
    """Returns the choices of an answer in their order.

    Their usages add up to the server's, which counts the prompt once: it is the first answer's. How the completion
    tokens fall to several choices, servers do not say: they are divided by length.
    Of several, those from one on that the server broke off are left out.
    Raises: BadAnswer for what is no answer of the API, has no text, or is far longer than was asked for.
    """
    data = _object(body)
    raw_choices = data.get("choices")
    if not isinstance(raw_choices, list) or not raw_choices:
        said = error_message(body)[0]
        raise BadAnswer(f"The answer has no choices: {said}" if said else "The answer has no choices.")
    choices = cast("list[dict[str, Any]]", raw_choices)
    try:
        choices.sort(key=lambda choice: int(choice.get("index") or 0))
        texts = [_text(choice, request) for choice in choices]
        wanted = request.params.logprobs is not None  # else some servers send them anyway, in forms of their own
        logprobs = [_read_logprobs(choice.get("logprobs")) if wanted else None for choice in choices]
        reasons = [str(choice.get("finish_reason")).lower() for choice in choices]
        usages = _usages(data.get("usage"), texts, logprobs, request)
    except _WRONG_FORM as error:
        raise BadAnswer(f"The answer is not of the API's form ({type(error).__name__}).") from None
    model = _storable(str(data.get("model") or ""))
    answers = [
        Answer(
            text=text,
            finish_reason=_REASONS.get(reason, "unknown"),
            usage=usage,
            logprobs=tokens,
            model=model,
        )
        for text, reason, usage, tokens in zip(texts, reasons, usages, logprobs, strict=True)
    ]
    whole = next((i for i, reason in enumerate(reasons) if reason in _BROKEN_OFF), len(reasons))
    try:
        if not whole:
            raise BadAnswer(f"The server broke the answer off (`{reasons[0]}`).")
        _check_lengths(answers, request, _reasoning_tokens(data.get("usage")))
    except BadAnswer as fault:
        fault.usage = _sum(usages)
        raise
    return answers[:whole]  # the others are asked for again


def read_embeddings(body: bytes, n: int) -> npt.NDArray[np.float32]:
    """Returns embeddings in the order of their texts. Raises: BadAnswer if there are not `n` of one length."""
    try:
        rows = cast("list[dict[str, Any]]", _object(body)["data"])
        rows.sort(key=lambda row: int(row["index"]))
        if [row["index"] for row in rows] != list(range(n)):
            raise BadAnswer(f"{len(rows)} embeddings came back for {n} texts.")
        with np.errstate(over="ignore"):  # too large for a float32 is infinite, which is refused below
            vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    except _WRONG_FORM as error:
        raise BadAnswer(f"The answer holds no embeddings ({type(error).__name__}).") from None
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise BadAnswer("The embeddings are not vectors of finite numbers.")
    return vectors


def read_models(body: bytes) -> dict[str, str]:
    """Returns the names of a server's models -> who owns them, where vLLM and llama.cpp name themselves.

    Raises: BadAnswer.
    """
    try:
        return {str(model["id"]): str(model.get("owned_by", "")) for model in _object(body)["data"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise BadAnswer(f"The answer lists no models ({type(error).__name__}).") from None


def error_message(body: bytes) -> tuple[str, str]:
    """Returns what an error says and its code, as far as it has the form of OpenAI's, TGI's, FastAPI's or Google's."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return body[:200].decode("utf-8", "replace").strip(), ""
    if isinstance(data, list) and data:  # Google's
        data = cast("list[Any]", data)[0]
    fields = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    error: Any = fields.get("error", fields.get("detail", fields.get("message", "")))
    if isinstance(error, dict):
        inner = cast("dict[str, Any]", error)
        return str(inner.get("message", ""))[:500], str(inner.get("code") or inner.get("type") or "")
    return str(error)[:500], str(fields.get("error_type", ""))


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswer("The answer is not JSON.") from None
    if not isinstance(data, dict):
        raise BadAnswer("The answer is not a JSON object.")
    return cast("dict[str, Any]", data)


def _text(choice: dict[str, Any], request: Request) -> str:
    content = choice["text"] if request.prompt is not None else choice["message"].get("content")
    if content is None and request.prompt is None:
        content = choice["message"].get("refusal")
    if isinstance(content, list):
        content = "".join(map(_part, cast("list[Any]", content)))
    if content is not None and not isinstance(content, str):
        raise TypeError("content is not text")
    return _storable(content or "")


def _storable(text: str) -> str:
    """Half a surrogate pair has no UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _part(part: Any) -> str:
    """The text of one part of a content; thoughts and references are none."""
    if isinstance(part, str):
        return part
    return part.get("text") or "" if part.get("type", "text") in ("text", "output_text") else ""


def _read_logprobs(logprobs: Any) -> tuple[TokenLogprob, ...] | None:
    """Reads the chat's form or the completions'; some servers give the chat's on both routes."""
    if not logprobs:
        return None
    if logprobs.get("content") is not None:
        return tuple(
            TokenLogprob(
                token=str(entry["token"]),
                logprob=_number(entry["logprob"]),
                top=tuple((str(t["token"]), _number(t["logprob"])) for t in entry.get("top_logprobs") or ()),
            )
            for entry in logprobs["content"]
        )
    tokens, values = logprobs.get("tokens") or [], logprobs.get("token_logprobs") or []
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        TokenLogprob(
            token=str(token),
            logprob=_number(value),
            top=tuple((str(name), _number(logprob)) for name, logprob in (top or {}).items()),
        )
        for token, value, top in zip(tokens, values, tops, strict=True)
    )


def _number(value: Any) -> float:
    number = float(value)
    if math.isnan(number) or number == math.inf:
        raise ValueError(f"a log-probability is {number}")
    return number


def _usages(
    usage: Any, texts: Sequence[str], logprobs: Sequence[tuple[TokenLogprob, ...] | None], request: Request
) -> list[Usage]:
    counts = cast("dict[str, Any]", usage or {})
    prompt, completion = _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))
    estimated = prompt is None or completion is None
    sizes = [
        len(tokens) if tokens else -(-len(text.encode()) // _BYTES_PER_TOKEN)
        for text, tokens in zip(texts, logprobs, strict=True)
    ]
    if prompt is None:
        said = [request.prompt] if request.prompt is not None else [m.content for m in request.messages]
        prompt = sum(-(-len(text.encode()) // _BYTES_PER_TOKEN) for text in said)
    shares = sizes if completion is None else _divided(completion, sizes)
    return [
        Usage(prompt_tokens=0 if index else prompt, completion_tokens=share, estimated=estimated)
        for index, share in enumerate(shares)
    ]


def _count(value: Any) -> int | None:
    """A number of tokens; None for what cannot be one, which would give money back or spend all of it."""
    count = None if value is None or value in (math.inf, -math.inf) else int(value)
    return count if count is not None and 0 <= count < _MOST_TOKENS else None


def _reasoning_tokens(usage: Any) -> int:
    """Tokens of thoughts, which some servers do not count against `max_tokens`."""
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None  # pyright: ignore
    found: Any = cast("dict[str, Any]", details).get("reasoning_tokens") if isinstance(details, dict) else None
    return found if isinstance(found, int) and found > 0 else 0


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        estimated=any(usage.estimated for usage in usages),
    )


def _divided(total: int, sizes: Sequence[int]) -> list[int]:
    """Divides a total in proportion to sizes, to the last token."""
    if len(sizes) == 1:
        return [total]
    weights = [size + 1 for size in sizes]  # each answer has an end, too
    ends = [total * sum(weights[: i + 1]) // sum(weights) for i in range(len(weights))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _check_lengths(answers: Sequence[Answer], request: Request, reasoning_tokens: int) -> None:
    most = request.params.max_tokens
    total = sum(answer.usage.completion_tokens for answer in answers) - reasoning_tokens
    for answer in answers:
        # A model that has nothing to say still writes the token that ends its answer.
        if not answer.text and answer.usage.completion_tokens == 0 and answer.finish_reason != "content_filter":
            raise BadAnswer("The answer has no text.")
        if len(answer.text) > _MOST_CHARACTERS_PER_TOKEN * (most + 64):
            raise BadAnswer(f"The answer has {len(answer.text):,} characters, where {most:,} tokens were asked for.")
    if total > len(answers) * (2 * most + 64):
        raise BadAnswer(f"The answer has {total:,} tokens, where {len(answers)} times {most:,} were asked for.")
