"""The main job: from real text to a small model, a self-improving loop beside its controls, and a report.

    text -> curate -> tokenizer -> pretrain -> baselines, samples -> nearest, improve -> export -> report

The loop continues the pretrained model on real text and a task: it learns harder problems from answers of its own.

`quickstart` derives every config from one dial, `depth`; `chain` ties the steps for any configs.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping, Sequence

from tilth.curation.config import AUTO, DEFAULT_OPERATORS, CurationConfig
from tilth.errors import ConfigError
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
COMPARED_BYTES = 200_000
"""Held-out text on which the trained model is compared with simple predictors; it begins with `eval_bytes` of it."""


def quickstart(
    *,
    corpus: str | tuple[str, ...] = (),
    depth: int = 4,
    vocab_size: int = 4096,
    tokens: int | None = None,
    rounds: int = 4,
    languages: tuple[str, ...] = (AUTO,),
    text_field: str | None = None,
    operators: tuple[str, ...] = DEFAULT_OPERATORS,
    min_words: int = CurationConfig.min_words,
    max_words: int = CurationConfig.max_words,
    seed: int = 0,
) -> Step:
    """Grow a small model from text, run the self-improving loop, and write a report.

    Args:
        corpus: Files, folders or URLs with text, code, JSONL, CSV, Parquet, HTML or WARC, each PATH or NAME=PATH; none:
            the source and documentation of this machine's Python.
        depth: The one dial: layers of the model; its width and the training tokens follow from it.
        vocab_size: Tokens in the vocabulary.
        tokens: Training budget in tokens; None: 500,000 for each layer.
        rounds: Rounds of the self-improving loop, each on problems that are one letter longer; 0 leaves the loop out.
        languages: Languages to keep, such as `en de`; `auto`: the main ones of the text.
        text_field: Field with the text in JSONL, Parquet, CSV and TSV; None: `text`, `content`, ..., or a chat.
        operators: What documents pass, in order; `extract language` leaves the quality rules out.
        min_words: Fewest words of a prose document.
        max_words: Most words of a prose document.
        seed: Seed of everything that is drawn by chance.
    """
    if rounds < 0:
        raise ConfigError(f"`--rounds` is {rounds}.", fix="Give 0 or more; 0 leaves the loop out.")
    model = ModelConfig.from_depth(depth, vocab_size=vocab_size)
    return chain(
        corpus,
        name="quickstart",
        curation=CurationConfig(
            operators=operators, languages=languages, text_field=text_field, min_words=min_words, max_words=max_words
        ),
        tokenizer=TokenizerConfig(vocab_size=vocab_size),
        model=model,
        training=TrainConfig(tokens=500_000 * depth if tokens is None else tokens, short_rows=64, seed=seed),
        loop=text_and_tasks(rounds, seed) if rounds else None,
    )


def text_and_tasks(rounds: int, seed: int) -> LoopConfig:
    """Returns the loop at a size that takes a minute or two on two cores with a model of depth 4.

    The task is one that a model with rotary positions learns: which letter comes next follows from which there are, not
    from where they stand. The values are those of pilots on seeds from 100 on (docs/log.md).
    """
    return LoopConfig(
        task="sort",
        arms=("baseline", "control", "flop_matched", "unfiltered", "vote"),
        rounds=rounds,
        base_steps=130,
        round_steps=20,
        samples=150,
        test_problems=60,
        validation_problems=50,
        batch_size=48,
        learning_rate=0.002,
        muon_learning_rate=0.006,
        text_share=0.6,
        sampled_texts=8,
        seeds=(seed,),
    )


def chain(
    corpus: str | Sequence[str] | None,
    *,
    name: str,
    curation: CurationConfig,
    tokenizer: TokenizerConfig,
    model: ModelConfig,
    training: TrainConfig,
    loop: LoopConfig | None,
) -> Step:
    """Ties the steps of the main job for any configs; returns the last, the report, which has `name` as its title.

    Without a `corpus` it is the text of this machine's Python; without a `loop` that is left out.
    """
    corpora = [corpus] if isinstance(corpus, str) else list(corpus or ())
    curate = (
        singles.curate(corpora, curation)
        if corpora
        else Step("curate", step_functions.curate, curation, python_text(), version=step_functions.CURATE_VERSION)
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
    sampling = step_functions.Sampling(seed=training.seed)
    samples = Step("samples", step_functions.sample, sampling, data, version=step_functions.SAMPLE_VERSION)
    nearest = Step("nearest", step_functions.find_nearest, {}, data | {"samples": samples})
    baselines = Step(
        "baselines",
        step_functions.measure_baselines,
        {"max_bytes": COMPARED_BYTES, "curve_bytes": training.eval_bytes},
        data,
        version=step_functions.BASELINES_VERSION,
    )
    model_files = {
        "model": pretrain / "model",
        "tokenizer": vocabulary,
        "baselines": baselines / "baselines.json",
        "held_out": data["held_out"],
    }
    improve: list[Step] = []
    if loop is not None:
        loop_inputs = {
            "model": pretrain / "model", "tokenizer": vocabulary, "text": data["train"], "held_out": data["held_out"]
        }  # fmt: skip
        improve = [Step("improve", step_functions.improve, loop, loop_inputs, version=step_functions.IMPROVE_VERSION)]
        model_files["improve"] = improve[0]
    export = Step("export", step_functions.export, {}, model_files, version=step_functions.EXPORT_VERSION)
    shown = (curate, vocabulary, pretrain, samples, nearest, baselines, *improve, export)
    return Step("report", step_functions.write_report, {"name": name}, {step.label: step for step in shown})


def python_text() -> Mapping[str, Input]:
    """Returns the text of this machine's Python: its source files, and the documentation they don't hold."""
    version = ".".join(map(str, sys.version_info[:3]))
    documentation = Step("documentation", step_functions.write_documentation, {"python": version})
    return {
        "python": Source(sysconfig.get_path("stdlib"), exclude=OUTSIDE_THE_LIBRARY),
        "documentation": documentation / "text",
    }
