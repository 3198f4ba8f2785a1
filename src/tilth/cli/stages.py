"""The verbs over single stages. Each writes one result to `--out`, with a record of what made it, and resumes."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tilth.cli import terminal
from tilth.cli.model_folder import load_tokenizer
from tilth.cli.options import DatasetFolder, ModelFolder, RuntimeOptions, call, call_with_options, run_single
from tilth.cli.terminal import size
from tilth.curation.config import CurationConfig
from tilth.curation.result import LEDGER
from tilth.errors import ConfigError, DataError
from tilth.model.config import ModelConfig
from tilth.model.device import check_device
from tilth.perform import partial_folder
from tilth.recipes import singles
from tilth.steps import Step
from tilth.training.config import TrainConfig
from tilth.user_code import load_object


def curate(words: Sequence[str]) -> None:
    """`tilth curate CORPUS ... --out FOLDER`."""

    def build(
        corpus: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CORPUS ...")],
        *,
        out: Path,
        exclude: tuple[str, ...] = (),
        follow_links: bool = False,
        json: bool = False,
        curation: tyro.conf.OmitArgPrefixes[CurationConfig] = CurationConfig(),
    ) -> tuple[Step, Path, bool]:
        """Read, extract, filter and deduplicate text; every drop is kept with its reason.

        Args:
            corpus: Files, folders, globs or URLs with text, source code, JSONL, CSV, Parquet, HTML or WARC, as PATH or
                NAME=PATH.
            out: Folder for the datasets `train` and `held_out`, the rejects and the ledger.
            exclude: Globs of files to leave out, such as `*/tests/*`.
            follow_links: Also read what symbolic links outside of the corpus lead to.
            json: Print the table as one JSON document.
            curation: What to keep.
        """
        if not corpus:
            raise ConfigError("No corpus is given.", fix="`tilth curate FOLDER --out OUT`.")
        check_datasets(curation.against)
        for spec in curation.operators:
            if ":" in spec:
                load_object(spec)  # a misspelt name is told before `out` is claimed for it
        return singles.curate(corpus, curation, exclude, follow_links=follow_links), out, json

    options, (step, out, as_json) = call_with_options(build, words, "curate", RuntimeOptions())
    _clear_if_nothing_kept(out)
    try:
        _show_ledger(run_single(step, out, options.context()), as_json=as_json)
    except DataError:
        if (partial_folder(out) / LEDGER).is_file():  # nothing was kept: the table says why
            _show_ledger(partial_folder(out), as_json=as_json)
        raise


def check_datasets(paths: Sequence[str]) -> None:
    """Raises DataError for what is no dataset, before an output folder is claimed."""
    from tilth.storage import Dataset

    for path in paths:
        Dataset.open(path)


def _clear_if_nothing_kept(out: Path) -> None:
    """Removes what a curation left that kept nothing, so that the command can be given again with other options."""
    from tilth.curation.result import Ledger
    from tilth.results import read_result

    partial = partial_folder(out)
    if (partial / LEDGER).is_file() and not read_result(Ledger, partial / LEDGER).train.documents:
        shutil.rmtree(partial)


def _show_ledger(folder: Path, *, as_json: bool = False) -> None:
    from tilth.curation.result import Ledger
    from tilth.results import read_result

    ledger = read_result(Ledger, folder / LEDGER)
    if as_json:
        names = ("stage", "reason", "documents", "bytes")
        rows_ = [dict(zip(names, row, strict=True)) for row in ledger.table()]
        terminal.show_json({"folder": str(folder), "table": rows_})
        return
    rows = [(stage, reason, f"{n:,}", size(n_bytes)) for stage, reason, n, n_bytes in ledger.table()]
    terminal.show_table("", ("stage", "reason", "documents", "text"), rows, right=(2, 3))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of the model."""

    depth: int = 4
    """The dial: layers; the width is 32 times that."""
    context_length: int = 256
    """Most tokens that the model attends to."""


