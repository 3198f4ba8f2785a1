"""The page of an assay: what a dataset is worth, measure by measure, for a person who has read no paper on it.

All of it is read from `assay.json`. Each section begins with a sentence of figures and says what its measure is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from markupsafe import Markup

from tilth.assay.result import (
    ASSAY_RESULT,
    AssayCard,
    Cost,
    Density,
    Diversity,
    DocumentNovelty,
    LearnerValue,
    Novelty,
    Structure,
    TextSize,
    Value,
)
from tilth.intervals import mean_interval
from tilth.report import charts, figures
from tilth.report.forest import ForestRow, forest, with_interval
from tilth.report.load import collect
from tilth.report.page import write_page
from tilth.report.views.header import Header, KeyFigure
from tilth.report.views.provenance import Provenance
from tilth.report.views.provenance import view as provenance_view
from tilth.results import read_result

PAGE = "report.html"
_TONES = {
    "fresh": "moss", "dataset": "clay", "repeat": "slate", "longer": "slate long-dashes", "noise": "sand",
    "word_salad": "ochre",
}  # fmt: skip
_MEANING = {
    "fresh": "as many tokens of real text that the learner had not seen: the best that could be hoped for",
    "dataset": "the dataset",
    "repeat": "real text that the learner had seen, once more",
    "longer": "seen text, for as many FLOPs as making the dataset and training on it took",
    "noise": "random characters: what anything must exceed to count",
    "word_salad": "the words of the source in random order",
}
_KINDS = {
    "copy": "says the same in the same words",
    "rephrase": "says it in other words",
    "drift": "says something else",
}


@dataclass(frozen=True)
class Pair:
    """A document beside the one that it was made from."""

    title: str
    text: str
    seed: str


@dataclass(frozen=True)
class Part:
    """One section of the card."""

    takeaway: str
    about: str
    figures: tuple[Markup, ...] = ()
    notes: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Section:
    """A section of the page, as `page.Section`."""

    key: str
    title: str
    view: Part | Provenance
    template: str = "assay_part"


def render_assay(folder: Path, out: Path | None = None) -> Path:
    """Writes the page of the assay in `folder`; returns its path: `out`, or `report.html` in the folder.

    Raises: DataError if the folder holds no readable `assay.json`.
    """
    card = read_result(AssayCard, folder / ASSAY_RESULT)
    found = [
        ("findings", "Findings", _findings(card)),
        ("value", "Value for a learner", card.value and _value(card.value)),
        ("cost", "Cost", card.cost and _cost(card.cost)),
        ("novelty", "Novelty", card.novelty and _novelty(card.novelty)),
        ("density", "Density", _density(card.density, card.dataset)),
        ("structure", "Structure", _structure(card.structure)),
        ("diversity", "Diversity", _diversity(card.diversity)),
    ]
    sections = [Section(f"assay_{key}", title, part) for key, title, part in found if part is not None]
    if (provenance := provenance_view(collect([folder]))) is not None:
        sections.append(Section("provenance", "Provenance", provenance, "provenance"))
    return write_page(_header(card, folder.resolve().name), sections, out or folder / PAGE)


def _header(card: AssayCard, name: str) -> Header:
    """Returns the head of the page; a reader with several cards tells them apart by their folders' names."""
    beside = " beside the source" if card.source else ""
    size = f"{figures.plural(card.dataset.documents, 'document')}, {figures.size(card.dataset.bytes)} of text"
    lead = card.value.verdict if card.value else (card.findings[0] if card.findings else "")
    return Header(
        title=f"Assay: {name}",
        takeaway=f"{size}{beside}. {lead}".strip(),
        finished="",
        key_figures=tuple(_key_figures(card)),
        chat_command=None,
    )


