"""Merges against the trainers of `tokenizers` and rustbpe."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex
from tokenizers import Tokenizer as Peer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from tilth.tokenizer import Tokenizer
from tilth.tokenizer.byte_level import from_characters
from tilth.tokenizer.split import PATTERNS


def tokenizers_merges(texts: list[str], vocab_size: int, regex: str) -> list[bytes]:
    peer = Peer(BPE())
    peer.pre_tokenizer = Sequence([Split(Regex(regex), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    peer.train_from_iterator(texts, trainer)
    by_id = sorted(peer.get_vocab().items(), key=lambda item: item[1])
    assert len(by_id) == vocab_size
    return [from_characters(token) for token, _ in by_id[257:]]


@pytest.mark.parametrize("pattern", [*PATTERNS, r"\p{L}+|\s|\d"])
def test_merges_are_those_of_tokenizers(pattern: str, texts: list[str]) -> None:
    ours = Tokenizer.train(texts, vocab_size=2500, pattern=pattern)
    expected = tokenizers_merges(texts, 2500, PATTERNS.get(pattern, pattern))
    assert list(ours.vocabulary.tokens[256:-1]) == expected


def test_merges_are_those_of_rustbpe(texts: list[str]) -> None:
    rustbpe = pytest.importorskip("rustbpe")
    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(iter(texts), 3000, pattern=PATTERNS["llama3"])
    expected = [bytes(token) for token, _ in peer.get_mergeable_ranks()[256:]]
    ours = Tokenizer.train(texts, vocab_size=3000, special_tokens=(), tie_break="lowest_pair")
    assert list(ours.vocabulary.tokens[256:]) == expected


@pytest.fixture(scope="module")
def real_texts(all_texts: list[str]) -> list[str]:
    """Every eighth document of the real data: all languages, code, markup."""
    return all_texts[::8]


@pytest.mark.slow
def test_merges_are_those_of_tokenizers_on_real_text(real_texts: list[str]) -> None:
    ours = Tokenizer.train(real_texts, vocab_size=20_000)
    assert list(ours.vocabulary.tokens[256:-1]) == tokenizers_merges(real_texts, 20_000, PATTERNS["llama3"])


@pytest.mark.slow
def test_merges_are_those_of_rustbpe_on_real_text(real_texts: list[str]) -> None:
    rustbpe = pytest.importorskip("rustbpe")
    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(iter(real_texts), 20_000, pattern=PATTERNS["llama3"])
    expected = [bytes(token) for token, _ in peer.get_mergeable_ranks()[256:]]
    ours = Tokenizer.train(real_texts, vocab_size=20_000, special_tokens=(), tie_break="lowest_pair")
    assert list(ours.vocabulary.tokens[256:]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"superwords_from": 12_000}, {"byte_fallback": True}], ids=str)
def test_tokenizers_reads_what_was_learned_from_real_text(
    options: dict[str, Any], real_texts: list[str], tmp_path: Path
) -> None:
    ours = Tokenizer.train(real_texts, vocab_size=20_000, special_tokens=(), **options)
    ours.save(tmp_path)
    peer = Peer.from_file(str(tmp_path / "tokenizer.json"))
    for text in real_texts[::5]:
        # The peer finds special tokens in any text.
        plain = text.replace("<s>", "").replace("</s>", "").replace("<unk>", "")
        assert ours.encode_ordinary(plain) == peer.encode(plain).ids
