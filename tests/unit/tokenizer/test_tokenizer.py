"""The class: arguments, errors, arrays, batches, pickles and processes."""

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from tilth.errors import ConfigError, DataError
from tilth.tokenizer import END_OF_TEXT, Tokenizer
from unit.tokenizer import model_files as files

TEXT = "the cat in the hat, the hat on the cat; éa 漢字 123"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([TEXT] * 3, vocab_size=280)


def test_known_ids() -> None:
    # By hand: "at" occurs 4 times; then "c"+"at" and "h"+"at" twice each, and "c" has the lower id.
    tokenizer = Tokenizer.train(["cat cat hat hat"], vocab_size=260)
    assert [tokenizer.token_bytes(i) for i in range(256, 259)] == [b"at", b"cat", b"hat"]
    space = tokenizer.encode(" ")[0]
    assert tokenizer.encode("cat hat") == [257, space, 258]


def test_a_disallowed_special_token_is_an_error_that_says_where(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"'<\|endoftext\|>' at byte 3"):
        tokenizer.encode(f"é {END_OF_TEXT}")
    with pytest.raises(DataError, match=r"Text 1: .*endoftext"):
        tokenizer.encode_batch(["fine", END_OF_TEXT])
    with pytest.raises(DataError, match=r"Text 1: .*endoftext"):
        tokenizer.encode_batch_to_numpy(["fine", END_OF_TEXT])


def test_end_of_text_has_an_id(tokenizer: Tokenizer) -> None:
    assert tokenizer.end_of_text == tokenizer.vocab_size - 1
    assert tokenizer.encode(END_OF_TEXT, allowed_special="all") == [tokenizer.end_of_text]
    assert len(tokenizer.encode(END_OF_TEXT, disallowed_special=())) > 1


def test_arrays_hold_the_same_ids(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT)
    array = tokenizer.encode_to_numpy(TEXT)
    assert array.tolist() == ids and array.dtype == np.uint16
    assert tokenizer.encode_to_numpy(TEXT, dtype=np.int64).dtype == np.int64
    out = np.zeros(1000, dtype=np.uint32)
    part = tokenizer.encode_to_numpy(TEXT, out)
    assert part.tolist() == ids and part.base is out
    special = tokenizer.encode_to_numpy(END_OF_TEXT, allowed_special="all")
    assert special.tolist() == [tokenizer.end_of_text]


def test_arrays_that_cannot_hold_the_ids_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="do not fit an array of shape"):
        tokenizer.encode_to_numpy(TEXT, np.zeros(2, dtype=np.uint32))
    with pytest.raises(ConfigError, match="do not fit uint8"):
        tokenizer.encode_to_numpy(TEXT, dtype=np.uint8)
    with pytest.raises(ConfigError, match="do not fit float32"):
        tokenizer.encode_to_numpy(TEXT, dtype=np.float32)


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_a_batch_gives_what_single_texts_give(tokenizer: Tokenizer, threads: int | None) -> None:
    texts = [TEXT[:i] for i in range(len(TEXT))] + ["", TEXT.encode(), b"\xff\xfe"]
    assert tokenizer.encode_batch(texts, threads) == [tokenizer.encode(text) for text in texts]
    ids, offsets = tokenizer.encode_batch_to_numpy(texts, threads)
    assert [part.tolist() for part in np.split(ids, offsets[1:-1])] == tokenizer.encode_batch(texts, threads)
    assert ids.dtype == tokenizer.dtype and len(offsets) == len(texts) + 1
    assert tokenizer.encode_batch([]) == []
    ids, offsets = tokenizer.encode_batch_to_numpy([])
    assert ids.tolist() == [] and offsets.tolist() == [0]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_sentencepiece_batch_gives_what_single_texts_give(tmp_path: Path, threads: int) -> None:
    (tmp_path / "tokenizer.model").write_bytes(files.model())
    tokenizer = Tokenizer.load(tmp_path)
    texts = [TEXT, "", "the</s> cat", " ", b"\xff the", "the cat " * 80_000, *[TEXT] * 3]
    for allowed in ((), "all"):
        ids, offsets = tokenizer.encode_batch_to_numpy(texts, threads, allowed_special=allowed, disallowed_special=())
        expected = [tokenizer.encode(text, allowed_special=allowed, disallowed_special=()) for text in texts]
        assert [part.tolist() for part in np.split(ids, offsets[1:-1])] == expected
        assert ids.dtype == tokenizer.dtype


