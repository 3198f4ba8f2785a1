"""RMSNorm: torch's values and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tilth.model.loss import linear_cross_entropy
from tilth.model.mask import attend
from tilth.model.norm import RMSNorm


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 16)])
def test_values_and_gradients_are_torchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = RMSNorm(shape[-1], 1e-2)
    with torch.no_grad():
        ours.weight.copy_(torch.rand(shape[-1]) + 0.5)
    weight = ours.weight.detach().clone().requires_grad_()
    x = torch.randn(shape, requires_grad=True)
    other_x = x.detach().clone().requires_grad_()
    y, other_y = ours(x), F.rms_norm(other_x, shape[-1:], weight, 1e-2)
    torch.testing.assert_close(y, other_y)
    grad = torch.randn(shape)
    y.backward(grad)
    other_y.backward(grad)
    torch.testing.assert_close(x.grad, other_x.grad)
    torch.testing.assert_close(ours.weight.grad, weight.grad)


def test_other_types_than_float32_work() -> None:
    norm = RMSNorm(8, 1e-5).bfloat16()
    x = torch.randn(2, 8, dtype=torch.bfloat16)
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x), F.rms_norm(x, (8,), norm.weight, 1e-5))


def test_second_gradients_are_refused() -> None:
    """Those of attention, of the norm and of the loss are numbers to torch: it would say that theirs are none."""
    shape = (1, 2, 4, 8)
    q, k, v = (torch.randn(shape, requires_grad=True) for _ in range(3))
    norm, weight = RMSNorm(8, 1e-5), torch.randn(5, 8, requires_grad=True)
    targets = torch.tensor([1, 2, 3, 4])
    for value in (
        attend(q, k, v, None, causal=True).square().sum(),
        norm(q).square().sum(),
        linear_cross_entropy(q[0, 0], weight, targets) ** 2,
    ):
        (first,) = torch.autograd.grad(value, [q], create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()
