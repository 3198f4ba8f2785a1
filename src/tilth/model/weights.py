"""Safetensors files: written with a hash of their data, checked before and while tensors are read.

The hash covers the data section, so that it can be stored in the header of the same file, where tools that do not know
it pass it over. A file without one (any model from elsewhere) is read as it is. Tensors are mapped from the file and
read when they are asked for: opening reads the headers only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tilth.errors import DataError
from tilth.files import atomic_path

SHA256 = "data_sha256"
"""Key in the header's metadata: SHA-256 of all bytes after the header, as hex."""
MAKE_AGAIN = "Train, export or download the model again."

Shape = tuple[int, ...]

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 32 << 20
"""Reading a header takes about 20 times its size; the largest models, of 100,000 weights, need about 10 MB in all."""
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> str:
    """Writes tensors with the hash of their data, whole or not at all, and returns the hash; equal tensors give equal
    bytes.

    Raises: OSError if the disk is full or the file does not read back as written.
    """
    # transformers refuses weights that do not say which framework wrote them.
    content = memoryview(save({name: _on_cpu(weight) for name, weight in weights.items()}, {"format": "pt"}))
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header: dict[str, Any] = json.loads(bytes(content[_LENGTH_BYTES:start]))
    sha256 = hashlib.sha256(content[start:]).hexdigest()
    header["__metadata__"][SHA256] = sha256
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _LENGTH_BYTES)  # the data stays aligned
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            file.write(len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded)
            file.write(content[start:])
        if _data_sha256(temporary) != sha256:
            raise OSError(f"{path} does not read back as it was written.")
    return sha256


class WeightFiles:
    """The tensors of one or several safetensors files, by name."""

    def __init__(self, paths: Sequence[Path], *, sha256: str | None = None) -> None:
        """Reads the headers; `sha256` is a hash of the data that is known from elsewhere.

        Raises: DataError naming the file that is missing or broken, or whose tensors are no floats.
        """
        self._sha256 = sha256
        self._files: dict[Path, Any] = {}
        self._paths: dict[str, Path] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self.shapes: dict[str, Shape] = {}
        for path in paths:
            self._files[path] = file = _open(path)
            for name in file.keys():  # noqa: SIM118
                self._add(name, path, file.get_slice(name))

    def verify(self) -> None:
        """Compares the data of each file with the hashes that are known of it, which takes a pass over the data.

        Raises: DataError naming the file that was changed.
        """
        for path, file in self._files.items():
            expected = {(file.metadata() or {}).get(SHA256), self._sha256} - {None}
            if expected and expected != {_data_sha256(path)}:
                raise DataError(
                    f"The data of {path} does not have the SHA-256 that was stored when it was written: it was changed "
                    "since.",
                    fix=MAKE_AGAIN,
                )

    def read(self, names: Sequence[str], dtype: torch.dtype) -> Tensor:
        """Returns tensors as `dtype`, joined along their rows; one alone that has that type is mapped, not copied.

        Raises: DataError if one holds NaN or infinity, in the file or as `dtype`.
        """
        if len(names) == 1 and self._dtypes[names[0]] == dtype:
            return self._finite(names[0], self._files[self._paths[names[0]]].get_tensor(names[0]))
        # What is copied is read through a mapping of its own, which ends here: else its pages stay in memory.
        parts = [self._finite(name, _open(self._paths[name]).get_tensor(name).to(dtype)) for name in names]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _finite(self, name: str, weight: Tensor) -> Tensor:
        # The extremes are NaN or infinite where any value is, and need no memory, unlike `isfinite`.
        if weight.numel() and not torch.stack(torch.aminmax(weight)).isfinite().all():
            raise DataError(
                f"{self._paths[name]}: {name} holds NaN or infinite values (read as {weight.dtype}).",
                fix="The training that wrote it diverged, or the file is broken: use an earlier or another model.",
            )
        return weight

    def _add(self, name: str, path: Path, tensor: Any) -> None:
        dtype = _FLOATS.get(tensor.get_dtype())
        if dtype is None:
            raise DataError(
                f"{path}: {name} has the type {tensor.get_dtype()}; weights are F32, BF16, F16 or F64.",
                fix="Give a model that is not quantized.",
            )
        if name in self._paths:
            raise DataError(f"{name} is in {self._paths[name]} and in {path}.", fix=MAKE_AGAIN)
        self._paths[name], self._dtypes[name] = path, dtype
        self.shapes[name] = tuple(tensor.get_shape())


def _on_cpu(weight: Tensor) -> Tensor:
    return weight.detach().cpu().contiguous()


def _open(path: Path) -> Any:
    if not path.exists():
        raise DataError(f"{path} does not exist.", fix=MAKE_AGAIN)
    if not path.is_file():  # opening a FIFO would wait for ever
        raise DataError(f"{path} is not a regular file.", fix=MAKE_AGAIN)
    try:
        if _data_start(path) > _MOST_HEADER_BYTES:
            raise DataError(f"{path} has a header of more than {_MOST_HEADER_BYTES >> 20} MB.", fix=MAKE_AGAIN)
        return safe_open(path, framework="pt")
    except DataError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is not a whole safetensors file: {error}.", fix=MAKE_AGAIN) from None


def _data_sha256(path: Path) -> str:
    start = _data_start(path)
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _data_start(path: Path) -> int:
    with path.open("rb") as file:
        return _LENGTH_BYTES + int.from_bytes(file.read(_LENGTH_BYTES), "little")
