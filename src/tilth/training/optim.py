"""Muon for the matrices inside the blocks, AdamW for embeddings, output matrix and norm weights.

Muon moves each matrix along its momentum with all singular values set to about 1. On small models it learns
from a token what AdamW needs several for; a trade-off: it takes a few small matrix products a step, worth it from
about 1,024 tokens a step on. Matrices that are stored as one (q, k, v; gate, up) are moved each on its own: as one,
whichever has the largest gradient would take the others' share of the step. torch has a Muon of its own, but fixed to
bfloat16, which a CPU without such units computes several times slower than float32. AdamW is torch's fused kernel: on
a CPU three times the speed of the unfused loop.
Sources: Jordan et al. 2024 (Muon); Amsel et al. 2025 (Polar Express, the
coefficients); Loshchilov & Hutter 2019 (AdamW).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tilth.errors import ConfigError
from tilth.model.transformer import Projection
from tilth.training.config import TrainConfig

MOMENTUM = 0.95
_POLAR_EXPRESS = (
    (8.287212018145622, -23.59588651909882, 17.300387312530923),
    (4.107059111542197, -2.9478499167379084, 0.54484310829266),
    (3.9486908534822938, -2.908902115962947, 0.5518191394370131),
    (3.3184196573706055, -2.488488024314878, 0.5100489401237208),
    (2.3006520199548186, -1.6689039845747518, 0.4188073119525678),
)

Optimizers = Mapping[str, torch.optim.Optimizer]
"""Optimizers by name. `lr` of a group is its peak rate; the trainer keeps it as `peak_lr` and scales `lr`."""


def orthogonalize(matrices: Tensor) -> Tensor:
    """Returns matrices `(..., rows, columns)` with the same singular vectors and singular values of about 1.

    Values below a thousandth of the largest stay smaller. Source: Amsel et al. 2025, five steps, safety
    factor 1.01.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.reshape(-1, *matrices.shape[-2:])
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    for a, b, c in _POLAR_EXPRESS:
        gram = x @ x.mT
        # a x + (b gram + c gram²) x; the sums are part of the products, which saves passes over memory.
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).reshape(matrices.shape)


class Muon(torch.optim.Optimizer):
    """Orthogonalized Nesterov momentum with decoupled weight decay, for matrices only.

    A group may have `parts`: the rows of the matrices that each of its parameters is made of. The step of a matrix is
    scaled by sqrt(rows / columns) where it is taller than wide.
    """

    def __init__(
        self, params: Iterable[nn.Parameter] | Iterable[dict[str, Any]], *, lr: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "parts": None})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Moves all matrices once; those of one shape are orthogonalized together. `closure` is not used."""
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor, float]]] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parts = group["parts"] or (len(parameter),)
                pieces = zip(parameter.split(parts), self._nesterov(parameter).split(parts), strict=True)
                for matrix, direction in pieces:
                    by_shape.setdefault(matrix.shape, []).append((matrix, direction, group["lr"]))
        for (rows, columns), pieces in by_shape.items():
            updates = orthogonalize(torch.stack([direction for _, direction, _ in pieces]))
            scale = max(1.0, rows / columns) ** 0.5
            for (matrix, _, lr), update in zip(pieces, updates, strict=True):
                matrix.sub_(update, alpha=lr * scale)

    def _nesterov(self, parameter: nn.Parameter) -> Tensor:
        gradient = cast(Tensor, parameter.grad)
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = cast(Tensor, state["momentum"]).lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM)


def adamw(
    model: nn.Module,
    *,
    peak_lr: float,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    without: Iterable[nn.Parameter] = (),
) -> torch.optim.AdamW:
    """Returns AdamW for a model's trainable parameters, but for those that another optimizer moves (`without`).

    Weight decay is for matrices; norm weights are not decayed.
    """
    others = set(without)
    params = [p for p in model.parameters() if p.requires_grad and p not in others]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=peak_lr, betas=betas, eps=1e-10, fused=True)


def muon(model: nn.Module, *, peak_lr: float, weight_decay: float = 0.1) -> Muon:
    """Returns Muon for the matrices of a model's `Projection` modules, each part of a fused one on its own.

    Raises: ConfigError if the model has none.
    """
    by_parts: dict[tuple[int, ...], dict[Tensor, None]] = {}  # keys, because a tied matrix is one parameter
    for module in model.modules():
        if isinstance(module, Projection) and module.weight.requires_grad:
            by_parts.setdefault(module.parts, {})[module.weight] = None
    if not by_parts:
        raise ConfigError(
            f"Muon moves the matrices of `Projection` modules, and this {type(model).__name__} has none.",
            fix="Use `tilth.model.Projection` for the matrices in its blocks, or the optimizer adamw.",
        )
    groups: Sequence[dict[str, Any]] = [{"params": list(params), "parts": parts} for parts, params in by_parts.items()]
    return Muon(groups, lr=peak_lr, weight_decay=weight_decay)


def make_optimizers(model: nn.Module, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
    """Returns the optimizers that a config asks for, by name."""
    optimizers: dict[str, torch.optim.Optimizer] = {}
    if config.optimizer == "muon":
        optimizers["muon"] = muon(model, peak_lr=config.muon_learning_rate, weight_decay=config.weight_decay)
    moved = {p for optimizer in optimizers.values() for group in optimizer.param_groups for p in group["params"]}
    if optimizers and all(p in moved for p in model.parameters() if p.requires_grad):
        return optimizers
    rest = adamw(
        model,
        peak_lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(config.beta1, config.beta2),
        without=moved,
    )
    return {"adamw": rest, **optimizers}
