"""The plateau experiment: does a model's own text still help it, plain or verified, where real text does?

    text -> curate -> tokenizer -> plateau -> report

A small model reads N tokens of real text and goes on with new real text, the same again, plain samples, or verified
samples of its own, at several token counts and with several seeds.
"""

from __future__ import annotations

from dataclasses import replace

from tilth.assay.plateau_config import PlateauConfig
from tilth.curation.config import AUTO, CurationConfig
from tilth.errors import ConfigError
from tilth.recipes import plateau_steps, singles, step_functions
from tilth.recipes.quickstart import python_text
from tilth.steps import Step
from tilth.tokenizer.config import TokenizerConfig


def plateau(
    *,
    corpus: str | tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    depth: int = 2,
    vocab_size: int = 1024,
    languages: tuple[str, ...] = (AUTO,),
    effort: float = 1.0,
) -> Step:
    """Find out whether more of a model's own text still helps it, plain or verified, beside new real text.

    Args:
        corpus: Files, folders or URLs with text, each PATH or NAME=PATH; none: this machine's Python.
        seeds: Seeds of weights, order and samples; every arm runs once for each.
        depth: Layers of the model; its width follows.
        vocab_size: Tokens in the vocabulary.
        languages: Languages to keep, such as `en de`; `auto`: the main ones of the text.
        effort: Multiplies the tokens of all trainings and samples; 1 takes minutes.
    """
    if not effort > 0:
        raise ConfigError(f"`--effort` is {effort}.", fix="Give a positive number; 1 takes minutes.")
    corpora = [corpus] if isinstance(corpus, str) else list(corpus)
    curation = CurationConfig(languages=languages)
    curate = (
        singles.curate(corpora, curation)
        if corpora
        else Step("curate", step_functions.curate, curation, python_text(), version=step_functions.CURATE_VERSION)
    )
    data = {"train": curate / "train", "held_out": curate / "held_out"}
    tokenizer = Step("tokenizer", step_functions.train_tokenizer, TokenizerConfig(vocab_size=vocab_size), data)
    measured = Step(
        "plateau-experiment",
        plateau_steps.plateau,
        config_of(seeds, depth, vocab_size, effort),
        {**data, "tokenizer": tokenizer},
        version=plateau_steps.PLATEAU_VERSION,
    )
    shown = (curate, tokenizer, measured)
    return Step("report", step_functions.write_report, {"name": "plateau"}, {step.label: step for step in shown})


def config_of(seeds: tuple[int, ...], depth: int, vocab_size: int, effort: float) -> PlateauConfig:
    """Returns the settings for an effort: all tokens times it, but no fewer than training can be made of."""
    default = PlateauConfig()
    training = default.training
    least = training.batch_tokens
    counts = [max(least * (place + 1), round(n * effort)) for place, n in enumerate(default.token_counts)]
    held_out = max(20_000, min(training.held_out_bytes, round(training.held_out_bytes * effort)))
    return PlateauConfig(
        token_counts=tuple(counts),
        verifier_tokens=max(20_000, round(default.verifier_tokens * effort)),
        training=replace(
            training,
            seeds=seeds,
            depths=(depth,),
            vocab_size=vocab_size,
            before_tokens=max(4 * least, round(training.before_tokens * effort)),
            held_out_bytes=held_out,
        ),
    )
