"""A curriculum of two phases: broad text, then narrow text with replay, against both at once.

text -> curate -> tokenizer -> curriculum -> report
"""

from __future__ import annotations

from tilth.curation.config import AUTO, CurationConfig
from tilth.errors import ConfigError
from tilth.improve.text.config import CurriculumConfig
from tilth.recipes import curriculum_steps, singles, step_functions
from tilth.recipes.quickstart import python_text
from tilth.steps import Input, Step
from tilth.tokenizer.config import TokenizerConfig

VOCAB_SIZE = 1024
"""Tokens in the vocabulary."""
TOKENIZER_BYTES = 3_000_000
"""Most text that a vocabulary of this size is learned from."""
HELD_OUT_FRACTION = 0.05
"""Share of the text that is held out."""


def curriculum(
    *,
    corpus: str | tuple[str, ...] = (),
    second: str | tuple[str, ...] = (),
    effort: float = 1.0,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> Step:
    """Train on broad text and then on narrow text, with replay against forgetting, and on both at once.

    Args:
        corpus: Files, folders or URLs with the broad text; none: the text of this machine's Python.
        second: Those of the narrow text; none: prose is the narrow text, and code the broad one.
        effort: The one dial: text and training of both phases; 1 takes minutes on two cores, .01 seconds.
        seeds: Seeds; everything is run once for each.
    """
    curate = _curated(_paths(corpus), _paths(second))
    data: dict[str, Input] = {"train": curate / "train", "held_out": curate / "held_out"}
    vocabulary = TokenizerConfig(vocab_size=VOCAB_SIZE, max_training_bytes=TOKENIZER_BYTES)
    tokenizer = Step("tokenizer", step_functions.train_tokenizer, vocabulary, data)
    experiment = Step(
        "curriculum-experiment",
        curriculum_steps.curriculum,
        CurriculumConfig.from_effort(effort, split="source" if second else "kind", seeds=seeds),
        data | {"tokenizer": tokenizer},
        version=curriculum_steps.CURRICULUM_VERSION,
    )
    shown = (curate, tokenizer, experiment)
    return Step("report", step_functions.write_report, {"name": "curriculum"}, {step.label: step for step in shown})


def _paths(corpus: str | tuple[str, ...]) -> list[str]:
    return [corpus] if isinstance(corpus, str) else list(corpus)


def _curated(first: list[str], second: list[str]) -> Step:
    """Curates both texts in one step, so that no document is in both; the name of a corpus says which it is of."""
    curation = CurationConfig(languages=(AUTO,), held_out_fraction=HELD_OUT_FRACTION)
    if second and not first:
        raise ConfigError("`--second` is given without `--corpus`.", fix="Give the broad text with `--corpus`.")
    if second:
        return singles.curate([*_named("first", first), *_named("second", second)], curation)
    if first:
        return singles.curate(first, curation)
    version = step_functions.CURATE_VERSION
    return Step("curate", step_functions.curate, curation, python_text(), version=version)


def _named(name: str, words: list[str]) -> list[str]:
    paths = [singles.named_corpus(word)[1] for word in words]
    return [f"{name}{f'-{number}' if number else ''}={path}" for number, path in enumerate(paths)]
