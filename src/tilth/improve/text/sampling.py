"""Samples of a model as documents, what they cost, and their bits under another model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tilth.errors import DataError
from tilth.inference import Generation, SamplingParams, generate_tokens
from tilth.model import IGNORE_INDEX, Transformer
from tilth.tokenizer import Tokenizer
from tilth.training.held_out import overlapping_windows
from tilth.types import Document

BATCH = 512
"""Prompts that are continued at a time: at this size the cache of keys and values of a small model still fits into
that of the processor."""
SCORED_TOKENS = 16_384
"""Tokens of a forward pass."""
MAX_DRAWS = 3.0
"""Most tokens that are drawn for a set, as a multiple of its size: empty samples do not count, but cost a token."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What a model wrote, empty samples left out."""

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    """Of each text as it was drawn, its prompt and its closing separator included."""
    drawn: int
    """Samples drawn, empty ones included."""
    bits_per_token: float
    """Mean surprise of the drawn tokens to the model that drew them; nan without one."""
    flops: float
    """Of all that was drawn."""


def separator_of(tokenizer: Tokenizer) -> int:
    """Returns the separator between documents.

    Raises: DataError for a tokenizer without one.
    """
    if tokenizer.end_of_text is None:
        raise DataError(
            "The tokenizer has no `<|endoftext|>` token to begin samples with.",
            fix="Train it with `<|endoftext|>` among its special tokens.",
        )
    return tokenizer.end_of_text


def sample_texts(
    model: Transformer,
    tokenizer: Tokenizer,
    wanted: int,
    *,
    rng: np.random.Generator,
    temperature: float = 1.0,
    openings: Sequence[Sequence[int]] = (),
) -> Samples:
    """Draws texts until they have `wanted` tokens, at most `MAX_DRAWS` times as many in all.

    A sample begins at the document separator, or with one of `openings` (token ids, used in turn), and ends with a
    separator or where the context is full.
    """
    separator = separator_of(tokenizer)
    params = SamplingParams(
        max_tokens=model.config.context_length, temperature=temperature, stop_tokens=(separator,), token_healing=False
    )
    texts: list[str] = []
    tokens: list[int] = []
    kept_tokens = drawn = drawn_tokens = read_tokens = 0
    nats = 0.0
    while kept_tokens < wanted and drawn_tokens < MAX_DRAWS * wanted:
        prompts = [
            [separator, *(openings[(drawn + row) % len(openings)] if openings else ())][
                : model.config.context_length - 1
            ]
            for row in range(BATCH)
        ]
        seeds = [int(seed) for seed in rng.integers(0, 2**62, size=BATCH)]
        found = generate_tokens(model, prompts, params, batch_size=BATCH, n_tokens=tokenizer.vocab_size, seeds=seeds)
        for prompt, generation in zip(prompts, found, strict=True):
            drawn += 1
            drawn_tokens += len(generation.tokens)
            read_tokens += len(prompt) + len(generation.tokens) - 1
            nats -= sum(generation.logprobs)
            text = tokenizer.decode([*prompt[1:], *_content(generation)])
            if text.strip() and kept_tokens < wanted:
                texts.append(text)
                tokens.append(len(prompt) + len(_content(generation)))
                kept_tokens += tokens[-1]
    return Samples(
        texts=tuple(texts),
        tokens=tuple(tokens),
        drawn=drawn,
        bits_per_token=nats / math.log(2) / drawn_tokens if drawn_tokens else math.nan,
        flops=read_tokens * forward_flops(model),
    )


def _content(generation: Generation) -> Sequence[int]:
    return generation.tokens[: -1 if generation.finish_reason == "stop" else None]


def forward_flops(model: Transformer) -> float:
    """Returns the FLOPs of a forward pass for a token: a third of a training step."""
    return model.config.flops_per_token / 3


def bits_of(
    model: Transformer, tokenizer: Tokenizer, documents: Sequence[Document]
) -> tuple[npt.NDArray[np.float64], float]:
    """Returns each document's bits under a model, its closing separator included, and the FLOPs of that.

    As in `training.text_loss`, which divides those of all documents by their bytes.
    """
    separator = separator_of(tokenizer)
    windows: list[tuple[int, list[int], int]] = []
    rows = tokenizer.encode_batch([document.text for document in documents], disallowed_special=())
    for index, ids in enumerate(rows):
        found = overlapping_windows([separator, *ids, separator], model.config.context_length)
        windows += [(index, window, context) for window, context in found]
    nats = np.zeros(len(documents))
    windows.sort(key=lambda entry: len(entry[1]))
    batch = max(1, SCORED_TOKENS // model.config.context_length)
    for start in range(0, len(windows), batch):
        _score(model, windows[start : start + batch], nats)
    n_tokens = sum(len(ids) - 1 for _, ids, _ in windows)
    return nats / math.log(2), n_tokens * forward_flops(model)


def _score(model: Transformer, windows: Sequence[tuple[int, list[int], int]], nats: npt.NDArray[np.float64]) -> None:
    """Adds the nats of windows to those of their documents."""
    longest = len(windows[-1][1]) - 1
    inputs = torch.zeros(len(windows), longest, dtype=torch.int64)
    targets = torch.full((len(windows), longest), IGNORE_INDEX)
    for row, (_, ids, context) in enumerate(windows):
        inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        targets[row, context : len(ids) - 1] = torch.tensor(ids[context + 1 :])
    losses = model.token_losses(inputs.to(model.device), targets.to(model.device)).cpu().double().sum(dim=1)
    for (index, _, _), loss in zip(windows, losses.tolist(), strict=True):
        nats[index] += loss
