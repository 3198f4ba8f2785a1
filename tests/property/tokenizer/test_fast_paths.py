"""The fast ways give what the plain ones give: instruction sets, caches, threads, cuts, arrays."""

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth import native
from tilth.tokenizer import Tokenizer
from tilth.tokenizer.bpe import Bpe
from tilth.tokenizer.split import PATTERNS

BITS = [
    *"aAsStTlLvVeErRdDmM019 \n\r\t.,!-_/'\"",
    *["  ", "    ", "\n\n", "\r\n", "'s", "'LL", "'re", "//", ".\n", ";\n    ", "\n  \n"],
    *[
        "word",
        " Word",
        "WORD",
        "camelCase",
        "1234567",
        "é",
        "漢字",
        " 漢",
        "ſ",
        "\u0301",
        "\u00a0",
        "\u3000",
        "😀",
        "Ǆ",
        *["，", "。", "「漢", "“", "’s", "—", "カナ", "ー", "・", "한국", "слово", " Слово", "naïve", "Ünü", "×", "÷"],
        *["हिन्दी", "עִבְרִית", " اَلْعَرَبِيَّة", "ไทย", "Việt", "Ελλάδα", "٣", "½", "\u2028", "ǅ", "ƿ", "𝒜"],
    ],
]
window_text = st.lists(st.sampled_from(BITS), max_size=120).map("".join)
FAST = [name for name in native.instruction_sets().split() if name != "scalar"]


