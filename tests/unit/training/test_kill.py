"""kill -9 at any moment, then the same call: the final weights are those of an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tilth.storage import Dataset
from tilth.tokenizer import Tokenizer
from tilth.training import read_metrics
from tilth.training.checkpoint import read_state

PROGRAM = """
import sys
from pathlib import Path
import torch
from tilth.execute import Context
from tilth.model import ModelConfig
from tilth.storage import Dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TrainConfig, train

torch.set_num_threads(1)
root, out = Path(sys.argv[1]), Path(sys.argv[2])
tokenizer = Tokenizer.load(root / "tokenizer")
model = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=2, n_heads=2, context_length=24)
config = TrainConfig(tokens=20_000, global_batch_tokens=192, eval_bytes=2000)
context = Context(checkpoint_seconds=0.05)
data = Dataset.open(Path(sys.argv[3]))
print("start", flush=True)
train(model, config, data, tokenizer, out, held_out=data, context=context)
"""


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bytes(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    tokenizer.save(tmp_path / "tokenizer")

    def start(out: str) -> subprocess.Popen[bytes]:
        arguments = [str(tmp_path), str(tmp_path / out), str(dataset.folder)]
        return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE)

    started = time.monotonic()
    with start("undisturbed") as process:
        assert process.wait() == 0
    whole_run = time.monotonic() - started
    rng, kills = random.Random(0), 0
    for _ in range(5):
        with start("killed") as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.25 * whole_run))
            process.kill()
            kills += process.wait() != 0
    assert kills > 0
    with start("killed") as process:
        assert process.wait() == 0
    for name in ("model/model.safetensors", "model/model.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert not list((tmp_path / "killed").rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_step_with_a_checkpoint(
    tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer, signum: signal.Signals
) -> None:
    """No checkpoint is due for an hour, so the one that is there is the signal's."""
    tokenizer.save(tmp_path / "tokenizer")
    program = PROGRAM.replace("checkpoint_seconds=0.05", "checkpoint_seconds=3600")
    program = program.replace("tokens=20_000", "tokens=20_000_000")
    arguments = [str(tmp_path), str(tmp_path / "out"), str(dataset.folder)]
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.DEVNULL) as process:
        metrics = tmp_path / "out" / "metrics.jsonl"
        while not metrics.exists() or metrics.read_text().count("grad_norm") < 3:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signum)
        assert process.wait() == -signum
    state = read_state(tmp_path / "out" / "checkpoint" / "state.safetensors")
    assert state["step"] == read_metrics(metrics).train[-1].step > 2
