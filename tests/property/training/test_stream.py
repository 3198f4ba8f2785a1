"""The stream under any documents: nothing lost, nothing twice, and resuming changes nothing."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TokenStream
from tilth.types import Document

TOKENIZER = Tokenizer.train(["the soil and the seed and the rain"], vocab_size=262, special_tokens=["<|endoftext|>"])
texts = st.lists(st.text(alphabet="the soilandr🌱\n", max_size=60), min_size=1, max_size=40)
sizes = st.fixed_dictionaries(
    {
        "context_length": st.integers(1, 20),
        "batch_size": st.integers(1, 4),
        "buffer_documents": st.integers(1, 12),
        "seed": st.integers(0, 5),
    }
)


def predictions_of(text: str) -> Counter[tuple[int, int]]:
    end = TOKENIZER.end_of_text
    assert end is not None
    return Counter(pairwise([end, *TOKENIZER.encode_ordinary(text), end]))


def waiting_in(stream: TokenStream) -> Counter[tuple[int, int]]:
    """The predictions that have been read and not given out."""
    waiting: Counter[tuple[int, int]] = Counter()
    for piece in stream.buffer:
        waiting.update(pairwise(piece.ids[piece.start :].tolist()))
    return waiting


def read_by(stream: TokenStream, dataset: Dataset) -> Counter[str]:
    """How often each text has been read, from the stream's counters alone."""
    contents = [
        [text for batch in dataset.batches(shard, ["text"]) for text in batch.column(0).to_pylist()]
        for shard in range(len(dataset.shards))
    ]
    read = Counter({text: 0 for shard in contents for text in shard})
    for shard in contents:
        for text in shard:
            read[text] += stream.epoch
    order = stream._permutation(len(contents), 0).tolist()  # pyright: ignore[reportPrivateUsage]
    for shard in order[: stream.shards_read]:
        read.update(contents[shard])
    if stream.rows_read:
        shard = order[stream.shards_read]
        rows = stream._rows_of(shard, len(contents[shard]))[: stream.rows_read]  # pyright: ignore[reportPrivateUsage]
        read.update(contents[shard][row] for row in rows.tolist())
    return read


@settings(max_examples=60, deadline=None)
@given(texts, sizes, st.integers(20, 200), st.integers(1, 60))
def test_each_epoch_holds_every_prediction_exactly_once(
    contents: list[str], size: dict[str, int], shard_bytes: int, n_batches: int
) -> None:
    """What was read, once for each epoch, is what the batches hold and what still waits."""
    with tempfile.TemporaryDirectory() as folder:
        documents = [Document.make(text, str(i)) for i, text in enumerate(contents)]
        dataset = write_dataset(Path(folder), documents, made_by="test", shard_bytes=shard_bytes)
        stream = TokenStream(dataset, TOKENIZER, **size)
        given: Counter[tuple[int, int]] = Counter()
        for _ in range(n_batches):
            batch = stream.next_batch()
            given.update(zip(batch.inputs.flatten().tolist(), batch.targets.flatten().tolist(), strict=True))
        expected: Counter[tuple[int, int]] = Counter()
        for text, times in read_by(stream, dataset).items():
            for prediction, n in predictions_of(text).items():
                expected[prediction] += n * times
        assert given + waiting_in(stream) == expected


@settings(max_examples=60, deadline=None)
@given(texts, sizes, st.integers(0, 30))
def test_resuming_at_any_batch_changes_nothing(contents: list[str], size: dict[str, int], stop: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        documents = [Document.make(text, str(i)) for i, text in enumerate(contents)]
        dataset = write_dataset(Path(folder), documents, made_by="test", shard_bytes=100)
        undisturbed = TokenStream(dataset, TOKENIZER, **size)
        for _ in range(stop):
            undisturbed.next_batch()
        state = json.loads(json.dumps(undisturbed.state_dict()))
        resumed = TokenStream(dataset, TOKENIZER, **size)
        resumed.load_state_dict(state)
        for _ in range(12):
            ours, theirs = resumed.next_batch(), undisturbed.next_batch()
            assert torch.equal(ours.inputs, theirs.inputs) and torch.equal(ours.targets, theirs.targets)
            assert (ours.segments is None) == (theirs.segments is None)
            assert ours.segments is None or torch.equal(ours.segments, theirs.segments)  # pyright: ignore
        assert resumed.state_dict() == undisturbed.state_dict()


@settings(max_examples=60, deadline=None)
@given(texts, sizes)
def test_within_a_segment_each_input_is_the_target_before_it(contents: list[str], size: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        documents = [Document.make(text, str(i)) for i, text in enumerate(contents)]
        stream = TokenStream(write_dataset(Path(folder), documents, made_by="test"), TOKENIZER, **size)
        for _ in range(8):
            batch = stream.next_batch()
            segments = torch.zeros_like(batch.inputs) if batch.segments is None else batch.segments
            same = segments[:, 1:] == segments[:, :-1]
            assert torch.equal(batch.inputs[:, 1:][same], batch.targets[:, :-1][same])
            # A border is one number further; and where a document begins within a row, a segment does.
            assert ((segments[:, 1:] - segments[:, :-1]) == (~same).long()).all()
            begins = batch.inputs[:, 1:] == TOKENIZER.end_of_text
            assert not (begins & same).any()