def _key_figures(card: AssayCard) -> list[KeyFigure]:
    shown: list[KeyFigure] = []
    if card.value:
        for learner in card.value.learners:
            shown.append(
                KeyFigure(
                    _two(learner.value.mean),
                    "value",
                    f"{_span(learner.value.low, learner.value.high)} for {figures.short(learner.n_params)} parameters",
                )
            )
    if card.novelty:
        bits = card.novelty
        shown.append(
            KeyFigure(
                figures.bits(bits.bits_per_byte_given_source),
                "bits per byte given the source",
                f"new real text {figures.bits(bits.held_out_bits_per_byte)}",
            )
        )
    shown.append(KeyFigure(figures.percent(card.diversity.near_duplicates), "near duplicates"))
    shown.append(
        KeyFigure(
            figures.count(card.diversity.vendi),
            "different documents",
            f"effectively, of {figures.count(card.diversity.sampled_documents)} (Vendi score)",
        )
    )
    shown.append(KeyFigure(figures.percent(card.diversity.opening_share), "begin alike", "same five words"))
    if card.cost:
        shown.append(KeyFigure(figures.flops(card.cost.flops_per_kept_token), "to make a kept token"))
    return shown


def _findings(card: AssayCard) -> Part:
    notes = list(card.notes)
    if card.contaminated_documents:
        documents = figures.plural(card.contaminated_documents, "document")
        notes.insert(0, f"{documents} held text of the held-out set and were left out.")
    listed = Markup('<ul class="caveats">{}</ul>').format(
        Markup("").join(Markup("<li>{}</li>").format(finding) for finding in card.findings[1:])
    )
    return Part(
        takeaway=card.findings[0] if card.findings else "Nothing here stands out.",
        about=f"Measured on {_measured(card.dataset)}; held-out text: {_measured(card.held_out)}.",
        figures=(listed,) if card.findings[1:] else (),
        notes=tuple(notes),
    )


def _measured(text: TextSize) -> str:
    part = "" if text.measured_bytes >= text.bytes else f" of {figures.size(text.bytes)}"
    return f"{figures.plural(text.measured_documents, 'document')}, {figures.size(text.measured_bytes)}{part}"


# Value


def _value(value: Value) -> Part:
    plots = [_learner_plot(learner) for learner in value.learners]
    tables = [_arm_table(learner) for learner in value.learners]
    flips = "The order of the arms differs between the sizes of learner: a ranking at one size does not carry over."
    names = {arm.arm for learner in value.learners for arm in learner.arms}
    meanings = [f"{name}: {meaning}." for name, meaning in _MEANING.items() if name in names and name != "dataset"]
    ended = [
        f"{_size(learner)}, arm {arm.arm}: {arm.ended}"
        for learner in value.learners
        for arm in learner.arms
        if arm.ended
    ]
    return Part(
        takeaway=value.verdict,
        about="A small model first learns from the source. Then each arm trains on for the same number of tokens, each "
        "on its own text, and is measured on held-out real text. The value is 0 where the dataset helps no more than "
        "stopping or repeating, 1 where it helps as much as new real text, and negative where it harms. "
        f"{figures.plural(len(value.seeds), 'seed')}; measured on "
        f"{figures.plural(value.held_out_documents, 'document')}, {figures.size(value.held_out_bytes)}; 95% intervals "
        "by bootstrap over seeds and held-out documents.",
        figures=tuple(part for pair in zip(plots, tables, strict=True) for part in pair),
        notes=(*((flips,) if value.flips else ()), *ended, *meanings),
    )


def _size(learner: LearnerValue) -> str:
    return f"Learner of {figures.short(learner.n_params)} parameters"


def _learner_plot(learner: LearnerValue) -> Markup:
    rows = [
        ForestRow(label="dataset", tone="clay", interval=learner.value),
        ForestRow(label="noise", tone="sand", interval=learner.noise_value),
        ForestRow(label="word_salad", tone="ochre", interval=learner.word_salad_value),
    ]
    marks = ((0.0, "no better than stopping or repeating"), (1.0, "as good as new real text"))
    return forest(rows, title=f"{_size(learner)}: value", form=_two, marks=marks)


def _arm_table(learner: LearnerValue) -> Markup:
    before = fmean(learner.before) if learner.before else math.nan
    rows = [("before the arms part", figures.DASH, _bits(learner.before), figures.DASH)]
    rows += [
        (
            arm.arm,
            figures.short(arm.unique_tokens),
            _bits(arm.losses),
            f"{before - mean_interval(list(arm.losses)).mean:+.3f}" if not arm.ended else figures.DASH,
        )
        for arm in learner.arms
    ]
    columns = ("arm", "different tokens", "held-out bits per byte", "bits removed")
    return charts.table(columns, rows, ["quiet", *(_TONES.get(arm.arm, "plum") for arm in learner.arms)])


