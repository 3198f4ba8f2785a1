"""What the request cache stores of an answer, as bytes: compact JSON, deflated where it is long; vectors as float32."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.teacher.request import Answer, TokenLogprob, Usage

DEFLATE_FROM = 1024
"""Bytes of JSON from which on it is deflated."""
_JSON, _DEFLATED, _VECTOR = b"J", b"Z", b"V"


def pack(value: Answer | npt.NDArray[np.float32]) -> bytes:
    """Returns an answer or a vector as bytes; the first one tells their form."""
    if not isinstance(value, Answer):
        return _VECTOR + np.ascontiguousarray(value, dtype="<f4").tobytes()
    fields: list[object] = [
        value.text,
        value.finish_reason,
        value.usage.prompt_tokens,
        value.usage.completion_tokens,
        int(value.usage.estimated),
        value.model,
    ]
    if value.logprobs is not None:
        fields.append([[each.token, each.logprob, each.top] for each in value.logprobs])
    # Half characters (surrogates) that a server sends as JSON escapes come back as they were.
    data = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return _JSON + data if len(data) < DEFLATE_FROM else _DEFLATED + zlib.compress(data, 1)


def unpack(body: bytes) -> Answer | npt.NDArray[np.float32]:
    """Returns what `pack` was given."""
    if body[:1] == _VECTOR:
        return np.frombuffer(body, dtype="<f4", offset=1).astype(np.float32)
    data = zlib.decompress(body[1:]) if body[:1] == _DEFLATED else body[1:]
    text, finish_reason, prompt_tokens, completion_tokens, estimated, model, *rest = _fields(data)
    usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, estimated=bool(estimated))
    return Answer(
        text=text,
        finish_reason=finish_reason,
        usage=usage,
        model=model,
        logprobs=_logprobs(rest[0]) if rest else None,
    )


def _fields(data: bytes) -> list[Any]:
    return json.loads(data.decode("utf-8", "surrogatepass"))


def _logprobs(rows: list[Any]) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(token=token, logprob=logprob, top=tuple((other, value) for other, value in top))
        for token, logprob, top in rows
    )
