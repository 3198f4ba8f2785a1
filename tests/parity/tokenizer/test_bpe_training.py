"""Merges against the trainers of `tokenizers` and rustbpe."""

import pytest
from tokenizers import Regex
from tokenizers import Tokenizer as Peer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from tilth.tokenizer import Tokenizer
from tilth.tokenizer.byte_level import from_characters
from tilth.tokenizer.split import PATTERNS


def tokenizers_merges(texts: list[str], vocab_size: int, regex: str) -> list[tuple[bytes, bytes]]:
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
    return [from_characters(token) for token, token_id in by_id[257:]]


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
