"""The samples of the plateau experiment: drawn in chunks, plain and guided by a verifier, gated, and cut to arms.

A sample fills the learner's context: a few tokens of text read before, then what the model continues them with (the
separator between documents included). So rows of training are whole samples. For text no verifier is exact. This one is
an n-gram model of other real text: every few tokens it chooses one of several continuations, each with the probability
by which it is likelier as real text than as the model's own (sampling-importance-resampling), so that what is kept
moves from the model's distribution to the verifier's, and not to its likeliest text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilth.assay.learner import BEFORE, TEXT, Learner, load_ids, one_thread, own_tokens, read_record, save_array
from tilth.assay.plateau_config import PlateauConfig
from tilth.evaluation.ngram import NgramModel
from tilth.inference import SamplingParams
from tilth.inference.generate import generate_tokens
from tilth.model import Transformer, load_model
from tilth.results import read_result, write_result

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

PLAIN, VERIFIED, FRESH, REPEAT = "plain", "verified", "fresh", "repeat"
CHUNK = 400
"""Samples that are drawn at a time: what a kill loses."""
SAMPLES = "samples"
SELECTED = "selected.json"
_SLACK = 1.1
"""Guided samples that are drawn for each one that is wanted: the gates take some."""
_GRAM = 8
_BATCH = 1024
_STARTS, _CHOICES = 5, 6
"""Keys of the streams of chance."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What one seed's samples are drawn with."""

    learner: Learner
    config: PlateauConfig
    n_tokens: int
    """Ids that the tokenizer has."""

    @property
    def folder(self) -> Path:
        """Where the samples of this seed are."""
        return self.learner.root / SAMPLES / f"seed-{self.learner.seed}"

    @property
    def wanted(self) -> int:
        """Samples that the longest training of an arm reads."""
        longest = replace(self.learner.config, arm_tokens=self.config.token_counts[-1])
        return math.ceil(own_tokens(longest) / self.learner.config.context_length) + 1

    @property
    def drawn(self) -> int:
        """Guided samples that are drawn for that; plain ones are drawn as many, and not gated."""
        return math.ceil(_SLACK * self.wanted)

    @property
    def made_tokens(self) -> int:
        """Tokens of a sample that the model writes."""
        return self.learner.config.context_length - self.config.prompt_tokens

    @property
    def blocks(self) -> list[int]:
        """Tokens of each block of a guided sample."""
        whole, rest = divmod(self.made_tokens, self.config.block_tokens)
        return [self.config.block_tokens] * whole + [rest] * (rest > 0)

    def flops_per_sample(self, arm: str) -> float:
        """Returns the FLOPs of generating one: forward passes, a third of training.

        A guided one reads what it has again for each block and candidate. Looking up n-grams is left out.
        """
        tokens = self.learner.config.context_length
        if arm == VERIFIED:
            read = self.config.prompt_tokens + np.cumsum(self.blocks)
            tokens = self.config.candidates * int(read.sum())
        return self.learner.shape.flops_per_token / 3 * tokens


@dataclass(frozen=True, kw_only=True)
class Selected:
    """What became of one seed's guided samples."""

    drawn: int
    kept: int
    """By the gates; at most what was wanted."""
    copies: int
    """Most of it is in text read before."""
    near_duplicates: int
    """Most of it is in samples kept before."""
    plain_bits_per_token: float
    """Of plain samples under the model that made them."""
    guided_bits_per_token: float
    plain_verifier_bits_per_token: float
    """Of plain samples under the verifier."""
    guided_verifier_bits_per_token: float
    held_out_verifier_bits_per_token: float
    """Of held-out text, beside them."""
    ended: str = ""
    """Why there are none, in words; empty: there are."""
    plain_examples: tuple[tuple[int, ...], ...] = ()
    """Tokens."""
    kept_examples: tuple[tuple[int, ...], ...] = ()


def chunks(drawing: Drawing) -> range:
    """Returns the numbers of a seed's chunks."""
    return range(math.ceil(drawing.drawn / CHUNK))


