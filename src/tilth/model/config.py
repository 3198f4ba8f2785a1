"""The shape of a model, and what follows from it: parameters, FLOPs, and one dial that sets everything.

It imports nothing heavy, so that planning a run or printing `--help` does not load torch. All names are ours
(one set of names); `model/hf.py` alone knows those of Hugging Face.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tilth.errors import ConfigError

_SIZES = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "context_length")
_OPTIONAL = ("n_kv_heads", "head_dim", "d_ff")
_MOST = 2**31 - 1
"""No size of a model comes near it, and within it the arithmetic below is exact."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A Llama-shaped decoder: RMSNorm, rotary or no positions, SwiGLU, grouped-query attention, no biases."""

    vocab_size: int
    """Tokens that the model knows."""
    d_model: int = 256
    """Width of the residual stream."""
    n_layers: int = 4
    """Blocks of attention and feed-forward."""
    n_heads: int = 4
    """Query heads of a block."""
    n_kv_heads: int | None = None
    """Key/value heads, each shared by n_heads / n_kv_heads query heads; None: as many as query heads."""
    head_dim: int | None = None
    """Width of a head; None: d_model / n_heads."""
    d_ff: int | None = None
    """Width of the feed-forward layer; None: 8/3 of d_model, rounded up to a multiple of 32."""
    context_length: int = 256
    """Most tokens that the model attends to."""
    rope_theta: float | None = 10000.0
    """Base of the rotary position angles; None: no position encoding at all (NoPE)."""
    norm_eps: float = 1e-5
    """Added to the mean square inside RMSNorm."""
    tie_embeddings: bool = True
    """Whether the output matrix is the embedding matrix."""

    def __post_init__(self) -> None:
        for name in _SIZES:
            _check_size(name, getattr(self, name))
        if type(self.tie_embeddings) is not bool:
            raise ConfigError(f"tie_embeddings is {self.tie_embeddings!r}.", fix="Give true or false.")
        if self.n_heads % self.kv_heads:
            raise ConfigError(
                f"{self.n_heads} query heads cannot be shared evenly by {self.kv_heads} key/value heads.",
                fix="Choose n_kv_heads so that it divides n_heads.",
            )
        if self.head_dim is None and self.d_model % self.n_heads:
            raise ConfigError(
                f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}.",
                fix="Choose n_heads so that it divides d_model, or give head_dim.",
            )
        if self.rope_theta is not None and (not _is_within(self.rope_theta, 1, 1e30) or self.head_width % 2):
            raise ConfigError(
                f"Rotary positions need a rope_theta of at least 1 and an even head width, not {self.rope_theta!r:.40} "
                f"and {self.head_width}.",
                fix="Change n_heads or head_dim, or set rope_theta to None for a model without positions.",
            )
        if not _is_within(self.norm_eps, 1e-30, 1):
            raise ConfigError(f"norm_eps is {self.norm_eps!r:.40}.", fix="Give a small positive number such as 1e-5.")

    @classmethod
    def from_depth(cls, depth: int, *, vocab_size: int, context_length: int = 256) -> ModelConfig:
        """Derives a whole shape from one dial: `depth` layers, 32 of width per layer, heads 64 wide, untied embeddings.

        That is half of nanochat's width for a depth (Karpathy 2025): at minutes on a CPU, tokens seen count for more
        than width (docs/log.md). An odd depth has one head more than its width would fill. Depth 4 suits minutes on
        two cores.
        Raises: ConfigError for a depth below 1.
        """
        if depth < 1:
            raise ConfigError(f"`--depth` is {depth}.", fix="Give 1 or more; 4 takes minutes on two cores.")
        return cls(
            vocab_size=vocab_size,
            d_model=32 * depth,
            n_layers=depth,
            n_heads=-(-depth // 2),
            head_dim=64,
            context_length=context_length,
            tie_embeddings=False,
        )

    @property
    def kv_heads(self) -> int:
        """Key/value heads with the default filled in."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_width(self) -> int:
        """Width of a head with the default filled in."""
        return self.d_model // self.n_heads if self.head_dim is None else self.head_dim

    @property
    def ff_width(self) -> int:
        """Width of the feed-forward layer with the default filled in."""
        return math.ceil(self.d_model * 8 / 3 / 32) * 32 if self.d_ff is None else self.d_ff

    def weight_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yields the name and shape of each weight, as in `Transformer.state_dict()`, without building a model."""
        heads, kv = self.n_heads * self.head_width, self.kv_heads * self.head_width
        yield "embedding.weight", (self.vocab_size, self.d_model)
        for layer in range(self.n_layers):
            yield f"blocks.{layer}.attention_norm.weight", (self.d_model,)
            yield f"blocks.{layer}.attention.qkv.weight", (heads + 2 * kv, self.d_model)
            yield f"blocks.{layer}.attention.out.weight", (self.d_model, heads)
            yield f"blocks.{layer}.feed_forward_norm.weight", (self.d_model,)
            yield f"blocks.{layer}.feed_forward.gate_up.weight", (2 * self.ff_width, self.d_model)
            yield f"blocks.{layer}.feed_forward.down.weight", (self.d_model, self.ff_width)
        yield "norm.weight", (self.d_model,)
        if not self.tie_embeddings:
            yield "head.weight", (self.vocab_size, self.d_model)

    def check_vocabulary(self, n_tokens: int) -> None:
        """Checks that the model knows as many tokens as its tokenizer.

        Raises: ConfigError if the tokenizer has more. A model may have more: vocabularies are rounded up.
        """
        if n_tokens > self.vocab_size:
            raise ConfigError(
                f"The tokenizer has {n_tokens} tokens and the model only {self.vocab_size}.",
                fix="Use the tokenizer that the model was trained with.",
            )

    @property
    def n_params(self) -> int:
        """All parameters; a tied embedding counts once."""
        attention = self.d_model * self.head_width * (2 * self.n_heads + 2 * self.kv_heads)
        block = attention + 3 * self.d_model * self.ff_width + 2 * self.d_model
        embeddings = self.vocab_size * self.d_model * (1 if self.tie_embeddings else 2)
        return embeddings + self.n_layers * block + self.d_model

    @property
    def flops_per_token(self) -> float:
        """Training FLOPs for one token, forward and backward: 6 N + 12 L (heads x head width) T.

        N counts the parameters that are multiplied (an untied input embedding is only looked up); T is the
        context length, and attention is counted in full although the causal half is masked.
        Source: Chowdhery et al. 2022 (PaLM), appendix B.
        """
        looked_up = 0 if self.tie_embeddings else self.vocab_size * self.d_model
        attention = 12 * self.n_layers * self.n_heads * self.head_width * self.context_length
        return float(6 * (self.n_params - looked_up) + attention)


def _check_size(name: str, value: object) -> None:
    if value is None and name in _OPTIONAL:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r:.40}, not a whole number.", fix="Give 1 or more.")
    if value < 1:
        raise ConfigError(f"{name} is {value if value > -_MOST else 'negative'}.", fix="Give 1 or more.")
    if value > _MOST:
        raise ConfigError(f"{name} is larger than {_MOST:,}.", fix=f"Give a smaller {name}.")


def _is_within(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
