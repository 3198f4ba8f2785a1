"""To and from Hugging Face's LlamaForCausalLM: the only module that knows its names.

Fused matrices are split on the way out and joined on the way in; the values are untouched, so logits are
equal. Both spellings of the rotary base are understood (`rope_theta`, and `rope_parameters` of transformers
5); what our model has no counterpart for (biases, scaled rotary angles, other activations) is refused rather
than dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from tilth.errors import ConfigError, DataError
from tilth.model.config import ModelConfig

Shape = tuple[int, ...]
Entry = tuple[str, tuple[tuple[str, Shape], ...]]
"""One of our weights, and the names and shapes of the tensors that are joined in it, in order."""
Layout = dict[str, tuple[str, ...]]
"""Our weights -> the names of the tensors that are joined in them, in order."""

EMBEDDING, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
_OUTER = {"embedding.weight": EMBEDDING, "norm.weight": NORM, "head.weight": HEAD}
_BLOCK = {
    "attention_norm.weight": ("input_layernorm.weight",),
    "attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "attention.out.weight": ("self_attn.o_proj.weight",),
    "feed_forward_norm.weight": ("post_attention_layernorm.weight",),
    "feed_forward.gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "feed_forward.down.weight": ("mlp.down_proj.weight",),
}
"""Our name within a block -> the names whose rows it holds, in order."""
_FIX = "Download or export the model again."


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
    """Returns our config for the content of a Llama `config.json`; `name` is the file's in errors.

    Raises: DataError if it is not a Llama, one with features that our model lacks, or no possible shape.
    """
    rope = _rope(values, name)
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
    theta = rope.get("rope_theta", values.get("rope_theta", 10000.0))
    if theta is None:  # here it would mean a model without positions, which no Llama is
        raise DataError(f"{name}: rope_theta is null.", fix=_FIX)
    try:
        return ModelConfig(
            vocab_size=values["vocab_size"],
            d_model=values["hidden_size"],
            n_layers=values["num_hidden_layers"],
            n_heads=values["num_attention_heads"],
            n_kv_heads=values.get("num_key_value_heads"),
            head_dim=values.get("head_dim"),
            d_ff=_given(values, "intermediate_size"),
            context_length=values["max_position_embeddings"],
            rope_theta=theta,
            norm_eps=values.get("rms_norm_eps", 1e-6),
            tie_embeddings=values.get("tie_word_embeddings", False),
        )
    except KeyError as error:
        raise DataError(f"{name} lacks {error}.", fix=_FIX) from None
    except ConfigError as error:
        raise DataError(f"{name} does not describe a model: {error.message}", fix=_FIX) from None


def _rope(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    rope: object = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise DataError(f"{name}: `rope_parameters` or `rope_scaling` is not an object.", fix=_FIX)
    return cast("dict[str, Any]", rope)


def _given(values: Mapping[str, Any], key: str) -> Any:
    if values[key] is None:
        raise KeyError(key)
    return values[key]


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


def hf_shapes(config: ModelConfig) -> Iterator[Entry]:
    """Yields, for each of our weights, Hugging Face's names of what is joined in it, with their shapes."""
    heads, kv = config.n_heads * config.head_width, config.kv_heads * config.head_width
    rows = {"attention.qkv.weight": (heads, kv, kv), "feed_forward.gate_up.weight": (config.ff_width,) * 2}
    for ours, shape in config.weight_shapes():
        if not ours.startswith("blocks."):
            yield ours, ((_OUTER[ours], shape),)
            continue
        _, layer, name = ours.split(".", 2)
        sizes = rows.get(name, shape[:1])
        theirs = (f"model.layers.{layer}.{their}" for their in _BLOCK[name])
        yield ours, tuple((their, (size, *shape[1:])) for their, size in zip(theirs, sizes, strict=True))


def is_redundant(name: str) -> bool:
    """Whether a weight that our model lacks may be left out: old Llamas store the rotary frequencies, and some files
    repeat a tied output matrix."""
    return name == HEAD or name.endswith(".rotary_emb.inv_freq")
