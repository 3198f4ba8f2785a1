"""The samples of the plateau experiment: drawn in chunks, scored by a verifier, gated, and cut to arms.

A sample fills the learner's context: a few tokens of text read before, then what the model continues them with (the
separator between documents included). So rows of training are whole samples. The verifier is an n-gram model of other
real text. For text no verifier is exact: it says how much likelier a sample is as real text than as this model's text,
and the samples of which that is most true are kept.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilth.assay.learner import BEFORE, Learner, load_ids, one_thread, own_tokens, read_record
from tilth.assay.plateau_config import PlateauConfig
from tilth.evaluation.ngram import NgramModel
from tilth.files import write_bytes
from tilth.inference import SamplingParams
from tilth.inference.generate import generate_tokens
from tilth.model import load_model
from tilth.results import read_result, write_result

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

PLAIN, VERIFIED, FRESH, REPEAT = "plain", "verified", "fresh", "repeat"
CHUNK = 500
"""Samples that are drawn at a time: what a kill loses."""
SAMPLES = "samples"
SELECTED = "selected.json"
_SLACK = 1.2
"""Samples that the verifier lets through for each one that is wanted: the gates take some."""
_GRAM = 8


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
        """Samples that are drawn for that."""
        return math.ceil(_SLACK * self.wanted / self.config.keep)

    @property
    def flops_per_sample(self) -> float:
        """Of generating one: a forward pass, a third of training, over its tokens."""
        return self.learner.shape.flops_per_token / 3 * self.learner.config.context_length


@dataclass(frozen=True, kw_only=True)
class Selected:
    """What became of one seed's samples."""

    drawn: int
    kept: int
    """By verifier and gates; at most what was wanted."""
    copies: int
    """Let through by the verifier, but most of it is in text read before."""
    near_duplicates: int
    """Let through by the verifier, but most of it is in samples kept before."""
    bits_per_token: float
    """Of all samples under the model that made them."""
    kept_bits_per_token: float
    verifier_bits_per_token: float
    """Of all samples under the verifier."""
    kept_verifier_bits_per_token: float
    held_out_verifier_bits_per_token: float
    """Of held-out text, beside them."""
    ended: str = ""
    """Why there are none, in words; empty: there are."""
    examples: tuple[tuple[int, ...], ...] = ()
    """Tokens of two plain samples, two that were kept, and the two that the verifier found worst."""


def draw_chunk(unit: tuple[Drawing, int]) -> None:
    """Draws one chunk of samples, unless that is done. A sample depends on its number, not on the chunk."""
    drawing, chunk = unit
    done = drawing.folder / f"nats-{chunk:04d}.npy"
    if done.exists() or read_record(drawing.learner, BEFORE).ended:
        return
    config, learner = drawing.config, drawing.learner
    numbers = range(chunk * CHUNK, min((chunk + 1) * CHUNK, drawing.drawn))
    before = load_ids(learner.text(BEFORE))
    starts = np.random.default_rng([learner.seed, 5]).integers(
        0, max(1, len(before) - config.prompt_tokens), drawing.drawn
    )
    prompts = [before[start : start + config.prompt_tokens].tolist() for start in starts[list(numbers)]]
    params = SamplingParams(
        max_tokens=learner.config.context_length - config.prompt_tokens, temperature=config.temperature
    )
    with one_thread():
        model = load_model(learner.folder(BEFORE) / "model", device=learner.context.device).eval()
        made = generate_tokens(
            model,
            prompts,
            params,
            batch_size=250,
            n_tokens=drawing.n_tokens,
            seeds=[(learner.seed << 32) + number for number in numbers],
        )
    rows = np.array([[*prompt, *one.tokens] for prompt, one in zip(prompts, made, strict=True)], dtype=np.int64)
    nats = np.array([-math.fsum(one.logprobs) for one in made])
    save_array(drawing.folder / f"tokens-{chunk:04d}.npy", rows)
    save_array(done, nats)


def chunks(drawing: Drawing) -> range:
    """Returns the numbers of a seed's chunks."""
    return range(math.ceil(drawing.drawn / CHUNK))


