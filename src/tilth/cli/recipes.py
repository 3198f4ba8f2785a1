"""The verbs over whole recipes: run, plan, why, report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tilth import steps
from tilth.cli import terminal
from tilth.cli.options import M, Machine, call_with_machine
from tilth.cli.terminal import duration
from tilth.errors import StepError
from tilth.execute import Context
from tilth.recipes import BUILT_IN, load_recipe
from tilth.steps import Step


def run(words: Sequence[str]) -> None:
    """`tilth run RECIPE [--field value ...]`."""
    _, target, context = _recipe("run", words, Machine())
    outcomes: list[steps.Outcome] = []
    for outcome in steps.run_each(target, context):
        outcomes.append(outcome)
        state = "cached" if outcome.cached else "done in"
        terminal.say(f"  {outcome.step.name:<12} {state:<8} {duration(outcome.seconds):>10}   {outcome.folder}")
    if all(outcome.cached for outcome in outcomes):
        terminal.say("Everything is cached: nothing was run.")
    for outcome in outcomes:
        if (outcome.folder / "report.html").exists():
            terminal.say(f"\nReport:  {outcome.folder / 'report.html'}")
        if (outcome.folder / "generation_config.json").exists():
            terminal.say(f"Chat:    tilth chat {outcome.folder}")


def plan(words: Sequence[str]) -> None:
    """`tilth plan RECIPE [--field value ...]`."""
    _, target, context = _recipe("plan", words, Machine())
    planned = steps.plan(target, context)
    terminal.show_table("", ("step", "state", "seconds", "why"), [_planned_row(p) for p in planned])
    new = [p for p in planned if p.state != "cached"]
    known = [float(p.last["seconds"]) for p in new if p.last]
    if not new:
        terminal.say("Everything is cached: nothing would run.")
    elif len(known) == len(new):
        terminal.say(f"{len(new)} steps to run, about {duration(sum(known))} by the last runs of their names.")
    else:
        terminal.say(
            f"{len(new)} steps to run; {len(new) - len(known)} of them have no earlier run to judge the cost by."
        )


def _planned_row(planned: steps.Planned) -> tuple[str, str, str, str]:
    if planned.record is not None:
        return planned.step.name, "cached", duration(float(planned.record["seconds"])), ""
    state = "goes on" if planned.state == "partial" else "will run"
    last = f"~{duration(float(planned.last['seconds']))}" if planned.last else "?"
    reasons = planned.reasons
    more = f" (and {len(reasons) - 1} more: `tilth why {planned.step.name}`)" if len(reasons) > 1 else ""
    return planned.step.name, state, last, reasons[0] + more


def why(words: Sequence[str]) -> None:
    """`tilth why STEP [--recipe RECIPE --field value ...]`."""
    name, *rest = words or ["--help"]
    if name in ("-h", "--help"):
        terminal.say(
            "usage: tilth why STEP [RECIPE [--field value ...]]\n\n"
            "Says which config value or input made a step of a recipe (default: quickstart) new."
        )
        return
    recipe = rest if rest and not rest[0].startswith("-") else ["quickstart", *rest]
    _, target, context = _recipe("why", recipe, Machine())
    found = {step.name: step for step in steps.in_order(target)}
    if name not in found:
        message, fix = terminal.unknown_word("step", name, found, f"tilth plan {recipe[0]}")
        raise StepError(message, fix=fix)
    lines = steps.why(found[name], context)
    for line in lines or [f"{name} is cached: nothing made it new."]:
        print(line)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Machine):
    """Facts of this machine, and where the report goes."""

    out: Path = Path("report.html")
    """The page to write."""


def report(words: Sequence[str]) -> None:
    """`tilth report RECIPE [--field value ...] [--out FILE]`."""
    chosen, target, context = _recipe("report", words, ReportOptions())
    done = [p.folder for p in steps.plan(target, context) if p.state == "cached"]
    if not done:
        raise StepError("No step of this recipe is done yet.", fix="`tilth run` with the same words runs it.")
    from tilth.report import collect, render

    command = shlex.join(["tilth", "run", *_without_out(words)])
    print(render(collect(done, name=words[0], run_command=command), chosen.out))


def _without_out(words: Sequence[str]) -> list[str]:
    """The words of `tilth report` that `tilth run` takes as well."""
    kept, rest = list[str](), list(words)
    while rest:
        word = rest.pop(0)
        if word == "--out":
            del rest[:1]
        elif not word.startswith("--out="):
            kept.append(word)
    return kept


def _recipe(verb: str, words: Sequence[str], default: M) -> tuple[M, Step, Context]:
    """Finds the recipe that the first word names, and builds it from the other words."""
    if not words or words[0].startswith("-"):
        listing = "\n".join(f"  {name:<12} {recipe.summary}" for name, recipe in BUILT_IN.items())
        terminal.say(f"usage: tilth {verb} RECIPE [--field value ...]\n")
        terminal.say(f"RECIPE is `path/to/file.py:function`, or one of\n{listing}\n")
        terminal.say(f"`tilth {verb} RECIPE --help` shows its fields.")
        sys.exit(0 if words and words[0] in ("-h", "--help") else 2)
    name, *rest = words
    machine, target = call_with_machine(load_recipe(name), rest, f"{verb} {name}", default)
    return machine, target, machine.context()
