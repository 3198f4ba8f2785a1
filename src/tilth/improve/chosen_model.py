"""Which model goes out in the end: the one that the loop was given, or the one that it made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tilth.improve.result import LOOP_RESULT, LoopResult
from tilth.improve.rounds import MODEL, read_record
from tilth.model import Transformer, load_model
from tilth.results import read_result
from tilth.storage import Dataset
from tilth.tokenizer import Tokenizer
from tilth.training import held_out_excerpt, text_loss

TOLERANCE = 0.01
"""Bits per byte on held-out text that the loop's model may be worse by; seeds of a pretraining differ by as much."""
MEASURED_BYTES = 50_000
TREATED = ("vote", "verified")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The model that goes out."""

    model: Transformer
    improved: bool
    why: str
    """In one sentence, with the figures."""


def improved_model(out: Path) -> Path | None:
    """Returns the folder of the last good model of a finished loop's treated arm, of its first seed; None without."""
    result = read_result(LoopResult, out / LOOP_RESULT)
    seed = out / f"seed-{result.seeds[0].seed}"
    arm = next((arm for arm in TREATED if arm in result.arms), None)
    if arm is None:
        return None
    rounds = sorted((folder for folder in (seed / arm).glob("round-*")), reverse=True)
    good = (folder for folder in rounds if (record := read_record(folder)) is not None and record.good)
    return next((folder / MODEL for folder in good if (folder / MODEL).is_dir()), None)


def choose_model(given: Transformer, loop: Path, tokenizer: Tokenizer, held_out: Dataset) -> Choice:
    """Takes the loop's model unless it needs more bits for held-out text than `TOLERANCE` allows."""
    folder = improved_model(loop)
    if folder is None:
        return Choice(model=given, improved=False, why="the pretrained model: the loop made no other one.")
    model = load_model(folder)
    excerpt = held_out_excerpt(held_out.documents(), MEASURED_BYTES)
    before, after = (text_loss(one, tokenizer, excerpt).bits_per_byte for one in (given, model))
    figures = f"{after:.4f} bits per byte on held-out text after the loop, {before:.4f} before"
    if after <= before + TOLERANCE:
        return Choice(model=model, improved=True, why=f"the model that the loop made: {figures}.")
    why = f"the pretrained model, because the loop's is worse at text by more than {TOLERANCE:g}: {figures}."
    return Choice(model=given, improved=False, why=why)
