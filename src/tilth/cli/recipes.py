"""The verbs over whole recipes: run, plan, why, report."""

from __future__ import annotations

import functools
import glob
import inspect
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tilth import steps
from tilth.cli import terminal
from tilth.cli.look import is_interactive, show_look
from tilth.cli.options import RecipeOptions, call_with_options, given_fields
from tilth.cli.terminal import about, duration
from tilth.errors import ConfigError, StepError
from tilth.execute import Context
from tilth.recipes import BUILT_IN, load_recipe
from tilth.recipes.estimates import Estimate
from tilth.recipes.live_run import live_run
from tilth.recipes.look import Look, estimates_of, look
from tilth.recipes.run_page import chat_command, write_page
from tilth.run_record import ActiveRun, RunRecord, begin, find_run, name_from
from tilth.sources import Source
from tilth.steps import Step

Named = TypeVar("Named", bound=RecipeOptions)


@dataclass(frozen=True, kw_only=True)
class RunOptions(RecipeOptions):
    """How this machine does the work, and what the run is called."""

    open: bool = False
    """Open the page of the run in the browser, and serve it as long as the run lasts."""
    yes: bool = False
    """Ask nothing before the run begins."""


def run(words: Sequence[str]) -> None:
    """`tilth run RECIPE [--field value ...]`."""
    call = _recipe("run", words, RunOptions())
    for source in call.sources:
        source.check_exists()
    # A question comes before anything is written, so that `n` leaves an earlier run as it is. Else the page is first.
    looked_at = _looked_at(call) if is_interactive() and not call.options.yes else None
    with call.begin() as active:
        with live_run(active, call.target, call.context, serve=call.options.open) as live:
            planned, found = looked_at or _looked_at(call)
            estimates = estimates_of(planned, found, call.context)
            live.page.expect({label: one.seconds for label, one in estimates.items() if one is not None})
            for result in steps.run_each(call.target, live.context, started=live.started):
                active.add_step(result.step.label, result.folder)
                live.finished(result)
                state = "cached" if result.cached else "done in"
                terminal.say(f"  {result.step.label:<12} {state:<8} {duration(result.seconds):>10}   {result.folder}")
        if live.all_cached:
            terminal.say("Everything is cached: nothing was run.")
        terminal.say(f"\nReport:  {live.path}" if live.path else f"\nNo report: {live.problem}")
        if chat := chat_command(active.record, live.folders, call.context.runs):
            terminal.say(f"Chat:    {chat}")


def _looked_at(call: RecipeCall[RunOptions]) -> tuple[list[steps.Planned], Look | None]:
    """Returns what a run would do, shows the look at its corpora, and exits where the user says no."""
    planned = steps.plan(call.target, call.context)
    found = look(call.target, planned, call.context)
    if not show_look(found, yes=call.options.yes):
        terminal.say("Nothing was run.")
        sys.exit(0)
    return planned, found


@dataclass(frozen=True, kw_only=True)
class PlanOptions(RecipeOptions):
    """How this machine does the work, and how the answer is printed."""

    json: bool = False
    """Print one JSON document."""