def _bits(losses: Sequence[float]) -> str:
    finite = [loss for loss in losses if math.isfinite(loss)]
    return f"{fmean(finite):.3f} ({min(finite):.3f}–{max(finite):.3f})" if finite else figures.DASH


# Cost


def _cost(cost: Cost) -> Part:
    kept = f"{figures.count(cost.samples_kept)} of {figures.count(cost.samples_made)} samples were kept"
    text = f"Making a kept token took {figures.flops(cost.flops_per_kept_token)}; {kept}."
    rows = [(name, figures.flops(flops)) for name, flops in cost.teachers.items()]
    plots: list[Markup] = [charts.table(("teacher", "generation compute"), rows)] if rows else []
    if cost.bits_removed_per_pflop is not None:
        pair = [ForestRow(label="the dataset", tone="clay", interval=cost.bits_removed_per_pflop)]
        if cost.longer_bits_removed_per_pflop is not None:
            longer = cost.longer_bits_removed_per_pflop
            pair.append(ForestRow(label="training longer", tone="slate", interval=longer, note=_MEANING["longer"]))
        plots.append(
            forest(
                pair,
                title="Held-out bits per byte removed for a PFLOP",
                form=lambda value: f"{value:.3g}",
                marks=((0.0, "nothing removed"),),
            )
        )
    return Part(
        takeaway=text,
        about="Compute of generation: all teachers and judges, rejected samples included, as 2 x parameters x tokens. "
        "One PFLOP is 10^15 floating-point operations.",
        figures=tuple(plots),
    )


# Novelty


def _novelty(novelty: Novelty) -> Part:
    given, new = novelty.bits_per_byte_given_source, novelty.held_out_bits_per_byte
    text = (
        f"To a model that has read the source, a byte of the dataset costs {figures.bits(given)} bits; new real text "
        f"costs {figures.bits(new)}. {figures.percent(novelty.overlap_with_source)} of its {novelty.n}-word sequences "
        "stand in the source."
    )
    plots: list[Markup] = []
    known = sum(novelty.by_seed.values())
    if known:
        plots.append(
            charts.bars(
                [
                    charts.Bar(
                        label=kind,
                        text=figures.percent(number / known),
                        parts=(charts.Part(value=number, tone=tone, tip=figures.plural(number, "document")),),
                        note=_KINDS.get(kind, ""),
                    )
                    for (kind, number), tone in zip(novelty.by_seed.items(), ("clay", "moss", "ochre"), strict=False)
                ],
                title="Documents against the one that each was made from",
                width="documents",
            )
        )
    notes: list[str] = []
    if (excess := novelty.excess_over_neighbours) is not None:
        real = novelty.held_out_excess
        beside = "" if real is None else f"; of held-out text, {with_interval(real, _signed)}"
        notes.append(
            f"Against the nearest documents of the source, a byte costs {with_interval(excess, _signed)} bits "
            f"more{beside}. Far below held-out text: memorised or too easy. Far above it: noise, or another kind."
        )
    return Part(
        takeaway=text,
        about="Compression of a dataset alone cannot see that it repeats its source: this is measured given the "
        "source. Far below new real text: copies. Far above: noise.",
        figures=tuple(plots),
        notes=tuple(notes),
        pairs=tuple(_pair(one) for one in novelty.examples),
    )


def _pair(one: DocumentNovelty) -> Pair:
    title = f"{one.kind}: {figures.percent(one.overlap)} of its word sequences stand in its seed document"
    return Pair(title=title, text=one.excerpt, seed=one.seed_excerpt)


# Density, structure, diversity


