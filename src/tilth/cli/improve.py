"""`tilth improve`: the self-improving loop on a family of problems, and what came of it on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import tyro

from tilth.cli import terminal
from tilth.cli.model_folder import check_model, has_tokenizer, model_in
from tilth.cli.options import RuntimeOptions, call_with_options, run_single
from tilth.errors import ConfigError
from tilth.improve.config import LoopConfig
from tilth.improve.result import LOOP_RESULT, LoopResult
from tilth.recipes import singles
from tilth.steps import Step


def improve(words: Sequence[str]) -> None:
    """`tilth improve --out FOLDER`."""

    def build(
        *,
        out: Path,
        model: Path | None = None,
        tokenizer: Path | None = None,
        text: Path | None = None,
        held_out: Path | None = None,
        json: bool = False,
        loop: tyro.conf.OmitArgPrefixes[LoopConfig] = LoopConfig(),
    ) -> tuple[Step, Path, bool]:
        """Run the self-improving loop on a family of problems, from easy to hard, with its controls.

        Args:
            out: Folder for the models and `improve.json`.
            model: A model to be trained further, ours or a Hugging Face Llama (default: the loop trains one).
            tokenizer: Folder of its tokenizer (default: the one in the model's folder).
            text: A dataset of real text that is mixed into every batch.
            held_out: A dataset of real text that is measured after each round.
            json: Print the result as one JSON document instead of a table.
            loop: The loop's settings.
        """
        if (text is None) != (held_out is None):
            raise ConfigError(
                "Real text is mixed in and measured together.", fix="Give both, `--text DATASET --held-out DATASET`."
            )
        inputs = _inputs(model, tokenizer, text, held_out)
        _check(loop, inputs)
        return singles.improve(loop, **inputs), out, json

    options, (step, out, as_json) = call_with_options(build, words, "improve", RuntimeOptions())
    show_loop(run_single(step, out, options.context()), as_json=as_json)


def _inputs(
    model: Path | None, tokenizer: Path | None, text: Path | None, held_out: Path | None
) -> dict[str, Path | None]:
    """Returns the inputs of the step, with the folders in which model and tokenizer were found."""
    if model is not None:
        model = model_in(model)
        check_model(model)
        if tokenizer is None and has_tokenizer(model):
            tokenizer = model
    return {"model": model, "tokenizer": tokenizer, "text": text, "held_out": held_out}


def _check(loop: LoopConfig, inputs: dict[str, Path | None]) -> None:
    """Looks for mistakes before a folder is claimed. Raises: ConfigError or DataError that says what to do."""
    from tilth.improve.loop import arms_of, task_family
    from tilth.storage import Dataset

    arms_of(loop, task_family(loop.task))
    for name in ("text", "held_out"):
        folder = inputs[name]
        if folder is not None:
            Dataset.open(folder)
    if inputs["text"] is not None and inputs["tokenizer"] is None:
        raise ConfigError("Real text needs a tokenizer for text.", fix="Give `--tokenizer FOLDER`, or a `--model`.")


def show_loop(folder: Path, *, as_json: bool = False) -> None:
    """Prints a loop's table, what was gained for what compute, which arms ended, and the controller's decisions."""
    from tilth.improve.gain import gain_sentences
    from tilth.results import read_result

    result = read_result(LoopResult, folder / LOOP_RESULT)
    if as_json:
        terminal.show_json(asdict(result))
        return
    _show_table(result)
    for sentence in gain_sentences(result):
        print(sentence)
    for seed in result.seeds:
        for arm, found in seed.arms.items():
            for decision in found.decisions:
                print(f"{arm}, seed {seed.seed}, round {decision.round}: {decision.action}. {decision.why}")


def _show_table(result: LoopResult) -> None:
    from tilth.intervals import accuracy_interval

    shown = [i for i, difficulty in enumerate(result.difficulties) if difficulty >= result.base_difficulty]
    shown = shown[:: -(-len(shown) // 5)]  # what fits into a terminal; the report has all
    rows: list[tuple[str, ...]] = []
    for arm in result.arms:
        intervals = [
            accuracy_interval(shares, n)
            for shares, n in zip(zip(*result.final_accuracy(arm), strict=True), result.test_problems, strict=True)
        ]
        found = result.of_arm(arm)
        flops = sum(one.flops for one in found) / len(result.seeds)
        cells = [f"{100 * x.mean:.0f}\n{100 * x.low:.0f}–{100 * x.high:.0f}" for x in intervals]
        name = f"{arm}\nended early" if any(one.ended for one in found) else arm
        rows.append((name, *(cells[i] for i in shown), f"{flops / 1e12:.2f}", *_text_cells(result, arm)))
    text = ("bits/byte",) if _has_text(result) else ()
    columns = ("arm", *(f"{result.difficulties[i]}" for i in shown), "TFLOPs", *text)
    seeds = f", mean of {len(result.seeds)} seeds" if len(result.seeds) > 1 else ""
    print(f"% right on test problems by difficulty{seeds}; below: 95% interval")
    if text:
        print("bits/byte: of held-out real text, before and after")
    terminal.show_table("", columns, rows, right=tuple(range(1, len(columns))), whole=range(len(columns)))


def _has_text(result: LoopResult) -> bool:
    return all(one.held_out_bits_per_byte for seed in result.seeds for one in seed.arms.values())


def _text_cells(result: LoopResult, arm: str) -> tuple[str, ...]:
    if not _has_text(result):
        return ()
    found = result.of_arm(arm)
    ends = [sum(one.held_out_bits_per_byte[index] for one in found) / len(found) for index in (0, -1)]
    return ("\n".join(f"{value:.3f}" for value in ends),)
