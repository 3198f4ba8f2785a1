"""The same prompts, continued before and after training."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.report import figures
from tilth.report.run import RunResults
from tilth.report.views import origins


@dataclass(frozen=True)
class Continuation:
    """One prompt and its two continuations, the prompt cut off where the model's text repeats it."""

    prompt: str
    before: str
    after: str
    origin: origins.Origin | None = None
    """Where the training text holds what the trained model wrote."""


@dataclass(frozen=True)
class Group:
    """The continuations by one model; the label is empty where there is only one."""

    label: str
    rows: tuple[Continuation, ...]


@dataclass(frozen=True)
class Samples:
    """The samples section."""

    takeaway: str
    groups: tuple[Group, ...]
    searched: str
    """How much of the samples the training text holds; empty where it was not searched."""


def view(run: RunResults) -> Samples | None:
    """Returns the samples section, or None where there are none."""
    entries = [entry for entry in run.samples if entry.result]
    groups = tuple(
        Group(
            label=entry.label if len(entries) > 1 else "",
            rows=tuple(
                Continuation(
                    s.prompt,
                    s.before.removeprefix(s.prompt),
                    after := s.after.removeprefix(s.prompt),
                    origins.origin(run, entry.label, index, after),
                )
                for index, s in enumerate(entry.result)
            ),
        )
        for entry in entries
    )
    if not groups:
        return None
    return Samples(takeaway=_takeaway(groups), groups=groups, searched=origins.sentence(run))


def _takeaway(groups: tuple[Group, ...]) -> str:
    rows = [row for group in groups for row in group.rows]
    same = sum(row.before == row.after for row in rows)
    models = f" by {len(groups)} models" if len(groups) > 1 else ""
    prompts = figures.plural(len({row.prompt for row in rows}), "prompt")
    prompts = f"{prompts}, each continued{models} before and after training"
    if same == len(rows):
        return f"{prompts}. All continuations are unchanged."
    if same:
        return f"{prompts}. {figures.count(len(rows) - same)} changed, {figures.count(same)} did not."
    return f"{prompts}. All continuations changed."
