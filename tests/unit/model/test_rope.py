"""Rotary tables: they grow with the sequences, and what they hold does not depend on how they grew."""

from __future__ import annotations

import pytest
import torch

from tilth.errors import DataError
from tilth.model import ModelConfig, Transformer
from tilth.model.rope import rope_tables, rotate
from tilth.model.transformer import FIRST_POSITIONS

CONFIG = ModelConfig(vocab_size=20, d_model=8, n_layers=1, n_heads=2, d_ff=8, context_length=2**31 - 1)


def tables(model: Transformer) -> tuple[torch.Tensor, torch.Tensor]:
    buffers = dict(model.named_buffers())
    return buffers["rope_cos"], buffers["rope_sin"]


def test_a_context_that_is_not_used_takes_no_memory() -> None:
    assert tables(Transformer(CONFIG))[0].shape == (FIRST_POSITIONS, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tables_grow_to_what_a_full_table_holds(dtype: torch.dtype) -> None:
    model = Transformer(CONFIG).to(dtype)
    with torch.inference_mode():
        model(torch.zeros(1, FIRST_POSITIONS + 1, dtype=torch.int64))
    grown = tables(model)
    assert len(grown[0]) > FIRST_POSITIONS
    for ours, full in zip(grown, rope_tables(len(grown[0]), 4, 10000.0), strict=True):
        assert torch.equal(ours, full.to(dtype))


def test_tables_that_grew_while_generating_serve_training() -> None:
    model = Transformer(CONFIG)
    ids = torch.zeros(1, FIRST_POSITIONS + 1, dtype=torch.int64)
    with torch.inference_mode():
        model(ids)
    model(ids).sum().backward()
    assert model.blocks[0].attention.qkv.weight.grad is not None


def test_tables_never_grow_past_the_context() -> None:
    context = FIRST_POSITIONS + 10
    model = Transformer(ModelConfig(vocab_size=20, d_model=8, n_layers=1, n_heads=2, context_length=context))
    model(torch.zeros(1, context, dtype=torch.int64))
    assert len(tables(model)[0]) == context
    with pytest.raises(DataError, match=f"{context + 1} tokens"):
        model(torch.zeros(1, context + 1, dtype=torch.int64))


def test_the_gradient_of_a_rotation_is_that_of_its_formula() -> None:
    cos, sin = (table.double() for table in rope_tables(5, 6, 100.0))
    x = torch.randn(2, 5, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rotate(x, cos[:, None], sin[:, None]), (x,))
