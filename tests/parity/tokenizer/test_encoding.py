"""Ids against tiktoken, `tokenizers` and `transformers`."""

from pathlib import Path
from typing import Protocol

import pytest
import tiktoken
from tiktoken.load import load_tiktoken_bpe
from tokenizers import Tokenizer as Peer
from transformers import AutoTokenizer

from tilth.errors import DataError
from tilth.tokenizer import END_OF_TEXT, Tokenizer
from tilth.tokenizer.split import PATTERNS

SPECIAL = (END_OF_TEXT, "<|im|>", "<|im|><|end|>")
CUSTOM = r"\p{Lu}?\p{Ll}+|\d| +|\n"


class ReadsFiles(Protocol):
    def read(self, name: str) -> bytes: ...


@pytest.fixture(scope="module", params=[*PATTERNS, CUSTOM], ids=[*PATTERNS, "custom"])
def trained(request: pytest.FixtureRequest, texts: list[str]) -> Tokenizer:
    return Tokenizer.train(texts, vocab_size=2500, pattern=request.param, special_tokens=SPECIAL)


def test_tokenizers_gives_the_same_ids(trained: Tokenizer, unseen_texts: list[str], tmp_path: Path) -> None:
    trained.save(tmp_path)
    peer = Peer.from_file(str(tmp_path / "tokenizer.json"))
    for text in unseen_texts:
        assert trained.encode(text) == peer.encode(text).ids, repr(text[:50])
        assert trained.decode(trained.encode(text)) == text


def test_tokenizers_gives_the_same_ids_for_special_tokens(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path)
    peer = Peer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [
        "a<|im|>b",
        "<|im|><|end|>",
        "<|im|><|im|><|end|> x",
        f" \n{END_OF_TEXT}\n {END_OF_TEXT}",
        "<|im|",
    ]:
        assert trained.encode(text, allowed_special="all") == peer.encode(text).ids


def test_transformers_gives_the_same_ids(trained: Tokenizer, unseen_texts: list[str], tmp_path: Path) -> None:
    trained.save(tmp_path)
    peer = AutoTokenizer.from_pretrained(tmp_path)
    assert [trained.encode(text) for text in unseen_texts] == [peer(text)["input_ids"] for text in unseen_texts]
    assert peer.eos_token_id == trained.end_of_text
    assert len(peer) == trained.vocab_size


@pytest.mark.parametrize("pattern", PATTERNS)
def test_tiktoken_gives_the_same_ids(pattern: str, texts: list[str], unseen_texts: list[str]) -> None:
    ours = Tokenizer.train(texts, vocab_size=2500, pattern=pattern, special_tokens=SPECIAL)
    ranks = {token: i for i, token in enumerate(ours.vocabulary.tokens[: -len(SPECIAL)])}
    peer = tiktoken.Encoding(
        "peer", pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens=ours.special_tokens
    )
    as_ranks = Tokenizer.from_ranks(ranks, pattern=pattern, special_tokens=ours.special_tokens)
    for text in [*unseen_texts, "\ud800a", "\ud83d\ude00", "a\udfff"]:
        expected = peer.encode(text)
        assert ours.encode(text) == as_ranks.encode(text) == expected
        assert ours.decode(expected) == peer.decode(expected)
        assert ours.decode_bytes(expected) == peer.decode_bytes(expected)


def test_special_tokens_are_handled_as_by_tiktoken(texts: list[str]) -> None:
    special = (END_OF_TEXT, "<|a|>", "<|b|>")
    ours = Tokenizer.train(texts, vocab_size=600, special_tokens=special)
    ranks = {token: i for i, token in enumerate(ours.vocabulary.tokens[:-3])}
    peer = tiktoken.Encoding(
        "peer", pat_str=PATTERNS["llama3"], mergeable_ranks=ranks, special_tokens=ours.special_tokens
    )
    choices = ["all", set(), {"<|a|>"}, {"<|a|>", END_OF_TEXT}, {"no such token"}, {"x"}]
    for text in ["plain", "<|a|>", " <|a|> <|b|>\n", f"x{END_OF_TEXT}x<|b|>", "no such token"]:
        assert ours.encode_ordinary(text) == peer.encode_ordinary(text)
        for allowed in choices:
            for disallowed in choices:
                options = {"allowed_special": allowed, "disallowed_special": disallowed}
                try:
                    expected = peer.encode(text, **options)
                except ValueError:
                    with pytest.raises(DataError, match="special token"):
                        ours.encode(text, **options)
                else:
                    assert ours.encode(text, **options) == expected


def test_a_rank_vocabulary_that_merges_cannot_reach(unseen_texts: list[str], tmp_path: Path) -> None:
    # "hello" is no join of two tokens, so only a whole piece becomes it; "abc" can be reached in two ways.
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {token: 256 + i for i, token in enumerate([b"bc", b"ab", b"abc", b"hello", b"aa", b"aaa", b"aaaa"])}
    ours = Tokenizer.from_ranks(ranks, pattern="gpt2")
    peer = tiktoken.Encoding("peer", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={})
    ours.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    for text in [*unseen_texts, "hello hellohello", "abc ababc", "a" * 7, "aaaa" * 50 + "bc"]:
        assert ours.encode(text) == peer.encode(text) == loaded.encode(text)
    assert loaded.fingerprint == ours.fingerprint


def real_texts(real_data: ReadsFiles) -> list[str]:
    genesis = real_data.read("genesis_parallel/genesis.jsonl.zst").decode().splitlines()
    pages = real_data.read("langid/udhr2.jsonl.zst").decode().splitlines()[:400]
    return [*genesis, *pages, real_data.read("tinyshakespeare/input.txt.zst").decode()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "pattern"),
    [("cl100k_base.tiktoken", "cl100k"), ("llama3_tokenizer.model", "llama3")],
)
def test_real_rank_files_give_tiktokens_ids(file: str, pattern: str, real_data: ReadsFiles, tmp_path: Path) -> None:
    (tmp_path / "ranks").write_bytes(real_data.read(f"vocabs/{file}"))
    ranks = load_tiktoken_bpe(str(tmp_path / "ranks"))
    ours = Tokenizer.from_ranks(ranks, pattern=pattern)
    peer = tiktoken.Encoding("peer", pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens={})
    for text in real_texts(real_data):
        assert ours.encode_ordinary(text) == peer.encode_ordinary(text)


@pytest.mark.slow
def test_the_gpt2_file_gives_the_ids_of_tokenizers(real_data: ReadsFiles, tmp_path: Path) -> None:
    content = real_data.read("vocabs/gpt2_tokenizer.json.zst")
    peer = Peer.from_str(content.decode())
    assert peer.get_vocab_size() == 50257
    (tmp_path / "tokenizer.json").write_bytes(content)
    ours = Tokenizer.load(tmp_path)
    for text in real_texts(real_data):
        assert ours.encode_ordinary(text) == peer.encode(text).ids
