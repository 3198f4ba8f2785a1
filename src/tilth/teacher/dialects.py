"""How servers name what OpenAI's API lacks, by their documented routes; what one does not have is refused.

vLLM 0.33: the fields of its `entrypoints/openai/*/protocol.py`. llama.cpp: `tools/server/README.md`. TGI:
`router/src/lib.rs` (`n` is marked unused, a chat has neither top_k nor a repetition penalty). TensorRT-LLM:
`serve/openai_protocol.py`, after vLLM's. Ollama: `docs/openai.md` (no `n`, no top_k).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from tilth.errors import ConfigError
from tilth.teacher.request import GenerationParams, Request

Route = Literal["chat", "completions"]
DialectName = Literal["openai", "vllm", "llama.cpp", "tgi", "tensorrt-llm", "ollama"]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What a kind of server understands beside OpenAI's API."""

    name: DialectName
    top_k: str | None = None
    """Name of the field; None: it has none."""
    repetition_penalty: Mapping[Route, str] = field(default_factory=dict[Route, str])
    """Name of the field by route."""
    schema: Mapping[Route, Literal["json_schema", "json", "json_schema_field"]]
    """How a JSON schema goes by route: `response_format` of OpenAI's form or of `{"type": "json", ...}`, or a field
    `json_schema`."""
    draws_several: bool = True
    """Whether it knows `n`; where it does not, each sample is a request of its own."""


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(name="openai", schema={"chat": "json_schema"}),
        Dialect(
            name="vllm",
            top_k="top_k",
            repetition_penalty={"chat": "repetition_penalty", "completions": "repetition_penalty"},
            schema={"chat": "json_schema", "completions": "json_schema"},
        ),
        Dialect(
            name="llama.cpp",
            top_k="top_k",
            repetition_penalty={"chat": "repeat_penalty", "completions": "repeat_penalty"},
            schema={"chat": "json_schema", "completions": "json_schema_field"},
            draws_several=False,
        ),
        Dialect(
            name="tgi",
            repetition_penalty={"completions": "repetition_penalty"},
            schema={"chat": "json"},
            draws_several=False,
        ),
        Dialect(
            name="tensorrt-llm",
            top_k="top_k",
            repetition_penalty={"chat": "repetition_penalty", "completions": "repetition_penalty"},
            schema={"chat": "json_schema", "completions": "json_schema"},
        ),
        Dialect(name="ollama", schema={"chat": "json_schema"}, draws_several=False),
    )
}


DIALECT_OF_OWNER: dict[str, DialectName] = {
    "vllm": "vllm",
    "llamacpp": "llama.cpp",
    "tensorrt_llm": "tensorrt-llm",
    "library": "ollama",
    "tilth": "vllm",
}
"""Who owns a server's models, as `/v1/models` says -> its dialect. The loopback server takes vLLM's fields."""


def dialect_named(name: str) -> Dialect:
    """Returns a dialect. Raises: ConfigError for an unknown name."""
    if name not in DIALECTS:
        raise ConfigError(f"There is no dialect `{name}`.", fix=f"Give one of {', '.join(DIALECTS)}.")
    return DIALECTS[name]


def body_of(
    request: Request, dialect: Dialect, *, model: str, n: int, seed: int | None, completion_limit: str
) -> dict[str, Any]:
    """Returns the JSON body of a request. `completion_limit` is what the server calls `max_tokens` in a chat.

    Raises: ConfigError for a parameter that the server has no field for.
    """
    params, route = request.params, route_of(request)
    body: dict[str, Any] = {"model": model}
    if route == "chat":
        body["messages"] = [{"role": message.role, "content": message.content} for message in request.messages]
    else:
        body["prompt"] = request.prompt
    body[completion_limit if route == "chat" else "max_tokens"] = params.max_tokens
    if n > 1:
        body["n"] = n
    if seed is not None:
        body["seed"] = seed
    if params.temperature is not None:
        body["temperature"] = params.temperature
    if params.top_p is not None:
        body["top_p"] = params.top_p
    if params.stop:
        body["stop"] = list(params.stop)
    if params.logprobs is not None:
        body |= _logprobs(params.logprobs, route)
    if params.top_k is not None or params.repetition_penalty is not None:
        body |= _extras(params, dialect, route)
    if request.schema is not None:
        body |= _schema(request.schema, dialect, route)
    return body


def needs_more(request: Request) -> bool:
    """Whether a request has what OpenAI's API has no field for."""
    params = request.params
    more = params.top_k is not None or params.repetition_penalty is not None
    return more or (request.schema is not None and request.prompt is not None)


def route_of(request: Request) -> Route:
    """Which route a request takes."""
    return "chat" if request.prompt is None else "completions"


def _logprobs(n_top: int, route: Route) -> dict[str, Any]:
    if route == "completions":
        return {"logprobs": max(n_top, 1)}  # llama.cpp and TensorRT-LLM send none at all for 0
    return {"logprobs": True, "top_logprobs": n_top} if n_top else {"logprobs": True}


def _extras(params: GenerationParams, dialect: Dialect, route: Route) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    if params.top_k is not None:
        extras[_known(dialect.top_k, "top_k", dialect, route)] = params.top_k
    if params.repetition_penalty is not None:
        named = dialect.repetition_penalty.get(route)
        extras[_known(named, "repetition_penalty", dialect, route)] = params.repetition_penalty
    return extras


def _schema(schema: Mapping[str, object], dialect: Dialect, route: Route) -> dict[str, Any]:
    form = _known(dialect.schema.get(route), "schema", dialect, route)
    if form == "json_schema_field":
        return {"json_schema": dict(schema)}
    if form == "json":
        return {"response_format": {"type": "json", "value": dict(schema)}}
    # OpenAI refuses `strict` for schemas that leave anything open; without it the schema is a wish.
    stated = {"name": "answer", "schema": dict(schema), "strict": is_closed(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": stated}}


def is_closed(schema: object) -> bool:
    """Whether all objects of a schema require all their properties and allow no others, as `strict` demands."""
    if isinstance(schema, list):
        return all(is_closed(item) for item in cast("list[object]", schema))
    if not isinstance(schema, Mapping):
        return True
    fields = cast("Mapping[str, object]", schema)
    if fields.get("type") == "object" or "properties" in fields:
        properties = cast("Mapping[str, object]", fields.get("properties", {}))
        required = cast("list[str]", fields.get("required", []))
        if fields.get("additionalProperties") is not False or set(required) != set(properties):
            return False
        if not all(is_closed(inner) for inner in properties.values()):
            return False
    return all(is_closed(inner) for key, inner in fields.items() if key not in ("properties", "enum", "const"))


def _known(named: str | None, parameter: str, dialect: Dialect, route: Route) -> str:
    if named is not None:
        return named
    others = [other.name for other in DIALECTS.values() if _field(other, parameter, route)]
    raise ConfigError(
        f"`{parameter}` is set, and the API of `{dialect.name}` has no field for it in {route}.",
        fix=f"Leave it out, or name the server's dialect if it is another ({', '.join(others)}): "
        "`dialect = ...` in teachers.toml.",
    )


def _field(dialect: Dialect, parameter: str, route: Route) -> str | None:
    if parameter == "top_k":
        return dialect.top_k
    return (dialect.repetition_penalty if parameter == "repetition_penalty" else dialect.schema).get(route)
