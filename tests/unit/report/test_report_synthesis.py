"""The page of a synthesis run says what its result file says, and shows text of samples as text only."""

from dataclasses import replace
from pathlib import Path

import pytest

from tilth.errors import DataError
from tilth.report.synthesis import render_synthesis
from tilth.results import write_result
from tilth.synthesis.result import SYNTHESIS, DiversityPoint, Example, GateCount, Spending, SynthesisResult
from tilth.synthesis.routing_result import ROUTER, Observation, summarise

RESULT = SynthesisResult(
    recipe="wrap",
    recipe_version=1,
    shape="text",
    prompts={"wrap/easy": 1, "wrap/qa": 2},
    teachers=("small", "large"),
    documents=600,
    documents_done=500,
    complete=False,
    stopped_by="max_money 2 is spent",
    gates=(
        GateCount(gate="parsed", samples_in=1000, samples_out=950, reasons={"refused": 30, "cut_off": 20}),
        GateCount(gate="length", samples_in=950, samples_out=940, reasons={"too_short": 10}),
        GateCount(gate="near_duplicate", samples_in=940, samples_out=700, reasons={"near_duplicate": 240}),
    ),
    parts={"easy": 400, "qa": 300},
    spending=(
        Spending(
            recipe="wrap", teacher="small", requests=600, cached=100, retries=7, dead_letters=1, prompt_tokens=200_000,
            completion_tokens=100_000, money=0.5, flops=6e14, paid_money=0.4, samples_kept=500, tokens_kept=70_000,
        ),
        Spending(
            recipe="wrap", teacher="large", requests=300, prompt_tokens=90_000, completion_tokens=50_000, money=1.5,
            paid_money=1.5, samples_kept=200, tokens_kept=30_000,
        ),
    ),
    samples_kept=700,
    bytes_kept=420_000,
    seconds=75.0,
    kept_examples=(
        Example(id="a" * 32, part="easy", source_id="s" * 32, source_excerpt="Wet", prompt="Say", text="It is wet."),
    ),
    rejected_examples=(
        Example(
            id="b" * 32, part="qa", source_id="t" * 32, source_excerpt="", prompt="Ask.", gate="parsed",
            reason="refused", detail="I cannot", text="<script>alert(1)</script>",
        ),
    ),
    diversity=(
        DiversityPoint(samples=350, unique_share=0.95, distinct_4=0.9, opening_share=0.1, bytes_per_compressed=2.4),
        DiversityPoint(samples=700, unique_share=0.6, distinct_4=0.8, opening_share=0.25, bytes_per_compressed=3.1),
    ),
)  # fmt: skip


def page(result: SynthesisResult, folder: Path) -> str:
    write_result(folder / SYNTHESIS, result)
    path = render_synthesis(folder)
    assert path == folder / "report.html"
    return path.read_text()


def test_the_page_says_what_the_run_made_and_why_it_stopped(tmp_path: Path) -> None:
    text = page(RESULT, tmp_path)
    assert "700 samples (420 kB of text), generated from 500 documents by small and large." in text
    assert "The run is not complete: max_money 2 is spent; 100 documents were not begun." in text
    assert "70% of 1,000 generated samples passed all gates; the gate “near duplicate” dropped the most, 240" in text
    assert "20 cut off" in text and "30 refused" in text
    assert "not complete" not in page(replace(RESULT, complete=True, documents_done=600), tmp_path)


def test_costs_are_per_teacher_and_per_kept_token(tmp_path: Path) -> None:
    text = page(RESULT, tmp_path)
    assert "440 k tokens for 100 k kept; 20.00 for a million kept tokens." in text
    assert "This run paid 1.90 of 2.00: the rest was in the cache. 1 request got no answer." in text
    # 0.5 for 70,000 kept tokens is 0.0071 for 1,000; 6e14 FLOPs are 8.57e9 a kept token.
    assert "<td>0.0071</td>" in text and "<td>8.57 GFLOP</td>" in text
    assert "<td>0.05</td>" in text  # large: 1.5 for 30,000


def test_diversity_says_that_a_recipe_repeats_itself(tmp_path: Path) -> None:
    assert "60% are no near duplicate of any before" in page(RESULT, tmp_path)
    assert "At the beginning it was 95%: the recipe repeats itself." in page(RESULT, tmp_path)
    steady = replace(RESULT, diversity=(RESULT.diversity[0], replace(RESULT.diversity[0], samples=700)))
    assert "repeats itself" not in page(steady, tmp_path)
    assert 'id="synthesis_diversity"' not in page(replace(RESULT, diversity=RESULT.diversity[:1]), tmp_path)


def test_the_page_says_whether_the_dearer_teacher_was_worth_it(tmp_path: Path) -> None:
    def seen(index: int, teacher: str, reward: float, flops: float) -> Observation:
        return Observation(
            index=index, prompt_key="p", sample=0, teacher=teacher, bucket="en", reward=reward, won=teacher == "large",
            tokens=100, money=0.0, flops=flops,
        )  # fmt: skip

    observed = [seen(i, "small", 3.0, 1e12) for i in range(8)] + [seen(i, "large", 3.5 + i % 2, 9e12) for i in range(8)]
    write_result(
        tmp_path / ROUTER, summarise(observed, ["small", "large"], kind="best", reward="rubric", cost_unit="flops")
    )
    text = page(RESULT, tmp_path)
    assert "“large” beside “small”: 9.0 times the cost for a mean reward that differs by +1.00 (+0.63 to +1.37)" in text
    assert "over 8 pairs of answers; it was better in 100%." in text
    assert "<td>3e+03</td>" in text  # 8 x 3.0 for 8e12 FLOPs


def test_text_of_samples_stays_text(tmp_path: Path) -> None:
    text = page(RESULT, tmp_path)
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "parsed, refused: I cannot" in text


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    empty = SynthesisResult(
        recipe="wrap", recipe_version=1, shape="text", prompts={}, teachers=(), documents=0, documents_done=0,
        complete=True, gates=(), parts={}, spending=(), samples_kept=0, bytes_kept=0, seconds=0.0,
    )  # fmt: skip
    text = page(empty, tmp_path)
    assert "No sample was generated." in text and "No teacher was asked." in text


def test_a_folder_without_a_result_is_named(tmp_path: Path) -> None:
    with pytest.raises((DataError, FileNotFoundError), match=r"synthesis\.json"):
        render_synthesis(tmp_path)
