"""Counting: weights, threads, files that are merged and spilled, limits of training."""

import random
from pathlib import Path

import pytest

from tilth.errors import ConfigError, DataError
from tilth.tokenizer import Tokenizer, TokenizerConfig
from tilth.tokenizer.counting import count_pieces, count_to_file, merge_counts, read_counts
from tilth.tokenizer.training import train_vocabulary, vocabulary_of

CONFIG = TokenizerConfig(vocab_size=400)


def make_texts(seed: int) -> list[str]:
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdeé漢", k=rng.randint(1, 24))) for _ in range(300)]
    return [" ".join(rng.choices(words, k=200)) for _ in range(12)]


def test_counted_in_parts_and_merged_gives_the_same_vocabulary(tmp_path: Path) -> None:
    texts = make_texts(1) + make_texts(2)
    whole = train_vocabulary(texts, CONFIG)
    for i, part in enumerate((texts[:7], texts[7:20], texts[20:])):
        count_to_file(part, CONFIG, tmp_path / f"{i}.counts")
    merge_counts([tmp_path / f"{i}.counts" for i in range(3)], tmp_path / "all.counts")
    merged = vocabulary_of(read_counts(tmp_path / "all.counts", CONFIG), CONFIG)
    assert merged.tokens == whole.tokens
    assert merged.merges is not None and whole.merges is not None
    assert merged.merges.tolist() == whole.merges.tolist()


def test_counts_that_spill_give_the_same_file(tmp_path: Path) -> None:
    texts = [text for seed in range(40) for text in make_texts(seed)] * 4
    count_to_file(texts, CONFIG, tmp_path / "memory")
    count_to_file(texts, CONFIG, tmp_path / "spilled", max_pieces=100)
    assert (tmp_path / "memory").read_bytes() == (tmp_path / "spilled").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["memory", "spilled"]


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_count_the_same(threads: int, tmp_path: Path) -> None:
    texts = make_texts(3)
    count_to_file(texts, CONFIG, tmp_path / "one")
    count_to_file(texts, CONFIG, tmp_path / "more", threads=threads)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "more").read_bytes()
    assert len(count_pieces(texts, CONFIG, threads=threads)) == len(count_pieces(texts, CONFIG))


@pytest.mark.parametrize("pattern", ["llama3", r"\p{L}+|\s"])
def test_a_weight_counts_a_text_so_many_times(pattern: str, tmp_path: Path) -> None:
    config = TokenizerConfig(vocab_size=400, pattern=pattern)
    a, b, c = make_texts(4)[:3]
    count_to_file([a, (b, 3), c, (b, 2)], config, tmp_path / "weighted")
    count_to_file([a, b, b, b, c, b, b], config, tmp_path / "repeated")
    assert (tmp_path / "weighted").read_bytes() == (tmp_path / "repeated").read_bytes()
    with pytest.raises(ConfigError, match="weight 0"):
        count_pieces([(a, 0)], config)


def test_rare_pieces_can_be_left_out(tmp_path: Path) -> None:
    count_to_file([("often ", 9), "once "], CONFIG, tmp_path / "counts")
    assert len(read_counts(tmp_path / "counts", CONFIG)) > len(read_counts(tmp_path / "counts", CONFIG, min_count=2))
    counts = read_counts(tmp_path / "counts", CONFIG)
    assert b"once" not in vocabulary_of(counts, CONFIG, min_piece_count=2).tokens
    assert b"once" in vocabulary_of(counts, CONFIG).tokens


def test_counts_of_another_pattern_or_a_broken_file_are_refused(tmp_path: Path) -> None:
    count_to_file(make_texts(5), CONFIG, tmp_path / "a")
    other = TokenizerConfig(vocab_size=400, pattern="gpt2")
    count_to_file(make_texts(5), other, tmp_path / "b")
    with pytest.raises(DataError, match="cut in another way"):
        merge_counts([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(DataError, match="cut in another way"):
        read_counts(tmp_path / "a", other)
    data = (tmp_path / "a").read_bytes()
    for broken, message in [
        (data[:-9], "cut off"),
        (data[:40], "cut off"),
        (b"something", "not a file of piece counts"),
        (b"", "not a file of piece counts"),
    ]:
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(DataError, match=message):
            read_counts(tmp_path / "broken", CONFIG)
    with pytest.raises(DataError, match="not a file of piece counts"):
        read_counts(tmp_path / "missing", CONFIG)


def test_every_byte_of_a_count_file_may_be_wrong(tmp_path: Path) -> None:
    count_to_file(["ab cd ef gh"], CONFIG, tmp_path / "good")
    data = (tmp_path / "good").read_bytes()
    refused = 0
    for at in range(len(data)):
        (tmp_path / "bad").write_bytes(data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :])
        try:
            read_counts(tmp_path / "bad", CONFIG)
        except DataError:
            refused += 1
    assert refused > len(data) // 2


def test_pairs_below_the_minimum_frequency_do_not_merge() -> None:
    texts = ["ab " * 5 + "cd " * 3 + "ef"]
    tokens = Tokenizer.train(texts, vocab_size=400, min_frequency=3).vocabulary.tokens
    assert {b"ab", b"cd"} <= set(tokens) and b"ef" not in tokens


def test_tokens_are_no_longer_than_allowed() -> None:
    tokens = Tokenizer.train(make_texts(6), vocab_size=400, max_token_length=3).vocabulary.tokens
    assert max(map(len, tokens[:-1])) == 3
    with pytest.raises(ConfigError, match="leaves nothing to merge"):
        TokenizerConfig(max_token_length=1)
    with pytest.raises(ConfigError, match="no number of times"):
        TokenizerConfig(min_frequency=0)


def test_a_merge_that_makes_a_token_again_keeps_its_id() -> None:
    rng = random.Random(0)
    for _ in range(30):
        texts = ["".join(rng.choices("ab", k=rng.randint(20, 60))) for _ in range(3)]
        tokenizer = Tokenizer.train(texts, vocab_size=330)
        tokens = tokenizer.vocabulary.tokens
        assert len(set(tokens)) == len(tokens)
        assert tokenizer.decode(tokenizer.encode(texts[0])) == texts[0]
