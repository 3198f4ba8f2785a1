"""What a reader of an assay should know first: sentences made from its figures, the worst first.

Each rule compares one figure with a threshold that is named here. A threshold says when a sentence is worth reading; it
is no law, and the card shows the figure either way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tilth.assay.result import AssayCard, Diversity, Structure

MANY_CONTAMINATED = 0.01
MANY_COPIES = 0.1
MANY_DRIFTS = 0.3
MANY_DUPLICATES = 0.05
MUCH_TEMPLATE = 0.1
LITTLE_VARIETY = 0.5
"""Vendi score / sampled documents."""
MANY_PHRASES = 0.05
TOO_EASY, TOO_HARD = 0.75, 1.3
"""Bits per byte of the dataset / those of held-out real text, under a model that was trained on neither."""
LITTLE_ORDER = 0.3
"""Bits per byte that word order saves / those of held-out text."""
MUCH_EXCESS = 0.25
"""Bits per byte over the nearest source documents, beyond what held-out documents take more than theirs."""
MOSTLY_KNOWN = 0.5
"""Bits with the source in front / bits without, under zstd."""
LITTLE_STRUCTURE = 0.6
"""S for each byte / that of the source."""
MUCH_ENTROPY = 1.2
"""H / that of the source."""
FEW_RARE_WORDS = 0.7
"""Tail mass / that of held-out text."""
MANY_UNKNOWN = 0.3
LEAST_DOCUMENTS = 20
"""Shares of fewer documents say little."""
LEAST_BYTES = 5000
"""Of each text: figures of less are chance."""

_Found = Iterator[tuple[float, str]]


def findings(card: AssayCard) -> tuple[str, ...]:
    """Returns the sentences, the worst first; one that says so where nothing speaks against the dataset."""
    rules = (_contaminated, _copies, _seeds, _diversity, _density, _neighbours, _structure)
    found = [entry for rule in rules for entry in rule(card)]
    found.sort(key=lambda entry: -entry[0])
    sentences = [*_too_little(card), *(sentence for _, sentence in found)]
    if not sentences:
        sentences = ["Nothing that was measured without training on it speaks against the dataset."]
    return (*_value(card), *sentences)


def _value(card: AssayCard) -> list[str]:
    return [] if card.value is None else [card.value.verdict]


def _too_little(card: AssayCard) -> list[str]:
    """A finding that rests on a few sentences is chance: this comes before it."""
    texts = [text for text in (card.dataset, card.source, card.held_out) if text is not None]
    return [
        f"There is too little text to judge by: the {text.name} has {text.measured_bytes:,} bytes. What is said about "
        f"it below, or in comparison with it, may be chance. Give at least {LEAST_BYTES:,} bytes, better a million."
        for text in texts
        if text.measured_bytes < LEAST_BYTES
    ]


def _contaminated(card: AssayCard) -> _Found:
    read = card.dataset.measured_documents + card.contaminated_documents
    share = card.contaminated_documents / max(read, 1)
    if share > MANY_CONTAMINATED:
        yield (
            0.6 + share,
            f"{share:.0%} of the documents ({card.contaminated_documents:,} of {read:,}) hold held-out text. "
            "They are left out here; a model trained on them would look better than it is.",
        )


def _copies(card: AssayCard) -> _Found:
    novelty, density = card.novelty, card.density
    if novelty is not None and novelty.copied_documents > MANY_COPIES:
        yield (
            1 + novelty.copied_documents,
            f"{novelty.copied_documents:.0%} of the documents are in the source nearly word for word.",
        )
    given = density.compressed_given_source
    if given is not None and given < MOSTLY_KNOWN * density.compressed:
        yield (
            1.0,
            f"The source tells most of it: zstd needs {given:.2f} bits per byte after reading the source, "
            f"{density.compressed:.2f} without.",
        )


def _seeds(card: AssayCard) -> _Found:
    counts = {} if card.novelty is None else card.novelty.by_seed
    n = sum(counts.values())
    if not n:
        return
    copies, drifts = counts.get("copy", 0) / n, counts.get("drift", 0) / n
    if copies > MANY_COPIES:
        yield 1 + copies, f"{copies:.0%} of the documents copy the document that they were made from ({n:,} compared)."
    if drifts > MANY_DRIFTS:
        yield (
            0.3 + drifts / 2,
            f"{drifts:.0%} of the documents share next to nothing with the document that they were made from "
            f"({n:,} compared): they drift from it, or say it in other words throughout.",
        )


def _diversity(card: AssayCard) -> _Found:
    found = card.diversity
    n = card.dataset.measured_documents
    if found.near_duplicates > MANY_DUPLICATES:
        yield (
            0.5 + found.near_duplicates,
            f"{found.near_duplicates:.0%} of the documents nearly equal another one.",
        )
    if n >= LEAST_DOCUMENTS:
        yield from _templates(found)
    if found.sampled_documents >= LEAST_DOCUMENTS and found.vendi < LITTLE_VARIETY * found.sampled_documents:
        yield (
            0.9 - found.vendi / found.sampled_documents,
            f"{found.sampled_documents:,} sampled documents are worth {found.vendi:,.0f} different ones "
            "(Vendi score): they say much the same.",
        )
    if found.source_tail_mass and found.tail_mass < FEW_RARE_WORDS * found.source_tail_mass:
        yield (
            0.4,
            f"Rare words are rarer than in real text: {found.tail_mass:.1%} of all words, in held-out text "
            f"{found.source_tail_mass:.1%}. That is what is lost first when models learn from their own text.",
        )
    if found.unknown_words > MANY_UNKNOWN:
        yield 0.7, f"{found.unknown_words:.0%} of the words are not in the source at all: another field, or no words."


def _templates(found: Diversity) -> _Found:
    for share, ends, where in (
        (found.opening_share, found.openings, "begin"),
        (found.closing_share, found.closings, "end"),
    ):
        if share > MUCH_TEMPLATE and ends:
            yield 0.5 + share / 2, f"{share:.0%} of the documents {where} with the words “{ends[0][0]}”: a template."
    phrase, share = max(found.machine_text.items(), key=lambda entry: entry[1], default=("", 0.0))
    if share > MANY_PHRASES:
        yield 0.2 + share / 2, f"{share:.0%} of the documents hold “{phrase}”, which language models overuse."


def _density(card: AssayCard) -> _Found:
    if card.density.word_order < LITTLE_ORDER * card.density.source_word_order:
        yield (
            1.2,
            f"The order of words tells next to nothing: it saves {card.density.word_order:.2f} bits per byte, in "
            f"held-out text {card.density.source_word_order:.2f}. That is word salad, or no words at all.",
        )
    here, there = card.density.bits_per_byte, card.density.source_bits_per_byte
    ratios = {name: here[name] / there[name] for name in here if there.get(name, math.nan) > 0}
    if not ratios:
        return
    low, high = min(ratios, key=lambda name: ratios[name]), max(ratios, key=lambda name: ratios[name])
    if ratios[low] < TOO_EASY:
        yield (
            0.9 - ratios[low] / 2,
            f"The text is easy to predict: {here[low]:.2f} bits per byte under the {low}, where held-out text takes "
            f"{there[low]:.2f}. It repeats itself or the source, or is simpler.",
        )
    if ratios[high] > TOO_HARD:
        yield (
            min(0.9, ratios[high] - 0.9),
            f"The text is hard to predict: {here[high]:.2f} bits per byte under the {high}, where held-out text takes "
            f"{there[high]:.2f}. {_noise_or_other(card.structure)}",
        )


def _noise_or_other(found: Structure) -> str:
    if found.entropy <= found.source_entropy:
        return (
            f"It is of another kind rather than noise: a learner that reads it once predicts it as well as the source "
            f"({found.entropy:.2f} bits per byte at the end, {found.source_entropy:.2f})."
        )
    return "It is noise, or of another kind."


def _neighbours(card: AssayCard) -> _Found:
    if card.novelty is None:
        return
    here, there = card.novelty.excess_over_neighbours, card.novelty.held_out_excess
    if here is None or there is None:
        return
    excess = here.mean - there.mean
    if excess > MUCH_EXCESS and here.low > there.high:
        yield (
            min(0.8, 0.3 + excess),
            f"Documents take {here.mean:+.2f} bits per byte against the source documents nearest to them, held-out "
            f"text {there.mean:+.2f}: they are noisier than real text on the same subjects, or of another kind.",
        )
    if excess < -MUCH_EXCESS and here.high < there.low:
        yield (
            min(0.8, 0.3 - excess),
            f"Documents take {here.mean:+.2f} bits per byte against the source documents nearest to them, held-out "
            f"text {there.mean:+.2f}: they are easier than real text on the same subjects.",
        )


def _structure(card: AssayCard) -> _Found:
    found = card.structure
    per_byte = found.epiplexity_per_byte / found.source_epiplexity_per_byte if found.source_epiplexity_per_byte else 1
    if per_byte < LITTLE_STRUCTURE:
        yield (
            0.8 - max(per_byte, 0.0) / 2,
            f"There is little to learn from it: the learner took up {found.epiplexity_per_byte:.2f} bits of structure "
            f"for each byte, of the source {found.source_epiplexity_per_byte:.2f}.",
        )
    if found.entropy > MUCH_ENTROPY * found.source_entropy:
        yield (
            0.6,
            f"After one pass the learner still cannot predict {found.entropy:.2f} bits of each byte, of the source "
            f"{found.source_entropy:.2f}: there is more noise in it.",
        )
