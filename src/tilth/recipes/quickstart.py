"""The main job: from real text to a small model, a self-improving loop beside its controls, and a report.

    text -> curate -> tokenizer -> pretrain -> baselines, samples, export -> report
                                   improve (its own small model and task)  ---^

`quickstart` derives every config from one dial, `depth`; `chain` ties the steps for any configs.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping

from tilth.curation.config import CurationConfig
from tilth.improve.config import LoopConfig
from tilth.model.config import ModelConfig
from tilth.recipes import singles, step_functions
from tilth.sources import Source
from tilth.steps import Input, Step
from tilth.tokenizer.config import TokenizerConfig
from tilth.training.config import TrainConfig

OUTSIDE_THE_LIBRARY = (
    "/site-packages/*",
    "/dist-packages/*",
    "/config-*",
    "*/test/*",
    "*/tests/*",
    "*/idle_test/*",
)
"""Left out of the Python installation: other people's packages, build leftovers, and tests (odd text on purpose)."""


def quickstart(
    *,
    corpus: str | None = None,
    depth: int = 4,
    vocab_size: int = 4096,
    tokens: int | None = None,
    rounds: int = 8,
    seed: int = 0,
) -> Step:
    """Grow a small model from text, run the self-improving loop, and write a report.

    Args:
        corpus: File, folder or URL with text, code, JSONL, Parquet, HTML or WARC; None: this machine's Python.
        depth: The one dial: layers of the model; its width and the training tokens follow from it.
        vocab_size: Tokens in the vocabulary.
        tokens: Training budget in tokens; None: 500,000 for each layer.
        rounds: Rounds of the self-improving loop, each on strings that are one letter longer.
        seed: Seed of everything that is drawn by chance.
    """
    model = ModelConfig.from_depth(depth, vocab_size=vocab_size)
    return chain(
        corpus,
        name="quickstart",
        curation=CurationConfig(),
        tokenizer=TokenizerConfig(vocab_size=vocab_size),
        model=model,
        training=TrainConfig(tokens=tokens or 500_000 * depth, short_rows=64, seed=seed),
        loop=LoopConfig(rounds=rounds, seeds=(seed,)),
    )


def chain(
    corpus: str | None,
    *,
    name: str,
    curation: CurationConfig,
    tokenizer: TokenizerConfig,
    model: ModelConfig,
    training: TrainConfig,
    loop: LoopConfig,
) -> Step:
    """Ties the steps of the main job for any configs; returns the last, the report, which has `name` as its title."""
    curate = (
        Step("curate", step_functions.curate, curation, python_text())
        if corpus is None
        else singles.curate([corpus], curation)
    )
    data: dict[str, Input] = {"train": curate / "train", "held_out": curate / "held_out"}
    vocabulary = Step("tokenizer", step_functions.train_tokenizer, tokenizer, data)
    data = data | {"tokenizer": vocabulary}
    pretrain = Step(
        "pretrain",
        step_functions.pretrain,
        step_functions.Pretraining(model=model, training=training),
        data,
        version=step_functions.PRETRAIN_VERSION,
    )
    data = data | {"pretrain": pretrain}
    samples = Step("samples", step_functions.sample, step_functions.Sampling(seed=training.seed), data)
    baselines = Step("baselines", step_functions.measure_baselines, {"max_bytes": training.eval_bytes}, data)
    improve = Step("improve", step_functions.improve, loop)
    model_files = {
        "model": pretrain / "model",
        "tokenizer": vocabulary,
        "baselines": baselines / "baselines.json",
    }
    export = Step("export", step_functions.export, {}, model_files)
    shown = (curate, vocabulary, pretrain, samples, baselines, improve, export)
    return Step("report", step_functions.write_report, {"name": name}, {step.label: step for step in shown})


def python_text() -> Mapping[str, Input]:
    """Returns the text of this machine's Python: its source files, and the documentation they don't hold."""
    version = ".".join(map(str, sys.version_info[:3]))
    documentation = Step("documentation", step_functions.write_documentation, {"python": version})
    return {
        "python": Source(sysconfig.get_path("stdlib"), exclude=OUTSIDE_THE_LIBRARY),
        "documentation": documentation / "text",
    }
