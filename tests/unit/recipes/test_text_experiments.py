"""The recipes of the experiments on text, with the smallest effort, from text to report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilth.assay.experiment import Experiment
from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.recipes import load_recipe
from tilth.recipes.python_text import topics
from tilth.results import read_result
from tilth.steps import Step, in_order, run
from unit.improve.text.made_up_text import documents


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up code, and the language reference as prose: rules for prose drop what is made up."""
    folder = tmp_path_factory.mktemp("texts")
    texts = {"code": [document.text for document in documents(60, seed=7, code=True)], "prose": []}
    texts["prose"] = [text for _, text in topics()][:60]
    if len(texts["prose"]) < 60:
        pytest.skip("This Python comes without its language reference.")
    for name, found in texts.items():
        (folder / name).mkdir()
        for index, text in enumerate(found):
            (folder / name / f"{index}.{'py' if name == 'code' else 'txt'}").write_text(text)
    return folder


def experiment(target: Step, runs: Path, name: str) -> Experiment:

    context = Context(runs=runs, workers=1)
    run(target, context)
    (step,) = (one for one in in_order(target, context) if one.name == f"{name}-experiment")
    (found,) = (runs / step.name).glob("*/experiment.json")
    return read_result(Experiment, found)


@pytest.mark.slow
def test_collapse(corpus: Path, tmp_path: Path) -> None:
    target = load_recipe("collapse")(corpus=str(corpus), generations=1, effort=0.02, seeds=(100,))
    found = experiment(target, tmp_path, "collapse")
    assert found.seeds == (100,) and {point.x for point in found.points} == {0, 1}


@pytest.mark.slow
def test_curriculum_of_one_text_and_of_two(corpus: Path, tmp_path: Path) -> None:
    two = {"corpus": str(corpus / "code"), "second": str(corpus / "prose")}
    for given in ({"corpus": str(corpus)}, two):
        target = load_recipe("curriculum")(**given, effort=0.004, seeds=(100,))
        found = experiment(target, tmp_path / str(len(given)), "curriculum")
        assert found.seeds == (100,) and len(found.final("no_replay", "second").__dict__) == 3
        assert found.settings["narrow text"] == ("prose" if len(given) == 1 else "`--second`")


def test_a_second_text_needs_a_first() -> None:
    with pytest.raises(ConfigError, match="without `--corpus`"):
        load_recipe("curriculum")(second="texts")


def test_the_corpora_of_the_two_texts_are_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    target = load_recipe("curriculum")(corpus=(str(tmp_path / "a"), f"x={tmp_path / 'b'}"), second=str(tmp_path / "c"))
    curate = next(step for step in in_order(target, Context(runs=tmp_path / "runs")) if step.name == "curate")
    assert sorted(curate.inputs) == ["first", "first-1", "second"]
