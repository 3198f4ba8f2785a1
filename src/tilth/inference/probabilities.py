"""How likely a model found what it wrote, and what it would rather have written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812

if TYPE_CHECKING:
    from tilth.model.transformer import Transformer


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenProbability:
    """A token and what the model expected in its position."""

    token: int
    probability: float
    """The model's own: at temperature 1, without truncation."""
    alternatives: tuple[tuple[int, float], ...]
    """The likeliest tokens with their probabilities, likeliest first; the token may be among them."""


@torch.inference_mode()
def token_probabilities(
    model: Transformer,
    prompt_tokens: Sequence[int],
    tokens: Sequence[int],
    *,
    n_alternatives: int = 3,
    n_tokens: int | None = None,
) -> list[TokenProbability]:
    """Returns the probability of each of `tokens` behind `prompt_tokens` (at least one) and all tokens before it.

    Alternatives are among the first `n_tokens` ids, where given. One forward over the whole sequence, which must fit
    into the context.
    """
    if not tokens:
        return []
    ids = torch.tensor([[*prompt_tokens, *tokens][:-1]], device=model.device)
    states = model.hidden(ids)[0, len(prompt_tokens) - 1 :]
    found: list[TokenProbability] = []
    for token, state in zip(tokens, states, strict=True):
        probabilities = F.linear(state, model.head_weight).float().softmax(dim=-1)
        likeliest = probabilities[:n_tokens].topk(min(n_alternatives, len(probabilities[:n_tokens])))
        alternatives = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        found.append(
            TokenProbability(token=token, probability=float(probabilities[token]), alternatives=tuple(alternatives))
        )
    return found
