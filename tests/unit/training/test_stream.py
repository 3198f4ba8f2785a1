"""The stream: right targets, full use of each document, a fair mix, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.storage import Dataset, finish_dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TokenStream
from tilth.training import stream as stream_module
from tilth.types import Document


def stream_of(dataset: Dataset, tokenizer: Tokenizer, **settings: int) -> TokenStream:
    return TokenStream(dataset, tokenizer, **{"context_length": 32, "batch_size": 4, **settings})


def test_batches_are_full_and_shifted_by_one(dataset: Dataset, tokenizer: Tokenizer) -> None:
    batch = stream_of(dataset, tokenizer).next_batch()
    inputs, targets = batch.inputs, batch.targets
    assert inputs.shape == targets.shape == (4, 32)
    assert inputs.dtype == targets.dtype == torch.int64
    same = inputs[:, 1:] == targets[:, :-1]
    # They differ only where a piece that continues from the middle of its document follows another.
    assert same.float().mean() > 0.9


def test_every_target_follows_its_input_in_a_document(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = [
        "".join(chr(97 + (start + i) % 26) for i in range(length)) for start, length in enumerate([70, 3, 26, 1, 9])
    ]
    dataset = write_dataset(tmp_path, [Document.make(t, str(i)) for i, t in enumerate(texts)], made_by="test")
    letters = Tokenizer.train(["abc"], vocab_size=257, special_tokens=["<|endoftext|>"])
    end = letters.end_of_text
    assert end is not None
    starts = {ord(text[0]) for text in texts}
    ends = {ord(text[-1]) for text in texts}
    stream = stream_of(dataset, letters, context_length=16, batch_size=2)
    for _ in range(20):
        batch = stream.next_batch()
        for x, y in zip(batch.inputs.flatten().tolist(), batch.targets.flatten().tolist(), strict=True):
            before, after = letters.decode_bytes([x])[0], letters.decode_bytes([y])[0]
            if x == end:
                assert after in starts
            elif y == end:
                assert before in ends
            else:
                assert (after - before) % 26 == 1


def test_rows_begin_with_documents_where_they_can(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = [" ".join(["rain"] * n) for n in range(1, 9)] * 30
    dataset = write_dataset(tmp_path, [Document.make(t, str(i)) for i, t in enumerate(texts)], made_by="test")
    stream = stream_of(dataset, tokenizer, batch_size=40)
    inputs = stream.next_batch().inputs
    assert (inputs[:, 0] == tokenizer.end_of_text).float().mean() > 0.9


def test_a_long_document_does_not_fill_a_batch(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = ["rain " * 2000, *(f"soil {i} worm " * 20 for i in range(60))]
    dataset = write_dataset(tmp_path, [Document.make(t, str(i)) for i, t in enumerate(texts)], made_by="test")
    stream = stream_of(dataset, tokenizer, batch_size=30)
    rain = tokenizer.encode_ordinary(" rain")[-1]
    inputs = stream.next_batch().inputs
    assert (inputs == rain).float().mean() < 0.3


def test_order_changes_with_seed_and_epoch_and_not_with_the_tokenizer(dataset: Dataset, tokenizer: Tokenizer) -> None:
    def waiting(tokenizer: Tokenizer, seed: int, epoch: int) -> list[tuple[int, int]]:
        stream = stream_of(dataset, tokenizer, batch_size=1, seed=seed, buffer_documents=1000)
        stream.epoch = epoch
        stream.next_batch()
        waiting = sorted(stream.state_dict()["buffer"])  # by arrival
        return [(shard, row) for _, of, shard, row, start in waiting if of == epoch and not start]

    first = waiting(tokenizer, 0, 0)
    assert len({shard for shard, _ in first}) > 1
    other = Tokenizer.train(["x"], vocab_size=257, special_tokens=["<|endoftext|>"])
    # Their first rows hold different documents, the rest waits in the same order.
    second = waiting(other, 0, 0)
    both = set(first) & set(second)
    assert [row for row in first if row in both] == [row for row in second if row in both]
    assert len(both) > 100
    for seed, epoch in ((1, 0), (0, 1)):
        assert first != waiting(tokenizer, seed, epoch)


def test_the_end_of_an_epoch_is_not_left_with_the_longest_documents(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Long documents hold half of all tokens; in no batch do they hold nearly all of it."""
    texts = ["rain " * 1200] * 4 + [f"soil {i} worm " * 8 for i in range(100)]
    dataset = write_dataset(tmp_path, [Document.make(t, str(i)) for i, t in enumerate(texts)], made_by="test")
    stream = stream_of(dataset, tokenizer, batch_size=16, buffer_documents=32)
    rain = tokenizer.encode_ordinary(" rain")[-1]
    n_batches = 4 * sum(len(tokenizer.encode_ordinary(text)) + 1 for text in texts) // (16 * 32)
    shares = [(stream.next_batch().inputs == rain).float().mean().item() for _ in range(n_batches)]
    assert stream.epoch >= 2
    assert max(shares) < 0.85


def test_an_epoch_is_nearly_used_up_before_the_next(dataset: Dataset, tokenizer: Tokenizer) -> None:
    """What waits of the first epoch when as many tokens were given as it has: only what best fit took early instead."""
    texts = [document.text for document in dataset.documents()]
    epoch_tokens = sum(len(tokenizer.encode_ordinary(text)) + 1 for text in texts)
    stream, given = stream_of(dataset, tokenizer), 0
    while given < epoch_tokens:
        given += stream.next_batch().n_tokens
    assert {piece.epoch for piece in stream.buffer} <= {0, 1, 2}
    assert sum(len(piece) for piece in stream.buffer if piece.epoch == 0) < 0.1 * epoch_tokens


def test_a_corpus_of_one_long_document_is_not_held_many_times(tmp_path: Path, tokenizer: Tokenizer) -> None:
    dataset = write_dataset(tmp_path, [Document.make("rain " * 2000, "a")], made_by="test")
    stream = stream_of(dataset, tokenizer, buffer_documents=256)
    for _ in range(40):
        stream.next_batch()
        assert len(stream.buffer) <= 2


def test_the_buffer_is_bounded_in_tokens(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "BUFFER_TOKENS", 500)
    dataset = write_dataset(tmp_path, [Document.make(f"rain {i} " * 40, str(i)) for i in range(300)], made_by="test")
    stream = stream_of(dataset, tokenizer)
    for _ in range(10):
        stream.next_batch()
        # A block of documents is read at a time.
        assert len(stream.buffer) <= 2 * stream_module.BLOCK_DOCUMENTS


def test_rows_of_one_document_each_have_no_segments(tmp_path: Path, tokenizer: Tokenizer) -> None:
    dataset = write_dataset(tmp_path, [Document.make("rain " * 2000, "a")], made_by="test")
    assert stream_of(dataset, tokenizer, context_length=16).next_batch().segments is None


def test_refusals(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="holds no documents"):
        stream_of(finish_dataset(tmp_path, shards=[], made_by="test"), tokenizer)
    with pytest.raises(ConfigError, match="to put between documents"):
        stream_of(dataset, Tokenizer.train(["abc"], vocab_size=257, special_tokens=[]))


def test_special_tokens_in_text_are_only_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    dataset = write_dataset(tmp_path, [Document.make("a<|endoftext|>b", "x")], made_by="test")
    inputs = stream_of(dataset, tokenizer, batch_size=1).next_batch().inputs
    row = inputs[0].tolist()
    first, second = [i for i, token in enumerate(row) if token == tokenizer.end_of_text][:2]
    assert tokenizer.decode(row[first + 1 : second]) == "a<|endoftext|>b"