def train(words: Sequence[str]) -> None:
    """`tilth train DATASET --tokenizer FOLDER --out FOLDER`."""

    def build(
        dataset: DatasetFolder,
        *,
        tokenizer: Path,
        out: Path,
        held_out: Path | None = None,
        shape: tyro.conf.OmitArgPrefixes[Shape] = Shape(),
        training: tyro.conf.OmitArgPrefixes[TrainConfig] = TrainConfig(),
    ) -> tuple[Step, Path, Path]:
        """Pretrain a model on a dataset, tokenizing on the fly. Stopped or killed, the same command continues.

        Args:
            dataset: A dataset folder.
            tokenizer: Folder with `tokenizer.json`.
            out: Folder for the model, its metrics and its checkpoint.
            held_out: A dataset to measure bits per byte on while training.
            shape: The shape of the model.
            training: How to train it.
        """
        from tilth.tokenizer import Tokenizer

        vocab_size = Tokenizer.load(tokenizer).vocab_size
        model = ModelConfig.from_depth(shape.depth, vocab_size=vocab_size, context_length=shape.context_length)
        return singles.train(dataset, tokenizer, model, training, held_out), out, tokenizer

    options, (step, out, tokenizer) = call_with_options(build, words, "train", RuntimeOptions())
    folder = run_single(step, out, options.context())
    terminal.say(f"Chat:  {shlex.join(['tilth', 'chat', str(folder / 'model'), '--tokenizer', str(tokenizer)])}")


def evaluate(words: Sequence[str]) -> None:
    """`tilth eval MODEL DATASET [--tokenizer FOLDER]`."""

    def measure(
        model: ModelFolder,
        dataset: DatasetFolder,
        *,
        tokenizer: Path | None = None,
        train: Path | None = None,
        max_bytes: int = 1_000_000,
        device: str = "auto",
        json: bool = False,
    ) -> None:
        """Measure a model's bits per byte on a dataset, beside `zstd -19` and, with `--train`, a 5-gram model.

        Args:
            model: Folder of a model: ours or Hugging Face's.
            dataset: A dataset folder that the model was not trained on.
            tokenizer: Folder with `tokenizer.json` (default: the model's folder).
            train: The dataset to count the 5-gram model on.
            max_bytes: Most bytes of text to measure on.
            device: Torch device for the model: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            json: Print the table as one JSON document.
        """
        check_device(device)
        from tilth import evaluation
        from tilth.model import load_model
        from tilth.storage import Dataset
        from tilth.training import held_out_excerpt

        if max_bytes < 1:
            raise ConfigError(f"`--max-bytes` is {max_bytes}.", fix="Give 1 or more.")
        loaded, encode = load_model(model, device=device), load_tokenizer(model, tokenizer)
        excerpt = held_out_excerpt(Dataset.open(dataset).documents(), max_bytes)
        shown = terminal.progress()
        bits = {"model": evaluation.bits_per_byte(loaded, encode, excerpt, progress=shown)}
        if train is not None:
            ngram, _ = evaluation.train_ngram(encode, Dataset.open(train))
            bits["5-gram"] = evaluation.ngram_bits_per_byte(ngram, encode, excerpt)
        bits["zstd -19"] = evaluation.zstd_bits_per_byte([document.text for document in excerpt])
        if json:
            terminal.show_json({"held_out_bytes": sum(len(d.text.encode()) for d in excerpt), "bits_per_byte": bits})
            return
        rows = [(name, f"{value:.4f}") for name, value in bits.items()]
        terminal.show_table("", ("predictor", "bits per byte"), rows, right=(1,))

    call(measure, words, "eval")


def export(words: Sequence[str]) -> None:
    """`tilth export MODEL --tokenizer FOLDER --out FOLDER`."""

    def build(model: ModelFolder, *, tokenizer: Path, out: Path) -> tuple[Step, Path]:
        """Write a model and its tokenizer as a folder that `transformers` loads.

        Args:
            model: Folder of a model.
            tokenizer: Folder with `tokenizer.json`.
            out: The folder to write.
        """
        return singles.export(model, tokenizer), out

    options, (step, out) = call_with_options(build, words, "export", RuntimeOptions())
    run_single(step, out, options.context())
