"""The loop: it learns, writes what others read, and ends the same however often it was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tilth.errors import ConfigError, DataError, TilthError
from tilth.files import read_json
from tilth.model import ModelConfig, load_model
from tilth.progress import Bar
from tilth.storage import Dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TrainConfig, held_out_excerpt, measure_text_cost, train
from tilth.training.checkpoint import read_state
from tilth.training.metrics import read_metrics

CONFIG = TrainConfig(
    tokens=6000,
    global_batch_tokens=200,
    learning_rate=1e-2,
    warmup_tokens=400,
    eval_every_tokens=2000,
    checkpoint_every_tokens=900,
    eval_bytes=2000,
)


def model_config(tokenizer: Tokenizer) -> ModelConfig:
    return ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=1, n_heads=2, context_length=24)


class Interrupting:
    """Progress that breaks the run off after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> Any:
        return self

    def say(self, line: str) -> None:
        raise AssertionError(line)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def advance(self, amount: float = 1, **facts: str | float) -> None:
        self.steps -= amount > 0
        if self.steps < 0:
            raise KeyboardInterrupt


def without_times(path: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(path)]


def test_it_learns_and_writes_what_others_read(
    tmp_path: Path, dataset: Dataset, held_out: Dataset, tokenizer: Tokenizer
) -> None:
    result = train(model_config(tokenizer), CONFIG, dataset, tokenizer, tmp_path, held_out=held_out)
    assert result.bits_per_byte_before is not None and result.bits_per_byte_after is not None
    assert result.bits_per_byte_after < 0.5 * result.bits_per_byte_before
    assert result.steps == 32 and result.tokens == 32 * 192
    lines = read_metrics(tmp_path / "metrics.jsonl")
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 33))
    assert set(steps[0]) == {"step", "tokens", "loss", "learning_rate", "grad_norm", "seconds"}
    evals = [line for line in lines if "held_out_bits_per_byte" in line]
    assert [line["step"] for line in evals] == [0, 11, 21, 32]
    assert set(evals[0]) == {"step", "tokens", "held_out_bits_per_byte", "held_out_nats_per_token"}
    summary = read_json(tmp_path / "summary.json")
    assert summary == result.summary()
    assert summary["flops"] == pytest.approx(result.model.config.flops_per_token * 32 * 192)
    loaded = load_model(tmp_path / "model")
    cost = measure_text_cost(loaded, tokenizer, held_out_excerpt(held_out.documents(), CONFIG.eval_bytes))
    assert cost.bits_per_byte == pytest.approx(evals[-1]["held_out_bits_per_byte"])


@pytest.mark.parametrize("stops", [[1], [7], [13, 6, 2, 5], [31]])
def test_interrupted_runs_end_with_the_same_bytes(
    tmp_path: Path, dataset: Dataset, held_out: Dataset, tokenizer: Tokenizer, stops: list[int]
) -> None:
    shape = model_config(tokenizer)
    train(shape, CONFIG, dataset, tokenizer, tmp_path / "a", held_out=held_out)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            train(shape, CONFIG, dataset, tokenizer, tmp_path / "b", held_out=held_out, progress=Interrupting(stop))
    train(shape, CONFIG, dataset, tokenizer, tmp_path / "b", held_out=held_out)
    name = "model/model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert without_times(tmp_path / "a/metrics.jsonl") == without_times(tmp_path / "b/metrics.jsonl")


def test_a_finished_run_only_writes_its_results_again(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    first = train(model_config(tokenizer), CONFIG, dataset, tokenizer, tmp_path)
    weights = (tmp_path / "model/model.safetensors").read_bytes()
    again = train(model_config(tokenizer), CONFIG, dataset, tokenizer, tmp_path, progress=Interrupting(0))
    assert (tmp_path / "model/model.safetensors").read_bytes() == weights
    assert again.summary() == first.summary()
    assert first.bits_per_byte_after is None


def test_micro_batches_give_the_same_step(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    config = replace(CONFIG, tokens=600)
    whole = train(model_config(tokenizer), config, dataset, tokenizer, tmp_path / "a").model
    parts = train(
        model_config(tokenizer), replace(config, micro_batch_size=3), dataset, tokenizer, tmp_path / "b"
    ).model
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    assert read_metrics(tmp_path / "a/metrics.jsonl")[0]["loss"] == pytest.approx(
        read_metrics(tmp_path / "b/metrics.jsonl")[0]["loss"], rel=1e-5
    )


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    config = replace(CONFIG, tokens=400)
    train(model_config(tokenizer), config, dataset, tokenizer, tmp_path)
    with pytest.raises(ConfigError, match="its config differ"):
        train(model_config(tokenizer), replace(config, seed=1), dataset, tokenizer, tmp_path)
    with pytest.raises(ConfigError, match="its model differ"):
        train(replace(model_config(tokenizer), d_ff=8), config, dataset, tokenizer, tmp_path)


def test_a_broken_checkpoint_is_named(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    config = replace(CONFIG, tokens=400)
    train(model_config(tokenizer), config, dataset, tokenizer, tmp_path)
    path = tmp_path / "checkpoint" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="not a whole checkpoint"):
        read_state(path)
    with pytest.raises(DataError, match="not a whole checkpoint"):
        train(model_config(tokenizer), config, dataset, tokenizer, tmp_path)


def test_a_loss_that_blows_up_says_what_to_do(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    config = replace(CONFIG, learning_rate=1e30, warmup_tokens=0)
    with pytest.raises(TilthError, match=r"Step \d+ broke down") as caught:
        train(model_config(tokenizer), config, dataset, tokenizer, tmp_path)
    assert caught.value.fix is not None and "learning_rate" in caught.value.fix


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="less than one row"):
        train(model_config(tokenizer), replace(CONFIG, global_batch_tokens=8), dataset, tokenizer, tmp_path)
    with pytest.raises(ConfigError, match="the model only 100"):
        train(replace(model_config(tokenizer), vocab_size=100), CONFIG, dataset, tokenizer, tmp_path)


def test_training_leaves_the_global_generator_alone(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    train(model_config(tokenizer), replace(CONFIG, tokens=200), dataset, tokenizer, tmp_path)
    assert torch.equal(torch.rand(1), expected)
