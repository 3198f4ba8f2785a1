"""Training, against a plain trainer of a few lines."""

import random

import pytest

from tilth.errors import ConfigError
from tilth.progress import SILENT
from tilth.tokenizer import TieBreak, Tokenizer
from unit.tokenizer.plain_training import plain_training


def learned(tokenizer: Tokenizer) -> list[bytes]:
    return list(tokenizer.vocabulary.tokens[256 : tokenizer.vocab_size - len(tokenizer.special_tokens)])


@pytest.mark.parametrize("tie_break", ["huggingface", "lexicographic", "lowest_pair"])
@pytest.mark.parametrize("seed", range(4))
def test_merges_are_those_of_plain_training(tie_break: TieBreak, seed: int) -> None:
    # Few letters and short texts: ties everywhere, runs of one letter, and pairs that overlap themselves.
    rng = random.Random(seed)
    texts = ["".join(rng.choices("aaab  cé\n'1", k=120)) for _ in range(5)]
    tokenizer = Tokenizer.train(texts, vocab_size=257 + 90, tie_break=tie_break)
    assert learned(tokenizer) == plain_training(texts, 90, tie_break)


def test_the_order_of_texts_does_not_matter() -> None:
    texts = [f"text number {i} of several" for i in range(50)]
    forward = Tokenizer.train(texts, vocab_size=300)
    backward = Tokenizer.train(reversed(texts), vocab_size=300)
    assert forward.fingerprint == backward.fingerprint


def test_ids_are_bytes_then_merges_then_special_tokens() -> None:
    tokenizer = Tokenizer.train(["aaa bbb aaa"], vocab_size=260, special_tokens=("<a>", "<b>"))
    assert [tokenizer.token_bytes(i) for i in range(3)] == [b"!", b'"', b"#"]
    assert tokenizer.special_tokens == {"<a>": 258, "<b>": 259}
    assert tokenizer.vocab_size == 260
    assert tokenizer.end_of_text is None


def test_text_that_runs_out_of_pairs_gives_a_smaller_vocabulary_and_says_so() -> None:
    class Listening:
        bar = SILENT.bar
        lines: list[str] = []  # noqa: RUF012

        def say(self, line: str) -> None:
            self.lines.append(line)

    progress = Listening()
    tokenizer = Tokenizer.train(["ab"], vocab_size=400, progress=progress)
    assert tokenizer.vocab_size == 256 + 1 + 1
    assert progress.lines == ["The text gives only 1 of the 143 merges that the vocabulary has room for."]


def test_special_tokens_in_the_text_are_not_learned() -> None:
    tokenizer = Tokenizer.train(["<|endoftext|>x" * 100 + "<|endoftext|>cd"], vocab_size=300)
    assert learned(tokenizer) == [b"cd"]


@pytest.mark.parametrize("pattern", ["llama3", r"[a-z]+|."])
def test_training_stops_reading_after_max_training_bytes(pattern: str) -> None:
    read: list[int] = []

    def texts():
        for i in range(1000):
            read.append(i)
            yield "some words "

    Tokenizer.train(texts(), vocab_size=260, pattern=pattern, max_training_bytes=100)
    assert len(read) == 10


def test_invalid_utf8_and_surrogates_are_counted() -> None:
    tokenizer = Tokenizer.train(["\ud800" * 8], vocab_size=259)
    assert learned(tokenizer) == ["\ufffd".encode()[1:], "\ufffd".encode()]


def test_a_single_string_is_refused() -> None:
    with pytest.raises(ConfigError, match="one string"):
        Tokenizer.train("not a list", vocab_size=300)


def test_one_long_piece_trains() -> None:
    rng = random.Random(0)
    text = "".join(rng.choices("abcdefghij", k=300_000))
    tokenizer = Tokenizer.train([text], vocab_size=1500)
    assert tokenizer.vocab_size == 1500
    assert tokenizer.decode(tokenizer.encode(text)) == text
