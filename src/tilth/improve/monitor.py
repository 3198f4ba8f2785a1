"""The collapse monitor: whether a round left the model worse where nobody was looking, and what to do about it.

It reads no right answer. A model that teaches itself can forget real text, write one answer to every problem, or lose
the rare words and the variety of its text; each is compared with the better of base model and last good round, so that
many small losses count as one large one does. A round that is worse than a threshold allows is thrown away; after
several in a row the arm ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tilth.improve.answering import Answerer, parsed
from tilth.improve.config import LoopConfig
from tilth.improve.result import MonitorReading
from tilth.improve.seed_run import SeedRun
from tilth.improve.start import text_tokenizer
from tilth.inference import SamplingParams, generate_tokens
from tilth.model import Transformer
from tilth.training import text_loss

PROMPT_TOKENS, SAMPLE_TOKENS = 16, 64
"""Of an opening of held-out text, and of what a model adds to it."""
TEXT_LOSS = "held_out_bits_per_byte"
DIVERSITIES = ("distinct_answers", "tail_mass", "distinct_4")
"""Measures that fall in a collapse."""
_WORDS = {
    "distinct_answers": "different answers to validation problems",
    "tail_mass": "rare words in its text",
    "distinct_4": "different runs of four words in its text",
}


def monitor_values(run: SeedRun, model: Transformer) -> dict[str, float]:
    """Measures a model: its answers to the validation problems one step beyond the base data, and its text."""
    return answer_values(run, model) | (text_values(run, model) if run.text is not None else {})


def answer_values(run: SeedRun, model: Transformer) -> dict[str, float]:
    """Returns the shares of answers that are given at all, and of different ones, where there are problems."""
    found = next(((d, problems) for d, problems in run.validation.items() if problems), None)
    if found is None:
        return {}
    difficulty, problems = found
    rollouts = Answerer(model, run.family)(problems, difficulty)
    answers = [answer for answer in (parsed(run.family, rollout) for rollout in rollouts) if answer]
    return {"answered": len(answers) / len(problems), "distinct_answers": len(set(answers)) / len(problems)}


def text_values(run: SeedRun, model: Transformer) -> dict[str, float]:
    """Returns the loss on held-out real text, and how varied the texts are that the model writes after its openings."""
    documents, tokenizer = run.held_out(), text_tokenizer(run.family)
    values = {TEXT_LOSS: text_loss(model, tokenizer, documents).bits_per_byte}
    openings = [tokenizer.encode_ordinary(document.text[: 8 * PROMPT_TOKENS])[:PROMPT_TOKENS] for document in documents]
    prompts = [opening for opening in openings if opening][: run.config.sampled_texts]
    # One opening may be continued several times: each has a stream of chance of its own.
    prompts = [prompts[index % len(prompts)] for index in range(run.config.sampled_texts)] if prompts else []
    room = min(SAMPLE_TOKENS, model.config.context_length - PROMPT_TOKENS)
    if not prompts or room < 1:
        return values
    params = SamplingParams(max_tokens=room, temperature=1.0, seed=run.seed)
    generations = generate_tokens(model, prompts, params, n_tokens=tokenizer.vocab_size)
    texts = [tokenizer.decode(generation.tokens) for generation in generations]
    return values | written_values(texts, [document.text for document in documents])


def written_values(texts: Sequence[str], reference: Sequence[str]) -> dict[str, float]:
    """Returns the variety of texts that a model wrote: tail mass, distinct runs of words, template mass."""
    from tilth.assay.diversity import text_diversity

    found = text_diversity(texts, reference)
    return {
        "tail_mass": found.tail_mass,
        "distinct_4": found.distinct.get("4", math.nan),
        "opening_share": found.opening_share,
    }


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a round is thrown away."""

    max_text_loss_rise: float
    min_diversity: float
    max_fall_backs: int

    @classmethod
    def of(cls, config: LoopConfig) -> Limits:
        """Returns those of a loop."""
        return cls(
            max_text_loss_rise=config.max_text_loss_rise,
            min_diversity=config.min_diversity,
            max_fall_backs=config.max_fall_backs,
        )


def judge(
    number: int,
    values: Mapping[str, float],
    references: Sequence[Mapping[str, float]],
    limits: Limits,
    *,
    thrown_away_before: int,
    acts: bool,
) -> MonitorReading:
    """Compares what was measured after round `number` with the base model's and the last good round's values.

    `thrown_away_before` are the rounds just before this one that were thrown away.
    """
    faults = [*_text_faults(values, references, limits), *_diversity_faults(values, references, limits)]
    verdict = "ok"
    if faults:
        verdict = "stop" if thrown_away_before + 1 >= limits.max_fall_backs else "fall_back"
    return MonitorReading(round=number, values=dict(values), verdict=verdict, why="; ".join(faults), acted=acts)


def _text_faults(values: Mapping[str, float], references: Sequence[Mapping[str, float]], limits: Limits) -> list[str]:
    if TEXT_LOSS not in values:
        return []
    loss, before = values[TEXT_LOSS], min(reference[TEXT_LOSS] for reference in references)
    if loss <= before * (1 + limits.max_text_loss_rise):  # false for nan, too
        return []
    return [
        f"{loss:.3f} bits per byte on held-out real text after {before:.3f}, a rise of more than "
        f"{limits.max_text_loss_rise:.0%}"
    ]


def _diversity_faults(
    values: Mapping[str, float], references: Sequence[Mapping[str, float]], limits: Limits
) -> list[str]:
    faults: list[str] = []
    for name in DIVERSITIES:
        known = [value for value in (r.get(name, math.nan) for r in references) if not math.isnan(value)]
        value = values.get(name, math.nan)
        if known and value < max(known) * limits.min_diversity:
            faults.append(f"the share of {_WORDS[name]} fell from {max(known):.3f} to {value:.3f}")
    return faults
