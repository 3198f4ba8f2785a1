"""The head of the page: what was grown and its key figures."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.report import figures
from tilth.report.artefacts import RunArtefacts, RunData


@dataclass(frozen=True)
class KeyFigure:
    """One large number and what it is."""

    value: str
    label: str
    detail: str = ""


@dataclass(frozen=True)
class Header:
    """The head of the page."""

    name: str
    takeaway: str
    finished: str
    key_figures: tuple[KeyFigure, ...]
    chat_command: str | None


def view(run: RunArtefacts, data: RunData) -> Header:
    """Returns the head of the page; it is there even where all else is missing."""
    finished = max((step.finished_at for step in data.steps if step.finished_at), default="")
    return Header(
        name=run.name,
        takeaway=_sentence(data),
        finished=finished.replace("T", " ")[:16],
        key_figures=tuple(_key_figures(data)),
        chat_command=run.chat_command,
    )


def total_flops(data: RunData) -> float | None:
    """Returns the FLOPs that steps counted; where none did, those of training and the loop."""
    counted = [step.flops for step in data.steps if step.flops is not None]
    if not counted:
        counted = [] if data.training is None or data.training.flops is None else [data.training.flops]
        if data.improve is not None:
            arms = data.improve.arms.values()
            counted.append(data.improve.base_flops + sum(arm.train_flops + arm.generation_flops for arm in arms))
    return sum(counted) if counted else None


def _sentence(data: RunData) -> str:
    parts: list[str] = []
    if data.training is not None:
        parts.append(f"a language model of {figures.short(data.training.n_params)} parameters")
    elif data.tokenizer is not None:
        parts.append(f"a tokenizer of {figures.plural(data.tokenizer.vocab_size, 'token')}")
    if data.ledger is not None:
        train, held_out = data.ledger.train, data.ledger.held_out
        kept = figures.plural(train.documents + held_out.documents, "document")
        kept += f", {figures.size(train.bytes + held_out.bytes)} of text"
        parts.append(f"from {kept}" if parts else f"a corpus of {kept}")
    return f"Grown here: {' '.join(parts)}." if parts else "What this run left behind."


def _key_figures(data: RunData) -> list[KeyFigure]:
    found: list[KeyFigure] = []
    if data.ledger is not None:
        kept, read = data.ledger.train.documents + data.ledger.held_out.documents, data.ledger.stages
        detail = f"of {figures.count(read[0].documents_in)} read" if read else ""
        found.append(KeyFigure(figures.count(kept), "documents kept", detail))
    if data.training is not None:
        summary = data.training
        found += [
            KeyFigure(figures.short(summary.tokens), "tokens trained on"),
            KeyFigure(figures.short(summary.n_params), "parameters"),
            KeyFigure(
                " → ".join(map(figures.bits, (summary.bits_per_byte_before, summary.bits_per_byte_after))),
                "bits per byte",
                "held-out text, before → after",
            ),
        ]
    if data.steps:
        seconds = sum(step.seconds for step in data.steps)
        found.append(KeyFigure(figures.duration(seconds), "of work", figures.plural(len(data.steps), "step")))
    flops = total_flops(data)
    if flops is not None:
        found.append(KeyFigure(figures.flops(flops), "of arithmetic", "counted, not measured"))
    return found
