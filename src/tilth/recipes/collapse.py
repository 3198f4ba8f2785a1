"""Collapse and its cure: models trained, generation after generation, on text of the model before.

text -> curate -> tokenizer -> collapse -> report
"""

from __future__ import annotations

from dataclasses import replace

from tilth.curation.config import AUTO, CurationConfig
from tilth.improve.text.config import CollapseConfig
from tilth.recipes import collapse_steps, singles, step_functions
from tilth.recipes.quickstart import python_text
from tilth.steps import Input, Step
from tilth.tokenizer.config import TokenizerConfig

VOCAB_SIZE = 512
"""Tokens in the vocabulary: with more, a small model is mostly embeddings, and sampling slower."""
TOKENIZER_BYTES = 3_000_000
"""Most text that a vocabulary of this size is learned from."""
HELD_OUT_FRACTION = 0.05
"""Share of the text that is held out."""


def collapse(
    *,
    corpus: str | tuple[str, ...] = (),
    generations: int = CollapseConfig.generations,
    prompt_tokens: int = CollapseConfig.prompt_tokens,
    effort: float = 1.0,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> Step:
    """Train model after model on samples of the one before, in eight ways, and report what each becomes.

    Args:
        corpus: Files, folders or URLs with text, each PATH or NAME=PATH; none: the text of this machine's Python.
        generations: Generations after the first, which is trained on real text.
        prompt_tokens: Tokens of a real passage that each sample begins with; 0: samples begin at the separator.
        effort: The one dial: text and training of each generation; 1 takes minutes on two cores, .01 seconds.
        seeds: Seeds; everything is run once for each.
    """
    corpora = [corpus] if isinstance(corpus, str) else list(corpus)
    curation = CurationConfig(languages=(AUTO,), held_out_fraction=HELD_OUT_FRACTION)
    curate = (
        singles.curate(corpora, curation)
        if corpora
        else Step("curate", step_functions.curate, curation, python_text(), version=step_functions.CURATE_VERSION)
    )
    data: dict[str, Input] = {"train": curate / "train", "held_out": curate / "held_out"}
    vocabulary = TokenizerConfig(vocab_size=VOCAB_SIZE, max_training_bytes=TOKENIZER_BYTES)
    tokenizer = Step("tokenizer", step_functions.train_tokenizer, vocabulary, data)
    config = replace(
        CollapseConfig.from_effort(effort, seeds=seeds), generations=generations, prompt_tokens=prompt_tokens
    )
    experiment = Step(
        "collapse-experiment",
        collapse_steps.collapse,
        config,
        data | {"tokenizer": tokenizer},
        version=collapse_steps.COLLAPSE_VERSION,
    )
    shown = (curate, tokenizer, experiment)
    return Step("report", step_functions.write_report, {"name": "collapse"}, {step.label: step for step in shown})
