"""The native pretokenizers against the regex engines of `tokenizers` and tiktoken, on every character."""

import random

import pytest
import tiktoken
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from tilth import native
from tilth.tokenizer.split import PATTERNS, pattern_name

TIKTOKEN_GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
TIKTOKEN_CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"""
    r"""|\s*[\r\n]|\s+(?!\S)|\s"""
)
AS_TIKTOKEN_READS = PATTERNS | {"gpt2": TIKTOKEN_GPT2, "cl100k": TIKTOKEN_CL100K}
ALPHABET = list("  \n\r\t'sStTlLvVeErRdDmM019.!-ſé漢字٣½\u0301\u3000\u00a0\u2028😀ǅʰ\x1c\x85Kﬁ\u200d")


def pieces(text: str, pattern: str) -> list[str]:
    data = text.encode()
    ends = native.piece_ends(text, pattern).tolist()
    return [data[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]


def tokenizers_pieces(text: str, pattern: str) -> list[str]:
    return [piece for piece, _ in Split(Regex(PATTERNS[pattern]), "isolated").pre_tokenize_str(text)]


def every_character(seed: int) -> str:
    rng = random.Random(seed)
    characters = (chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF)
    return "".join(c + rng.choice(["", " ", "a", "1", "\n", ".", "'s"]) for c in characters)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_short_strings_are_cut_as_by_tokenizers(pattern: str) -> None:
    rng = random.Random(1)
    for _ in range(10_000):
        text = "".join(rng.choices(ALPHABET, k=rng.randint(0, 12)))
        assert pieces(text, pattern) == tokenizers_pieces(text, pattern), repr(text)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_character_is_cut_as_by_tokenizers(pattern: str) -> None:
    text = every_character(2)
    assert pieces(text, pattern) == tokenizers_pieces(text, pattern)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pieces_end_where_tiktokens_do(pattern: str) -> None:
    # tiktoken does not show its pieces; but where a whole text is a token, one id means one piece.
    rng = random.Random(3)
    texts = {"".join(rng.choices(ALPHABET, k=rng.randint(2, 5))) for _ in range(5_000)}
    whole = {text.encode() for text in texts if len(text.encode()) > 1}
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {token: 256 + i for i, token in enumerate(sorted(whole))}
    peer = tiktoken.Encoding("peer", pat_str=AS_TIKTOKEN_READS[pattern], mergeable_ranks=ranks, special_tokens={})
    for text in texts:
        is_whole = len(peer.encode_ordinary(text)) == 1
        assert is_whole == (len(pieces(text, pattern)) == 1), repr(text)


def test_every_writing_of_a_pattern_is_recognised() -> None:
    assert pattern_name(TIKTOKEN_GPT2) == "gpt2"
    assert pattern_name(TIKTOKEN_CL100K) == "cl100k"
    assert {pattern_name(regex) for regex in PATTERNS.values()} == set(PATTERNS)
    assert pattern_name(r"\w+") is None
