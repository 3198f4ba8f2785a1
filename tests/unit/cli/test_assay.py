"""`tilth assay`: one command from texts to a card."""

import json
from pathlib import Path

import pytest

from tilth.assay.result import AssayCard
from tilth.cli import main
from tilth.results import decode
from unit.assay.texts import dataset, docstrings

SMALL = ["--proxy-tokens", "4k", "--structure-bytes", "10k", "--scored-bytes", "10k", "--sampled-documents", "40"]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    real = docstrings()
    for name, texts in (("made", real[:60]), ("source", real[:100]), ("held", real[100:130])):
        dataset(tmp_path / name, texts)
    monkeypatch.chdir(tmp_path)
    return ["assay", "made", "--source", "source", "--heldout", "held", "--out", "card", *SMALL]


def run(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_the_card_is_shown_with_what_each_figure_means_and_ends_with_the_findings(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert run(words) == 0
    shown = capsys.readouterr().out
    for title in ("Texts", "Density", "Novelty", "Structure", "Diversity"):
        assert title in shown
    assert shown.rstrip().splitlines()[-1].startswith("  • ")
    assert "100% of the documents are in the source nearly word for word." in shown
    assert run([*words, "--json"]) == 0
    out = capsys.readouterr().out
    card = decode(AssayCard, json.loads(out[out.index("{") :]), "card")
    assert card.novelty is not None
    assert card.novelty.copied_documents == 1


def test_a_path_that_is_not_there_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words[:3], "elsewhere", *words[4:]]) == 2
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "`--source`: there is no elsewhere" in shown
    assert not Path("card").exists()
