"""The page of an assay: every part of the card that is there is shown, and what is not there is left out."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tilth.assay.result import (
    ASSAY_RESULT,
    ArmLoss,
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
from tilth.errors import DataError
from tilth.intervals import Interval
from tilth.report.assay import render_assay
from tilth.report.forest import ForestRow, forest, with_interval
from tilth.results import read_result, write_result

UNKNOWN = Interval(math.nan, math.nan, math.nan)


def size(name: str) -> TextSize:
    return TextSize(name=name, documents=100, bytes=10_000, measured_documents=50, measured_bytes=5_000)


def learner(depth: int) -> LearnerValue:
    def arm(name: str, loss: float, ended: str = "") -> ArmLoss:
        return ArmLoss(
            arm=name, losses=(loss, loss + 0.01), tokens=1000, unique_tokens=900, flops=1e9, ended=ended
        )  # fmt: skip

    return LearnerValue(
        depth=depth,
        n_params=100_000 * depth,
        before=(2.5, 2.5),
        arms=(arm("noise", math.nan, "the loss is not finite"), arm("fresh", 2.25), arm("dataset", 2.375)),
        value=Interval(0.5, 0.4, 0.6),
        noise_value=UNKNOWN,
        bits_removed=Interval(0.12, 0.1, 0.14),
        longer_bits_removed=UNKNOWN,
        word_salad_value=Interval(0.07, 0.06, 0.08),
    )


CARD = AssayCard(
    dataset=size("stories"),
    source=size("web"),
    held_out=size("held out"),
    contaminated_documents=2,
    density=Density(bits_per_byte={"5-gram": 1.9}, source_bits_per_byte={"5-gram": 2.3}, compressed=2.2,
        word_order=0.3,
    ),
    structure=Structure(
        learner="1 layer", flops=1e9, tokens=1000, entropy=2.0, epiplexity=3000.0, epiplexity_per_byte=0.6,
        prequential=2.6, source_entropy=1.9, source_epiplexity_per_byte=0.5,
        curve=((1000.0, 3.0), (2000.0, 2.5), (3000.0, 2.0)),
    ),
    diversity=Diversity(
        near_duplicates=0.1, semantic_duplicates=0.2, vendi=12.0, sampled_documents=50, opening_share=0.3,
        closing_share=0.0, distinct={"4": 0.9}, tail_mass=0.1, openings=(("once upon a time there", 0.3),),
    ),
    novelty=Novelty(
        bits_per_byte_given_source=1.4, held_out_bits_per_byte=2.4, overlap_with_source=0.3, n=5,
        excess_over_neighbours=Interval(0.51, 0.45, 0.56), held_out_excess=Interval(0.33, 0.18, 0.49),
        by_seed={"copy": 1, "rephrase": 2},
        examples=(
            DocumentNovelty(id="a", seed_id="b", kind="copy", overlap=0.9, excerpt="a <i>copy", seed_excerpt="seed"),
        ),
    ),
    value=Value(
        learners=(learner(1), learner(3)), seeds=(0, 1), held_out_documents=9, held_out_bytes=9000, flips=True,
        verdict="Half as good as new real text.",
    ),
    cost=Cost(
        generation_flops=1e15, kept_tokens=1000, flops_per_kept_token=1e12, samples_made=20, samples_kept=10,
        teachers={"judge": 5e14}, bits_removed_per_pflop=Interval(0.12, 0.1, 0.14),
    ),
    findings=("A third begins alike.", "Some are copies."),
    notes=("No reference model was given.",),
)  # fmt: skip


def test_the_page_shows_every_part(tmp_path: Path) -> None:
    write_result(tmp_path / ASSAY_RESULT, CARD)
    assert repr(read_result(AssayCard, tmp_path / ASSAY_RESULT)) == repr(CARD)  # nan is not equal to itself
    text = render_assay(tmp_path).read_text()
    for part in (
        f"<h1>Assay: {tmp_path.name}</h1>",
        "Half as good as new real text.",
        "A third begins alike.",
        "Some are copies.",
        "No reference model was given.",
        "2 documents held text of the held-out set",
        "The order of the arms differs between the sizes of learner",
        "Learner of 100 k parameters, arm noise: the loss is not finite",
        "0.50 (0.40 to 0.60)",
        "+0.120",
        "a &lt;i&gt;copy",
        "once upon a time there",
        "10 of 20 samples were kept",
        "0.07 (0.06 to 0.08)",
        "of held-out text, +0.33 (+0.18 to +0.49)",
        "what the order of words saves",
        "Of as much of the source: 0.50 a byte",
    ):
        assert part in text, part


def test_a_card_without_value_source_and_cost_has_no_such_sections(tmp_path: Path) -> None:
    write_result(tmp_path / ASSAY_RESULT, replace(CARD, value=None, cost=None, novelty=None, source=None))
    text = render_assay(tmp_path).read_text()
    assert 'id="assay_density"' in text
    for key in ("value", "cost", "novelty"):
        assert f'id="assay_{key}"' not in text


def test_a_damaged_card_is_named(tmp_path: Path) -> None:
    (tmp_path / ASSAY_RESULT).write_text('{"dataset": 1}')
    with pytest.raises(DataError, match=ASSAY_RESULT):
        render_assay(tmp_path)


def test_a_forest_plot_draws_what_is_finite() -> None:
    rows = [
        ForestRow(label="known", tone="clay", interval=Interval(0.5, 0.25, 0.75)),
        ForestRow(label="one seed", tone="moss", interval=Interval(0.5, math.nan, math.nan)),
        ForestRow(label="unknown", tone="sand", interval=UNKNOWN),
    ]
    text = forest(rows, title="Value", form=lambda v: f"{v:.2f}", marks=((0.0, "nothing"), (1.0, "all")))
    assert text.count('class="range') == 1
    assert text.count('class="point') == 2
    assert "left:50%" in text  # of an axis from -0.04 to 1.04


def test_an_interval_that_is_not_known_is_not_written() -> None:
    assert with_interval(Interval(0.5, math.nan, math.nan), str) == "0.5"
    assert with_interval(UNKNOWN, str) == "–"