@pytest.fixture(params=FAST or ["scalar"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param
    native.use_instruction_set(native.instruction_sets().split()[0])


def ends(text: str | bytes, pattern: str, instructions: str) -> list[int]:
    native.use_instruction_set(instructions)
    return native.piece_ends(text, pattern).tolist()


@given(text=window_text, shift=st.integers(0, 70))
@settings(max_examples=400)
def test_windows_cut_like_the_scalar_code(text: str, shift: int) -> None:
    data = ("x" * shift + text).encode()
    for pattern in PATTERNS:
        expected = ends(data, pattern, "scalar")
        for instructions in FAST:
            assert ends(data, pattern, instructions) == expected, (pattern, instructions)
    native.use_instruction_set(native.instruction_sets().split()[0])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_long_random_text_is_cut_alike(pattern: str, instruction_set: str) -> None:
    rng = random.Random(5)
    for weight in (1, 30):  # of ASCII
        weights = [weight if bit.isascii() else 1 for bit in BITS]
        text = "".join(rng.choices(BITS, weights, k=60_000))
        assert ends(text, pattern, instruction_set) == ends(text, pattern, "scalar")
    junk = rng.randbytes(100_000)
    assert ends(junk, pattern, instruction_set) == ends(junk, pattern, "scalar")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_character_is_cut_alike(pattern: str, instruction_set: str) -> None:
    edges = [0x4E00, 0xA000, 0xAC00, 0xD780, 0xF900, 0x10000]  # of blocks of ideographs and hangul
    near_edges = [code for edge in edges for code in range(edge - 64, edge + 64)]
    characters = [chr(code) for code in (*range(0x3400), *near_edges, *range(0x3400, 0x110000, 11))]
    characters = [c for c in characters if not "\ud800" <= c <= "\udfff"]
    # Alone, doubled, and between letters of both cases, spaces, quotes and symbols.
    frames = ["{0}a ", " {0}{0} ", "Ab{0}Cd", "中{0}e", "'{0}", "，{0}，", "1{0}2\n", " {0}'s "]
    text = "".join(frame.format(c) for c in characters for frame in frames)
    assert ends(text, pattern, instruction_set) == ends(text, pattern, "scalar")


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match="no instruction set 'mmx'"):
        native.use_instruction_set("mmx")


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    rng = random.Random(6)
    texts = ["".join(rng.choices([*BITS, *"的一是在不了有和人这中大为上个国漢字"], k=4000)) for _ in range(4)]
    return {
        pattern: Tokenizer.train(texts, vocab_size=900, pattern=pattern, special_tokens=("<s>",))
        for pattern in PATTERNS
    }


def by_pieces(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids without cache, windows and cuts."""
    data = text.encode()
    cuts = ends(data, tokenizer.pattern, "scalar")
    native.use_instruction_set(native.instruction_sets().split()[0])
    assert isinstance(tokenizer.scheme, Bpe)
    return tokenizer.scheme.encoder.encode_pieces([data[a:b] for a, b in zip([0, *cuts], cuts, strict=False)])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_cached_ids_are_those_of_merging(pattern: str, tokenizers: dict[str, Tokenizer]) -> None:
    rng = random.Random(7)
    tokenizer = tokenizers[pattern]
    han = [chr(code) for code in range(0x4E00, 0x4E80)] + list("的一是在不了有和人这中大为上个国漢字。，あいうカキ한글")
    for _ in range(40):
        parts = rng.choices([*BITS, *han], k=rng.randint(1, 400))
        text = "".join(parts) + "".join(rng.choices(han, k=60)) + "q" * rng.randint(0, 300)
        expected = by_pieces(tokenizer, text)
        assert tokenizer.encode_ordinary(text) == expected
        assert tokenizer.encode_ordinary(text) == expected  # once more, from the cache


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("unit", ["a", " ", "漢", "ab cd, ", "x'll\n", "<s>y ", "a" * 3000 + " "])
def test_threads_share_one_long_text(pattern: str, unit: str, tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers[pattern]
    text = unit * (1_100_000 // len(unit))
    options = {"allowed_special": "all"}
    expected = tokenizer.encode_to_numpy(text, **options)
    assert tokenizer.decode(expected) == text
    np.testing.assert_array_equal(tokenizer.encode_to_numpy(text, threads=3, **options), expected)
    out = np.zeros(len(text.encode()), dtype=np.uint16)
    np.testing.assert_array_equal(tokenizer.encode_to_numpy(text, out, threads=3, **options), expected)
    texts = ["a b", *["c d"] * 3, text, "a b", text]
    apart = [tokenizer.encode(t, **options) for t in texts]
    assert tokenizer.encode_batch(texts, 3, **options) == apart
    for threads in (1, 3):
        ids, offsets = tokenizer.encode_batch_to_numpy(texts, threads, **options)
        assert [part.tolist() for part in np.split(ids, offsets[1:-1])] == apart


def test_a_cache_that_overflows_stays_right(tokenizers: dict[str, Tokenizer]) -> None:
    # More distinct pieces than every table holds, so that entries are thrown out and come again.
    tokenizer = tokenizers["gpt2"]
    text = " ".join(f"{i:x}" for i in range(0, 3_000_000, 2))
    first = tokenizer.encode_to_numpy(text)
    assert tokenizer.decode(first) == text
    np.testing.assert_array_equal(tokenizer.encode_to_numpy(text), first)
    assert tokenizer.encode(text[:5000]) == by_pieces(tokenizer, text[:5000])


def test_threads_and_forks_share_a_tokenizer(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["llama3"]
    texts = [f"text {i} of many, {'漢字' * i} and {i * 7919}" * 20 for i in range(60)]
    expected = [by_pieces(tokenizer, text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(tokenizer.encode_ordinary, texts)) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_encodes(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["llama3"]
    expected = tokenizer.encode_ordinary("some words, 漢字")
    child = os.fork()
    if child == 0:
        os._exit(0 if tokenizer.encode_batch(["some words, 漢字"] * 4, 2) == [expected] * 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_array_that_is_short_by_one_is_refused_and_one_that_fits_is_filled(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["qwen2"]
    ids = tokenizer.encode("ab cd 12")
    strided = np.zeros(2 * len(ids), dtype=np.uint32)[::2]
    for out in (np.zeros(len(ids), dtype=np.uint16), np.zeros(len(ids), dtype=np.int64), strided):
        assert tokenizer.encode_to_numpy("ab cd 12", out).tolist() == ids
    with pytest.raises(Exception, match="do not fit an array"):
        tokenizer.encode_to_numpy("ab cd 12", np.zeros(len(ids) - 1, dtype=np.uint16))
