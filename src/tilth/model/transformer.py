"""The transformer: RMSNorm, rotary or no positions, grouped-query attention, SwiGLU, tied or free output
matrix.

Projections that read the same input are fused (q, k, v; gate, up): fewer and larger products, which is what a
small model on a CPU needs. A trade-off: names differ from Llama checkpoints; `model/hf.py` splits
and joins.
Initialisation: matrices N(0, 1/fan_in), those that write to the residual stream 0, so that each block begins
as the identity and the token's embedding is not drowned; embeddings N(0, 0.02^2), norm weights 1.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tilth.errors import DataError
from tilth.model.cache import KVCache
from tilth.model.config import ModelConfig
from tilth.model.loss import linear_cross_entropy, token_losses
from tilth.model.mask import Mask, attend, segment_mask
from tilth.model.norm import RMSNorm
from tilth.model.rope import rope_tables, rotate

FIRST_POSITIONS = 4096
"""Positions that the rotary tables begin with; they grow with the sequences, since configs promise up to millions."""


class Projection(nn.Linear):
    """A matrix inside a block, or several that read the same input and are stored as one.

    `parts` are the rows of each of them. The optimizer reads it: a module says itself which matrices it holds, so that
    names and wrappers around the model do not matter.
    """

    def __init__(self, in_features: int, *parts: int) -> None:
        super().__init__(in_features, sum(parts), bias=False)
        self.parts = parts


class Attention(nn.Module):
    """Grouped-query self-attention over a causal past."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.n_heads, self.kv_heads = layer, config.n_heads, config.kv_heads
        self.head_dim = config.head_width
        query, key = self.n_heads * self.head_dim, self.kv_heads * self.head_dim
        self.qkv = Projection(config.d_model, query, key, key)
        self.out = Projection(query, config.d_model)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor] | None, mask: Mask | None, cache: KVCache | None
    ) -> Tensor:
        """Mixes positions; `(batch, seq, d_model)` in and out."""
        batch, seq, _ = x.shape
        heads = self.qkv(x).view(batch, seq, -1, self.head_dim)
        qk, v = heads.split((self.n_heads + self.kv_heads, self.kv_heads), dim=2)
        if rope is not None:
            qk = rotate(qk, *rope)
        qk, v = qk.transpose(1, 2), v.transpose(1, 2)
        q, k = qk.split((self.n_heads, self.kv_heads), dim=1)
        if cache is not None:
            k, v = cache.write(self.layer, k, v)
        y = attend(q, k, v, mask, causal=cache is None and mask is None)
        return self.out(y.transpose(1, 2).reshape(batch, seq, -1))