def test_ids_that_are_no_tokens_are_refused(tokenizer: Tokenizer) -> None:
    for wrong in ([0, tokenizer.vocab_size], [-1], np.array([1 << 40])):
        with pytest.raises(DataError, match="is no token"):
            tokenizer.decode(wrong)
    with pytest.raises(DataError, match="not a sequence of integers"):
        tokenizer.decode(np.array([1.5]))
    with pytest.raises(DataError, match="is no token"):
        tokenizer.token_bytes(-1)
    gaps = Tokenizer.from_ranks(
        {bytes([byte]): byte for byte in range(256)}, pattern="gpt2", special_tokens={"<x>": 300}
    )
    with pytest.raises(DataError, match="270 is no token"):
        gaps.decode([270])


def test_decode_takes_lists_and_arrays(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT)
    for form in (ids, tuple(ids), np.array(ids, dtype=np.uint16), np.array(ids)[:]):
        assert tokenizer.decode(form) == TEXT
    assert tokenizer.decode([]) == ""


def test_bytes_that_are_not_utf8_come_back(tokenizer: Tokenizer) -> None:
    data = b"a\xff\xfe b\xc3 \xed\xa0\x80 \xf5\x80 \xc0\xaf\xe6\xbc"
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data
    assert tokenizer.decode(tokenizer.encode(b"a\xff")) == "a\ufffd"


def test_lone_surrogates_become_replacement_characters(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert tokenizer.decode(tokenizer.encode("\ud83d\ude00")) == "😀"


def test_streamed_text_never_ends_in_half_a_character(tokenizer: Tokenizer) -> None:
    stream = tokenizer.stream_decoder()
    parts = [stream.push(i) for i in tokenizer.encode("aé漢😀b")]
    assert "".join(parts) == "aé漢😀b" and "\ufffd" not in "".join(parts)
    assert stream.finish() == ""
    half = tokenizer.encode("😀".encode()[:2])
    assert [stream.push(i) for i in half] == [""] * len(half)
    assert stream.finish() == "\ufffd"
    assert stream.push(tokenizer.encode("a")[0]) == "a"


def test_pickling_keeps_everything(tokenizer: Tokenizer) -> None:
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.fingerprint == tokenizer.fingerprint
    assert copy.encode(TEXT) == tokenizer.encode(TEXT)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_worker_processes_encode(tokenizer: Tokenizer, method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(tokenizer.encode, [TEXT, "a"]) == [tokenizer.encode(TEXT), tokenizer.encode("a")]


def test_fingerprints_tell_tokenizers_apart(tokenizer: Tokenizer) -> None:
    others = [
        Tokenizer.train([TEXT] * 3, vocab_size=279),
        Tokenizer.train([TEXT] * 3, vocab_size=280, pattern="gpt2"),
        Tokenizer.train([TEXT] * 3, vocab_size=280, special_tokens=("<|other|>",)),
        Tokenizer.train([TEXT + "zz"] * 3, vocab_size=280),
    ]
    fingerprints = {other.fingerprint for other in [tokenizer, *others]}
    assert len(fingerprints) == 5
    assert all(len(fingerprint) == 64 for fingerprint in fingerprints)


def test_ranks_that_cannot_work_are_refused() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    with pytest.raises(DataError, match="same id"):
        Tokenizer.from_ranks(ranks | {b"ab": 7}, pattern="gpt2")
    with pytest.raises(DataError, match="no token for the byte 9"):
        Tokenizer.from_ranks({token: i for token, i in ranks.items() if i != 9}, pattern="gpt2")
    with pytest.raises(ConfigError, match="not a regex"):
        Tokenizer.from_ranks(ranks, pattern="(")


@pytest.mark.parametrize("letters", ["a", "ab", "é", "漢字", " ", "\n", "1", "'"])
def test_a_long_run_is_encoded_in_pieces_that_join_up(tokenizer: Tokenizer, letters: str) -> None:
    text = letters * 200_000
    assert tokenizer.decode(tokenizer.encode(text)) == text