def draw_chunk(unit: tuple[Drawing, int]) -> None:
    """Draws one chunk of samples, unless that is done. A sample depends on its number, not on the chunk."""
    drawing, chunk = unit
    learner, done = drawing.learner, drawing.folder / f"{VERIFIED}-{chunk:04d}.npy"
    if done.exists() or read_record(learner, BEFORE).ended:
        return
    numbers = range(chunk * CHUNK, min((chunk + 1) * CHUNK, drawing.drawn))
    prompts = _prompts(drawing)[list(numbers)]
    with one_thread():
        model = load_model(learner.folder(BEFORE) / "model", device=learner.context.device).eval()
        plain, _ = _continued(drawing, model, prompts, drawing.made_tokens, [_stream(learner, n) for n in numbers])
        guided = _guided(drawing, model, prompts, numbers)
    save_array(drawing.folder / f"{PLAIN}-{chunk:04d}.npy", plain)
    save_array(done, guided)


def _prompts(drawing: Drawing) -> Ids:
    """Returns what samples continue, (samples, prompt tokens): from anywhere in the text read before."""
    before, n = load_ids(drawing.learner.text(BEFORE)), drawing.config.prompt_tokens
    rng = np.random.default_rng([drawing.learner.seed, _STARTS])
    starts = rng.integers(0, max(1, len(before) - n), drawing.drawn)
    return before[starts[:, None] + np.arange(n)]


def _stream(learner: Learner, number: int, block: int = 0, candidate: int = 0) -> int:
    """Returns the seed of what is drawn for a continuation."""
    return (((learner.seed % 2**16 << 22) + number << 12) + block << 6) + candidate


def _continued(drawing: Drawing, model: Transformer, rows: Ids, n: int, streams: Sequence[int]) -> tuple[Ids, Floats]:
    """Returns rows with `n` more tokens, and the nats of these under the model."""
    made = generate_tokens(
        model,
        rows.tolist(),
        SamplingParams(max_tokens=n, temperature=drawing.config.temperature),
        batch_size=_BATCH,
        n_tokens=drawing.n_tokens,
        seeds=streams,
    )
    longer = np.concatenate([rows, np.array([one.tokens for one in made], dtype=np.int64)], axis=1)
    return longer, np.array([-math.fsum(one.logprobs) for one in made])


def _guided(drawing: Drawing, model: Transformer, prompts: Ids, numbers: range) -> Ids:
    """Returns samples of which a verifier chose each block among candidates."""
    config, learner = drawing.config, drawing.learner
    known = verifier_of(drawing)
    rows = prompts
    for block, n in enumerate(drawing.blocks):
        streams = [
            _stream(learner, number, 1 + block, candidate)
            for number in numbers
            for candidate in range(config.candidates)
        ]
        longer, nats = _continued(drawing, model, rows.repeat(config.candidates, axis=0), n, streams)
        seen = longer[:, -(n + config.verifier_order - 1) :]  # more than that no n-gram reaches
        under_verifier = score_rows(known, seen)[:, -n:].sum(axis=1)
        choice = np.stack(
            [
                np.random.default_rng([learner.seed, _CHOICES, n_, block]).gumbel(size=config.candidates)
                for n_ in numbers
            ]
        )
        best = (choice + (nats - under_verifier).reshape(choice.shape)).argmax(axis=1)
        rows = longer.reshape(len(rows), config.candidates, -1)[np.arange(len(rows)), best]
    return rows


def verifier_of(drawing: Drawing) -> NgramModel:
    """Returns the verifier: one for all seeds of an experiment."""
    path = drawing.learner.root / TEXT / "verifier.npy"
    return _verifier(path, drawing.learner.vocab_size, drawing.config.verifier_order)


@lru_cache(maxsize=1)
def _verifier(path: Path, vocab_size: int, order: int) -> NgramModel:
    text = load_ids(path)
    # The separators between documents are in the text; at its ends they are added again.
    return NgramModel.fit([text[1:-1].tolist()], vocab_size=vocab_size, separator=int(text[-1]), order=order)


def score_rows(verifier: NgramModel, rows: Ids) -> Floats:
    """Returns the nats of each token of rows under an n-gram model, for which a separator begins a new context.

    Shapes: rows and result (rows, tokens).
    """
    losses = verifier.token_losses(rows.tolist())
    return losses.reshape(len(rows), -1)[:, :-1]  # without the ends of documents, which rows are not