def select(drawing: Drawing) -> Selected:
    """Scores and gates a seed's samples and writes the text of the arms, unless that is done."""
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
        drawn=0, kept=0, copies=0, near_duplicates=0, bits_per_token=nan, kept_bits_per_token=nan,
        verifier_bits_per_token=nan, kept_verifier_bits_per_token=nan, held_out_verifier_bits_per_token=nan, ended=why,
    )  # fmt: skip


def _select(drawing: Drawing) -> Selected:
    learner, config = drawing.learner, drawing.config
    parts = list(chunks(drawing))
    rows = np.concatenate([load_ids(drawing.folder / f"tokens-{chunk:04d}.npy") for chunk in parts])
    nats = np.concatenate([np.load(drawing.folder / f"nats-{chunk:04d}.npy") for chunk in parts])
    text = load_ids(learner.root / "text" / "verifier.npy")
    separator = int(text[-1])
    verifier = NgramModel.fit(
        [text[1:-1].tolist()],
        vocab_size=learner.vocab_size,
        separator=separator,
        order=config.verifier_order,
    )
    length, made = rows.shape[1], rows.shape[1] - config.prompt_tokens
    under_verifier = score_rows(verifier, rows)[:, config.prompt_tokens :].sum(axis=1)
    held_out = load_ids(learner.root / "text" / "held_out.npy")
    usual = held_out[: len(held_out) // length * length].reshape(-1, length)
    real = score_rows(verifier, usual)[:, config.prompt_tokens :].mean()
    # How much likelier the sample is as real text than as the model's own: what is kept moves from one to the other.
    order = np.argsort(under_verifier - nats, kind="stable")[: math.ceil(config.keep * len(rows))]
    kept, copies, near = _gate(rows, np.sort(order), load_ids(learner.text(BEFORE)), config)
    kept = kept[: drawing.wanted]
    save_array(drawing.folder / f"{PLAIN}.npy", rows[: drawing.wanted])
    save_array(drawing.folder / f"{VERIFIED}.npy", rows[kept])
    per_bit = made * math.log(2)
    worst = np.argsort(under_verifier - nats, kind="stable")[::-1][:2]
    return Selected(
        drawn=len(rows),
        kept=len(kept),
        copies=copies,
        near_duplicates=near,
        bits_per_token=float(nats.mean()) / per_bit,
        kept_bits_per_token=float(nats[kept].mean()) / per_bit if kept else math.nan,
        verifier_bits_per_token=float(under_verifier.mean()) / per_bit,
        kept_verifier_bits_per_token=float(under_verifier[kept].mean()) / per_bit if kept else math.nan,
        held_out_verifier_bits_per_token=float(real) / math.log(2),
        ended="" if kept else "Verifier and gates rejected every sample.",
        examples=tuple(tuple(map(int, rows[index])) for index in (0, 1, *kept[:2], *worst)),
    )


def score_rows(verifier: NgramModel, rows: Ids) -> Floats:
    """Returns the nats of each token of rows under an n-gram model, for which a separator begins a new context.

    Shapes: rows and result (rows, tokens).
    """
    losses = verifier.token_losses(rows.tolist())
    return losses.reshape(len(rows), -1)[:, :-1]  # without the ends of documents, which rows are not


def _gate(rows: Ids, candidates: Ids, before: Ids, config: PlateauConfig) -> tuple[list[int], int, int]:
    """Returns the candidates that pass, in their order, and how many are copies and near duplicates."""
    known = set(_grams(before.tolist()))
    seen: set[tuple[int, ...]] = set()
    kept: list[int] = []
    copies = near = 0
    for index in candidates.tolist():
        grams = list(_grams(rows[index, config.prompt_tokens :].tolist()))
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


def save_array(path: Path, array: Ids | Floats) -> None:
    """Writes an array, ids as small as they go; equal arrays give equal bytes."""
    stream = io.BytesIO()
    small = array.dtype == np.int64 and array.max(initial=0) < 1 << 16
    np.save(stream, array.astype(np.uint16) if small else array)
    write_bytes(path, stream.getvalue())
