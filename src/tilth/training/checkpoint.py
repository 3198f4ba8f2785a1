"""One file that holds everything to continue from: weights, optimizers with their settings, position and counters.

It is a safetensors file whose metadata holds the JSON part, because a single file can be replaced by one rename:
a kill at any moment leaves the old checkpoint or the new one, whole. Its SHA-256 is stored with it and compared when
it is loaded, so that a flipped byte does not end as other weights. Nothing of Python is pickled. There is no random
state in it: after the first weights are drawn, the loop draws nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor, nn

from tilth.errors import DataError
from tilth.files import atomic_path

_MODEL, _OPTIMIZER, _BEST, _METADATA = "model.", "optimizer.", "best.", "checkpoint"
_TENSOR, _TUPLE, _ITEMS = "__tensor__", "__tuple__", "__items__"
"""Keys of the JSON objects that stand for what JSON has no word for."""

Target = Path | str | os.PathLike[str] | BinaryIO
"""A path, or a file that is open for bytes."""


def save_checkpoint(
    target: Target,
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    state: Mapping[str, Any],
    *,
    best: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes a checkpoint, to a path whole or not at all; `state` is anything that JSON holds.

    `best` are earlier weights of the model that may still be the ones that are kept.

    Raises: DataError if an optimizer keeps something that is neither a tensor nor plain data.
    """
    tensors = _Tensors()
    for name, weight in unwrapped(model).state_dict().items():
        tensors.add(_MODEL + name, weight)
    for name, weight in (best or {}).items():
        tensors.add(_BEST + name, weight)
    kept = {
        kind: _encode(optimizer.state_dict(), f"{_OPTIMIZER}{kind}", tensors) for kind, optimizer in optimizers.items()
    }
    content = json.dumps({"state": state, "optimizers": kept, "aliases": tensors.aliases})
    # One key: several would be written in an order of chance.
    metadata = {_METADATA: f"{_sha256(content, tensors.stored)}\n{content}"}
    if isinstance(target, (str, os.PathLike)):
        with atomic_path(Path(target)) as temporary:
            save_file(tensors.stored, temporary, metadata)
    else:
        target.write(save(tensors.stored, metadata))


def read_state(source: Target) -> dict[str, Any]:
    """Returns the `state` of a checkpoint.

    Raises: DataError if it is damaged or not a checkpoint.
    """
    return _read(source)[0]["state"]


def read_best(source: Target) -> dict[str, Tensor]:
    """Returns the earlier weights that a checkpoint holds beside the newest; empty where the newest are the best.

    Raises: DataError if it is damaged or not a checkpoint.
    """
    content, tensors = _read(source)
    for name, stored in content["aliases"].items():
        tensors[name] = tensors[stored]
    return {name.removeprefix(_BEST): tensor for name, tensor in tensors.items() if name.startswith(_BEST)}


def load_checkpoint(
    source: Target, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """Puts weights, optimizer state and the optimizers' settings back, and returns the `state`.

    Raises: DataError if it is damaged, or not a checkpoint of this model and these optimizers.
    """
    content, tensors = _read(source)
    for name, stored in content["aliases"].items():
        tensors[name] = tensors[stored]
    weights = {name.removeprefix(_MODEL): t for name, t in tensors.items() if name.startswith(_MODEL)}
    kept = content["optimizers"]
    try:
        unwrapped(model).load_state_dict(weights)
        if kept.keys() != optimizers.keys():
            raise ValueError(f"its optimizers are {', '.join(kept)}, and here {', '.join(optimizers)}")
        for kind, optimizer in optimizers.items():
            _restore(optimizer, _decode(kept[kind], tensors))
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"{_name(source)} is a checkpoint of another model or optimizer: {str(error).rstrip('.')}.",
            fix="Delete the folder and train again.",
        ) from None
    return content["state"]