def plan(words: Sequence[str]) -> None:
    """`tilth plan RECIPE [--field value ...]`."""
    call = _recipe("plan", words, PlanOptions())
    target, context = call.target, call.context
    planned = steps.plan(target, context)
    found = look(target, planned, context)
    estimates = estimates_of(planned, found, context)
    if call.options.json:
        rows = [_planned_json(p, estimates.get(p.step.label)) for p in planned]
        terminal.show_json({"run": call.name, "recipe": call.recipe, "steps": rows})
        return
    show_look(found, yes=True)
    rows = [_planned_row(p, estimates.get(p.step.label)) for p in planned]
    terminal.show_table("", ("step", "state", "time", "why"), rows)
    for path, basis in {path: basis for p in planned for path, basis in p.source_bases.items()}.items():
        if basis != "content":
            terminal.say(f"{path} is identified by {basis}: its files were not read.")
    if damaged := [p.step.label for p in planned if p.state == "damaged"]:
        terminal.say(f"{', '.join(damaged)}: the output is damaged. `tilth check {context.runs}` lists the files.")
    new = [p for p in planned if p.state in ("new", "partial")]
    known = [expected for p in new if (expected := estimates[p.step.label])]
    if not new and not damaged:
        terminal.say("Everything is cached: nothing would run.")
    elif len(known) == len(new):
        terminal.say(f"{_count(new)} to run, about {about(sum(one.seconds for one in known))}.")
    else:
        terminal.say(
            f"{_count(new)} to run; {len(new) - len(known)} of them have no earlier run to estimate the time from, "
            f"the others take about {about(sum(one.seconds for one in known))}."
        )


def _count(planned: Sequence[steps.Planned]) -> str:
    return f"{len(planned)} {'step' if len(planned) == 1 else 'steps'}"


def _planned_json(planned: steps.Planned, expected: Estimate | None) -> dict[str, Any]:
    return {
        "step": planned.step.label,
        "name": planned.step.name,
        "fingerprint": planned.fingerprint,
        "folder": str(planned.folder),
        "state": planned.state,
        "seconds": planned.record.seconds if planned.record else None,
        "estimated_seconds": expected.seconds if expected else None,
        "estimated_from_run": expected.from_run if expected else None,
        "nearest_run": planned.last.fingerprint if planned.last else None,
        "reasons": planned.reasons,
        "sources": dict(planned.source_bases),
    }


def _planned_row(planned: steps.Planned, expected: Estimate | None) -> tuple[str, str, str, str]:
    label = planned.step.label
    if planned.record is not None:
        return label, "cached", duration(planned.record.seconds), ""
    state = {"partial": "continues", "damaged": "damaged"}.get(planned.state, "will run")
    last = f"~{about(expected.seconds)}" if expected else "?"
    reasons = planned.reasons
    more = f" (and {len(reasons) - 1} more: `tilth why {label}`)" if len(reasons) > 1 else ""
    # A partial folder whose newest earlier run is equal in all that is compared has no reason to name.
    return label, state, last, (reasons[0] if reasons else "") + more


def why(words: Sequence[str]) -> None:
    """`tilth why STEP [--recipe RECIPE --field value ...]`."""
    name, *rest = words or ["--help"]
    if name in ("-h", "--help"):
        terminal.say(
            "usage: tilth why STEP [RECIPE [--field value ...]] [--json]\n\n"
            "Says which config value or input made a step of a recipe (default: quickstart) new."
        )
        return
    recipe = rest if rest and not rest[0].startswith("-") else ["quickstart", *rest]
    if name in BUILT_IN or ".py" in name:
        raise ConfigError(
            f"`{name}` is a recipe, and `tilth why` takes a step first.",
            fix=f"`tilth plan {name}` lists the steps; ask for one of them: `tilth why STEP {name}`.",
        )
    call = _recipe("why", recipe, PlanOptions())
    target, context = call.target, call.context
    by_label = {step.label: step for step in steps.in_order(target, context)}
    if name not in by_label:
        message, fix = terminal.unknown_word("step", name, by_label, f"tilth plan {recipe[0]}")
        raise StepError(message, fix=fix)
    lines = steps.why(by_label[name], context)
    if call.options.json:
        terminal.show_json({"step": name, "is_cached": not lines, "reasons": lines})
        return
    for line in lines or [f"{name} is cached: nothing made it new."]:
        print(line)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(RecipeOptions):
    """How this machine does the work, and where the report is written."""

    out: Path = Path("report.html")
    """The page to write."""


