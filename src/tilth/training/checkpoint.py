"""One file that holds everything to go on from: weights, optimizer, stream and counters.

It is a safetensors file whose metadata is the JSON part, because a single file can be replaced by one rename:
a kill at any moment leaves the old checkpoint or the new one, whole. Nothing of Python is pickled. There is
no random state in it: after the first weights are drawn, the loop draws nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tilth.errors import DataError
from tilth.files import write_bytes

_MODEL = "model."


def save_checkpoint(
    path: Path, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer], state: dict[str, Any]
) -> None:
    """Writes a checkpoint whole or not at all; `state` is anything that JSON holds."""
    tensors = {_MODEL + name: weight for name, weight in model.state_dict().items()}
    for kind, optimizer in optimizers.items():
        for index, values in cast("dict[int, dict[str, Tensor]]", optimizer.state_dict()["state"]).items():
            tensors |= {f"{kind}.{index}.{name}": value for name, value in values.items()}
    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        {"state": json.dumps(state)},
    )
    write_bytes(path, content)


def read_state(path: Path) -> dict[str, Any]:
    """Returns the `state` of a checkpoint without reading its tensors.

    Raises: DataError if the file is not a checkpoint.
    """
    with _open(path) as file:
        return json.loads(file.metadata()["state"])


def load_checkpoint(path: Path, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Puts weights and optimizer state back in place.

    Raises: DataError if the file is not a checkpoint of this model.
    """
    weights: dict[str, Tensor] = {}
    moments: dict[str, dict[int, dict[str, Tensor]]] = {kind: {} for kind in optimizers}
    with _open(path) as file:
        for name in file.keys():  # noqa: SIM118
            if name.startswith(_MODEL):
                weights[name.removeprefix(_MODEL)] = file.get_tensor(name)
            else:
                kind, index, value = name.split(".")
                moments[kind].setdefault(int(index), {})[value] = file.get_tensor(name)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{path} holds another model: {error}.", fix="Delete the folder and train again.") from None
    for kind, optimizer in optimizers.items():
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments[kind], "param_groups": groups})


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path} is not a whole checkpoint: {error}.",
            fix="Delete it: training then starts from the beginning.",
        ) from None
