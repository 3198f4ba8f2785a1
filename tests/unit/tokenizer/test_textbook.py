import pytest

from tilth.errors import ConfigError, DataError
from tilth.tokenizer import Tokenizer
from tilth.tokenizer.textbook import ByteTokenizer, CharacterTokenizer, TextbookTokenizer, WordTokenizer

TEXT = "the cat in the hat"


def test_characters() -> None:
    tokenizer = CharacterTokenizer.train([TEXT])
    assert tokenizer.tokens == ("<unk>", *" acehint") and tokenizer.vocab_size == 9
    assert tokenizer.encode("cab") == [3, 2, 0]
    assert tokenizer.decode([3, 2, 0]) == "ca<unk>"


def test_bytes() -> None:
    assert ByteTokenizer().encode("é") == [195, 169]
    assert ByteTokenizer().decode([195, 169, 195]) == "é\ufffd"
    with pytest.raises(DataError, match="256 is no token"):
        ByteTokenizer().decode([256])


def test_words() -> None:
    tokenizer = WordTokenizer.train([TEXT], 4)
    assert tokenizer.tokens == ("<unk>", " ", "the", "cat")
    assert tokenizer.encode("the dog") == [2, 1, 0]
    with pytest.raises(DataError, match="9 is no token"):
        tokenizer.decode([9])
    with pytest.raises(ConfigError, match="no room for a word"):
        WordTokenizer.train([TEXT], 1)


def test_all_are_used_alike() -> None:
    everything: list[TextbookTokenizer] = [
        ByteTokenizer(),
        CharacterTokenizer.train([TEXT]),
        WordTokenizer.train([TEXT], 100),
        Tokenizer.train([TEXT] * 2, vocab_size=262),
    ]
    lengths = [len(tokenizer.encode(TEXT)) for tokenizer in everything]
    assert [tokenizer.decode(tokenizer.encode(TEXT)) for tokenizer in everything] == [TEXT] * 4
    assert lengths[0] == lengths[1] > lengths[3] > lengths[2] == 9
