"""Models: their shape, the transformer itself, its cache, and the way to and from Hugging Face."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.model.cache import KVCache
    from tilth.model.config import ModelConfig
    from tilth.model.files import load_model, save_model
    from tilth.model.loss import IGNORE_INDEX
    from tilth.model.transformer import Projection, Transformer

__all__ = ["IGNORE_INDEX", "KVCache", "ModelConfig", "Projection", "Transformer", "load_model", "save_model"]

__getattr__ = attach(
    __name__,
    {
        "IGNORE_INDEX": "tilth.model.loss",
        "KVCache": "tilth.model.cache",
        "ModelConfig": "tilth.model.config",
        "Projection": "tilth.model.transformer",
        "Transformer": "tilth.model.transformer",
        "load_model": "tilth.model.files",
        "save_model": "tilth.model.files",
    },
)
