"""A folder that `transformers` loads: model, tokenizer, generation settings and a model card.

`AutoModelForCausalLM` and `AutoTokenizer` give the same logits and the same ids as tilth. Their generation
ends a text where training ended documents, at the separator. What stands in the card are facts that the
caller measured; nothing is claimed on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save

from tilth.errors import ConfigError
from tilth.files import write_bytes, write_json
from tilth.model.files import HF_CONFIG, WEIGHTS
from tilth.model.hf import to_hf_config, to_hf_state

if TYPE_CHECKING:
    from tilth.model.config import ModelConfig
    from tilth.model.transformer import Transformer
    from tilth.tokenizer import Tokenizer


def to_hf(
    model: Transformer,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    name: str = "A small language model",
    facts: Mapping[str, str | float] | None = None,
) -> None:
    """Writes `config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`,
    `generation_config.json` and `README.md`; `name` and `facts` (what was measured -> figure) stand in the
    last.

    Raises: ConfigError for a model without positions, which no Llama is, and for a tokenizer with more tokens
    than the model.
    Checked against: tests/parity/export (transformers: logits to 1e-5, ids exactly).
    """
    config = model.config
    if tokenizer.vocab_size > config.vocab_size:
        raise ConfigError(
            f"The tokenizer has {tokenizer.vocab_size} tokens and the model only {config.vocab_size}.",
            fix="Export the model with the tokenizer it was trained with.",
        )
    special = {"bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text}
    settings = to_hf_config(config, dtype=model.head_weight.dtype) | special
    weights = to_hf_state({key: weight.detach().cpu() for key, weight in model.state_dict().items()}, config)
    tokenizer.save(folder)
    write_json(folder / HF_CONFIG, settings)
    # transformers refuses weights that do not say which framework wrote them.
    write_bytes(folder / WEIGHTS, save(weights, {"format": "pt"}))
    write_json(folder / "generation_config.json", special | {"max_length": config.context_length, "do_sample": True})
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
ids = tokenizer(tokenizer.eos_token + "import ", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=100)[0]))
```
"""
