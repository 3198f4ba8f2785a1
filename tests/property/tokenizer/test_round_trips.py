"""What holds for every text: nothing is lost, every way in gives the same ids, and the peers agree."""

import functools
from itertools import pairwise

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from tilth import native
from tilth.tokenizer import END_OF_TEXT, Tokenizer
from tilth.tokenizer.byte_level import BYTE_ORDER
from tilth.tokenizer.split import PATTERNS

SPECIAL = (END_OF_TEXT, "<a>", "<a><b>")
TRAINING = [
    "the cat in the hat's cat, don't we'll 123 4567\n\n  x = y;\t",
    "пример 漢字漢字 한글 été naïve \u3000",
    "aaaa" * 9,
]

any_text = st.text(st.characters(exclude_categories=["Cs"]))
awkward_text = st.lists(st.sampled_from([*" \n\r\t'sſlLvVeE1٣aé漢😀.\u0301\u00a0<>b", "<a>", END_OF_TEXT])).map("".join)
texts = st.one_of(any_text, awkward_text)


@functools.cache
def tokenizer(pattern: str) -> Tokenizer:
    return Tokenizer.train(TRAINING, vocab_size=330, pattern=pattern, special_tokens=SPECIAL)


patterns = pytest.mark.parametrize("pattern", [*PATTERNS, r"\w+|\s"])


@patterns
@given(text=texts)
def test_text_comes_back(pattern: str, text: str) -> None:
    ids = tokenizer(pattern).encode(text, allowed_special="all")
    assert tokenizer(pattern).decode(ids) == text


@patterns
@given(data=st.one_of(st.binary(), texts.map(str.encode), texts.map(lambda t: t.encode()[1:-1])))
def test_bytes_come_back(pattern: str, data: bytes) -> None:
    assert tokenizer(pattern).decode_bytes(tokenizer(pattern).encode_ordinary(data)) == data


@patterns
@given(text=st.text())
def test_every_way_in_gives_the_same_ids(pattern: str, text: str) -> None:
    t = tokenizer(pattern)
    ids = t.encode_ordinary(text)
    options = {"disallowed_special": ()}
    assert t.encode(text, **options) == ids
    assert t.encode_to_numpy(text, **options).tolist() == ids
    assert t.encode_batch([text, text], 2, **options) == [ids, ids]
    assert t.encode_ordinary(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()) == ids


@patterns
@given(text=texts)
def test_a_stream_joins_up_to_the_whole(pattern: str, text: str) -> None:
    t = tokenizer(pattern)
    ids = t.encode_ordinary(text)
    for cut in (ids, ids[1:], ids[:-1]):
        stream = t.stream_decoder()
        assert "".join([*map(stream.push, cut), stream.finish()]) == t.decode(cut)


@patterns
@given(text=awkward_text)
def test_special_tokens_cut_the_text(pattern: str, text: str) -> None:
    t = tokenizer(pattern)
    longest_first = "|".join(sorted(map(regex.escape, SPECIAL), key=len, reverse=True))
    expected: list[int] = []
    for part in regex.split(f"({longest_first})", text):
        expected += [t.special_tokens[part]] if part in t.special_tokens else t.encode_ordinary(part)
    assert t.encode(text, allowed_special="all") == expected


@given(text=awkward_text)
def test_pieces_are_those_of_the_regex(text: str) -> None:
    data = text.encode()
    for pattern, expression in PATTERNS.items():
        ends = native.piece_ends(text, pattern).tolist()
        pieces = [data[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]
        assert pieces == regex.findall(expression, text)


@given(st.text(st.sampled_from("abc"), max_size=400))
def test_short_and_long_pieces_merge_by_the_same_rule(text: str) -> None:
    # A merge at a time over the whole piece, as the definition says. The core has one
    # method up to 48 bytes and another beyond.
    t = tokenizer("llama3")
    assert t.vocabulary.merges is not None
    merged = {(left, right): 256 + rank for rank, (left, right) in enumerate(t.vocabulary.merges.tolist())}
    ids = [BYTE_ORDER.index(byte) for byte in text.encode()]
    while pairs := [(merged[p], i) for i, p in enumerate(pairwise(ids)) if p in merged]:
        token, i = min(pairs)
        ids[i : i + 2] = [token]
    assert t.encode(text) == ids
