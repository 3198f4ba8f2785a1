"""Models on disk: our folder (`model.safetensors`, `model.json`) and Hugging Face Llama folders.

Weights are safetensors in both, so loading never runs code from a file. Our folder exists because a config of ours may
describe what no Hugging Face class does (a model without positions). A config is believed only as far as the headers of
the weights agree: they are compared before the model is built, so that a broken config takes neither time nor memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import torch

from tilth.errors import ConfigError, DataError
from tilth.files import read_json, write_json
from tilth.model import hf
from tilth.model.config import ModelConfig
from tilth.model.device import resolve_device
from tilth.model.transformer import Transformer
from tilth.model.weights import MAKE_AGAIN, WeightFiles, write_weights

WEIGHTS, CONFIG, HF_CONFIG, HF_INDEX = (
    "model.safetensors",
    "model.json",
    "config.json",
    "model.safetensors.index.json",
)
WEIGHTS_SHA256 = "weights_sha256"
"""Key of `model.json`: SHA-256 of the weights' data, so that the weights of another model are told from this one's."""

_MOST_CONFIG_BYTES = 4 << 20
_MOST_INDEX_BYTES = 32 << 20
"""The indices of the largest models, of 100,000 weights, have about 10 MB."""


class Model(NamedTuple):
    """A model that was opened but not read: its config, the files, and where each of our tensors is in them."""

    config: ModelConfig
    files: WeightFiles
    layout: hf.Layout


def save_model(model: Transformer, folder: Path | str) -> None:
    """Writes `model.safetensors` and `model.json`; equal weights give equal bytes."""
    folder = Path(folder)
    sha256 = write_weights(folder / WEIGHTS, model.state_dict())
    write_json(folder / CONFIG, asdict(model.config) | {WEIGHTS_SHA256: sha256})


def load_model(path: Path | str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Transformer:
    """Loads a folder of ours, or a Hugging Face folder that holds a Llama; the model is in evaluation mode.

    Weights that were written with a hash are compared with it. Memory: the model, and one fused matrix.
    Raises: DataError naming the file that is missing, broken, changed, or does not fit its config, or that holds
    NaN; ConfigError for a device that is not there.
    """
    target, folder = resolve_device(device), Path(path)
    opened = _open(folder)
    opened.files.verify()
    with torch.device("meta"):
        model = Transformer(opened.config)
    weights = {ours: opened.files.read(names, dtype) for ours, names in opened.layout.items()}
    model.load_state_dict(weights, assign=True)
    model.reset_buffers()
    return model.to(device=target, dtype=dtype).eval()


def _open(folder: Path) -> Model:
    if (folder / CONFIG).exists():
        config, sha256 = _read_config(folder / CONFIG)
        files = WeightFiles([folder / WEIGHTS], sha256=sha256)
        wanted = ((name, ((name, shape),)) for name, shape in config.weight_shapes())
    elif (folder / HF_CONFIG).exists():
        name = str(folder / HF_CONFIG)
        config = hf.from_hf_config(_read_object(folder / HF_CONFIG, _MOST_CONFIG_BYTES), name=name)
        files = WeightFiles(_hf_files(folder))
        wanted = hf.hf_shapes(config)
    else:
        raise DataError(
            f"{folder} holds no model: neither {CONFIG} (tilth) nor {HF_CONFIG} (Hugging Face) is there.",
            fix="Give the folder that `tilth train` or an export wrote.",
        )
    return Model(config, files, _checked_layout(wanted, files, folder))


def _checked_layout(wanted: Iterator[hf.Entry], files: WeightFiles, folder: Path) -> hf.Layout:
    """Returns which tensors of the files each of ours is made of; stops at the first that does not fit, since a config
    may ask for any number."""
    layout: hf.Layout = {}
    known: set[str] = set()
    for ours, parts in wanted:
        for name, shape in parts:
            if files.shapes.get(name) != shape:
                raise _misfit(folder, name, shape, files.shapes.get(name))
        layout[ours] = tuple(name for name, _ in parts)
        known.update(layout[ours])
    extra = sorted(name for name in files.shapes.keys() - known if not hf.is_redundant(name))
    if extra:
        raise _misfit(folder, extra[0], None, files.shapes[extra[0]])
    return layout


def _misfit(folder: Path, name: str, expected: hf.Shape | None, actual: hf.Shape | None) -> DataError:
    if expected is None:
        problem = f"such a model has no {name}"
    elif actual is None:
        problem = f"{name} is missing"
    else:
        problem = f"{name} should be {_shown(expected)} and is {_shown(actual)}"
    return DataError(
        f"The weights of {folder} do not fit their config: {problem}.",
        fix="Give the config and the weights of the same model.",
    )


def _shown(shape: hf.Shape) -> str:
    return "x".join(map(str, shape))


def _read_config(path: Path) -> tuple[ModelConfig, str | None]:
    values = _read_object(path, _MOST_CONFIG_BYTES)
    sha256 = values.pop(WEIGHTS_SHA256, None)
    if sha256 is not None and not isinstance(sha256, str):
        raise DataError(f"{path}: {WEIGHTS_SHA256} is not a string.", fix=MAKE_AGAIN)
    unknown = sorted(values.keys() - {field.name for field in fields(ModelConfig)})
    if unknown or "vocab_size" not in values:
        wrong = f"it has an unknown field `{unknown[0]}`" if unknown else "`vocab_size` is missing"
        raise DataError(f"{path} does not describe a model: {wrong}.", fix=MAKE_AGAIN)
    try:
        return ModelConfig(**values), sha256
    except ConfigError as error:
        raise DataError(f"{path} does not describe a model: {error.message}", fix=MAKE_AGAIN) from None


def _hf_files(folder: Path) -> list[Path]:
    index = folder / HF_INDEX
    if not index.exists():
        return [folder / WEIGHTS]
    weight_map = _read_object(index, _MOST_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise DataError(f"{index} has no `weight_map` from weights to files.", fix=MAKE_AGAIN)
    names: set[str] = set()
    for name in cast("dict[str, object]", weight_map).values():
        # Links are followed: a folder of the Hugging Face cache consists of them.
        if not isinstance(name, str) or not name or PurePosixPath(name).name != name or {"\\", "\0"} & set(name):
            raise DataError(f"{index} names {name!r:.200}, which is not a file of its folder.", fix=MAKE_AGAIN)
        names.add(name)
    return [folder / name for name in sorted(names)]


def _read_object(path: Path, most_bytes: int) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises: DataError naming the file, if it cannot be read, is too large, or holds something else.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a regular file.", fix=MAKE_AGAIN)
    if path.stat().st_size > most_bytes:
        raise DataError(f"{path} has more than {most_bytes >> 20} MB.", fix=MAKE_AGAIN)
    try:
        value: object = read_json(path)
    except DataError as error:
        raise DataError(error.message, fix=MAKE_AGAIN) from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, or lists in lists
        raise DataError(f"{path} is not valid JSON: {error}.", fix=MAKE_AGAIN) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", fix="Change its permissions.") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, not an object with fields.", fix=MAKE_AGAIN)
    return cast("dict[str, Any]", value)