class FeedForward(nn.Module):
    """SwiGLU. Source: Shazeer 2020, eq. 6."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = Projection(config.d_model, config.ff_width, config.ff_width)
        self.down = Projection(config.ff_width, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Works on each position alone; `(batch, seq, d_model)` in and out."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    """Attention, then feed-forward, each normalised before and added to the stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config, layer)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor] | None, mask: Mask | None, cache: KVCache | None
    ) -> Tensor:
        """`(batch, seq, d_model)` in and out."""
        x = x + self.attention(self.attention_norm(x), rope, mask, cache)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Transformer(nn.Module):
    """A causal language model.

    Checked against: tests/parity/model (transformers' LlamaForCausalLM, 1e-5).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.head = None if config.tie_embeddings else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.reset_buffers()
        self.reset_parameters()

    def reset_buffers(self) -> None:
        """Computes the rotary tables of the first positions; they follow from the config and are never saved."""
        if self.config.rope_theta is not None:
            self._make_rope_tables(min(self.config.context_length, FIRST_POSITIONS))

    def _make_rope_tables(self, positions: int) -> None:
        # Tables that are first needed while generating serve training too, which refuses tensors of inference mode.
        with torch.inference_mode(False):
            cos, sin = rope_tables(positions, self.config.head_width, cast(float, self.config.rope_theta))
            weight = self.embedding.weight
            self.register_buffer("rope_cos", cos.to(weight.device, weight.dtype), persistent=False)
            self.register_buffer("rope_sin", sin.to(weight.device, weight.dtype), persistent=False)

    def reset_parameters(self) -> None:
        """Draws all weights anew from torch's global generator, as the top of this file says."""
        nn.init.normal_(self.embedding.weight, std=0.02)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                writes_to_stream = name.endswith(("attention.out", "feed_forward.down"))
                nn.init.normal_(module.weight, std=0.0 if writes_to_stream else 1 / math.sqrt(module.in_features))

    @property
    def head_weight(self) -> Tensor:
        """The output matrix, `(vocab_size, d_model)`."""
        return self.embedding.weight if self.head is None else self.head.weight

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    def hidden(self, ids: Tensor, cache: KVCache | None = None, segments: Tensor | None = None) -> Tensor:
        """Returns the normalised last states, `(batch, seq, d_model)`; the cache, if given, takes in the
        tokens.

        `segments` `(batch, seq)` numbers the documents of each row: attention stays within one. None: a row is one.
        Raises: DataError if the tokens do not fit into the context of a model with positions; ValueError for
        segments together with a cache.
        """
        seq = ids.shape[1]
        rope, mask = self._rope(seq, cache), self._mask(seq, cache, segments)
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, rope, mask, cache)
        if cache is not None:
            cache.length += seq
        return self.norm(x)

    def forward(
        self,
        ids: Tensor,
        cache: KVCache | None = None,
        *,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """Returns logits `(batch, seq, vocab_size)` for ids `(batch, seq)`; or the loss, a scalar, given `targets`.

        The loss is the mean cross-entropy over the targets that are not IGNORE_INDEX, or with `weights` the sum of
        each target's weight times its cross-entropy. It is here so that wrappers (DDP, torch.compile) and hooks see it.
        Shapes: targets, weights and segments `(batch, seq)`. Units: nats per token.
        """
        hidden = self.hidden(ids, cache, segments)
        if targets is None:
            return F.linear(hidden, self.head_weight)
        flat = None if weights is None else weights.flatten()
        return linear_cross_entropy(hidden.flatten(0, 1), self.head_weight, targets.flatten(), flat)

    @torch.no_grad()
    def token_losses(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Returns the cross-entropy of each target, `(batch, seq)` in nats, 0 where it is IGNORE_INDEX; no
        gradients."""
        losses = token_losses(self.hidden(ids).flatten(0, 1), self.head_weight, targets.flatten())
        return losses.view(targets.shape)

    def _mask(self, seq: int, cache: KVCache | None, segments: Tensor | None) -> Mask | None:
        if segments is None:
            return None if cache is None else cache.mask(seq)
        if cache is not None:
            raise ValueError("A cache holds one document a row: segments cannot be given with it.")
        return segment_mask(segments, self.embedding.weight.dtype, self.config.head_width)

    def _rope(self, seq: int, cache: KVCache | None) -> tuple[Tensor, Tensor] | None:
        if self.config.rope_theta is None:
            return None
        cos, sin = cast(Tensor, self.rope_cos), cast(Tensor, self.rope_sin)
        end = seq if cache is None else cache.longest() + seq
        if end > self.config.context_length:
            raise DataError(
                f"A sequence of {end} tokens does not fit into the context of {self.config.context_length}.",
                fix="Give shorter sequences, or make the model with a larger context_length.",
            )
        if end > len(cos):
            self._make_rope_tables(min(self.config.context_length, 2 * end))
            cos, sin = cast(Tensor, self.rope_cos), cast(Tensor, self.rope_sin)
        if cache is None:
            return cos[:seq, None], sin[:seq, None]
        positions = cache.positions(seq)
        return cos[positions].unsqueeze(-2), sin[positions].unsqueeze(-2)
