"""Laws with a quality term: known parameters come back, and what the runs cannot tell is said."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from real_data import FOLDER, MISSING
from tilth.assay.law import LAW_RESULT, LawPoint, QualityLaw, fit_law
from tilth.errors import DataError
from tilth.files import open_stream
from tilth.results import read_result, write_result

TOKENS = (1e5, 2e5, 4e5, 8e5, 1.6e6)


def points(
    qualities: dict[str, float],
    exponents: dict[str, float] | None = None,
    *,
    sizes: tuple[float, ...] = (1e5, 1e6),
    noise: float = 0.0,
    seeds: int = 3,
) -> list[LawPoint]:
    rng = np.random.default_rng(0)
    found: list[LawPoint] = []
    for source, quality in qualities.items():
        beta = (exponents or {}).get(source, 0.35)
        for size in sizes:
            for tokens in TOKENS:
                # At 400,000 tokens, the exponent changes nothing.
                data = 80 / 4e5**0.35 / quality * (4e5 / tokens) ** beta
                loss = (1.2 + 30 / size**0.3 + data) * np.exp(noise * rng.normal(size=seeds))
                found += [
                    LawPoint(source=source, n_params=size, tokens=tokens, loss=float(value), seed=seed)
                    for seed, value in enumerate(loss)
                ]
    return found


@settings(max_examples=5, deadline=None)
@given(good=st.floats(1.2, 3), bad=st.floats(0.3, 0.8))
def test_known_qualities_come_back(good: float, bad: float) -> None:
    law = fit_law(points({"web": 1.0, "book": good, "salad": bad}, noise=1e-4), resamples=10)
    by_source = {one.source: one for one in law.law("quality").sources}
    assert by_source["web"].quality.mean == by_source["web"].tokens_worth.mean == 1
    assert by_source["book"].quality.mean == pytest.approx(good, rel=0.02)
    assert by_source["salad"].quality.mean == pytest.approx(bad, rel=0.02)
    assert by_source["book"].tokens_worth.mean == pytest.approx(good ** (1 / 0.35), rel=0.1)
    assert by_source["book"].exponent.mean == pytest.approx(0.35, abs=0.02)
    assert law.supported == "quality"


def test_alike_sources_need_no_quality() -> None:
    law = fit_law(points({"web": 1.0, "more web": 1.0}, noise=3e-3), resamples=50)
    assert law.supported == "none"
    assert not law.law("quality").sources[1].quality.excludes(1)


def test_an_own_exponent_is_found_where_there_is_one() -> None:
    law = fit_law(points({"web": 1.0, "book": 1.0}, {"book": 0.6}, noise=1e-3), resamples=30)
    assert law.supported == "exponents"
    assert [one.exponent.mean for one in law.law("exponents").sources] == pytest.approx([0.35, 0.6], abs=0.03)
    assert "support `exponents`" in law.verdict


def test_two_sizes_tell_no_size_exponent_and_three_do() -> None:
    qualities = {"web": 1.0, "book": 1.6}
    two = fit_law(points(qualities, noise=1e-3), resamples=10)
    assert set(two.law("quality").parameters) == {"floor at 100,000 parameters", "floor at 1,000,000 parameters"}
    assert any("cannot tell E, A and alpha apart" in note for note in two.notes)
    three = fit_law(points(qualities, sizes=(1e5, 1e6, 1e7), noise=1e-4), resamples=10)
    assert three.law("quality").parameters["alpha"].mean == pytest.approx(0.3, abs=0.02)
    assert not any("apart: each size" in note for note in three.notes)


def test_measured_qualities_give_g_and_free_ones_do_not() -> None:
    runs = points({"web": 1.0, "book": 2.0**0.6, "salad": 0.5**0.6}, noise=1e-4)
    free = fit_law(runs, resamples=10)
    assert any("Q and g appear only as Q^g" in note for note in free.notes)
    measured = fit_law(runs, qualities={"web": 1.0, "book": 2.0, "salad": 0.5}, resamples=10)
    assert measured.law("measured_quality").parameters["g"].mean == pytest.approx(0.6, abs=0.02)
    assert measured.supported == "measured_quality"
    with pytest.raises(DataError, match="quality is missing"):
        fit_law(runs, qualities={"web": 1.0, "book": 2.0}, resamples=10)


def test_the_reference_is_a_choice() -> None:
    runs = points({"web": 1.0, "book": 2.0}, noise=1e-4)
    law = fit_law(runs, reference="book", resamples=10)
    assert law.law("quality").sources[1].quality.mean == pytest.approx(0.5, rel=0.02)
    with pytest.raises(DataError, match="No run is of the reference source `paper`"):
        fit_law(runs, reference="paper")


def test_what_is_too_little_is_refused() -> None:
    runs = points({"web": 1.0, "book": 2.0})
    with pytest.raises(DataError, match="one source"):
        fit_law([point for point in runs if point.source == "web"])
    with pytest.raises(DataError, match="`book` has runs at 2 token counts"):
        fit_law([point for point in runs if point.source == "web" or point.tokens < 3e5])
    with pytest.raises(DataError, match="Point 0"):
        fit_law([LawPoint(source="web", n_params=1e5, tokens=1e5, loss=float("nan")), *runs])


def test_a_law_is_read_as_it_was_written(tmp_path: Path) -> None:
    law = fit_law(points({"web": 1.0, "book": 2.0}, noise=1e-3), resamples=10)
    write_result(tmp_path / LAW_RESULT, law)
    again = read_result(QualityLaw, tmp_path / LAW_RESULT)
    assert again.law("quality") == law.law("quality") and again.points == law.points
    assert again.verdict == law.verdict


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.exists(), reason=MISSING)
def test_three_real_web_sets_rank_by_curve(tmp_path: Path) -> None:
    """Runs of Gadre et al. 2024 on C4, RedPajama and RefinedWeb: on C4's own held-out text, C4 must be the best."""
    packed = FOLDER / "scaling/mlfoundations_scaling_exp_data.tar.zst"
    runs: list[LawPoint] = []
    with open_stream(str(packed)) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if not member.name.startswith("exp_data/models/"):
                continue
            content = archive.extractfile(member)
            assert content is not None
            run = json.loads(content.read())
            shape = run["hyperparameters"]
            if shape["params"] > 2e7:
                tokens = 20 * shape["params"] * shape["chinchilla_multiplier"]
                (loss,) = (one["loss"] for one in run["results"] if "/c4_val/" in one["val_data"][0])
                runs.append(LawPoint(source=run["dataset_name"], n_params=shape["params"], tokens=tokens, loss=loss))
    assert len(runs) == 80
    law = fit_law(runs, reference="c4_original", resamples=40)
    for one in law.law("quality").sources[1:]:
        assert one.quality.high < 1 and 0.3 < one.tokens_worth.mean < 0.9
    assert law.law("quality").held_out_error < law.law("none").held_out_error < 0.04
