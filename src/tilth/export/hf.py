"""A folder that `transformers` loads: model, tokenizer, generation settings and a model card.

`AutoModelForCausalLM` and `AutoTokenizer` give the same logits and the same ids as tilth. Their generation
ends a text where training ended documents, at the separator. The card holds facts that the caller measured, and
no other claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tilth.export.settings import write_settings
from tilth.files import write_bytes, write_json
from tilth.model.files import HF_CONFIG, WEIGHTS
from tilth.model.hf import to_hf_config, to_hf_state
from tilth.model.weights import write_weights

if TYPE_CHECKING:
    from tilth.model.config import ModelConfig
    from tilth.model.transformer import Transformer
    from tilth.tokenizer import Tokenizer


def to_hf(
    model: Transformer,
    tokenizer: Tokenizer,
    folder: Path | str,
    *,
    name: str = "A small language model",
    facts: Mapping[str, str | float] | None = None,
) -> None:
    """Writes `config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`,
    `generation_config.json` and `README.md`; `name` and `facts` (what was measured -> figure) go into
    the last. The weights are read back and compared, and their hash is stored in their file.

    Raises: ConfigError for a model without positions, which no Llama is, and for a tokenizer with more tokens
    than the model; OSError if the disk is full.
    Checked against: tests/parity/export (transformers: logits to 1e-5, ids exactly).
    """
    config, folder = model.config, Path(folder)
    config.check_vocabulary(tokenizer.vocab_size)
    special = {"bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text}
    settings = to_hf_config(config, dtype=model.head_weight.dtype) | special
    weights = to_hf_state({key: weight.detach().cpu() for key, weight in model.state_dict().items()}, config)
    tokenizer.save(folder)
    write_json(folder / HF_CONFIG, settings)
    write_weights(folder / WEIGHTS, weights)
    write_settings(folder, config, tokenizer)
    write_bytes(folder / "README.md", model_card(name, config, facts or {}).encode())


def model_card(name: str, config: ModelConfig, facts: Mapping[str, str | float]) -> str:
    """Returns the card as Markdown: what the hub reads, the shape, the measured facts, how to load it."""
    rows = {
        "Parameters": f"{config.n_params:,}",
        "Layers, width": f"{config.n_layers}, {config.d_model}",
        "Heads (query, key/value)": f"{config.n_heads}, {config.kv_heads}",
        "Context": f"{config.context_length:,} tokens",
        "Vocabulary": f"{config.vocab_size:,} tokens",
    } | {fact: f"{value:,.4g}" if isinstance(value, float) else str(value) for fact, value in facts.items()}
    table = "\n".join(f"| {fact} | {value} |" for fact, value in rows.items())
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [tilth]
---

# {name}

A Llama-shaped language model, trained with tilth. It continues text; it was not taught to follow instructions.

| | |
|---|---|
{table}

A document begins after the separator token, so put it first for text from the beginning:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".")
ids = tokenizer(tokenizer.eos_token + "import", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=100)[0]))
```
"""
