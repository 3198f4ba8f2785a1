"""The stream: right targets, full use of each document, a fair mix, and clear refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.storage import Dataset, finish_dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TokenStream
from tilth.types import Document


def stream_of(dataset: Dataset, tokenizer: Tokenizer, **settings: int) -> TokenStream:
    return TokenStream(dataset, tokenizer, **{"context_length": 32, "batch_size": 4, **settings})


def test_batches_are_full_and_shifted_by_one(dataset: Dataset, tokenizer: Tokenizer) -> None:
    inputs, targets = stream_of(dataset, tokenizer).next_batch()
    assert inputs.shape == targets.shape == (4, 32)
    assert inputs.dtype == targets.dtype == torch.int64
    same = inputs[:, 1:] == targets[:, :-1]
    # They differ only where a piece that goes on from the middle of its document follows another.
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
        for x, y in zip(*(part.flatten().tolist() for part in stream.next_batch()), strict=True):
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
    inputs, _ = stream.next_batch()
    assert (inputs[:, 0] == tokenizer.end_of_text).float().mean() > 0.9


def test_a_long_document_does_not_fill_a_batch(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = ["rain " * 2000, *(f"soil {i} worm " * 20 for i in range(60))]
    dataset = write_dataset(tmp_path, [Document.make(t, str(i)) for i, t in enumerate(texts)], made_by="test")
    stream = stream_of(dataset, tokenizer, batch_size=30)
    rain = tokenizer.encode_ordinary(" rain")[-1]
    inputs, _ = stream.next_batch()
    assert (inputs == rain).float().mean() < 0.3


def test_order_changes_with_seed_and_epoch_and_not_with_the_tokenizer(dataset: Dataset, tokenizer: Tokenizer) -> None:
    def waiting(tokenizer: Tokenizer, seed: int, epoch: int) -> list[tuple[int, int]]:
        stream = stream_of(dataset, tokenizer, batch_size=1, seed=seed, buffer_documents=1000)
        stream.epoch = epoch
        stream.next_batch()
        return [(shard, row) for shard, row, start in stream.state_dict()["buffer"] if start == 0]

    first = waiting(tokenizer, 0, 0)
    assert len({shard for shard, _ in first}) > 1
    other = Tokenizer.train(["x"], vocab_size=257, special_tokens=["<|endoftext|>"])
    # Their first rows hold different documents, the rest waits in the same order.
    second = waiting(other, 0, 0)
    both = set(first) & set(second)
    assert [place for place in first if place in both] == [place for place in second if place in both]
    assert len(both) > 100
    for seed, epoch in ((1, 0), (0, 1)):
        assert first != waiting(tokenizer, seed, epoch)


def test_epochs_roll_over(dataset: Dataset, tokenizer: Tokenizer) -> None:
    stream = stream_of(dataset, tokenizer)
    seen: Counter[int] = Counter()
    while stream.epoch < 3:
        stream.next_batch()
        seen[stream.epoch] += 1
    assert max(seen[0], seen[1], seen[2]) - min(seen[0], seen[1], seen[2]) <= 1


def test_refusals(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="holds no documents"):
        stream_of(finish_dataset(tmp_path, shards=[], made_by="test"), tokenizer)
    with pytest.raises(ConfigError, match="to put between documents"):
        stream_of(dataset, Tokenizer.train(["abc"], vocab_size=257, special_tokens=[]))


def test_special_tokens_in_text_are_only_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    dataset = write_dataset(tmp_path, [Document.make("a<|endoftext|>b", "x")], made_by="test")
    inputs, _ = stream_of(dataset, tokenizer, batch_size=1).next_batch()
    row = inputs[0].tolist()
    first, second = [i for i, token in enumerate(row) if token == tokenizer.end_of_text][:2]
    assert tokenizer.decode(row[first + 1 : second]) == "a<|endoftext|>b"
