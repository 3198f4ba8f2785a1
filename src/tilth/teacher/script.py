"""Scripts: deterministic functions that answer instead of a model, for tests and for trying a recipe offline."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tilth.errors import ConfigError
from tilth.teacher.request import Answer, FinishReason, GenerationParams, Request, TokenLogprob, Usage
from tilth.user_code import load_object

Script = Callable[[Request, int], str]
"""Takes a request and the number of the sample, from 0; equal arguments must give equal text."""
EMBEDDING_DIMENSIONS = 64
_TOKEN = re.compile(r"\s*\S+\s*\Z|\s*\S+")
_OVER_LONG = 20
"""An over-long answer has so many times the tokens that were asked for."""


def prompt_text(request: Request) -> str:
    """Returns what a request says: its prompt, or the contents of its messages."""
    return request.prompt if request.prompt is not None else "\n".join(m.content for m in request.messages)


def answer_of(script: Script, request: Request, sample: int, *, model: str = "") -> Answer:
    """Has a script answer, and cuts its text at the stop texts and at `max_tokens` words, as a server would."""
    text, reason = cut(script(request, sample), request.params)
    tokens = _TOKEN.findall(text)
    # A model that says nothing has still written the token that ends the answer.
    usage = Usage(prompt_tokens=count_words(prompt_text(request)), completion_tokens=max(len(tokens), 1))
    logprobs = None if request.params.logprobs is None else _logprobs(tokens, request.params.logprobs)
    return Answer(text=text, finish_reason=reason, usage=usage, logprobs=logprobs, model=model)


def over_long(answer: Answer, params: GenerationParams) -> Answer:
    """Returns an answer far beyond `max_tokens`, as of a server that does not hold to it."""
    n = _OVER_LONG * params.max_tokens + 100
    text = " ".join([answer.text, *["again"] * n])
    usage = Usage(prompt_tokens=answer.usage.prompt_tokens, completion_tokens=answer.usage.completion_tokens + n)
    return Answer(text=text, finish_reason="stop", usage=usage, model=answer.model)


def cut(text: str, params: GenerationParams) -> tuple[str, FinishReason]:
    """Cuts a text where its first stop text begins, or behind `max_tokens` words."""
    found = [at for stop in params.stop if (at := text.find(stop)) >= 0]
    stopped = text[: min(found)] if found else text
    tokens = _TOKEN.findall(stopped)
    if len(tokens) > params.max_tokens:
        return "".join(tokens[: params.max_tokens]), "length"
    return stopped, "stop"


def count_words(text: str) -> int:
    """Counts the tokens of a script's world: words with the space before them."""
    return len(_TOKEN.findall(text))


def hashed_embeddings(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Returns unit vectors, (texts, EMBEDDING_DIMENSIONS): words hashed to dimensions and signs."""
    vectors = np.zeros((len(texts), EMBEDDING_DIMENSIONS), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in re.findall(r"\w+", text.lower()):
            digest = _number(word)
            vectors[row, digest % EMBEDDING_DIMENSIONS] += 1.0 if digest >> 32 & 1 else -1.0
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)


def echo(request: Request, sample: int) -> str:
    """Writes sentences of the prompt's own words, each followed by a word that follows it there; with a schema, JSON.

    It shows a chain at work without a model; what it says means nothing.
    """
    rng = random.Random(_number(f"{request.prompt_key}/{request.params.seed}/{sample}"))
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", request.prompt if request.prompt is not None else _last(request))
    words = words or ["nothing"]
    if request.schema is not None:
        return json.dumps(_instance(request.schema, words, rng), ensure_ascii=False)
    after: dict[str, list[str]] = defaultdict(list)
    for word, following in pairwise(words):
        after[word.lower()].append(following)
    sentences: list[str] = []
    for _ in range(rng.randint(8, 14)):
        word = rng.choice(words)
        sentence = [word]
        for _ in range(rng.randint(6, 16)):
            # One in four words is any of the prompt's, so that the text is no copy of it.
            follow = after[word.lower()] if after[word.lower()] and rng.random() > 0.25 else words
            word = rng.choice(follow)
            sentence.append(word)
        sentences.append(" ".join(sentence).capitalize() + ".")
    return " ".join(sentences)


BUILT_IN_SCRIPTS: dict[str, Script] = {"echo": echo}


def load_script(spec: str) -> tuple[Script, str]:
    """Returns a built-in script by its name, or `FILE.py:function`, and the revision of what was loaded.

    Raises: ConfigError for what is no function.
    """
    if spec in BUILT_IN_SCRIPTS:
        return BUILT_IN_SCRIPTS[spec], "1"
    if ":" not in spec:
        raise ConfigError(
            f"There is no script `{spec}`.", fix=f"Give {', '.join(BUILT_IN_SCRIPTS)}, or `path/to/file.py:function`."
        )
    found = load_object(spec)
    if not callable(found):
        raise ConfigError(f"`{spec}` is no function.", fix="A script is `def answer(request, sample) -> str`.")
    file = Path(spec.rpartition(":")[0])
    revision = hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""
    return cast("Script", found), revision


def _last(request: Request) -> str:
    return request.messages[-1].content


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _logprobs(tokens: Sequence[str], n_top: int) -> tuple[TokenLogprob, ...]:
    """Made-up log-probabilities: each token has the same everywhere."""
    made: list[TokenLogprob] = []
    for token in tokens:
        logprob = -0.01 * (1 + _number(token) % 300)
        others = ((f"{token}{i}", logprob - i) for i in range(1, n_top))
        made.append(TokenLogprob(token=token, logprob=logprob, top=((token, logprob), *others) if n_top else ()))
    return tuple(made)


def _instance(schema: Mapping[str, object], words: Sequence[str], rng: random.Random) -> Any:
    """Returns a small value that follows a schema, of the keywords that schemas for answers mostly have."""
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "anyOf", "oneOf"):
        if key in schema:
            choice = rng.choice(cast("list[Any]", schema[key]))
            return choice if key == "enum" else _instance(choice, words, rng)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = cast("list[str]", kind)[0]
    if kind == "object":
        properties = cast("Mapping[str, Mapping[str, object]]", schema.get("properties", {}))
        return {name: _instance(inner, words, rng) for name, inner in properties.items()}
    if kind == "array":
        least = int(cast("int", schema.get("minItems", 2)))
        items = cast("Mapping[str, object]", schema.get("items", {"type": "string"}))
        return [_instance(items, words, rng) for _ in range(least)]
    if kind in ("integer", "number"):
        low = int(cast("float", schema.get("minimum", 0)))
        return rng.randint(low, int(cast("float", schema.get("maximum", low + 5))))
    if kind == "boolean":
        return rng.random() < 0.5
    return None if kind == "null" else " ".join(rng.choice(words) for _ in range(6))
