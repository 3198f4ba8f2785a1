"""Muon beside torch's own (in bfloat16, with other coefficients), and beside its definition by singular values."""

import pytest
import torch

from tilth.training.optim import MOMENTUM, Muon, orthogonalize

SHAPES = [(32, 48), (48, 32), (40, 40), (96, 24)]


def polar(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest orthogonal matrix, by singular value decomposition: what the iteration approximates."""
    left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (left @ right).float()


def gradients(shape: tuple[int, int], n: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(shape[0])
    return [torch.randn(shape, generator=generator) for _ in range(n)]


def test_no_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalize(torch.zeros(8, 8)), torch.zeros(8, 8))


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_those_of_the_definition(shape: tuple[int, int]) -> None:
    parameter = torch.nn.Parameter(torch.ones(shape))
    optimizer = Muon([parameter], lr=0.02, weight_decay=0.1)
    expected, momentum = torch.ones(shape), torch.zeros(shape)
    for gradient in gradients(shape, 5):
        parameter.grad = gradient.clone()
        optimizer.step()
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        update = polar((1 - MOMENTUM) * gradient + MOMENTUM * momentum)
        expected = expected * (1 - 0.02 * 0.1) - 0.02 * max(1.0, shape[0] / shape[1]) ** 0.5 * update
    moved = float((expected - 1).norm())
    assert float((parameter.detach() - expected).norm()) < 0.05 * moved


@pytest.mark.parametrize("shape", SHAPES)
def test_it_walks_where_torchs_muon_walks(shape: tuple[int, int]) -> None:
    ours, theirs = (torch.nn.Parameter(torch.zeros(shape)) for _ in range(2))
    mine = Muon([ours], lr=0.02, weight_decay=0.0)
    other = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.0, momentum=MOMENTUM, adjust_lr_fn="original")
    for gradient in gradients(shape, 5):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        other.step()
    a, b = ours.detach().flatten(), theirs.detach().flatten()
    assert float(torch.cosine_similarity(a, b, dim=0)) > 0.98
    # Singular values: ours end between .88 and 1.12, theirs between about .68 and 1.13.
    assert 0.88 / 1.13 < float(a.norm() / b.norm()) < 1.12 / 0.68
