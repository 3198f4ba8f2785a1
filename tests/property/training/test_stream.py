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

from tilth.storage import write_dataset
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


@settings(max_examples=60, deadline=None)
@given(texts, sizes, st.integers(20, 200))
def test_each_epoch_holds_every_prediction_exactly_once(
    contents: list[str], size: dict[str, int], shard_bytes: int
) -> None:
    expected: Counter[tuple[int, int]] = Counter()
    end = TOKENIZER.end_of_text
    assert end is not None
    for text in contents:
        ids = [end, *TOKENIZER.encode_ordinary(text), end]
        expected.update(pairwise(ids))
    n = expected.total()
    with tempfile.TemporaryDirectory() as folder:
        documents = [Document.make(text, str(i)) for i, text in enumerate(contents)]
        dataset = write_dataset(Path(folder), documents, made_by="test", shard_bytes=shard_bytes)
        stream = TokenStream(dataset, TOKENIZER, **size)
        predictions: list[tuple[int, int]] = []
        while len(predictions) < 3 * n:
            inputs, targets = stream.next_batch()
            predictions += zip(inputs.flatten().tolist(), targets.flatten().tolist(), strict=True)
    for epoch in range(3):
        assert Counter(predictions[epoch * n : (epoch + 1) * n]) == expected


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
            for ours, theirs in zip(resumed.next_batch(), undisturbed.next_batch(), strict=True):
                assert torch.equal(ours, theirs)
        assert resumed.state_dict() == undisturbed.state_dict()
