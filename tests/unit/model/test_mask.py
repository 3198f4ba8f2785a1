"""The mask of rows that hold several documents: its two forms allow the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask, create_mask

from tilth.model import mask as mask_module
from tilth.model.mask import attend, block_segment_mask, dense_segment_mask, segment_mask, segment_rule

SEGMENTS = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6, 7]])


def by_hand(segments: torch.Tensor) -> torch.Tensor:
    rows, seq = segments.shape
    allowed = torch.zeros(rows, 1, seq, seq, dtype=torch.bool)
    for row in range(rows):
        for query in range(seq):
            for key in range(query + 1):
                allowed[row, 0, query, key] = segments[row, query] == segments[row, key]
    return allowed


def test_both_forms_allow_what_they_should() -> None:
    expected = by_hand(SEGMENTS)
    dense = dense_segment_mask(SEGMENTS, torch.float32)
    assert torch.equal(dense == 0, expected) and torch.equal(dense == -torch.inf, ~expected)
    rule = create_mask(segment_rule(SEGMENTS), 3, 1, 8, 8, device="cpu")
    assert torch.equal(rule, expected)


@pytest.mark.filterwarnings("ignore:.*without torch.compile:UserWarning")  # Compiled, it needs a CUDA device.
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_flex_attention_gives_what_scaled_dot_product_attention_gives(kv_heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    segments = torch.sort(torch.randint(0, 4, (2, 160), generator=generator), dim=1).values
    q = torch.randn(2, 4, 160, 16, generator=generator)
    k, v = (torch.randn(2, kv_heads, 160, 16, generator=generator) for _ in range(2))
    mask = block_segment_mask(segments)
    assert isinstance(mask, BlockMask)
    flex = attend(q, k, v, mask, causal=False)
    plain = attend(q, k, v, dense_segment_mask(segments, torch.float32), causal=False)
    torch.testing.assert_close(flex, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("with_segments", [False, True])
def test_training_on_a_cpu_has_the_values_and_gradients_of_torchs_attention(with_segments: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    segments = torch.sort(torch.randint(0, 4, (2, 40), generator=generator), dim=1).values
    mask = dense_segment_mask(segments, torch.float32) if with_segments else None
    ours = [torch.randn(2, 3, 40, 16, generator=generator).requires_grad_() for _ in range(3)]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    y = attend(*ours, mask, causal=not with_segments)
    assert "ExplicitAttention" in type(y.grad_fn).__name__
    other = torch.nn.functional.scaled_dot_product_attention(*theirs, attn_mask=mask, is_causal=not with_segments)
    torch.testing.assert_close(y, other)
    grad = torch.randn(y.shape, generator=generator)
    y.backward(grad)
    other.backward(grad)
    for x, other_x in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad, other_x.grad)


@pytest.mark.parametrize(("limit", "value"), [("EXPLICIT_ROW", 8), ("EXPLICIT_WEIGHTS", 161)])
def test_rows_too_long_or_too_many_to_keep_their_weights_take_the_fused_kernel(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(mask_module, limit, value)
    q = torch.randn(1, 2, 9, 16).requires_grad_()
    assert "ExplicitAttention" not in type(attend(q, q, q, None, causal=True).grad_fn).__name__


def test_the_block_mask_is_made_where_the_segments_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two GPUs, here one that is not there, is not the first."""
    asked: list[torch.device] = []
    monkeypatch.setattr(mask_module, "create_block_mask", lambda *_, device: asked.append(torch.device(device)))
    second = SimpleNamespace(shape=(2, 8), device=torch.device("cuda:1"))
    block_segment_mask(cast(torch.Tensor, second))
    assert asked == [second.device]


def test_a_cpu_gets_the_dense_form() -> None:
    assert isinstance(segment_mask(SEGMENTS, torch.float64, head_dim=64), torch.Tensor)
