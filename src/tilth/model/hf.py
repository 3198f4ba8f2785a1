"""To and from Hugging Face's LlamaForCausalLM: the only place where its names stand.

Fused matrices are split on the way out and joined on the way in; the values are untouched, so logits are
equal. Both spellings of the rotary base are understood (`rope_theta`, and `rope_parameters` of transformers
5); what our model has no counterpart for (biases, scaled rotary angles, other activations) is refused rather
than dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tilth.errors import ConfigError, DataError
from tilth.model.config import ModelConfig

EMBEDDING, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
_BLOCK = {
    "attention_norm.weight": ("input_layernorm.weight",),
    "attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "attention.out.weight": ("self_attn.o_proj.weight",),
    "feed_forward_norm.weight": ("post_attention_layernorm.weight",),
    "feed_forward.gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "feed_forward.down.weight": ("mlp.down_proj.weight",),
}
"""Our name within a block -> the names whose rows it holds, in order."""


def to_hf_config(config: ModelConfig, *, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Returns the content of `config.json`, without the ids of special tokens.

    Raises: ConfigError for a model without positions, which Llama does not have.
    """
    if config.rope_theta is None:
        raise ConfigError(
            "A model without position encoding (rope_theta None) is not a Llama, so it has no such form.",
            fix="Train with rope_theta set (10000.0 is usual) what is to be exported.",
        )
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.ff_width,
        "max_position_embeddings": config.context_length,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def from_hf_config(values: Mapping[str, Any], *, name: str = "config.json") -> ModelConfig:
    """Returns our config for the content of a Llama `config.json`; `name` stands in errors.

    Raises: DataError if it is not a Llama, or one with features that our model lacks.
    """
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    foreign = {
        "model_type": values.get("model_type") != "llama",
        "hidden_act": values.get("hidden_act", "silu") != "silu",
        "attention_bias": bool(values.get("attention_bias")),
        "mlp_bias": bool(values.get("mlp_bias")),
        "rope_type": rope.get("rope_type", rope.get("type", "default")) != "default",
    }
    if any(foreign.values()):
        wrong = ", ".join(field for field, differs in foreign.items() if differs)
        raise DataError(
            f"{name} describes a model that tilth cannot run: {wrong} differs from a plain Llama's.",
            fix="Give a Llama without biases and without scaled rotary angles.",
        )
    try:
        return ModelConfig(
            vocab_size=values["vocab_size"],
            d_model=values["hidden_size"],
            n_layers=values["num_hidden_layers"],
            n_heads=values["num_attention_heads"],
            n_kv_heads=values.get("num_key_value_heads"),
            head_dim=values.get("head_dim"),
            d_ff=values["intermediate_size"],
            context_length=values["max_position_embeddings"],
            rope_theta=rope.get("rope_theta", values.get("rope_theta", 10000.0)),
            norm_eps=values.get("rms_norm_eps", 1e-6),
            tie_embeddings=values.get("tie_word_embeddings", False),
        )
    except KeyError as error:
        raise DataError(f"{name} lacks {error}.", fix="Download or export the model again.") from None


def to_hf_state(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Returns our weights under Hugging Face's names; a tied output matrix is left out, as there."""
    heads, kv = config.n_heads * config.head_width, config.kv_heads * config.head_width
    sizes = {"attention.qkv.weight": (heads, kv, kv), "feed_forward.gate_up.weight": (config.ff_width,) * 2}
    hf = {EMBEDDING: state["embedding.weight"], NORM: state["norm.weight"]}
    if not config.tie_embeddings:
        hf[HEAD] = state["head.weight"]
    for layer in range(config.n_layers):
        for ours, theirs in _BLOCK.items():
            weight = state[f"blocks.{layer}.{ours}"]
            parts = weight.split(sizes[ours]) if ours in sizes else (weight,)
            hf |= {f"model.layers.{layer}.{t}": part.contiguous() for t, part in zip(theirs, parts, strict=True)}
    return hf


def from_hf_state(hf: Mapping[str, Tensor], config: ModelConfig, *, name: str = "the checkpoint") -> dict[str, Tensor]:
    """Returns Hugging Face's weights under our names; `name` stands in errors.

    Raises: DataError naming a weight that is missing.
    """
    try:
        state = {"embedding.weight": hf[EMBEDDING], "norm.weight": hf[NORM]}
        if not config.tie_embeddings:
            state["head.weight"] = hf[HEAD]
        for layer in range(config.n_layers):
            for ours, theirs in _BLOCK.items():
                state[f"blocks.{layer}.{ours}"] = torch.cat([hf[f"model.layers.{layer}.{t}"] for t in theirs])
    except KeyError as error:
        raise DataError(f"{name} has no weight {error}.", fix="Download or export the model again.") from None
    return state
