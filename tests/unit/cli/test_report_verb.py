"""`tilth report` over a recipe with two steps of one kind."""

import re
from pathlib import Path

import pytest

from tilth.cli import main

RECIPE = '''
from tilth.recipes.step_functions import write_report
from tilth.results import write_result
from tilth.steps import Step
from tilth.training.result import SUMMARY, TrainingSummary


def pretend(config, inputs, out, context):
    bits = config["bits"]
    write_result(
        out / SUMMARY,
        TrainingSummary(
            n_params=10, tokens=20, steps=2, flops=1.0, seconds=1.0, tokens_per_second=20.0,
            bits_per_byte_before=8.0, bits_per_byte_after=bits,
        ),
    )


def recipe(*, bits: float = 2.5) -> Step:
    """Two trainings and their report."""
    trainings = [Step("pretrain", pretend, {"bits": bits + i}, label=f"seed {i}") for i in range(2)]
    return Step("report", write_report, {"name": "seeds"}, {step.label: step for step in trainings})
'''


def test_two_trainings_are_in_one_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(RECIPE)
    for words in (("run", "mine.py:recipe"), ("report", "mine.py:recipe", "--bits", "2.5", "--out", "my page.html")):
        with pytest.raises(SystemExit) as exit_:
            main(words)
        assert exit_.value.code == 0, capsys.readouterr().err
    (step_page,) = Path("runs").glob("report/*/report.html")
    for page, title in ((step_page.read_text(), "seeds"), (Path("my page.html").read_text(), "recipe")):
        assert f"<h1>{title}</h1>" in page
        assert "2 trainings need 2.50–3.50 bits per byte on held-out text, least with “seed 0”." in page
        assert re.findall(r'<th scope="row"><i class="key \w+"></i>([^<]*)</th>', page) == ["seed 0", "seed 1"]
    # 2.5 is the default: the run is the same.
    assert Path("my page.html").read_text() == Path("runs/latest/report.html").read_text()
    assert "<code>tilth run mine.py:recipe</code>" in Path("my page.html").read_text()
    assert "tilth run" not in step_page.read_text()