def report(words: Sequence[str]) -> None:
    """`tilth report RECIPE [--field value ...] [--out FILE]`."""
    call = _recipe("report", words, ReportOptions())
    done = [p.folder for p in steps.plan(call.target, call.context) if p.state == "cached"]
    if not done:
        raise StepError("No step of this recipe is done yet.", fix="`tilth run` with the same words runs it.")
    record = find_run(call.context.runs, call.recipe, call.fields)
    if record is None:  # its steps were done by runs of other fields
        record = RunRecord(name=call.name, recipe=call.recipe, command=call.command, started_at="")
    print(write_page(record, done, call.context, call.options.out))


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


@dataclass(frozen=True)
class RecipeCall(Generic[Named]):
    """A recipe with its fields, as the words of a command gave them."""

    recipe: str
    words: tuple[str, ...]
    """All words after the verb."""
    fields: Mapping[str, str]
    """Fields that are not at their default, as text."""
    options: Named
    target: Step
    context: Context

    @property
    def command(self) -> str:
        """Returns the command line that runs the recipe."""
        return shlex.join(["tilth", "run", *_without_out(self.words)])

    @property
    def sources(self) -> list[Source]:
        """Returns the sources of all steps, each once."""
        steps_ = steps.needed_steps(self.target)
        found = [item for step in steps_ for item in step.inputs.values() if isinstance(item, Source)]
        return list(dict.fromkeys(found))

    @property
    def name(self) -> str:
        """Returns a name made from the corpora that the words name, or else from the recipe."""
        values = {value for word in self.words for value in (word, word.partition("=")[2]) if value}
        named = values | {os.path.normpath(value) for value in values}
        given: list[str] = []
        for source in self.sources:
            if source.include and os.path.normpath(_given(source)) in named:
                given += sorted(glob.glob(_given(source))) or [source.path]  # noqa: PTH207
            elif source.path in named:
                given.append(source.path)
        return name_from(given, self.recipe)

    def begin(self) -> AbstractContextManager[ActiveRun]:
        """Begins the run: see `run_record.begin`."""
        built_in = [load_recipe(name)() for name in BUILT_IN]
        return begin(
            self.context.runs,
            name=self.options.name,
            recipe=self.recipe,
            command=self.command,
            fields=self.fields,
            corpora=[_given(source) for source in self.sources],
            suggestion=self.name,
            taken={step.name for target in (self.target, *built_in) for step in steps.needed_steps(target)},
        )


def _given(source: Source) -> str:
    """Returns path or URL of a source, with its glob, if it has one."""
    return f"{source.path.rstrip('/')}/{source.include}" if source.include else source.path


def _recipe(verb: str, words: Sequence[str], default: Named) -> RecipeCall[Named]:
    """Finds the recipe that the first word names, and builds it from the other words."""
    if not words or words[0].startswith("-"):
        listing = "\n".join(f"  {name:<12} {recipe.summary}" for name, recipe in BUILT_IN.items())
        terminal.say(f"usage: tilth {verb} RECIPE [--field value ...]\n")
        terminal.say(f"RECIPE is `path/to/file.py:function`, or one of\n{listing}\n")
        terminal.say(f"`tilth {verb} RECIPE --help` shows its fields.")
        sys.exit(0 if words and words[0] in ("-h", "--help") else 2)
    name, *rest = words
    recipe, given = load_recipe(name), dict[str, str]()
    if rest and not rest[0].startswith("-"):
        takes_text = "corpus" in inspect.signature(recipe).parameters
        fix = f"Name the text so: `--corpus {rest[0]}`." if takes_text else f"`tilth {verb} {name} --help` shows them."
        raise ConfigError(f"`{rest[0]}` stands where an option is expected.", fix=fix)

    @functools.wraps(recipe)
    def recorded(**arguments: Any) -> Step:
        given.update(given_fields(recipe, arguments))
        return recipe(**arguments)

    options, target = call_with_options(recorded, rest, f"{verb} {name}", default)
    return RecipeCall(name, tuple(words), given, options, target, options.context())