def unwrapped(model: nn.Module) -> nn.Module:
    """Returns the module inside torch.compile's wrapper, which only adds a prefix to all names."""
    return cast(nn.Module, getattr(model, "_orig_mod", model))


class _Tensors:
    """Tensors by name, each content once: a safetensors file holds no two that share memory."""

    def __init__(self) -> None:
        self.stored: dict[str, Tensor] = {}
        self.aliases: dict[str, str] = {}
        self._seen: dict[tuple[Any, ...], str] = {}
        self._storages: set[int] = set()

    def add(self, name: str, tensor: Tensor) -> None:
        tensor = tensor.detach()
        pointer = tensor.untyped_storage().data_ptr()
        key = (tensor.device, pointer, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and key in self._seen:
            self.aliases[name] = self._seen[key]
            return
        self._seen[key] = name
        shares = pointer in self._storages or tensor.numel() * tensor.itemsize != tensor.untyped_storage().nbytes()
        self._storages.add(pointer)
        content = tensor.cpu().contiguous()
        # A view of a part of another tensor's memory is written as a tensor of its own.
        self.stored[name] = content.clone() if shares and content.data_ptr() == tensor.data_ptr() else content


def _encode(value: Any, path: str, tensors: _Tensors) -> Any:
    """Returns plain JSON data, in which tensors are names of the file's tensors."""
    if isinstance(value, Tensor):
        tensors.add(path, value)
        return {_TENSOR: path}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        items = cast("list[Any]", value)
        encoded = [_encode(item, f"{path}.{index}", tensors) for index, item in enumerate(items)]
        return {_TUPLE: encoded} if isinstance(value, tuple) else encoded
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        return {_ITEMS: [[key, _encode(item, f"{path}.{key}", tensors)] for key, item in entries.items()]}
    raise DataError(
        f"{path} is a {type(value).__name__}, which a checkpoint cannot hold.",
        fix="Keep tensors, numbers, text, lists and mappings in the optimizer's state.",
    )


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = cast("dict[str, Any]", value).items()
    if kind == _TENSOR:
        return tensors[content]
    if kind == _TUPLE:
        return tuple(_decode(item, tensors) for item in content)
    return {key: _decode(item, tensors) for key, item in content}


def _restore(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    optimizer.load_state_dict(saved)
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for index, values in saved["state"].items():
        # torch knows the device of each entry, but turns integers into the parameter's type, and tuples into text.
        placed = optimizer.state[params[index]]
        for name, value in values.items():
            known = placed[name]
            placed[name] = _on(known.device if isinstance(known, Tensor) else params[index].device, value)


def _on(device: torch.device, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (list, tuple)):
        items = cast("list[Any]", value)
        return type(value)(_on(device, item) for item in items)
    if isinstance(value, dict):
        entries = cast("dict[Any, Any]", value)
        return {key: _on(device, item) for key, item in entries.items()}
    return value


def _read(source: Target) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns the JSON part and the tensors, their hash checked."""
    try:
        if isinstance(source, (str, os.PathLike)):
            with cast(Any, safe_open(source, framework="pt")) as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        else:
            whole = source.read()
            size = int.from_bytes(whole[:8], "little")
            tensors = load(whole)
            metadata = json.loads(whole[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{_name(source)} is not a whole checkpoint: {error}.",
            fix="Delete it: training then starts from the beginning.",
        ) from None
    if _METADATA not in metadata:
        raise DataError(
            f"{_name(source)} is a safetensors file, but not a checkpoint.", fix="Give the file that training wrote."
        )
    sha256, _, content = metadata[_METADATA].partition("\n")
    if sha256 != _sha256(content, tensors):
        raise DataError(
            f"{_name(source)} is damaged: its content is not what was written.",
            fix="Delete it: training then starts from the beginning.",
        )
    return json.loads(content), tensors


def _sha256(content: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(content.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _name(source: Target) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else str(getattr(source, "name", "The file"))
