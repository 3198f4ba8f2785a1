"""What each number was computed from: steps, fingerprints, configs, versions, machine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from tilth.report import figures
from tilth.report.run import Entry, RunResults
from tilth.step_record import StepRecord


@dataclass(frozen=True)
class StepInput:
    """One input of a step; `anchor` is the id of its step's element, where that is on the page."""

    name: str
    fingerprint: str
    anchor: str | None


@dataclass(frozen=True)
class StepView:
    """One step with what its identity is made of, and the machine that it ran on."""

    label: str
    fingerprint: str
    anchor: str
    facts: tuple[tuple[str, str], ...]
    inputs: tuple[StepInput, ...]
    config: str


@dataclass(frozen=True)
class Provenance:
    """The provenance section."""

    takeaway: str
    command: str | None
    steps: tuple[StepView, ...]
    versions: tuple[tuple[str, str], ...]


def view(run: RunResults) -> Provenance | None:
    """Returns the provenance section, or None where no step left a record."""
    if not run.steps:
        return None
    records = [step.result for step in run.steps]
    anchors = {record.fingerprint: f"step-{index}" for index, record in enumerate(records, 1)}
    versions = (
        ("tilth", _different(record.tilth_version for record in records)),
        ("git commit", _different(record.git_commit or "" for record in records)),
        ("device", _different(record.device for record in records)),
        ("threads", _different(str(record.threads or "") for record in records)),
        ("libraries", _different(text for record in records for text in _libraries(record))),
    )
    return Provenance(
        takeaway=_takeaway(records),
        command=run.run_command,
        steps=tuple(_step(step, anchors, f"step-{index}") for index, step in enumerate(run.steps, 1)),
        versions=tuple((name, value) for name, value in versions if value),
    )


def _takeaway(records: list[StepRecord]) -> str:
    commits = {record.git_commit for record in records if record.git_commit}
    releases = {record.tilth_version for record in records if record.tilth_version}
    if len(commits) > 1 or len(releases) > 1:
        versions = figures.plural(max(len(commits), len(releases)), "version")
        return f"These steps were computed by {versions} of tilth. Run them again for results of one version."
    return (
        "A step is identified by the fingerprint of its config and inputs. "
        "A step whose fingerprint is known is not computed again."
    )


def _different(values: Iterable[str]) -> str:
    return ", ".join(sorted({value for value in values if value}))


def _libraries(record: StepRecord) -> list[str]:
    return [f"{name} {version}" for name, version in sorted(record.libraries.items())]


def _step(step: Entry[StepRecord], anchors: dict[str, str], anchor: str) -> StepView:
    record = step.result
    facts = (
        ("Step", record.name),
        ("Label", record.label),
        ("Fingerprint", record.fingerprint),
        ("Version", str(record.version)),
        ("Finished", record.finished_at.replace("T", " ")[:19]),
        ("Device", record.device),
        ("Threads", str(record.threads or "")),
        ("Libraries", ", ".join(_libraries(record))),
        ("tilth", " ".join(filter(None, [record.tilth_version, record.git_commit]))),
        ("Counts", " · ".join(f"{name.replace('_', ' ')} {_count(name, n)}" for name, n in record.counts.items())),
    )
    return StepView(
        label=step.label,
        fingerprint=record.fingerprint,
        anchor=anchor,
        facts=tuple((name, value) for name, value in facts if value),
        # An input that is a part of a step's output is `fingerprint/path`.
        inputs=tuple(
            StepInput(name, fingerprint, anchors.get(fingerprint.split("/")[0]))
            for name, fingerprint in record.inputs.items()
        ),
        config=json.dumps(record.config, indent=2, ensure_ascii=False, sort_keys=True),
    )


def _count(name: str, value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if name.endswith("flops"):
        return figures.flops(value)
    return figures.count(value) if float(value).is_integer() else f"{value:.4g}"
