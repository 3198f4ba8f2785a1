"""What `transformers` reads beside weights and vocabulary: how to generate, and how to fill up and cut batches.

The padding token is the document separator, as in GPT-2: it is never read, since a batch has an attention mask. It is
not in `config.json`, where it would take the separator's embedding out of any further training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilth.files import read_json, write_json
from tilth.tokenizer.config import END_OF_TEXT

if TYPE_CHECKING:
    from pathlib import Path

    from tilth.model.config import ModelConfig
    from tilth.tokenizer import Tokenizer

GENERATION_CONFIG, TOKENIZER_CONFIG = "generation_config.json", "tokenizer_config.json"
_NEW_TOKENS = 128


def write_settings(folder: Path, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Writes `generation_config.json`, and completes `tokenizer_config.json` where the tokenizer's files have one.

    Checked against: tests/parity/export (transformers' `generate` and `pipeline` say nothing).
    """
    separator = tokenizer.end_of_text
    ids = {} if separator is None else {f"{name}_token_id": separator for name in ("bos", "eos", "pad")}
    # Not `max_length`: `generate(max_new_tokens=...)` would warn of it.
    new_tokens = max(1, min(_NEW_TOKENS, config.context_length // 2))
    write_json(folder / GENERATION_CONFIG, ids | {"do_sample": True, "max_new_tokens": new_tokens})
    if (path := folder / TOKENIZER_CONFIG).exists():
        tokens = {} if separator is None else dict.fromkeys(("bos_token", "eos_token", "pad_token"), END_OF_TEXT)
        settings: dict[str, Any] = {"model_max_length": config.context_length, "padding_side": "left"}
        write_json(path, read_json(path) | tokens | settings)
