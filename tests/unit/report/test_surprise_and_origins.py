"""Held-out text by token, and training documents under samples: colours, figures, and text that stays text."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from tilth.evaluation.result import ScoredToken
from tilth.report import RunResults, render
from tilth.report.views import origins, samples, surprise
from unit.report.made_up_run import SURPRISE, Files, collected


def section(page: str, key: str) -> str:
    return page.split(f'<section id="{key}"')[1].split("</section>")[0]


def test_every_token_has_its_colours_and_its_bits(whole_run: RunResults, tmp_path: Path) -> None:
    text = section(render(whole_run, tmp_path).read_text("utf-8"), "surprise")
    tokens = re.findall(r'<span class="([^"]*)" title="([^"]*)">([^<]*)</span>', text)
    assert [classes for classes, _, _ in tokens] == ["m0 n1 g1", "m6 n7 g3", "m3 n2 l1", "m7 n7", "m7 n7 l3"]
    tips = [html.unescape(tip) for _, tip, _ in tokens]
    assert tips[1].splitlines()[:2] == ["“␣read”", "model 9.5 bits (<1%), 5-gram 15.1 bits (<1%)"]
    assert tips[1].splitlines()[3:] == ["31%  ␣get", "4%  ␣__"], "the likeliest first, whatever the order in the file"
    assert "3 tokens of one character" in tips[3]
    assert tokens[2][2] == "(↵\n"
    # Every level has a swatch that says its bits.
    assert {f"m{level}" for level in range(8)} <= set(re.findall(r'class="swatch (\w+)"', text))
    assert "12 or more" in text and "under 0.5" in text


def test_totals_and_the_context_that_helps_are_said(whole_run: RunResults) -> None:
    view = surprise.view(whole_run)
    assert view is not None
    passage = SURPRISE["passages"][0]
    model, ngram = (sum(t[k] for t in passage["tokens"]) / 35 for k in ("model_bits", "ngram_bits"))
    assert view.takeaway == (
        f"On 1 held-out passage (35 B) the model needs {model:.2f} bits per byte, the 5-gram {ngram:.2f}. "
        "From 16 tokens of context on, the model needs fewer bits (−16%)."
    )
    assert "2 documents, of which 9.00 kB were scored" in view.models[0].total
    assert "model 1.62, 5-gram 1.93 bits per byte" in view.models[0].total
    cells = re.findall(r"<t[hd][^>]*>([^<]+)<", view.models[0].table)
    assert cells[-5:] == ["256–1200", "1.57", "1.90", "−17%", "7.00 kB"]


@pytest.mark.parametrize(
    ("model_bits", "says"),
    [
        ((300.0, 4000.0, 14_000.0), "The 5-gram needs fewer bits however much"),
        ((200.0, 3000.0, 9000.0), "The model needs fewer bits however much"),
        ((200.0, 4000.0, 14_000.0), "The model needs fewer bits where 0–15 tokens come before"),
    ],
)
def test_who_gains_is_not_embellished(
    model_bits: tuple[float, ...], says: str, run_files: Files, tmp_path: Path
) -> None:
    for row, bits in zip(run_files["baselines"]["surprise.json"]["by_context"], model_bits, strict=True):
        row["model_bits"] = bits
    view = surprise.view(collected(run_files, tmp_path))
    assert view is not None and says in view.takeaway


@pytest.mark.parametrize(
    ("model", "ngram", "expected"), [(1.0, 1.4, 0), (1.0, 1.5, 1), (1.0, 5.0, 3), (3.0, 1.0, -2), (1.0, 1.0, 0)]
)
def test_differences_have_a_direction(model: float, ngram: float, expected: int) -> None:
    assert surprise.difference(ScoredToken(text="x", model_bits=model, ngram_bits=ngram)) == expected


def test_spans_are_marked_in_the_sample_and_named_below(whole_run: RunResults, tmp_path: Path) -> None:
    text = section(render(whole_run, tmp_path).read_text("utf-8"), "samples")
    view = samples.view(whole_run)
    assert view is not None
    first, second, other = view.groups[0].rows
    assert first.origin is not None and second.origin is not None
    assert "".join(piece.text for piece in first.origin.pieces) == first.after
    assert [piece.text for piece in first.origin.pieces if piece.tip] == [first.after[4:30], first.after[30:43]]
    assert [piece.tip for piece in second.origin.pieces] == [""]
    assert other.origin is None, "the samples were written again: these spans are of another text"
    assert f'<mark title="In 3 training documents: shelve.py">{first.after[4:30]}</mark>' in text
    assert "shelve.py, character 1,204, and in 2 other documents" in text
    assert f"tilth show runs/curate/{'1' * 16} --id {'3' * 32}" in text
    assert view.searched.endswith("in spans of at least 16 bytes; of held-out text cut to the same length it is 25%.")


def test_a_search_of_a_part_says_so(run_files: Files, tmp_path: Path) -> None:
    run_files["nearest"]["nearest.json"] |= {"train_bytes": 9_000_000_000, "held_out_share": None}
    said = origins.sentence(collected(run_files, tmp_path))
    assert "the first 26.9 MB of 9.00 GB of training text" in said and "held-out" not in said


def test_text_in_both_stays_text(whole_run: RunResults, tmp_path: Path) -> None:
    page = render(whole_run, tmp_path).read_text("utf-8")
    for key in ("surprise", "samples"):
        assert "<script>" not in section(page, key) and "&lt;script&gt;" in section(page, key)
