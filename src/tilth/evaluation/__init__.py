"""Evaluation: bits per byte of models and of simple predictors on the same held-out text."""

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.evaluation.compression import zstd_bits_per_byte
    from tilth.evaluation.held_out import baselines, bits_per_byte, ngram_bits_per_byte, train_ngram
    from tilth.evaluation.ngram import NgramModel
    from tilth.evaluation.origins import nearest
    from tilth.evaluation.result import Baselines, Origins, Surprise
    from tilth.evaluation.token_bits import surprise

__all__ = [
    "Baselines",
    "NgramModel",
    "Origins",
    "Surprise",
    "baselines",
    "bits_per_byte",
    "nearest",
    "ngram_bits_per_byte",
    "surprise",
    "train_ngram",
    "zstd_bits_per_byte",
]

__getattr__ = attach(
    __name__,
    {
        "Baselines": "tilth.evaluation.result",
        "NgramModel": "tilth.evaluation.ngram",
        "Origins": "tilth.evaluation.result",
        "Surprise": "tilth.evaluation.result",
        "baselines": "tilth.evaluation.held_out",
        "bits_per_byte": "tilth.evaluation.held_out",
        "nearest": "tilth.evaluation.origins",
        "surprise": "tilth.evaluation.token_bits",
        "train_ngram": "tilth.evaluation.held_out",
        "ngram_bits_per_byte": "tilth.evaluation.held_out",
        "zstd_bits_per_byte": "tilth.evaluation.compression",
    },
)
