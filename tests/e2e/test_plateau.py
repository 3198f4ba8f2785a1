"""The recipe `plateau` and the verb `frontier` on its result, as a user meets them."""

import json
from pathlib import Path

import pytest

from e2e.running import tilth

pytestmark = pytest.mark.slow


def test_the_recipe_ends_in_a_report_and_its_arms_in_a_frontier(tmp_path: Path, corpus: Path) -> None:
    words = ("plateau", "--corpus", str(corpus), "--seeds", "0", "--depth", "1", "--vocab-size", "300")
    done = tilth("run", *words, "--effort", "0.01", "--workers", "1", cwd=tmp_path)
    assert "Report:" in done.stderr
    # A run is called after its corpus.
    result = tmp_path / "runs" / "latest" / "plateau-experiment" / "experiment.json"
    experiment = json.loads(result.read_text())
    assert {point["arm"] for point in experiment["points"]} == {"fresh", "verified", "plain", "repeat"}
    shown = tilth("frontier", str(result), "--json", cwd=tmp_path).stdout
    assert len(json.loads(shown)["points"]) == 4
