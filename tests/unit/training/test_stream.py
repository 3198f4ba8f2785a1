"""The stream: right targets, full use of each document, a fair mix, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.model import IGNORE_INDEX
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
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


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
            if y == IGNORE_INDEX:
                continue
            before, after = letters.decode_bytes([x])[0], letters.decode_bytes([y])[0]
            if x == end:
                assert after in starts
            elif y == end:
                assert before in ends
            else:
                assert (after - before) % 26 == 1


def test_rows_come_from_all_parts_of_documents(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Ends of documents come as early in an epoch as their beginnings: an epoch that is not finished is not biased."""
    texts = ["soil " * 100 + "worm " * 100] * 40
    dataset = write_dataset(tmp_path, [Document.make(t, str(i)) for i, t in enumerate(texts)], made_by="test")
    text = tokenizer.decode(stream_of(dataset, tokenizer, batch_size=60).next_batch().inputs.flatten().tolist())
    assert 0.4 < text.count("worm") / (text.count("worm") + text.count("soil")) < 0.6


def test_a_long_document_does_not_fill_a_batch(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = ["rain " * 2000, *(f"soil {i} worm " * 20 for i in range(60))]
    dataset = write_dataset(tmp_path, [Document.make(t, str(i)) for i, t in enumerate(texts)], made_by="test")
    stream = stream_of(dataset, tokenizer, batch_size=30)
    rain = tokenizer.encode_ordinary(" rain")[-1]
    inputs = stream.next_batch().inputs
    assert (inputs == rain).float().mean() < 0.3


def test_order_changes_with_seed_and_epoch(dataset: Dataset, tokenizer: Tokenizer) -> None:
    def first(seed: int, epoch: int) -> torch.Tensor:
        stream = stream_of(dataset, tokenizer, seed=seed)
        stream.epoch = epoch
        return stream.next_batch().inputs

    assert torch.equal(first(0, 0), first(0, 0))
    for seed, epoch in ((1, 0), (0, 1)):
        assert not torch.equal(first(0, 0), first(seed, epoch))


def test_the_order_of_documents_does_not_depend_on_the_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """In one row that holds a whole epoch, documents are in the order of the stream."""
    dataset = write_dataset(tmp_path, [Document.make(chr(97 + i), str(i)) for i in range(20)], made_by="test")
    orders: list[str] = []
    for used in (tokenizer, Tokenizer.train(["x"], vocab_size=257, special_tokens=["<|endoftext|>"])):
        row = stream_of(dataset, used, context_length=40, batch_size=1).next_batch().inputs[0].tolist()
        orders.append(used.decode([token for token in row if token != used.end_of_text]))
    assert orders[0] == orders[1] and sorted(orders[0]) != list(orders[0])


def test_small_shards_are_shuffled_together_and_large_ones_are_not(
    dataset: Dataset, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(dataset.shards) > 1
    together = stream_of(dataset, tokenizer, batch_size=1)
    together.next_batch()
    assert together.state_dict()["shards_read"] == 0
    rows = 0
    while not together.epoch:
        together.next_batch()
        rows += 1
        assert together.shards_read == 0
    monkeypatch.setattr(stream_module, "BLOCK_BYTES", 1)
    alone = stream_of(dataset, tokenizer, batch_size=1)
    positions = {0}
    while not alone.epoch:
        alone.next_batch()
        positions.add(alone.shards_read)
    assert positions == set(range(len(dataset.shards)))


def test_a_corpus_shorter_than_a_row_fills_up_with_what_does_not_count(tmp_path: Path, tokenizer: Tokenizer) -> None:
    dataset = write_dataset(tmp_path, [Document.make("rain", "a")], made_by="test")
    stream = stream_of(dataset, tokenizer, batch_size=2)
    targets = stream.next_batch().targets
    ids = [*tokenizer.encode_ordinary("rain"), tokenizer.end_of_text]
    assert targets.tolist() == [ids + [IGNORE_INDEX] * (32 - len(ids))] * 2
    assert stream.epoch == 2


def test_the_first_batches_may_have_shorter_rows_of_the_same_tokens(dataset: Dataset, tokenizer: Tokenizer) -> None:
    long = stream_of(dataset, tokenizer)
    short = stream_of(dataset, tokenizer, short_batches=2, short_length=8)
    for expected_shape in ((16, 8), (16, 8), (4, 32)):
        batch, other = short.next_batch(), long.next_batch()
        assert batch.inputs.shape == batch.targets.shape == expected_shape
        assert torch.equal(batch.inputs.flatten(), other.inputs.flatten())
        assert torch.equal(batch.targets.flatten(), other.targets.flatten())
    with pytest.raises(ConfigError, match="32 tokens cannot be cut evenly into rows of 7"):
        stream_of(dataset, tokenizer, short_length=7)


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