def select(drawing: Drawing) -> Selected:
    """Gates a seed's samples and writes the text of its arms, unless that is done."""
    path = drawing.folder / SELECTED
    if path.exists():
        return read_result(Selected, path)
    ended = read_record(drawing.learner, BEFORE).ended
    found = _nothing(f"The model ended before it could draw samples: {ended}") if ended else _select(drawing)
    write_result(path, found)
    return found


def _nothing(why: str) -> Selected:
    nan = math.nan
    return Selected(
        drawn=0,
        kept=0,
        copies=0,
        near_duplicates=0,
        plain_bits_per_token=nan,
        guided_bits_per_token=nan,
        plain_verifier_bits_per_token=nan,
        guided_verifier_bits_per_token=nan,
        held_out_verifier_bits_per_token=nan,
        ended=why,
    )


def _select(drawing: Drawing) -> Selected:
    learner, config = drawing.learner, drawing.config
    plain, guided = (
        np.concatenate([load_ids(drawing.folder / f"{arm}-{chunk:04d}.npy") for chunk in chunks(drawing)])
        for arm in (PLAIN, VERIFIED)
    )
    plain = plain[: drawing.wanted]
    kept, copies, near = gate(guided, load_ids(learner.text(BEFORE)), config)
    kept = kept[: drawing.wanted]
    held_out = load_ids(learner.root / TEXT / "held_out.npy")
    length = min(plain.shape[1], len(held_out))
    real = held_out[: len(held_out) // length * length].reshape(-1, length)
    known, model = verifier_of(drawing), load_model(learner.folder(BEFORE) / "model").eval()
    save_array(drawing.folder / f"{PLAIN}.npy", plain)
    save_array(drawing.folder / f"{VERIFIED}.npy", guided[kept])

    def under_verifier(rows: Ids) -> float:
        return float(score_rows(known, rows)[:, config.prompt_tokens :].mean()) / math.log(2)

    return Selected(
        drawn=len(guided),
        kept=len(kept),
        copies=copies,
        near_duplicates=near,
        plain_bits_per_token=_own_bits(model, plain, config),
        guided_bits_per_token=_own_bits(model, guided, config),
        plain_verifier_bits_per_token=under_verifier(plain),
        guided_verifier_bits_per_token=under_verifier(guided),
        held_out_verifier_bits_per_token=under_verifier(real),
        ended="" if kept else "The gates rejected every sample.",
        plain_examples=tuple(tuple(map(int, row)) for row in plain[:3]),
        kept_examples=tuple(tuple(map(int, row)) for row in guided[kept[:3]]),
    )


def _own_bits(model: Transformer, rows: Ids, config: PlateauConfig) -> float:
    """Returns bits per token of some rows under the model, behind their prompts."""
    import torch

    ids = torch.from_numpy(rows[:200])
    with one_thread(), torch.inference_mode():
        losses = model.token_losses(ids[:, :-1].to(model.device), ids[:, 1:].to(model.device))
    return float(losses[:, config.prompt_tokens - 1 :].double().mean()) / math.log(2)


def gate(rows: Ids, before: Ids, config: PlateauConfig) -> tuple[list[int], int, int]:
    """Returns the numbers of the rows that pass, and how many are copies and near duplicates."""
    known = set(_grams(before.tolist()))
    seen: set[tuple[int, ...]] = set()
    kept: list[int] = []
    copies = near = 0
    for index, row in enumerate(rows[:, config.prompt_tokens :].tolist()):
        grams = list(_grams(row))
        n = max(1, len(grams))
        if sum(gram in known for gram in grams) / n > config.max_overlap:
            copies += 1
        elif sum(gram in seen for gram in grams) / n > config.max_overlap:
            near += 1
        else:
            seen.update(grams)
            kept.append(index)
    return kept, copies, near


def _grams(tokens: list[int]) -> Iterable[tuple[int, ...]]:
    return zip(*(tokens[start:] for start in range(_GRAM)), strict=False)
