import pickle
from pathlib import Path

import pytest

from tilth.errors import ConfigError, DataError
from tilth.tokenizer import ByteTokenizer, CharacterTokenizer, Tokenizer, WordTokenizer

TEXT = "the cat in the hat"


def test_characters() -> None:
    tokenizer = CharacterTokenizer.train([TEXT])
    assert tokenizer.vocabulary.tokens == (b"<unk>", *[c.encode() for c in " acehint"]) and tokenizer.vocab_size == 9
    assert tokenizer.encode("cab") == [3, 2, 0]
    assert tokenizer.decode([3, 2, 0]) == "ca<unk>"


def test_bytes() -> None:
    assert ByteTokenizer().encode("é") == [195, 169]
    assert ByteTokenizer().decode([195, 169, 195]) == "é\ufffd"
    with pytest.raises(DataError, match="256 is no token"):
        ByteTokenizer().decode([256])


def test_words() -> None:
    tokenizer = WordTokenizer.train([TEXT], 4)
    assert tokenizer.vocabulary.tokens == (b"<unk>", b" ", b"the", b"cat")
    assert tokenizer.encode("the dog") == [2, 1, 0]
    with pytest.raises(DataError, match="9 is no token"):
        tokenizer.decode([9])
    with pytest.raises(ConfigError, match="no room for a word"):
        WordTokenizer.train([TEXT], 1)


def test_all_are_used_alike() -> None:
    everything: list[Tokenizer] = [
        ByteTokenizer(),
        CharacterTokenizer.train([TEXT]),
        WordTokenizer.train([TEXT], 100),
        Tokenizer.train([TEXT] * 2, vocab_size=262),
    ]
    lengths = [len(tokenizer.encode(TEXT)) for tokenizer in everything]
    assert [tokenizer.decode(tokenizer.encode(TEXT)) for tokenizer in everything] == [TEXT] * 4
    assert lengths[0] == lengths[1] > lengths[3] > lengths[2] == 9


@pytest.mark.parametrize("kind", ["bytes", "characters", "words"])
def test_they_do_all_that_a_tokenizer_does(kind: str, tmp_path: Path) -> None:
    tokenizer = {
        "bytes": ByteTokenizer(),
        "characters": CharacterTokenizer.train([TEXT]),
        "words": WordTokenizer.train([TEXT], 100),
    }[kind]
    text = f"{TEXT} é, the dog"
    ids = tokenizer.encode(text)
    assert tokenizer.encode_to_numpy(text).tolist() == ids and tokenizer.encode_batch([text, TEXT])[0] == ids
    assert list(tokenizer.encode_iterable([text[:7], text[7:]])) == ids and tokenizer.count(text) == len(ids)
    data = text.encode()
    assert [end - start for start, end in tokenizer.offsets(text)][-1] in (1, 3)
    assert b"".join(data[start:end] for start, end in tokenizer.offsets(text)) == data
    assert pickle.loads(pickle.dumps(tokenizer)).encode(text) == ids
    with pytest.raises(DataError, match="no file for a ListedVocabulary"):
        tokenizer.save(tmp_path)
    with pytest.raises(ConfigError, match="needs a BPE vocabulary"):
        tokenizer.encode_with_dropout(text, 0.5, seed=1)
