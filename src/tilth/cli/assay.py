"""`tilth assay`: what a dataset is worth beside the text that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import tyro

from tilth.assay.config import AssayConfig
from tilth.cli import assay_shown, terminal
from tilth.cli.options import DatasetFolder, RuntimeOptions, call_with_options, run_single
from tilth.errors import DataError
from tilth.recipes import singles
from tilth.steps import Step


def assay(words: Sequence[str]) -> None:
    """`tilth assay DATASET --source TEXT --held-out TEXT --out FOLDER`."""

    def build(
        dataset: DatasetFolder,
        *,
        source: Path,
        held_out: Path,
        out: Path,
        fresh: Path | None = None,
        model: tuple[Path, ...] = (),
        tokenizer: Path | None = None,
        json: bool = False,
        measures: tyro.conf.OmitArgPrefixes[AssayConfig] = AssayConfig(),
    ) -> tuple[Step, Path, bool]:
        """Measure what a dataset is worth: density, novelty, structure, diversity, cost; with --value, what a learner
        gains from it.

        Args:
            dataset: What to judge: a dataset folder, or JSON lines, Parquet, CSV or text.
            source: What it was made from, or the real text that it is to add to.
            held_out: Real text that is in neither: what a model should get better at.
            out: Folder for the card (`assay.json`).
            fresh: Real text like the source, which the value compares with (default: a part of the source).
            model: Folder of a reference model, ours or Hugging Face's; may be given several times.
            tokenizer: Folder with `tokenizer.json` (default: one is trained on the source).
            json: Print the card as one JSON document.
            measures: What is measured, and how much of the text is read.
        """
        for name, path in (("DATASET", dataset), ("--source", source), ("--held-out", held_out), ("--fresh", fresh)):
            if path is not None and not path.exists():
                raise DataError(f"`{name}`: there is no {path}.", fix="Give a dataset folder or a file with text.")
        step = singles.assay(
            dataset, source, held_out, measures, fresh=fresh, models=model, tokenizer=tokenizer
        )  # fmt: skip
        return step, out, json

    options, (step, out, as_json) = call_with_options(build, _renamed(words), "assay", RuntimeOptions())
    folder = run_single(step, out, options.context())
    from tilth.assay.result import ASSAY_RESULT, AssayCard
    from tilth.report.assay import render_assay
    from tilth.results import read_result, without_nan

    card = read_result(AssayCard, folder / ASSAY_RESULT)
    page = render_assay(folder)
    if as_json:
        terminal.show_json(without_nan(asdict(card)))
        return
    assay_shown.show_card(card)
    terminal.say(f"Page:  {page}")


def _renamed(words: Sequence[str]) -> list[str]:
    """Takes `--heldout` for `--held-out`."""
    return ["--held-out" + word.removeprefix("--heldout") if word.startswith("--heldout") else word for word in words]
