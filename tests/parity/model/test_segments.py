"""Documents packed into one row give what each gives alone: logits, losses and gradients."""

from __future__ import annotations

import pytest
import torch

from tilth.model import ModelConfig, Transformer

SHAPES = {
    "rope": ModelConfig(vocab_size=50, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, context_length=48),
    "nope": ModelConfig(vocab_size=50, d_model=32, n_layers=2, n_heads=4, rope_theta=None, context_length=48),
}
LENGTHS = ((20, 1, 27), (48,), (3, 45))


def model_of(shape: str) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(SHAPES[shape])
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return model


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_rows_equal_their_documents(shape: str) -> None:
    model = model_of(shape)
    generator = torch.Generator().manual_seed(1)
    ids, targets = (torch.randint(0, 50, (3, 48), generator=generator) for _ in range(2))
    segments = torch.stack([torch.repeat_interleave(torch.arange(len(n)), torch.tensor(n)) for n in LENGTHS])
    packed = model(ids, segments=segments)
    alone = torch.cat(
        [
            torch.cat([model(piece[None])[0] for piece in row.split(list(n))])
            for row, n in zip(ids, LENGTHS, strict=True)
        ]
    )
    torch.testing.assert_close(packed.flatten(0, 1), alone, atol=1e-5, rtol=1e-5)
    # Without the mask they differ: the test can fail.
    assert not torch.allclose(model(ids).flatten(0, 1), alone, atol=1e-2)
    expected = torch.nn.functional.cross_entropy(alone, targets.flatten())
    loss = model(ids, targets=targets, segments=segments)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
