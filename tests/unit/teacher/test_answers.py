"""What a server may send where a number or a text is expected: read, or a `BadAnswer`, and nothing else."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tilth.teacher.answers import error_message, read_answers, read_embeddings
from tilth.teacher.cache_rows import pack, unpack
from tilth.teacher.faults import BadAnswer
from tilth.teacher.request import GenerationParams, Request
from tilth.types import Message

REQUEST = Request(prompt="y" * 20, params=GenerationParams(max_tokens=50))


def body(usage: str = "null", **fields: Any) -> bytes:
    choice = json.dumps({"text": "x" * 40, "finish_reason": "stop"} | fields)
    return f'{{"choices": [{choice}], "usage": {usage}}}'.encode()


@pytest.mark.parametrize("tokens", ["-5", "Infinity", "-Infinity", "1e300", "1" + "0" * 400])
def test_a_count_that_can_be_none_is_estimated(tokens: str) -> None:
    for usage in (
        f'{{"prompt_tokens": {tokens}, "completion_tokens": 10}}',
        f'{{"prompt_tokens": 5, "completion_tokens": {tokens}}}',
    ):
        (got,) = read_answers(body(usage), REQUEST)
        assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.estimated) == (5, 10, True)


@pytest.mark.parametrize(
    "sent",
    [
        body('{"prompt_tokens": NaN, "completion_tokens": 1}'),
        body(index=float("inf")),
        body(logprobs={"content": [{"token": "a", "logprob": 10**400}]}),
        body(logprobs={"content": [{"token": "a", "logprob": float("inf")}]}),
    ],
)
def test_other_numbers_that_can_be_none_make_no_answer(sent: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_answers(sent, replace(REQUEST, params=GenerationParams(logprobs=1)))


@pytest.mark.parametrize("row", ['{"index": Infinity, "embedding": [1]}', '{"index": 0, "embedding": [1e300]}'])
def test_embeddings_of_no_finite_numbers(row: str) -> None:
    for sent in (row, '{"index": 0, "embedding": [1' + "0" * 400 + "]}", '{"index": 0, "embedding": []}'):
        with pytest.raises(BadAnswer):
            read_embeddings(f'{{"data": [{sent}]}}'.encode(), 1)


def test_an_error_that_is_nested_too_deep_is_shown_as_it_is() -> None:
    assert error_message(b"[" * 100_000) == ("[" * 200, "")


def test_halves_of_characters_and_parts_without_text() -> None:
    sent = json.dumps(
        {"choices": [{"message": {"content": [{"text": "a\ud83d\0"}, {"text": None}]}}], "model": "\ud83d"}
    )
    (got,) = read_answers(sent.encode(), Request(messages=(Message(role="user", content="Go on."),)))
    assert (got.text, got.model) == ("a\ufffd\0", "\ufffd")
    assert unpack(pack(got)) == got
