"""Where the training text holds what a sample says, or something near to it: shown under the sample."""

from __future__ import annotations

from dataclasses import dataclass

from tilth.evaluation.result import NearWindow, Origins, SampleOrigin, VerbatimSpan
from tilth.report import figures
from tilth.report.run import RunResults
from tilth.step_record import StepRecord


@dataclass(frozen=True)
class Piece:
    """A part of the sample; `tip` is empty where the training text does not hold it."""

    text: str
    tip: str = ""


@dataclass(frozen=True)
class Passage:
    """A part of a training document."""

    before: str
    text: str
    after: str
    facts: str
    command: str
    """Shows the document; empty where its folder is not known."""


@dataclass(frozen=True)
class Origin:
    """What is shown under a sample."""

    summary: str
    pieces: tuple[Piece, ...]
    spans: tuple[Passage, ...]
    near: tuple[Passage, ...]


def sentence(run: RunResults) -> str:
    """Says what was searched, and how much of the samples it holds; empty where nothing was."""
    found = [entry.result for entry in run.origins if entry.result.samples]
    if not found:
        return ""
    return _sentence(found[0]) if len(found) == 1 else " ".join(_sentence(one) for one in found)


def _sentence(one: Origins) -> str:
    n_bytes = [len(sample.text.encode("utf-8", "surrogatepass")) for sample in one.samples]
    covered = sum(size * sample.verbatim_share for size, sample in zip(n_bytes, one.samples, strict=True))
    share = figures.percent(covered / sum(n_bytes)) if sum(n_bytes) else figures.DASH
    searched = (
        "the training text"
        if one.searched_bytes >= one.train_bytes
        else f"the first {figures.size(one.searched_bytes)} of {figures.size(one.train_bytes)} of training text"
    )
    held_out = "" if one.held_out_share is None else (
        f"; of held-out text cut to the same length it is {figures.percent(one.held_out_share)}"
    )  # fmt: skip
    return (
        f"{share} of the samples after training is in {searched} letter by letter, in spans of at least "
        f"{one.least_bytes} bytes{held_out}."
    )


def origin(run: RunResults, label: str, index: int, text: str) -> Origin | None:
    """Returns the origin of sample number `index` of the model `label`; None where it was not looked for."""
    results = [entry.result for entry in run.origins if entry.label == label]
    if len(run.origins) == len(run.samples) == 1:
        results = [run.origins[0].result]
    if len(results) != 1 or index >= len(results[0].samples) or results[0].samples[index].text != text:
        return None
    folder = _train_folder(run)
    sample = results[0].samples[index]
    spans = f"{figures.plural(len(sample.spans), 'span')} verbatim ({figures.percent(sample.verbatim_share)})"
    return Origin(
        summary=f"Nearest training text: {spans if sample.spans else 'no span verbatim'}, "
        f"{figures.plural(len(sample.near), 'document')} near by embedding",
        pieces=_pieces(sample),
        spans=tuple(_span(span, sample.text, folder) for span in sample.spans),
        near=tuple(_near(window, folder) for window in sample.near),
    )


def _pieces(sample: SampleOrigin) -> tuple[Piece, ...]:
    """Cuts the sample at its spans; of two that overlap the second begins where the first ends."""
    pieces: list[Piece] = []
    position = 0
    for span in sample.spans:
        start = max(span.start, position)
        pieces.append(Piece(sample.text[position:start]))
        pieces.append(Piece(sample.text[start : span.end], f"{_documents(span)}: {span.source}"))
        position = span.end
    pieces.append(Piece(sample.text[position:]))
    return tuple(piece for piece in pieces if piece.text)


def _documents(span: VerbatimSpan) -> str:
    return f"In {figures.plural(span.documents, 'training document')}"


def _span(span: VerbatimSpan, text: str, folder: str) -> Passage:
    others = f", and in {figures.plural(span.documents - 1, 'other document')}" if span.documents > 1 else ""
    return Passage(
        before=span.before,
        text=text[span.start : span.end],
        after=span.after,
        facts=f"{span.source}, character {figures.count(span.position)}{others}",
        command=_command(folder, span.document_id),
    )


def _near(window: NearWindow, folder: str) -> Passage:
    return Passage(
        before="",
        text=window.text,
        after="",
        facts=f"{window.source}, character {figures.count(window.position)}, similarity {window.similarity:.2f}",
        command=_command(folder, window.document_id),
    )


def _command(folder: str, document_id: str) -> str:
    return f"tilth show {folder} --id {document_id}" if folder else ""


def _train_folder(run: RunResults) -> str:
    """Returns the folder of the curation whose training documents were searched."""
    for step in run.steps:
        if step.result.name == "nearest":
            return _input_folder(step.result, "train")
    return ""


def _input_folder(record: StepRecord, name: str) -> str:
    fingerprint = record.inputs.get(name, "").split("/")[0]
    return f"runs/{record.input_steps[name]}/{fingerprint}" if fingerprint and name in record.input_steps else ""
