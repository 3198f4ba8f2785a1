"""Keys of the request cache: SHA-256 of all that decides an answer.

Of a request that is the teacher's identity, the rendered prompt, the schema, the sampling parameters and the number of
the sample. A parameter that is None or empty is left out, so that a new option leaves the keys of old answers alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import cast

from tilth.teacher.request import GenerationParams, Request


def identity_text(identity: Mapping[str, object]) -> str:
    """Returns a teacher's identity as JSON text, with sorted keys."""
    return json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)


class RequestKeys:
    """Keys of the samples of one request."""

    __slots__ = ("_exact", "_prompt")

    def __init__(self, identity: str, request: Request) -> None:
        """`identity` is what `identity_text` returned."""
        prompt = _json(
            [
                [[message.role, message.content] for message in request.messages],
                request.prompt,
                # In the order of its keys: servers generate the properties in this order.
                request.schema,
            ]
        )
        self._prompt = _hash("prompt", identity, prompt, _json(request.params.seed))
        self._exact = _hash("request", identity, prompt, _json(_stated(request.params)))

    def exact(self, sample: int) -> bytes:
        """Key of a sample of this very request, 32 bytes."""
        return hashlib.sha256(b"%s:%d" % (self._exact, sample)).digest()

    @property
    def prompt(self) -> bytes:
        """Key of the prompt with its seed, whatever the other parameters are, 32 bytes.

        The seed tells draws apart: a recipe that asks one prompt for each of many documents wants many answers.
        """
        return self._prompt


def embedding_key(identity: str, text: str) -> bytes:
    """Key of the embedding of a text, 32 bytes."""
    return _hash("embedding", identity, text)


def _stated(params: GenerationParams) -> dict[str, object]:
    """The parameters that are set; 1 and 1.0 are one number."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in vars(params).items()
        if value is not None and value != ()
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _hash(*parts: str) -> bytes:
    # Lengths before the parts: no two lists of parts give the same bytes. Half characters (surrogates) are kept apart.
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.digest()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    raise TypeError(f"a {type(value).__name__} cannot be part of a request")
