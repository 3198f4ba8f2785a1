"""What `tilth synthesize` prints: recipes, previews, results."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from tilth.cli import terminal
from tilth.cli.terminal import about, size
from tilth.synthesis.result import SYNTHESIS, Example, SynthesisResult

if TYPE_CHECKING:
    from tilth.synthesis.define import Recipe
    from tilth.synthesis.preview_run import Estimate, Preview, PreviewDocument

_LONGEST = 900
"""Characters of a prompt or an answer on the terminal."""
_MOST_SHOWN = 4
"""Requests and samples of a document on the terminal."""
_MOST_REASONS = 3


def show_usage() -> None:
    """Prints how the command is given."""
    print(
        "usage: tilth synthesize RECIPE [DATASET] --teacher TEACHER --out FOLDER [OPTIONS]\n"
        "       tilth synthesize RECIPE [DATASET] --teacher TEACHER --preview [N]\n"
        "       tilth synthesize RECIPE --help\n"
        "       tilth synthesize --list\n\n"
        "Make a dataset with a teacher: a recipe asks it about each document, answers are parsed, and samples pass\n"
        "gates. Killed at any moment, the same command continues and pays nothing twice.\n\n"
        "TEACHER: `http://HOST:PORT/v1#MODEL`, the folder of a model, a name in `teachers.toml`, or `scripted:echo`.\n"
    )
    show_recipes()


def show_recipes() -> None:
    """Prints all built-in recipes, a line each."""
    from tilth.synthesis.define import BUILT_IN, load_recipe

    rows: list[tuple[str, ...]] = []
    for name in sorted(BUILT_IN):
        recipe = load_recipe(name)
        rows.append((name, recipe.shape, recipe.summary))
    terminal.show_table("", ("recipe", "makes", "what it does"), rows, whole=(0, 1))


def show_recipe(recipe: Recipe, name: str) -> None:
    """Prints what a recipe is, above its options."""
    from tilth.synthesis.prompt_files import load_prompts

    print(f"{name}: {recipe.summary}")
    if recipe.source:
        print(f"Source: {recipe.source}")
    needs = "documents of a dataset" if recipe.needs_documents else "nothing: give `--documents N`"
    print(f"Makes: {recipe.shape}, from {needs}")
    if recipe.prepare is not None:
        print("It makes its own teacher from the documents: none need be given.")
    for axis, values in recipe.axes.items():
        print(f"Axis {axis}: {', '.join(values)}")
    for prompt in load_prompts(recipe).values():
        print(f"Prompt {prompt.name}, version {prompt.version}, {len(prompt.text):,} characters")
    set_ = {f.name: getattr(recipe.params, f.name) for f in fields(recipe.params)}
    print("Asks with: " + ", ".join(f"{key} {value}" for key, value in set_.items() if value not in (None, ())))
    print()


# Preview


def show_preview(shown: Preview, *, as_json: bool) -> None:
    """Prints a preview."""
    if as_json:
        terminal.show_json(asdict(shown))
        return
    for document in shown.documents:
        _show_document(document)
    _show_estimate(shown)


def _show_document(document: PreviewDocument) -> None:
    terminal.show_rule(f"{document.source}  (id {document.id})")
    for number, request in enumerate(document.requests[:_MOST_SHOWN], 1):
        terminal.show_panel(f"prompt {number}", _short(request.prompt), dim=True)
        if request.answer is not None:
            facts = f"{request.completion_tokens:,} tokens, {request.finish_reason}"
            origin = f"{request.teacher}, {'from the cache' if request.cached else facts}"
            terminal.show_panel(f"answer {number}: {origin}", _short(request.answer))
    _say_more(len(document.requests), "requests")
    for sample in document.samples[:_MOST_SHOWN]:
        verdict = "kept" if sample.kept else "dropped"
        part = f" ({sample.part})" if sample.part else ""
        lines = [_short(sample.text, 300), "", *(f"· {line}" for line in sample.verdicts)]
        terminal.show_panel(f"{verdict}{part}", "\n".join(lines), colour="green" if sample.kept else "red")
    _say_more(len(document.samples), "samples")
    for line in document.rejected[:_MOST_SHOWN]:
        terminal.show_panel("no sample", line, colour="red")
    _say_more(len(document.rejected), "that led to no sample")


def _say_more(n: int, what: str) -> None:
    if n > _MOST_SHOWN:
        print(f"  {n - _MOST_SHOWN:,} more {what}; `--json` has all.\n")


def _short(text: str, most: int = _LONGEST) -> str:
    """The beginning and the end, where a prompt has what is asked for."""
    if len(text) <= most:
        return text
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]}\n   ... ({len(text) - head - tail:,} more characters) ...\n{text[-tail:]}"


def _show_estimate(shown: Preview) -> None:
    estimate = shown.estimate
    rows = estimate_rows(estimate, asked=shown.asked)
    title = f"All documents ({estimate.documents:,}), estimated from {len(shown.documents)}"
    terminal.show_table(title, ("", "about"), rows, right=(1,))
    if not shown.asked:
        terminal.say("Nothing was asked. What a recipe asks once it has an answer is not shown, nor in the figures.")
    else:
        paid = f" The preview cost {shown.spent:.4g}." if shown.spent else ""
        terminal.say(f"The answers are in the request cache: the run does not pay for them again.{paid}")


def estimate_rows(estimate: Estimate, *, asked: bool) -> list[tuple[str, str]]:
    """Returns the lines of an estimate."""
    most = "" if asked else ", at most"
    rows = [
        ("requests", f"{estimate.requests:,.0f}"),
        ("tokens of prompts", f"{_rounded(estimate.prompt_tokens):,}"),
        (f"tokens of answers{most}", f"{_rounded(estimate.completion_tokens):,}"),
    ]
    if asked:
        rows.append(("samples kept", f"{_rounded(estimate.samples or 0):,}"))
        rows.append(("cost", f"{estimate.money:.4g}" if estimate.money else "no price known"))
        rows.append(("generation FLOPs", f"{estimate.flops:.3g}" if estimate.flops else "parameters not known"))
        cached = "not measured: all answers were in the cache"
        at = f" at {estimate.in_flight} in flight"
        rows.append(("time", cached if estimate.seconds is None else about(estimate.seconds) + at))
    return rows


def _rounded(value: float) -> int:
    """Two digits: the rest is not known."""
    return int(float(f"{value:.2g}")) if value >= 100 else round(value)


# Result


def show_result(folder: Path, page: Path, words: Sequence[str], *, as_json: bool) -> None:
    """Prints what a run made: yield by gate, cost, an example, and what comes next."""
    from tilth.results import read_result

    result = read_result(SynthesisResult, folder / SYNTHESIS)
    dataset = folder / "samples"
    if as_json:
        terminal.show_json({"folder": str(folder), "dataset": str(dataset), "page": str(page), **asdict(result)})
        return
    _show_gates(result)
    _show_costs(result)
    _show_router(folder)
    if result.kept_examples:
        _show_example(result.kept_examples[0])
    print(f"Dataset  {dataset}  ({result.samples_kept:,} samples, {size(result.bytes_kept)} of text)")
    print(f"Page     {page}")
    if result.kept_examples:
        print(f"Lineage  {shlex.join(['tilth', 'show', str(folder), '--id', result.kept_examples[0].id])}")
    if not result.samples_kept:
        terminal.say("No sample was kept: the table says at which gate they were dropped, the page shows examples.")
    if result.documents_lost:
        terminal.say(
            f"{result.documents_lost:,} documents lost a request after all its tries: {folder / 'dead_letters'}."
        )
    if not result.complete:
        _show_incomplete(result, words)
    elif result.samples_kept:
        print(f"Next     {shlex.join(['tilth', 'tokenize', 'train', str(dataset), '--out', 'tokenizer'])}")


def _show_incomplete(result: SynthesisResult, words: Sequence[str]) -> None:
    left = result.documents - result.documents_done
    terminal.say(
        f"Not complete: {result.stopped_by}, with {left:,} of {result.documents:,} documents to do. Give the same "
        "command with a larger budget (`--max-total-tokens`, `--max-money`, `--max-flops`): what was answered "
        "is not paid for again."
    )


def _show_gates(result: SynthesisResult) -> None:
    rows: list[tuple[str, ...]] = []
    for gate in result.gates:
        reasons = [f"{number:,} {reason.replace('_', ' ')}" for reason, number in gate.reasons.items()]
        more = f", and {len(reasons) - _MOST_REASONS} more" if len(reasons) > _MOST_REASONS else ""
        share = f"{gate.samples_out / gate.samples_in:.0%}" if gate.samples_in else ""
        dropped = ", ".join(reasons[:_MOST_REASONS]) + more
        rows.append((gate.gate.replace("_", " "), f"{gate.samples_in:,}", f"{gate.samples_out:,}", share, dropped))
    documents = f"{result.documents_done:,} document{'' if result.documents_done == 1 else 's'}"
    columns = ("gate", "in", "out", "yield", "dropped for")
    title = f"{result.recipe}: {documents}"
    terminal.show_table(title, columns, rows, right=(1, 2, 3), whole=(0, 1, 2, 3))


def _show_costs(result: SynthesisResult) -> None:
    rows: list[tuple[str, ...]] = []
    for one in result.spending:
        tokens = one.prompt_tokens + one.completion_tokens
        kept = one.samples_kept
        rows.append(
            (
                one.recipe,
                one.teacher,
                f"{one.requests:,}",
                f"{one.cached:,}",
                f"{tokens:,}",
                f"{one.money:.4g}" if one.money else "",
                f"{tokens / kept:,.0f}" if kept else "",
                f"{one.money / kept:.3g}" if kept and one.money else "",
                f"{one.flops / kept:.3g}" if kept and one.flops else "",
            )
        )
    columns = [
        "asked for",
        "teacher",
        "paid",
        "cached",
        "tokens",
        "cost",
        "tokens a sample",
        "cost a sample",
        "FLOPs a sample",
    ]
    used = [index for index in range(len(columns)) if index < 5 or any(row[index] for row in rows)]
    shown = [tuple(row[index] for index in used) for row in rows]
    if rows:
        right = tuple(range(2, len(used)))
        title = "Answers; figures include the cached" if any(one.cached for one in result.spending) else "Answers"
        terminal.show_table(title, [columns[index] for index in used], shown, right=right)
    if any(one.money for one in result.spending):
        print(f"This run paid {sum(one.paid_money for one in result.spending):.4g}; what was cached had been paid.\n")


def _show_router(folder: Path) -> None:
    """Prints whether the dearer teachers were worth it, where a router compared several."""
    from tilth.results import read_result
    from tilth.synthesis.routing_result import ROUTER, RouterResult

    if not (folder / ROUTER).is_file():
        return
    routed = read_result(RouterResult, folder / ROUTER)
    rows = [
        (one.teacher, f"{one.answers:,}", f"{one.wins:,}", f"{one.mean_reward:.3g}", f"{one.tokens:,}")
        for one in routed.teachers
    ]
    columns = ("teacher", "answers", "used", f"mean reward ({routed.reward})", "tokens")
    terminal.show_table(f"Router: {routed.kind}", columns, rows, right=(1, 2, 3, 4))
    for one in routed.worth:
        print(
            f"{one.dearer} beside {one.cheaper}: {one.gain:+.3g} reward (95%: {one.low:+.3g} to {one.high:+.3g}) at "
            f"{one.cost_ratio:.3g} times the {routed.cost_unit}, better in {one.wins:.0%} of {one.pairs:,} pairs."
        )


def _show_example(example: Example) -> None:
    part = f" ({example.part})" if example.part else ""
    terminal.show_panel(f"a sample{part}", _short(example.text, 600), colour="green")
