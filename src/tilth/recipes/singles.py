"""Single stages as steps over files that the user names: what the verbs of the command line run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tilth.curation.config import CurationConfig
from tilth.improve.config import LoopConfig
from tilth.model.config import ModelConfig
from tilth.recipes import step_functions
from tilth.sources import Source
from tilth.steps import RECORD, Input, Step
from tilth.tokenizer.config import TokenizerConfig
from tilth.training.config import TrainConfig


def curate(corpus: Sequence[str], config: CurationConfig, exclude: tuple[str, ...] = ()) -> Step:
    """Curates files, folders or URLs."""
    return Step(
        "curate",
        step_functions.curate,
        config,
        {f"corpus_{place}": Source(path, exclude) for place, path in enumerate(corpus)},
    )


def tokenizer(dataset: Path, config: TokenizerConfig, extend: Path | None = None) -> Step:
    """Trains a tokenizer on a dataset, from the tokenizer `extend` on if there is one."""
    inputs: dict[str, Input] = {"train": _made(dataset)}
    if extend is not None:
        inputs["extend"] = _made(extend)
    return Step("tokenizer", step_functions.train_tokenizer, config, inputs)


def train(
    dataset: Path, tokenizer: Path, model: ModelConfig, training: TrainConfig, held_out: Path | None = None
) -> Step:
    """Pretrains a model on a dataset."""
    inputs: dict[str, Input] = {"train": _made(dataset), "tokenizer": _made(tokenizer)}
    if held_out is not None:
        inputs["held_out"] = _made(held_out)
    return Step("pretrain", step_functions.pretrain, step_functions.Pretraining(model=model, training=training), inputs)


def improve(config: LoopConfig) -> Step:
    """Runs the self-improving loop."""
    return Step("improve", step_functions.improve, config)


def export(model: Path, tokenizer: Path) -> Step:
    """Writes a model as a Hugging Face folder."""
    return Step("export", step_functions.export, {}, {"model": _made(model), "tokenizer": _made(tokenizer)})


def _made(path: Path) -> Source:
    """A folder that an earlier verb wrote: what it holds is its identity, not when it was made."""
    return Source(str(path), exclude=(f"*/{RECORD}",))
