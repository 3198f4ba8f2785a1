"""The same prompts, continued before and after training."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.report import figures
from tilth.report.artefacts import RunData, TextSample


@dataclass(frozen=True)
class Continuation:
    """One prompt and its two continuations, the prompt cut off where the model's text repeats it."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True)
class Samples:
    """The samples section."""

    takeaway: str
    rows: tuple[Continuation, ...]


def view(data: RunData) -> Samples | None:
    """Returns the samples section, or None where there are none."""
    if not data.samples:
        return None
    rows = tuple(
        Continuation(s.prompt, s.before.removeprefix(s.prompt), s.after.removeprefix(s.prompt)) for s in data.samples
    )
    return Samples(takeaway=_takeaway(data.samples), rows=rows)


def _takeaway(samples: tuple[TextSample, ...]) -> str:
    same = sum(sample.before == sample.after for sample in samples)
    prompts = f"{figures.plural(len(samples), 'prompt')}, each continued before and after training"
    if same == len(samples):
        return f"{prompts}: the continuations are the same."
    if same:
        return f"{prompts}: {figures.count(len(samples) - same)} changed, {figures.count(same)} did not."
    return f"{prompts}: judge for yourself."
