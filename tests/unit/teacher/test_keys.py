"""A key changes if and only if one of its parts changes."""

from __future__ import annotations

from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.teacher.keys import RequestKeys, embedding_key, identity_text
from tilth.teacher.request import GenerationParams, Request
from tilth.types import Message

PARAMS = GenerationParams(temperature=0.5, top_p=0.9, top_k=5, repetition_penalty=1.1, seed=3, stop=("a",), logprobs=1)
REQUEST = Request(messages=(Message(role="user", content="ab"),), params=PARAMS, schema={"type": "object"})
IDENTITY = identity_text({"kind": "http", "model": "m"})
OTHERS: dict[str, Any] = {
    "max_tokens": 7,
    "temperature": 0.6,
    "top_p": 0.8,
    "top_k": 6,
    "repetition_penalty": 1.2,
    "seed": 4,
    "stop": ("a", "b"),
    "logprobs": 2,
}


def exact(request: Request, identity: str = IDENTITY, sample: int = 0) -> bytes:
    return RequestKeys(identity, request).exact(sample)


def prompt(request: Request, identity: str = IDENTITY) -> bytes:
    return RequestKeys(identity, request).prompt


def test_every_parameter_is_in_the_exact_key_and_only_the_seed_in_the_prompts() -> None:
    assert set(OTHERS) == {each.name for each in fields(GenerationParams)}
    changed = [replace(REQUEST, params=replace(PARAMS, **{name: value})) for name, value in OTHERS.items()]
    keys = [exact(request) for request in changed]
    assert len({exact(REQUEST), *keys}) == len(OTHERS) + 1
    others = {name: prompt(request) for name, request in zip(OTHERS, changed, strict=True)}
    assert others.pop("seed") != prompt(REQUEST)
    assert set(others.values()) == {prompt(REQUEST)}


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, messages=(Message(role="system", content="ab"),)),
        replace(REQUEST, messages=(Message(role="user", content="abc"),)),
        replace(REQUEST, messages=(Message(role="user", content="a"), Message(role="user", content="b"))),
        replace(REQUEST, messages=(), prompt="ab"),
        replace(REQUEST, schema=None),
        replace(REQUEST, schema={"type": "array"}),
    ],
)
def test_prompt_and_schema_are_in_both_keys(other: Request) -> None:
    assert exact(other) != exact(REQUEST)
    assert prompt(other) != prompt(REQUEST)


def test_teacher_and_sample() -> None:
    other = identity_text({"kind": "http", "model": "other"})
    assert exact(REQUEST, other) != exact(REQUEST)
    assert prompt(REQUEST, other) != prompt(REQUEST)
    assert len({exact(REQUEST, sample=sample) for sample in range(100)}) == 100


def test_equal_requests_have_equal_keys() -> None:
    same = Request(
        messages=(Message(role="user", content="ab"),),
        params=replace(PARAMS, top_k=5),
        schema=MappingProxyType({"type": "object"}),
    )
    assert exact(same, identity_text({"model": "m", "kind": "http"})) == exact(REQUEST)
    warm = [replace(REQUEST, params=replace(PARAMS, temperature=value)) for value in (1, 1.0)]
    assert exact(warm[0]) == exact(warm[1])


def test_a_key_stays_what_it_is() -> None:
    """Caches outlive versions: whoever changes this makes all answers of before be paid for again."""
    request = Request(messages=(Message(role="user", content="ab"),), params=GenerationParams(temperature=0.5))
    assert exact(request).hex()[:16] == "dabb86d70dd54f72"
    assert prompt(request).hex()[:16] == "be5feb18ecb4d3ac"
    assert embedding_key(IDENTITY, "ab").hex()[:16] == "648d7a541e375e2d"


texts = st.text(alphabet=st.characters(exclude_categories=()), max_size=6)


@given(texts, texts, texts, texts)
def test_different_texts_have_different_keys(system: str, user: str, other_system: str, other_user: str) -> None:
    """Half characters, too, and wherever a text ends."""
    one, other = (
        Request(messages=(Message(role="system", content=a), Message(role="user", content=b)))
        for a, b in ((system, user), (other_system, other_user))
    )
    assert (exact(one) == exact(other)) == ((system, user) == (other_system, other_user))


def test_half_characters_are_not_the_whole_one() -> None:
    assert embedding_key(IDENTITY, "\ud83d\ude00") != embedding_key(IDENTITY, "\U0001f600")
