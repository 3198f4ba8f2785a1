"""Models on disk: our folder (`model.safetensors`, `model.json`) and Hugging Face Llama folders.

Weights are safetensors in both, so loading never runs code from a file. Our folder exists because a config of
ours may describe what no Hugging Face class does (a model without positions); everything else about a model
stands in the file names of others as soon as it is exported.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tilth.errors import ConfigError, DataError
from tilth.files import read_json, write_bytes, write_json
from tilth.model import hf
from tilth.model.config import ModelConfig
from tilth.model.transformer import Transformer

WEIGHTS, CONFIG, HF_CONFIG, HF_INDEX = (
    "model.safetensors",
    "model.json",
    "config.json",
    "model.safetensors.index.json",
)


def save_model(model: Transformer, folder: Path) -> None:
    """Writes `model.json` and `model.safetensors`; equal weights give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(weights))
    write_json(folder / CONFIG, asdict(model.config))


def load_model(path: Path | str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Transformer:
    """Loads a folder of ours, or a Hugging Face folder that holds a Llama; the model is in evaluation mode.

    Raises: DataError naming the file that is missing, broken, or does not fit its config.
    """
    folder = Path(path)
    if (folder / CONFIG).exists():
        config, weights = _read_config(folder / CONFIG), _read_weights(folder / WEIGHTS)
    elif (folder / HF_CONFIG).exists():
        config = hf.from_hf_config(read_json(folder / HF_CONFIG), name=str(folder / HF_CONFIG))
        weights = hf.from_hf_state(_read_hf_weights(folder), config, name=str(folder))
    else:
        raise DataError(
            f"{folder} holds no model: neither {CONFIG} (tilth) nor {HF_CONFIG} (Hugging Face) is there.",
            fix="Give the folder that `tilth train` or an export wrote.",
        )
    return build_model(config, weights, name=str(folder)).to(device=device, dtype=dtype).eval()


def build_model(config: ModelConfig, weights: dict[str, Tensor], *, name: str) -> Transformer:
    """Returns a model with these weights, which it takes over; `name` stands in errors.

    Raises: DataError if a weight is missing, unknown, or of another shape.
    """
    with torch.device("meta"):
        model = Transformer(config)
    expected = {key: tuple(weight.shape) for key, weight in model.state_dict().items()}
    found = {key: tuple(weight.shape) for key, weight in weights.items()}
    if expected != found:
        wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise DataError(
            f"The weights of {name} do not fit their config: {wrong[0]} should be {expected.get(wrong[0])} "
            f"and is {found.get(wrong[0])} ({len(wrong)} differ).",
            fix="Give the config and the weights of the same model.",
        )
    model.load_state_dict(weights, assign=True)
    model.reset_buffers()
    return model


def _read_config(path: Path) -> ModelConfig:
    values = read_json(path)
    try:
        return ModelConfig(**values)
    except (TypeError, ConfigError) as error:
        raise DataError(f"{path} does not describe a model: {error}.", fix="Train or export the model again.") from None


def _read_hf_weights(folder: Path) -> dict[str, Tensor]:
    if not (folder / HF_INDEX).exists():
        return _read_weights(folder / WEIGHTS)
    files = sorted(set(read_json(folder / HF_INDEX)["weight_map"].values()))
    return {key: weight for file in files for key, weight in _read_weights(folder / file).items()}


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", fix="Train, export or download the model again.") from None
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise DataError(
            f"{path} is not a whole safetensors file: {error}.",
            fix="Train, export or download the model again.",
        ) from None
