"""A run that was killed five times ends with the same bytes as one that was left alone."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from e2e.running import RECIPE, kill_when, tilth

pytestmark = pytest.mark.slow

SAME = (
    "*.parquet",
    "dataset.json",
    "ledger.json",
    "tokenizer.json",
    "model.safetensors",
    "pseudo_labels.jsonl",
    "baselines.json",
    "samples.json",
    "nearest.json",
    "surprise.json",
)
"""Datasets, tokenizers, weights, and what is measured on them: equal to the byte."""


def results(runs: Path) -> dict[str, bytes]:
    paths = [path for pattern in SAME for path in runs.rglob(pattern)]
    found = {str(path.relative_to(runs)): path.read_bytes() for path in paths}
    # The files that work goes on from also say how many seconds it took: of them, all tensors must be equal.
    for path in runs.rglob("*.safetensors"):
        if path.name != "model.safetensors":
            tensors = load_file(path)
            found |= {f"{path.relative_to(runs)}:{name}": t.numpy().tobytes() for name, t in tensors.items()}
    (loop,) = runs.rglob("improve.json")
    seeds = json.loads(loop.read_text())["seeds"]
    accuracy = [{name: arm["accuracy"] for name, arm in seed["arms"].items()} for seed in seeds]
    return found | {"accuracy": json.dumps(accuracy).encode()}


def test_five_kills_change_nothing(corpus: Path, tmp_path: Path) -> None:
    quiet, rough = tmp_path / "quiet", tmp_path / "rough"

    def words(runs: Path) -> tuple[str, ...]:
        return ("run", RECIPE, "--corpus", str(corpus), "--runs", str(runs))

    def appears(pattern: str) -> bool:
        return any(rough.glob(pattern))

    tilth(*words(quiet), cwd=tmp_path)
    moments = {
        "while it curates": "curate/*.partial/**/*.parquet",
        "while the tokenizer is written": "tokenizer/*.partial",
        "while it trains, after a checkpoint": "pretrain/*.partial/checkpoint",
        "while the loop runs, after its base": "improve/*.partial/**/*.safetensors",
        "while it exports": "export/*.partial",
    }
    for pattern in moments.values():
        kill_when(lambda pattern=pattern: appears(pattern), *words(rough), cwd=tmp_path)
        assert not appears("report/*/report.html")
    tilth(*words(rough), cwd=tmp_path)

    undisturbed, disturbed = results(quiet), results(rough)
    assert len(undisturbed) > 80
    assert undisturbed.keys() == disturbed.keys()
    assert [name for name in undisturbed if undisturbed[name] != disturbed[name]] == []
