"""Merging across words: where text is cut then, what may merge, and the same merges as a plain trainer makes."""

import random
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from tilth.errors import ConfigError
from tilth.tokenizer import END_OF_TEXT, TieBreak, Tokenizer, TokenizerConfig
from tilth.tokenizer.counting import count_pieces, count_to_file, merge_counts, read_counts
from tilth.tokenizer.split import PATTERNS, Splitter, superword_digits, superword_pattern
from tilth.tokenizer.training import train_vocabulary, vocabulary_of
from unit.tokenizer.plain_training import cut, plain_training

SENTENCES = ["by the way, it is: so", "in the cat's hat\n\tby the way", "of course (it is) 1234 of course..."]
TEXTS = [f"{a} {b}" for a in SENTENCES for b in SENTENCES]


@pytest.mark.parametrize("pattern", [*PATTERNS, r"\w+|\s"])
@given(text=st.text(st.sampled_from(" \n\r\t./-¡'a漢é1٣²\u3000\u0301")))
def test_the_core_cuts_as_the_regex_says(pattern: str, text: str) -> None:
    superwords = superword_pattern(pattern)
    assert [piece.decode() for piece in Splitter(superwords).pieces(text.encode())] == cut(text, superwords)


@given(data=st.binary())
def test_pieces_join_up_to_bytes_that_are_no_text(data: bytes) -> None:
    assert b"".join(Splitter(superword_pattern("llama3")).pieces(data)) == data


def test_numbers_stay_together_as_the_pattern_has_them() -> None:
    digits = {name: superword_digits(superword_pattern(name)) for name in PATTERNS}
    assert digits == {"gpt2": 0, "smollm2": 1, "llama3": 3, "qwen2": 1, "o200k": 3, "cl100k": 3}
    assert superword_pattern(superword_pattern("qwen2")) == superword_pattern("qwen2")


@pytest.mark.parametrize("tie_break", ["huggingface", "lexicographic", "lowest_pair"])
@pytest.mark.parametrize("seed", range(3))
def test_merges_are_those_of_plain_training(tie_break: TieBreak, seed: int) -> None:
    rng = random.Random(seed)
    texts = ["".join(rng.choices("aab   é:\n.'1", k=150)) for _ in range(5)]
    tokenizer = Tokenizer.train(texts, vocab_size=257 + 100, superwords_from=257 + 30, tie_break=tie_break)
    expected = plain_training(texts, 100, tie_break, n_apart=30)
    assert list(tokenizer.vocabulary.tokens[256:-1]) == expected
    assert any(regex.search(rb"[a\xa9b'] +[a\xc3b']", token) for token in expected)


def test_the_vocabulary_begins_with_that_of_its_first_stage() -> None:
    whole = Tokenizer.train(TEXTS, vocab_size=300, superwords_from=280)
    first = Tokenizer.train(TEXTS, vocab_size=280)
    assert whole.vocabulary.tokens[:279] == first.vocabulary.tokens[:279]
    assert b" of course" in Tokenizer.train(TEXTS, vocab_size=330, superwords_from=290).vocabulary.tokens


def test_no_superword_has_more_than_four_words_or_goes_over_a_colon() -> None:
    tokenizer = Tokenizer.train(["a b c d e f g e: f g h"] * 9 + ["a b c d"] * 9, vocab_size=400, superwords_from=258)
    tokens = tokenizer.vocabulary.tokens[256:-1]
    assert max(len(token.split()) for token in tokens) == 4
    assert not any(b": " in token for token in tokens)
    assert any(token.endswith(b":") for token in tokens)


def test_special_tokens_and_numbers_are_not_merged_over() -> None:
    tokenizer = Tokenizer.train([f"ab{END_OF_TEXT}cd 12 ef"] * 5, vocab_size=300, superwords_from=258)
    learned = tokenizer.vocabulary.tokens[256:-1]
    assert not any(b"bc" in token or b" 1" in token or b"2 " in token for token in learned)


def test_a_stream_has_the_ids_of_the_whole() -> None:
    tokenizer = Tokenizer.train(TEXTS, vocab_size=330, superwords_from=280)
    text = " ".join(TEXTS) * 300
    assert tokenizer.scheme.safe_cut(text.encode()) > 0
    ids = tokenizer.encode(text)
    assert list(tokenizer.encode_iterable([text[i : i + 999] for i in range(0, len(text), 999)])) == ids
    assert tokenizer.count(text, 10) == 11


def test_counted_in_files_gives_the_same_vocabulary(tmp_path: Path) -> None:
    config = TokenizerConfig(vocab_size=330, superwords_from=280)
    whole = train_vocabulary(TEXTS, config)
    for superwords in (False, True):
        for i, part in enumerate((TEXTS[:4], TEXTS[4:])):
            count_to_file(part, config, tmp_path / str(i), superwords=superwords)
        merge_counts([tmp_path / "0", tmp_path / "1"], tmp_path / f"all-{superwords}")
    counts = read_counts(tmp_path / "all-False", config)
    across = read_counts(tmp_path / "all-True", config, superwords=True)
    merged = vocabulary_of(counts, config, superword_counts=across)
    assert (merged.tokens, merged.pattern) == (whole.tokens, whole.pattern)
    with pytest.raises(ConfigError, match="no counts for superwords"):
        vocabulary_of(count_pieces(TEXTS, config), config)
