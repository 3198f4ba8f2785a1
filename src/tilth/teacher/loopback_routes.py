"""What the loopback server understands and answers: the JSON of the OpenAI routes, over a script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from tilth.teacher.request import Answer, GenerationParams, Request, TokenLogprob
from tilth.teacher.script import count_words, hashed_embeddings
from tilth.types import Message

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
EMBEDDINGS, MODELS = "/v1/embeddings", "/v1/models"


class Refused(Exception):  # noqa: N818 (an answer, not a fault)
    """The server refuses a request: `status` and what the body says."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def read_request(path: str, body: bytes, *, model: str) -> tuple[Request, int]:
    """Returns the request and how many samples it asks for. Raises: Refused."""
    try:
        data = json.loads(body)
        if not isinstance(data, dict):
            raise Refused(400, "The body is not a JSON object.")
        fields = cast("dict[str, Any]", data)
        if fields.get("model") != model:
            raise Refused(404, f"The model `{fields.get('model')}` does not exist.")
        params, schema = _params(fields, chat=path == CHAT), _schema(fields)
        if path == CHAT:
            messages = tuple(Message(role=m["role"], content=_content(m["content"])) for m in fields["messages"])
            request = Request(messages=messages, params=params, schema=schema)
        else:
            request = Request(prompt=str(fields["prompt"]), params=params, schema=schema)
        return request, int(fields.get("n") or 1)
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(400, f"The body cannot be read: {type(error).__name__}.") from None


def with_seed(request: Request, seed: int | None) -> Request:
    """Returns the request with another seed."""
    return replace(request, params=replace(request.params, seed=seed))


def answer_body(path: str, answers: Sequence[Answer], *, model: str) -> dict[str, Any]:
    """Returns the body of an answer; `usage` counts the prompt once and all completions, as servers do."""
    prompt_tokens = answers[0].usage.prompt_tokens if answers else 0
    completion_tokens = sum(answer.usage.completion_tokens for answer in answers)
    choice = _chat_choice if path == CHAT else _completion_choice
    return {
        "id": "loopback",
        "object": "chat.completion" if path == CHAT else "text_completion",
        "created": 0,
        "model": model,
        "choices": [choice(index, answer) for index, answer in enumerate(answers)],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def embeddings_body(body: bytes, *, model: str) -> dict[str, Any]:
    """Returns the embeddings of the texts in `input`. Raises: Refused."""
    try:
        given = json.loads(body)["input"]
    except (ValueError, KeyError, TypeError):
        raise Refused(400, "The body has no `input`.") from None
    texts = [given] if isinstance(given, str) else [str(text) for text in given]
    data = [
        {"object": "embedding", "index": index, "embedding": vector.tolist()}
        for index, vector in enumerate(hashed_embeddings(texts))
    ]
    n_tokens = sum(count_words(text) for text in texts)
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    return {"object": "list", "model": model, "data": data, "usage": usage}


def models_body(models: Sequence[str]) -> dict[str, Any]:
    """Returns the list of models."""
    return {"object": "list", "data": [{"id": model, "object": "model", "owned_by": "tilth"} for model in models]}


def _params(fields: Mapping[str, Any], *, chat: bool) -> GenerationParams:
    stop = fields.get("stop") or ()
    logprobs = fields.get("logprobs")
    if chat:
        logprobs = int(fields.get("top_logprobs") or 0) if logprobs else None
    return GenerationParams(
        max_tokens=int(fields.get("max_tokens") or fields.get("max_completion_tokens") or 1024),
        temperature=fields.get("temperature"),
        top_p=fields.get("top_p"),
        top_k=fields.get("top_k"),
        repetition_penalty=fields.get("repetition_penalty", fields.get("repeat_penalty")),
        seed=fields.get("seed"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        logprobs=None if logprobs is None else int(logprobs),
    )


def _schema(fields: Mapping[str, Any]) -> Mapping[str, object] | None:
    """The schema by whichever of the servers' routes it comes."""
    response_format = fields.get("response_format") or {}
    kind = response_format.get("type")
    if kind == "json_schema":
        return response_format["json_schema"]["schema"]
    if kind in ("json_object", "json") and ("schema" in response_format or "value" in response_format):
        return response_format.get("schema") or response_format["value"]
    structured = fields.get("structured_outputs") or {}
    return structured.get("json") or fields.get("guided_json") or fields.get("json_schema")


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part["text"]) for part in cast("list[dict[str, Any]]", content))


def _chat_choice(index: int, answer: Answer) -> dict[str, Any]:
    logprobs = None
    if answer.logprobs is not None:
        logprobs = {"content": [{**_pair(t.token, t.logprob), "top_logprobs": _top(t)} for t in answer.logprobs]}
    message = {"role": "assistant", "content": answer.text}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}


def _completion_choice(index: int, answer: Answer) -> dict[str, Any]:
    logprobs = None
    if answer.logprobs is not None:
        logprobs = {
            "tokens": [token.token for token in answer.logprobs],
            "token_logprobs": [token.logprob for token in answer.logprobs],
            "top_logprobs": [dict(token.top) for token in answer.logprobs],
        }
    return {"index": index, "text": answer.text, "logprobs": logprobs, "finish_reason": answer.finish_reason}


def _top(token: TokenLogprob) -> list[dict[str, Any]]:
    return [_pair(name, logprob) for name, logprob in token.top]


def _pair(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
