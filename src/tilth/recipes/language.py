"""Does a small model's own text pay? Texts that it writes from its corpus, their value, and training with them.

    text -> curate -> tokenizer -> language -> report

The model writes from its own corpus: continuations of passages, and texts by a model of related passages (bootstrapped
pairs). Their value is measured, and they are mixed in only if it says that they pay; every arm is run all the same.
"""

from __future__ import annotations

from tilth.curation.config import CurationConfig
from tilth.improve.text.language_config import LanguageConfig
from tilth.recipes import language_steps, singles, step_functions
from tilth.recipes.quickstart import python_text
from tilth.steps import Input, Step
from tilth.tokenizer.config import TokenizerConfig

HELD_OUT_FRACTION = 0.05
"""Share of the text that is held out: half of it decides, the other half is reported."""


def language(
    *,
    corpus: str | tuple[str, ...] = (),
    vocab_size: int = 1024,
    effort: float = 1.0,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> Step:
    """Have a small model write texts from its own corpus, measure what they are worth, and train with and without.

    Args:
        corpus: Files, folders or URLs with text, code, JSONL, CSV, Parquet, HTML or WARC, each PATH or NAME=PATH; none:
            the source and documentation of this machine's Python.
        vocab_size: Tokens in the vocabulary.
        effort: Scales text, training and samples: 1 takes minutes on two cores, .02 seconds.
        seeds: Everything runs once for each.
    """
    corpora = [corpus] if isinstance(corpus, str) else list(corpus)
    curation = CurationConfig(held_out_fraction=HELD_OUT_FRACTION)
    curate = (
        singles.curate(corpora, curation)
        if corpora
        else Step("curate", step_functions.curate, curation, python_text(), version=step_functions.CURATE_VERSION)
    )
    data: dict[str, Input] = {"train": curate / "train", "held_out": curate / "held_out"}
    vocabulary = Step("tokenizer", step_functions.train_tokenizer, TokenizerConfig(vocab_size=vocab_size), data)
    study = Step(
        "language-experiment",
        language_steps.study_language,
        LanguageConfig.from_effort(effort, seeds=seeds),
        data | {"tokenizer": vocabulary},
        version=language_steps.LANGUAGE_VERSION,
    )
    return Step(
        "report",
        step_functions.write_report,
        {"name": "language"},
        {"curate": curate, "tokenizer": vocabulary, study.label: study},
    )