def _density(density: Density, dataset: TextSize) -> Part:
    rows = [
        (name, figures.bits(value), figures.bits(density.source_bits_per_byte.get(name)))
        for name, value in density.bits_per_byte.items()
    ]
    rows.append(("zstd, the dataset alone", figures.bits(density.compressed), figures.DASH))
    if density.compressed_given_source is not None:
        rows.append(("zstd, given the source", figures.bits(density.compressed_given_source), figures.DASH))
    if math.isfinite(density.word_order):
        orders = (figures.bits(density.word_order), figures.bits(density.source_word_order))
        rows.append(("what the order of words saves (near 0: word salad, or no words)", *orders))
    first = next(iter(density.bits_per_byte), "")
    lead = f"{figures.bits(density.compressed)} bits per byte under zstd"
    if first:
        held_out = figures.bits(density.source_bits_per_byte.get(first))
        own = figures.bits(density.bits_per_byte[first])
        lead = f"{own} bits per byte under {first}, held-out text {held_out}; {lead}"
    return Part(
        takeaway=f"{lead}.",
        about="How surprising the text is. Random characters are the most surprising and worth nothing, one sentence "
        "repeated the least: density alone says little, and is read beside structure and novelty.",
        figures=(charts.table(("predictor", dataset.name, "held-out text"), rows),),
    )


def _structure(structure: Structure) -> Part:
    curve = charts.line_chart(
        [charts.Line(label="learner", points=list(structure.curve), tone="clay", values=True)],
        charts.Axes(x_label="bytes read", y_label="Bits per byte while learning", x_format=figures.axis),
        note="each batch is measured before it is trained on",
    )
    beside = (
        f" Of as much of the source: {structure.source_epiplexity_per_byte:.2f} a byte, and "
        f"{figures.bits(structure.source_entropy)}."
        if math.isfinite(structure.source_entropy)
        else ""
    )
    return Part(
        takeaway="While reading it once, a small learner took up "
        f"{figures.short(structure.epiplexity)} bits of structure ({structure.epiplexity_per_byte:.2f} a byte); "
        f"{figures.bits(structure.entropy)} bits per byte stay unpredictable to it.{beside}",
        about="What can be learned from a text (S, epiplexity) is the area between the learning curve and its end; "
        "what is left at the end (H) is noise to this learner. Random characters: large H, no S. One sentence "
        "repeated: neither. A model's own samples have much S and still teach nothing new: read it beside the value. "
        f"Learner: {structure.learner}.",
        figures=(curve,) if curve else (),
    )


def _diversity(diversity: Diversity) -> Part:
    rows = [
        ("near duplicates of an earlier document", figures.percent(diversity.near_duplicates)),
        ("nearest other document almost the same (cosine above .9)", figures.percent(diversity.semantic_duplicates)),
        (
            "effective number of different documents (Vendi score)",
            f"{diversity.vendi:.1f} of {figures.count(diversity.sampled_documents)}",
        ),
        ("begin with the most common five words", figures.percent(diversity.opening_share)),
        ("end with the most common five words", figures.percent(diversity.closing_share)),
        *((f"distinct {n}-word sequences", figures.percent(share)) for n, share in diversity.distinct.items()),
        ("rare words", _tail(diversity)),
    ]
    plots = [charts.table(("measure", "share"), rows)]
    if diversity.openings:
        openings = [(text, figures.percent(share)) for text, share in diversity.openings]
        plots.append(charts.table(("most common opening", "share of documents"), openings))
    if diversity.machine_text:
        found = [(text, figures.percent(share)) for text, share in diversity.machine_text.items()]
        plots.append(charts.table(("phrase that machine text overuses", "share of documents"), found))
    return Part(
        takeaway=f"{figures.percent(diversity.near_duplicates)} of the documents are near duplicates, and "
        f"{figures.percent(diversity.opening_share)} begin with the same five words; among "
        f"{figures.count(diversity.sampled_documents)} there are as many different ones as {diversity.vendi:.0f} "
        "documents that share nothing.",
        about="Whether the dataset says the same again and again: a generator that repeats itself shows here first. "
        "Words in random order count as perfectly diverse, so that this, too, is read beside the value.",
        figures=tuple(plots),
    )


def _tail(diversity: Diversity) -> str:
    beside = diversity.source_tail_mass
    text = figures.percent(diversity.tail_mass)
    return text if beside is None else f"{text} of all words; real text {figures.percent(beside)}"


def _two(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else figures.DASH


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _span(low: float, high: float) -> str:
    return f"{_two(low)} to {_two(high)}" if math.isfinite(low) and math.isfinite(high) else "no interval"
