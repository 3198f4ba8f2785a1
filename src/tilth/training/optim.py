"""Muon for the matrices inside the blocks, AdamW for embeddings, output matrix and gains.

Muon moves each matrix along its momentum with all singular values set to about 1. On small models it learns
from a token what AdamW needs several for; the price is a few small matrix products a step, which pay from
about 1,024 tokens a step on. torch has a Muon of its own, but fixed to bfloat16, which a CPU without such
units computes several times slower than float32. AdamW is torch's fused kernel: on a CPU three times the
speed of the unfused loop.
Sources: Jordan et al. 2024 (Muon); Amsel et al. 2025 (Polar Express, the
coefficients); Loshchilov & Hutter 2019 (AdamW).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from tilth.training.config import TrainConfig

MOMENTUM = 0.95
_POLAR_EXPRESS = (
    (8.287212018145622, -23.59588651909882, 17.300387312530923),
    (4.107059111542197, -2.9478499167379084, 0.54484310829266),
    (3.9486908534822938, -2.908902115962947, 0.5518191394370131),
    (3.3184196573706055, -2.488488024314878, 0.5100489401237208),
    (2.3006520199548186, -1.6689039845747518, 0.4188073119525678),
)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Returns matrices `(..., rows, columns)` with the same singular vectors and singular values of about 1.

    Values below a thousandth of the largest stay smaller. Source: Amsel et al. 2025, five steps, safety
    factor 1.01.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    for a, b, c in _POLAR_EXPRESS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalized Nesterov momentum with decoupled weight decay, for matrices only.

    The step is scaled by sqrt(rows / columns) where a matrix is taller than wide.
    """

    def __init__(self, params: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Moves all matrices once; those of one shape are orthogonalized together. `closure` is not used."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                shapes.setdefault(parameter.shape, []).append(parameter)
            for (rows, columns), parameters in shapes.items():
                updates = orthogonalize(torch.stack([self._nesterov(p) for p in parameters]))
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)

    def _nesterov(self, parameter: nn.Parameter) -> Tensor:
        gradient = cast(Tensor, parameter.grad)
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = cast(Tensor, state["momentum"]).lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM)


def make_optimizers(model: nn.Module, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
    """Returns the optimizers by name; each group holds its peak rate as `peak_lr`, for the schedule to scale.

    Weight decay is for matrices; gains are left alone.
    """
    blocks = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("blocks.")]
    by_muon = set(blocks) if config.optimizer == "muon" else set[nn.Parameter]()
    rest = [p for p in model.parameters() if p not in by_muon]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    adamw = torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=1e-10, fused=True)
    optimizers: dict[str, torch.optim.Optimizer] = {"adamw": adamw}
    if by_muon:
        optimizers["muon"] = Muon(blocks, lr=config.muon_learning_rate, weight_decay=config.weight_decay)
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers
