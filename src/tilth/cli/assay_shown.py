"""The card of an assay in a terminal: a table for each measure, with what each figure means, and the findings."""

from __future__ import annotations

import math

from tilth.assay.result import AssayCard, Cost, Density, Diversity, LearnerValue, Novelty, Structure, Value
from tilth.cli import terminal
from tilth.cli.terminal import size
from tilth.intervals import Interval

Row = tuple[str, str, str, str]
NONE = "–"


def show_card(card: AssayCard) -> None:
    """Prints a card."""
    _texts(card)
    _table("Density: how surprising each byte is", _density(card.density))
    for name, what in card.density.models.items():
        print(f"{name.capitalize()}: {what}")
    if card.novelty is not None:
        _table("Novelty: what the source does not say already", _novelty(card.novelty))
        _examples(card.novelty)
    _table("Structure: what a small model learns from it in one pass", _structure(card.structure), "source")
    print(f"Learner: {card.structure.learner}.")
    _table("Diversity: how many different things it says", _diversity(card.diversity, card))
    if card.value is not None:
        for learner in card.value.learners:
            title = f"Value to a learner of {learner.n_params:,} parameters"
            _table(title, _value(learner, card.value), "beside it")
    if card.cost is not None:
        _table("Cost of making it", _cost(card.cost), "training longer")
    if card.notes:
        print("\nNotes")
        for note in card.notes:
            print(f"  {note}")
    print("\nFindings, the worst first")
    for finding in card.findings:
        print(f"  • {finding}")


def _texts(card: AssayCard) -> None:
    rows = [
        (one.name, f"{one.documents:,}", size(one.bytes), f"{one.measured_documents:,}", size(one.measured_bytes))
        for one in (card.dataset, card.source, card.held_out)
        if one is not None
    ]
    columns = ("text", "documents", "bytes", "documents read", "bytes read")
    terminal.show_table("Texts", columns, rows, right=(1, 2, 3, 4))


def _table(title: str, rows: list[Row], beside: str = "held-out text") -> None:
    """Prints a table; `beside` says what the figures of the third column are of."""
    columns = ("figure", "dataset", beside, "what it means")
    terminal.show_table(title, columns, rows, right=(1, 2), whole=(1, 2))


def _density(found: Density) -> list[Row]:
    rows: list[Row] = []
    for name, bits in found.bits_per_byte.items():
        here, there = found.intervals.get(name), found.source_intervals.get(name)
        rows.append(
            (
                f"bits per byte, {name}",
                _interval(here) if here else _number(bits),
                _interval(there) if there else _number(found.source_bits_per_byte.get(name, math.nan)),
                "As held-out text: as hard to predict as real text. Far lower: repetitive or simple. Far higher: noise."
                if not rows
                else "The same under another model.",
            )
        )
    meaning = "Bits per byte that the order of words saves. Near 0: word salad, or no words."
    rows.append(("word order", _number(found.word_order), _number(found.source_word_order), meaning))
    rows.append(
        ("bits per byte, zstd", _number(found.compressed), NONE, "Lower: documents repeat themselves or each other.")
    )
    if found.compressed_given_source is not None:
        meaning = "The same after reading the source. Far below the line above: copied from the source."
        rows.append(("bits per byte, zstd given source", _number(found.compressed_given_source), NONE, meaning))
    return rows


def _novelty(found: Novelty) -> list[Row]:
    rows: list[Row] = [
        (
            f"word {found.n}-grams in the source",
            _share(found.overlap_with_source),
            _share(found.held_out_overlap),
            "How much of it the source says word for word; new real text of the same kind shares the second.",
        ),
        ("documents copied", _share(found.copied_documents), NONE, "Nearly all of their word sequences are in it."),
        (
            "bits per byte given the source",
            _number(found.bits_per_byte_given_source),
            _number(found.held_out_bits_per_byte),
            "Under a model trained on the source. Far below real text: it says what the source says.",
        ),
    ]
    if found.excess_over_neighbours is not None:
        meaning = (
            f"Bits per byte of {found.compared_documents:,} documents less those of the nearest source documents. "
            "Below 0: easier than real text on the same subject; far above held-out text: noise."
        )
        beside = NONE if found.held_out_excess is None else _interval(found.held_out_excess)
        rows.append(("bits over its neighbours", _interval(found.excess_over_neighbours), beside, meaning))
    n = sum(found.by_seed.values())
    meanings = {
        "copy": "They repeat the document that they were made from.",
        "rephrase": "They share some of its words: the same content, said anew.",
        "drift": "They share next to nothing with it.",
    }
    if n:
        rows += [
            (f"documents that {kind}", f"{found.by_seed.get(kind, 0) / n:.0%} of {n:,}", NONE, meaning)
            for kind, meaning in meanings.items()
        ]
    return rows


def _examples(found: Novelty) -> None:
    shown: set[str] = set()
    for example in found.examples:
        if example.kind not in shown:
            shown.add(example.kind)
            print(f"{example.kind} ({example.overlap:.0%} of its word {found.seed_n}-grams are in its seed document)")
            print(f"  seed:     {_line(example.seed_excerpt)}")
            print(f"  document: {_line(example.excerpt)}")


def _line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 100 else f"{flat[:100]} ..."


def _structure(found: Structure) -> list[Row]:
    return [
        (
            "entropy H, bits per byte",
            _number(found.entropy),
            _number(found.source_entropy),
            "What it still cannot predict at the end. Far above the source: noise.",
        ),
        (
            "structure S, bits per byte",
            _number(found.epiplexity_per_byte),
            _number(found.source_epiplexity_per_byte),
            "What it took up on the way. Near 0: nothing to learn, or learnt at once. A high S alone is no praise.",
        ),
        (
            "structure S in all",
            f"{found.epiplexity / 1000:,.0f} kbit" if math.isfinite(found.epiplexity) else NONE,
            NONE,
            f"Of {size(found.bytes)} of text; it grows with the text.",
        ),
    ]


def _diversity(found: Diversity, card: AssayCard) -> list[Row]:
    rows: list[Row] = [
        ("near duplicates", _share(found.near_duplicates), NONE, "Documents that nearly equal an earlier one."),
        (
            "semantic duplicates",
            _share(found.semantic_duplicates),
            NONE,
            "Documents with the same words as another, in whatever order.",
        ),
        (
            "Vendi score",
            f"{found.vendi:,.0f} of {found.sampled_documents:,}",
            NONE,
            "So many really different documents are the sampled ones worth.",
        ),
        ("most common opening", _share(found.opening_share), NONE, _template(found.openings)),
        ("most common closing", _share(found.closing_share), NONE, _template(found.closings)),
        (
            "different word 4-grams",
            _share(found.distinct.get("4", math.nan)),
            NONE,
            "Low: phrases come again and again. High says little: random words score highest.",
        ),
        (
            "rare words",
            _share(found.tail_mass),
            _share(math.nan if found.source_tail_mass is None else found.source_tail_mass),
            "Share of the source's rarest words. Models that learn from their own text lose them first.",
        ),
        ("words not in the source", _share(found.unknown_words), NONE, "Many: another field, or no words."),
    ]
    phrase, share = max(found.machine_text.items(), key=lambda entry: entry[1], default=("", 0.0))
    if share:
        rows.append((f"holds “{phrase}”", _share(share), NONE, "A phrase that language models overuse."))
    return rows


def _template(ends: tuple[tuple[str, float], ...]) -> str:
    return f"“{ends[0][0]}”" if ends else "No two documents share one."


def _value(found: LearnerValue, value: Value) -> list[Row]:
    seeds = f"{len(value.seeds)} seed{'s' * (len(value.seeds) != 1)}"
    return [
        (
            "value ν",
            _interval(found.value),
            "1",
            "0: no better than stopping or repeating the source. 1: as good as new real text. Negative: harmful. "
            f"{seeds}.",
        ),
        ("value of noise", _interval(found.noise_value), NONE, "A value that is not above this counts as nothing."),
        (
            "value of word salad",
            _interval(found.word_salad_value),
            NONE,
            "The source's words in random order: a value that is not above this is of word frequencies alone.",
        ),
        (
            "bits per byte removed",
            _interval(found.bits_removed, digits=3),
            _interval(found.longer_bits_removed, digits=3),
            "Of held-out text, by training on the dataset; beside it by training longer for as many FLOPs.",
        ),
    ]


def _cost(found: Cost) -> list[Row]:
    rows: list[Row] = [
        ("FLOPs of generation", f"{found.generation_flops:.3g}", NONE, "All calls of teachers and judges."),
        (
            "FLOPs per kept token",
            f"{found.flops_per_kept_token:.3g}",
            NONE,
            "Prompts, judges and rejected samples included.",
        ),
        (
            "samples kept",
            f"{found.samples_kept:,} of {found.samples_made:,}",
            NONE,
            "The others were paid for and rejected.",
        ),
    ]
    if found.bits_removed_per_pflop is not None:
        longer = found.longer_bits_removed_per_pflop
        rows.append(
            (
                "bits removed per PFLOP",
                _interval(found.bits_removed_per_pflop, digits=3),
                NONE if longer is None else _interval(longer, digits=3),
                "What generation bought; beside it what training longer buys for the same compute.",
            )
        )
    return rows


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else NONE


def _share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else NONE


def _interval(found: Interval, digits: int = 2) -> str:
    if not math.isfinite(found.mean):
        return NONE
    if not math.isfinite(found.low):
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f}\n{found.low:.{digits}f} to {found.high:.{digits}f}"
