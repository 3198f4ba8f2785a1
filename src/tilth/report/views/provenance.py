"""Where every number comes from: steps, fingerprints, configs, versions, and the command that makes it all
again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from tilth.report import figures
from tilth.report.artefacts import RunArtefacts, RunData, StepRecord


@dataclass(frozen=True)
class StepInput:
    """One input of a step; `anchor` is the place of the step that made it, where it is on the page."""

    name: str
    fingerprint: str
    anchor: str | None


@dataclass(frozen=True)
class StepView:
    """One step with everything that its identity is made of."""

    name: str
    fingerprint: str
    anchor: str
    version: int | None
    finished_at: str
    inputs: tuple[StepInput, ...]
    config: str
    counts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Provenance:
    """The provenance section."""

    takeaway: str
    command: str
    steps: tuple[StepView, ...]
    versions: tuple[tuple[str, str], ...]


def view(run: RunArtefacts, data: RunData) -> Provenance | None:
    """Returns the provenance section, or None where no step left a record."""
    steps = data.steps
    if not steps:
        return None
    commits = sorted({step.git_commit for step in steps if step.git_commit})
    releases = sorted({step.tilth_version for step in steps if step.tilth_version})
    anchors = {step.fingerprint: f"step-{index}" for index, step in enumerate(steps, 1)}
    found = (("tilth", ", ".join(releases)), ("git commit", ", ".join(commits)))
    return Provenance(
        takeaway=_takeaway(commits, releases),
        command=run.run_command or f"tilth run {run.name}",
        steps=tuple(_step(step, anchors) for step in steps),
        versions=tuple((name, value) for name, value in found if value),
    )


def _takeaway(commits: list[str], releases: list[str]) -> str:
    if len(commits) > 1 or len(releases) > 1:
        versions = figures.plural(max(len(commits), len(releases)), "version")
        return f"These steps were made by {versions} of the code: run them again for a result of one version."
    return "Same config and inputs, same fingerprint; and the same fingerprint is not computed twice."


def _step(step: StepRecord, anchors: dict[str, str]) -> StepView:
    return StepView(
        name=step.name,
        fingerprint=step.fingerprint,
        anchor=anchors[step.fingerprint],
        version=step.version,
        finished_at=(step.finished_at or "").replace("T", " ")[:19],
        inputs=tuple(
            StepInput(name, fingerprint, anchors.get(fingerprint)) for name, fingerprint in step.inputs.items()
        ),
        config=json.dumps(step.config, indent=2, ensure_ascii=False, sort_keys=True),
        counts=tuple((name.replace("_", " "), _count(name, value)) for name, value in step.counts.items()),
    )


def _count(name: str, value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if name.endswith("flops"):
        return figures.flops(value)
    return figures.count(value) if float(value).is_integer() else f"{value:.4g}"
