"""Batches of problems and real text: what a row holds, what is a target, and what each part weighs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tilth.improve.text_rows import Example, TextRows, n_inputs, pack
from tilth.model import IGNORE_INDEX, ModelConfig
from tilth.training import initial_model
from tilth.training.trainer import next_token_loss

END = 0
EXAMPLES: list[Example] = [([1, 2], [3, END]), ([4, 5, 6, 7], [8, END]), ([9], [END]), ([1, 2, 3], [4, 5, END])]


def test_every_example_is_in_one_row_with_its_answer_as_targets() -> None:
    inputs, targets, segments = pack(EXAMPLES, 6, padding=END)
    found: list[tuple[list[int], list[int]]] = []
    for row in range(len(inputs)):
        for number in sorted(set(segments[row].tolist()) - {0}):
            at = segments[row] == number
            answer = targets[row][at][targets[row][at] != IGNORE_INDEX].tolist()
            tokens = [*inputs[row][at].tolist(), answer[-1]]
            found.append((tokens[: len(tokens) - len(answer)], answer))
            assert tokens[len(tokens) - len(answer) :] == answer
    assert sorted(found) == sorted((list(prompt), list(answer)) for prompt, answer in EXAMPLES)
    assert (targets[segments == 0] == IGNORE_INDEX).all()
    assert (segments > 0).sum() == sum(map(n_inputs, EXAMPLES))
    assert len(inputs) == 3  # 3 + 1 | 5 | 5 + ... : the third goes into the room that the first left


def rows(share: float) -> TextRows:
    ids = np.array([END, *([11, 12, 13, END] * 20)], dtype=np.int32)
    return TextRows(ids=ids, separator=END, row_tokens=8, share=share)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.75])
def test_text_has_its_share_of_the_loss(share: float) -> None:
    batch = rows(share).batch(EXAMPLES, np.random.default_rng(0))
    assert batch.weights is not None
    is_text = (batch.inputs > 10).any(dim=1)
    assert float(batch.weights[is_text].sum()) == pytest.approx(share)
    assert float(batch.weights.sum()) == pytest.approx(1)
    assert not (batch.inputs[~is_text] > 10).any()
    counted = batch.targets != IGNORE_INDEX
    assert bool(((batch.weights > 0) == counted).all())
    assert int(is_text.sum()) == (max(1, round(int((~is_text).sum()) * share / (1 - share))) if share else 0)


def test_text_is_drawn_from_anywhere_with_the_next_token_as_target() -> None:
    inputs, targets, segments = rows(0.5).draw(200, 10, np.random.default_rng(0))
    follows = {(END, 11), (11, 12), (12, 13), (13, END)}
    assert set(zip(inputs[:, :8].ravel().tolist(), targets[:, :8].ravel().tolist(), strict=True)) == follows
    assert (targets[:, 8:] == IGNORE_INDEX).all() and not segments[:, 8:].any()
    assert {END, 11, 12, 13} == set(inputs[:, 0].tolist())


def test_text_shorter_than_a_row_fills_what_there_is() -> None:
    short = TextRows(ids=np.array([END, 11, END], dtype=np.int32), separator=END, row_tokens=8, share=0.5)
    inputs, targets, _ = short.draw(1, 8, np.random.default_rng(0))
    assert inputs[0, :2].tolist() == [END, 11] and targets[0, :2].tolist() == [11, END]
    assert (targets[0, 2:] == IGNORE_INDEX).all()


def test_problems_of_a_row_do_not_see_each_other() -> None:
    config = ModelConfig(vocab_size=16, d_model=16, n_layers=2, n_heads=2, context_length=16, rope_theta=None)
    model = initial_model(config, 0)
    together = rows(0.0).batch(EXAMPLES, np.random.default_rng(0))
    losses = []
    for example in EXAMPLES:
        batch = rows(0.0).batch([example], np.random.default_rng(0))
        losses.append(float(next_token_loss(model, batch.normalized()).detach()) * len(example[1]))
    whole = float(next_token_loss(model, together.normalized()).detach())
    assert whole == pytest.approx(sum(losses) / sum(len(answer) for _, answer in EXAMPLES), rel=1e-4)
    assert torch.isfinite(torch.tensor(whole))
