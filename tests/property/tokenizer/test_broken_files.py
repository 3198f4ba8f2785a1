"""Whatever is done to a tokenizer's file, it loads or is refused: nothing but a TilthError escapes."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.errors import TilthError
from tilth.tokenizer import Tokenizer
from unit.tokenizer import model_files as files

byte_json = json.dumps(files.llama_json()).encode()
SAMPLES = {
    "tokenizer.model": files.model(),
    "x.tiktoken": files.ranks(),
    "tokenizer.json": byte_json,
}

edits = st.lists(
    st.tuples(
        st.floats(0, 1, allow_subnormal=False),
        st.sampled_from(["cut", "change", "insert", "drop", "repeat"]),
        st.binary(max_size=6),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for where, kind, new in changes:
        at = int(where * len(data))
        if kind == "cut":
            data = data[:at]
        elif kind == "change":
            data = data[:at] + new + data[at + len(new) :]
        elif kind == "insert":
            data = data[:at] + new + data[at:]
        elif kind == "drop":
            data = data[:at] + data[at + 1 + len(new) * 7 :]
        else:
            data = data[:at] + data[max(0, at - 40) :]
    return data


def loads_or_is_refused(path: Path) -> None:
    refusal = ""
    try:
        tokenizer = Tokenizer.load(path, pattern="gpt2" if path.suffix == ".tiktoken" else None)
        text = "the cat in 漢字 \n Q"
        assert isinstance(tokenizer.decode(tokenizer.encode(text, disallowed_special=())), str)
    except TilthError as error:
        refusal = str(error)
    assert not refusal or str(path) in refusal


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=300)
@given(changes=edits)
def test_edited_files(
    name: str, changes: list[tuple[float, str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(edited(SAMPLES[name], changes))
    loads_or_is_refused(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def places(content: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    items: list[tuple[str | int, object]] = []
    if isinstance(content, dict):
        items = list(content.items())[:6]
    elif isinstance(content, list):
        items = list(enumerate(content))[:3]
    for key, value in items:
        found += places(value, (*path, key))
    return found


PLACES = places(files.llama_json())


@settings(max_examples=400)
@given(place=st.sampled_from(PLACES), value=json_values)
def test_other_values_in_tokenizer_json(
    place: tuple[str | int, ...], value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = files.llama_json()
    holder: object = content
    for key in place[:-1]:
        holder = holder[key]  # pyright: ignore
    holder[place[-1]] = value  # pyright: ignore
    path = files.write_json(tmp_path_factory.getbasetemp() / "tokenizer.json", content)
    loads_or_is_refused(path)


@settings(max_examples=100)
@given(data=st.binary(max_size=60))
def test_any_bytes(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in SAMPLES:
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(data)
        loads_or_is_refused(path)
