"""The stream under any documents: nothing lost, nothing twice, and resuming changes nothing."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.model import IGNORE_INDEX
from tilth.storage import write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TokenStream
from tilth.training import stream as stream_module
from tilth.types import Document

TOKENIZER = Tokenizer.train(["the soil and the seed and the rain"], vocab_size=262, special_tokens=["<|endoftext|>"])
texts = st.lists(st.text(alphabet="the soilandr🌱\n", max_size=60), min_size=1, max_size=40)
sizes = st.fixed_dictionaries(
    {
        "context_length": st.integers(1, 20),
        "batch_size": st.integers(1, 4),
        "seed": st.integers(0, 5),
    }
)
blocks = st.sampled_from([1, 100, 1 << 20])
"""Bytes of text that are shuffled together: single shards, some, all."""


def predictions_of(text: str) -> Counter[tuple[int, int]]:
    end = TOKENIZER.end_of_text
    assert end is not None
    return Counter(pairwise([end, *TOKENIZER.encode_ordinary(text), end]))


@settings(max_examples=60, deadline=None)
@given(texts, sizes, st.integers(20, 200), blocks)
def test_each_epoch_holds_every_prediction_exactly_once(
    contents: list[str], size: dict[str, int], shard_bytes: int, block_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, patch.object(stream_module, "BLOCK_BYTES", block_bytes):
        documents = [Document.make(text, str(i)) for i, text in enumerate(contents)]
        dataset = write_dataset(Path(folder), documents, made_by="test", shard_bytes=shard_bytes)
        stream = TokenStream(dataset, TOKENIZER, **size | {"batch_size": 1})
        expected = sum((predictions_of(text) for text in contents), Counter[tuple[int, int]]())
        for epoch in range(2):
            given: Counter[tuple[int, int]] = Counter()
            while stream.epoch == epoch:
                batch = stream.next_batch()
                counted = batch.targets != IGNORE_INDEX
                given.update(zip(batch.inputs[counted].tolist(), batch.targets[counted].tolist(), strict=True))
            assert given == expected


@settings(max_examples=60, deadline=None)
@given(texts, sizes, st.integers(0, 30), blocks)
def test_resuming_at_any_batch_changes_nothing(
    contents: list[str], size: dict[str, int], stop: int, block_bytes: int
) -> None:
    size = size | {"short_batches": 20, "short_length": 1}
    with tempfile.TemporaryDirectory() as folder, patch.object(stream_module, "BLOCK_BYTES", block_bytes):
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
def test_each_input_is_the_target_before_it_and_segments_are_documents(
    contents: list[str], size: dict[str, int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        documents = [Document.make(text, str(i)) for i, text in enumerate(contents)]
        stream = TokenStream(write_dataset(Path(folder), documents, made_by="test"), TOKENIZER, **size)
        for _ in range(8):
            batch = stream.next_batch()
            segments = torch.zeros_like(batch.inputs) if batch.segments is None else batch.segments
            counted = batch.targets[:, :-1] != IGNORE_INDEX
            assert torch.equal(batch.inputs[:, 1:][counted], batch.targets[:, :-1][counted])
            # A segment begins where a document does, and nowhere else.
            begins = batch.inputs[:, 1:] == TOKENIZER.end_of_text
            assert torch.equal(segments[:, 1:] - segments[:, :-1], begins.long())
