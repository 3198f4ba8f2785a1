"""Vocabularies of characters with byte fallback: merges and ids against the trainer of `tokenizers`."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers import Tokenizer as Peer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace, Sequence, Split
from tokenizers.trainers import BpeTrainer

from tilth.tokenizer import Tokenizer
from tilth.tokenizer.sentencepiece import SPACE_MARK, SentencePieceVocabulary
from tilth.tokenizer.split import PATTERNS

FIRST_TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
LETTERS = st.text(st.sampled_from("ab cé\n漢字.1\u2581"))


def peer_pieces(texts: Iterable[str], vocab_size: int, pattern: str, alphabet: list[str]) -> list[str]:
    """What `tokenizers` learns of words that are cut alike, with everything but `alphabet` cut out of them."""
    kept = {*alphabet, " "}
    codes = "".join(f"\\x{{{ord(character):x}}}" for character in sorted(kept))
    keep = Split(Regex(f"[^{codes}]"), "removed")
    words = Split(Regex(PATTERNS.get(pattern, pattern)), "isolated")
    peer = Peer(BPE())
    peer.pre_tokenizer = Sequence([words, keep, Metaspace(prepend_scheme="never", split=False)])
    trainer = BpeTrainer(
        vocab_size=vocab_size, special_tokens=FIRST_TOKENS, initial_alphabet=[SPACE_MARK], show_progress=False
    )
    peer.train_from_iterator(texts, trainer)
    by_id = sorted(peer.get_vocab().items(), key=lambda item: item[1])
    return [token for token, _ in by_id[len(FIRST_TOKENS) :]]


def check(texts: list[str], vocab_size: int, pattern: str, coverage: float) -> None:
    ours = Tokenizer.train(
        texts,
        vocab_size=vocab_size,
        pattern=pattern,
        special_tokens=(),
        byte_fallback=True,
        character_coverage=coverage,
    )
    vocabulary = ours.vocabulary
    assert isinstance(vocabulary, SentencePieceVocabulary)
    learned = vocabulary.pieces[len(FIRST_TOKENS) :]
    alphabet = [piece for piece in learned if len(piece) == 1]
    assert list(learned) == peer_pieces(texts, vocab_size, pattern, alphabet)


@pytest.mark.parametrize("pattern", ["llama3", "gpt2", "qwen2", r"\p{L}+|\s|\d"])
@pytest.mark.parametrize("coverage", [1, 0.98])
def test_pieces_are_those_of_tokenizers(pattern: str, coverage: float, texts: list[str]) -> None:
    check(texts, 2500, pattern, coverage)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(LETTERS, min_size=1, max_size=6), coverage=st.sampled_from([1.0, 0.8]))
def test_pieces_are_those_of_tokenizers_on_any_text(texts: list[str], coverage: float) -> None:
    check(texts, 300, "llama3", coverage)


def test_without_rare_characters_the_peer_needs_no_help(texts: list[str]) -> None:
    # The same alphabet, limited by neither: `tokenizers` as it is.
    ours = Tokenizer.train(texts, vocab_size=2000, special_tokens=(), byte_fallback=True, character_coverage=1)
    peer = Peer(BPE())
    words = Split(Regex(PATTERNS["llama3"]), "isolated")
    peer.pre_tokenizer = Sequence([words, Metaspace(prepend_scheme="never", split=False)])
    trainer = BpeTrainer(vocab_size=2000, special_tokens=FIRST_TOKENS, show_progress=False)
    peer.train_from_iterator(texts, trainer)
    assert isinstance(ours.vocabulary, SentencePieceVocabulary) and ours.vocabulary.merges is not None
    theirs = json.loads(peer.to_str())["model"]
    pieces = ours.vocabulary.pieces
    assert [[pieces[left], pieces[right]] for left, right in ours.vocabulary.merges.tolist()] == theirs["merges"]
    assert {piece: i for i, piece in enumerate(pieces) if piece}.items() <= theirs["vocab"].items()


@pytest.fixture(scope="module")
def pair(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Peer]:
    folder: Path = tmp_path_factory.mktemp("characters")
    ours = Tokenizer.train(texts, vocab_size=2500, byte_fallback=True, character_coverage=0.99)
    ours.save(folder)
    assert Tokenizer.load(folder).fingerprint == ours.fingerprint
    return ours, Peer.from_file(str(folder / "tokenizer.json"))


def test_tokenizers_reads_the_file_with_the_same_ids(pair: tuple[Tokenizer, Peer], texts: list[str]) -> None:
    ours, peer = pair
    for text in [*texts, "", " ", "  two", "<0x41><s>", "\u2581", "\x00"]:
        ids = ours.encode(text, allowed_special="all")
        assert peer.encode(text).ids == ids
        assert ours.decode(ids) == text.replace(SPACE_MARK, " ")


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.text(st.characters(exclude_categories=["Cs"])), LETTERS))
def test_any_text_has_the_same_ids_and_comes_back(pair: tuple[Tokenizer, Peer], text: str) -> None:
    ours, peer = pair
    ids = ours.encode(text, allowed_special="all")
    assert peer.encode(text).ids == ids
    assert ours.decode(ids) == text.replace(SPACE_MARK, " ")
