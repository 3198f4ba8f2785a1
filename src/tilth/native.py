"""The typed Python interface of the C++ core, and its only importer.

The core is one extension module, built by `pip install`; its functions take `str` or `bytes` without a copy,
release the GIL while they work, and raise ordinary Python exceptions. They are documented in `_core.pyi`.
"""

from __future__ import annotations

from tilth.errors import DependencyError

try:
    from tilth._core import (
        BpeDropout,
        BpeEncoder,
        BpeTrainer,
        PieceCounts,
        SentencePieceEncoder,
        SpecialTokens,
        SuperwordEncoder,
        instruction_sets,
        merge_count_files,
        piece_ends,
        rank_file_tokens,
        read_sentencepiece_model,
        superword_ends,
        use_instruction_set,
    )
except ImportError as error:
    raise DependencyError(
        f"The native core of tilth is not built: {error}.",
        fix="Install the package with `pip install .`, which needs a C++20 compiler.",
    ) from error

__all__ = [
    "BpeDropout",
    "BpeEncoder",
    "BpeTrainer",
    "PieceCounts",
    "SentencePieceEncoder",
    "SpecialTokens",
    "SuperwordEncoder",
    "instruction_sets",
    "merge_count_files",
    "piece_ends",
    "rank_file_tokens",
    "read_sentencepiece_model",
    "superword_ends",
    "use_instruction_set",
]
