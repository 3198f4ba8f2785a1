"""Ctrl-C and SIGTERM in the middle of training: what was done is kept, and the end has the bytes of a quiet run."""

import re
import signal
from pathlib import Path

import pytest

from e2e.running import signal_when, tilth
from tilth.training import read_metrics
from tilth.training.checkpoint import read_state

pytestmark = pytest.mark.slow
RECIPE = f"{Path(__file__).parent / 'training_recipe.py'}:training"
WEIGHTS = "pretrain/*/model/model.safetensors"


@pytest.fixture(scope="module")
def words(corpus: Path) -> tuple[str, ...]:
    return ("run", RECIPE, "--corpus", str(corpus))


@pytest.fixture(scope="module")
def undisturbed(words: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    tilth(*words, cwd=folder)
    (weights,) = (folder / "runs").glob(WEIGHTS)
    return weights.read_bytes()


@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGINT, "2"), (signal.SIGTERM, "1")])
def test_it_continues_where_it_was(
    number: signal.Signals, jobs: str, words: tuple[str, ...], undisturbed: bytes, tmp_path: Path
) -> None:
    """No checkpoint is due in these few seconds, so the one that is there is the signal's."""
    words = (*words, "--jobs", jobs)

    def trains() -> bool:
        return any(path.read_text().count("grad_norm") >= 20 for path in tmp_path.glob("runs/pretrain/*/metrics.jsonl"))

    code, said = signal_when(number, trains, *words, cwd=tmp_path)
    assert code == (130 if number == signal.SIGINT else -number)
    (partial,) = tmp_path.glob("runs/pretrain/*.partial")
    state = read_state(partial / "checkpoint" / "state.safetensors")
    begun = (partial / "metrics.jsonl").read_bytes()
    assert state["step"] == read_metrics(partial / "metrics.jsonl").train[-1].step >= 20
    if number == signal.SIGINT:
        kept = re.search(r"stopped at (\d+) %: ([\d,]+) of ([\d,]+) tokens are kept", said)
        assert kept is not None
        done, total = (int(text.replace(",", "")) for text in kept.groups()[1:])
        assert done == state["tokens"] and int(kept[1]) == 100 * done // total
    tilth(*words, cwd=tmp_path)
    (weights,) = (tmp_path / "runs").glob(WEIGHTS)
    assert weights.read_bytes() == undisturbed
    # The seconds of each step are in its line: these steps were not taken again.
    assert (weights.parents[1] / "metrics.jsonl").read_bytes().startswith(begun)
