"""Pretraining: it learns, writes what others read, and ends the same however often it was interrupted."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tilth.errors import ConfigError, DataError, TilthError
from tilth.execute import Context
from tilth.model import ModelConfig, Transformer, load_model
from tilth.model.device import resolve_device
from tilth.progress import Bar
from tilth.results import read_result
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import (
    EvalPoint,
    TrainConfig,
    TrainingSummary,
    TrainPoint,
    first_model,
    held_out_excerpt,
    read_metrics,
    text_loss,
    train,
)
from tilth.training.checkpoint import read_state
from tilth.training.pretraining import Budget, pass_tokens

CONFIG = TrainConfig(
    tokens=6000,
    global_batch_tokens=200,
    learning_rate=1e-2,
    warmup_tokens=400,
    eval_bytes=2000,
    held_out_points=3,
)
CONTEXT = Context(checkpoint_seconds=0)
"""A checkpoint after every step."""


def model_config(tokenizer: Tokenizer) -> ModelConfig:
    return ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=1, n_heads=2, context_length=24)


class Interrupting:
    """Progress that breaks the run off after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> Any:
        return self

    def say(self, line: str) -> None:
        pass

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def advance(self, amount: float = 1, **facts: str | float) -> None:
        self.steps -= amount > 0
        if self.steps < 0:
            raise KeyboardInterrupt


class Saying(Interrupting):
    """Progress that keeps what is said."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(10**9)
        self.said = said

    def say(self, line: str) -> None:
        self.said.append(line)


def without_times(path: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_it_learns_and_writes_what_others_read(
    tmp_path: Path, dataset: Dataset, held_out: Dataset, tokenizer: Tokenizer
) -> None:
    result = train(model_config(tokenizer), CONFIG, dataset, tokenizer, tmp_path, held_out=held_out, context=CONTEXT)
    summary = result.summary
    assert summary.bits_per_byte_before is not None and summary.bits_per_byte_after is not None
    assert summary.bits_per_byte_after < 0.5 * summary.bits_per_byte_before
    assert summary.steps == 32 and summary.tokens == 32 * 192
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    assert [point.step for point in metrics.train] == list(range(1, 33))
    assert [point.tokens for point in metrics.train] == list(range(192, 33 * 192, 192))
    assert min(point.learning_rate for point in metrics.train) > 0
    assert [point.step for point in metrics.held_out] == [0, 11, 22, 32]
    # What is written has the fields of these classes and no others.
    lines = [set(line) for line in without_times(tmp_path / "metrics.jsonl")]
    assert lines[0] == {field.name for field in fields(EvalPoint)}
    assert lines[1] | {"seconds"} == {field.name for field in fields(TrainPoint)}
    assert read_result(TrainingSummary, tmp_path / "summary.json") == summary
    assert summary.flops == pytest.approx(result.model.config.flops_per_token * 32 * 192)
    loaded = load_model(tmp_path / "model")
    loss = text_loss(loaded, tokenizer, held_out_excerpt(held_out.documents(), CONFIG.eval_bytes))
    assert loss.bits_per_byte == pytest.approx(metrics.held_out[-1].held_out_bits_per_byte)


def test_little_text_cuts_the_budget_and_says_so(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    """Two passes over these documents are fewer tokens than asked for; the rate decays over what is trained."""
    ids = tokenizer.encode_batch([document.text for document in dataset.documents()])
    one_pass = sum(map(len, ids)) + len(ids)
    assert pass_tokens(dataset, tokenizer) == one_pass
    said: list[str] = []
    context = replace(CONTEXT, progress=Saying(said))
    config = replace(CONFIG, tokens=10**9, max_epochs=0.5)
    summary = train(model_config(tokenizer), config, dataset, tokenizer, tmp_path, context=context).summary
    assert summary.pass_tokens == one_pass
    assert summary.budget_tokens == math.ceil(one_pass / 2) <= summary.tokens < one_pass / 2 + 200
    assert summary.epochs == pytest.approx(0.5, abs=200 / one_pass)
    assert len(said) == 1 and f"{summary.budget_tokens:,} tokens instead of 1,000,000,000" in said[0]
    rates = [point.learning_rate for point in read_metrics(tmp_path / "metrics.jsonl").train]
    assert rates[-1] < 0.05 * max(rates)


def test_the_passes_are_said_before_training(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    said: list[str] = []
    context = replace(CONTEXT, progress=Saying(said))
    one_pass = pass_tokens(dataset, tokenizer)
    train(model_config(tokenizer), replace(CONFIG, tokens=one_pass // 4), dataset, tokenizer, tmp_path, context=context)
    assert said == [f"train: {one_pass // 4:,} tokens, 0.25 passes over the text's {one_pass:,} tokens."]
    many = Budget(tokens=5 * one_pass, asked=5 * one_pass, pass_tokens=one_pass)
    assert "5 passes" in many.line and "More text would be worth more" in many.line


def test_a_text_learned_by_heart_ends_at_its_best_point(
    tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer, held_out: Dataset
) -> None:
    """Three sentences, many times: held-out bits fall, then rise; the weights of the lowest point are those written."""
    little = write_dataset(tmp_path / "little", list(dataset.documents())[:3], made_by="test")
    said: list[str] = []
    config = replace(CONFIG, tokens=40_000, max_epochs=1e9, held_out_points=20, patience=3, decay_fraction=0.1)
    context = replace(CONTEXT, checkpoint_seconds=3600, progress=Saying(said))
    out = tmp_path / "out"
    result = train(model_config(tokenizer), config, little, tokenizer, out, held_out=held_out, context=context)
    points = read_metrics(out / "metrics.jsonl").held_out
    lowest = min(points, key=lambda point: point.held_out_bits_per_byte)
    summary = result.summary
    assert summary.stopped_early and summary.tokens == points[-1].tokens < 40_000
    assert points.index(lowest) == len(points) - 4
    assert summary.best_tokens == lowest.tokens
    assert summary.bits_per_byte_after == lowest.held_out_bits_per_byte < points[-1].held_out_bits_per_byte
    assert f"stopped early at {summary.tokens:,} of " in said[-1] and f"at {summary.best_tokens:,} (" in said[-1]
    excerpt = held_out_excerpt(held_out.documents(), config.eval_bytes)
    for model in (result.model, load_model(out / "model")):
        assert text_loss(model, tokenizer, excerpt).bits_per_byte == pytest.approx(lowest.held_out_bits_per_byte)


@pytest.mark.parametrize("stops", [[1], [7], [13, 6, 2, 5], [31]])
def test_interrupted_runs_end_with_the_same_bytes(
    tmp_path: Path, dataset: Dataset, held_out: Dataset, tokenizer: Tokenizer, stops: list[int]
) -> None:
    shape = model_config(tokenizer)
    train(shape, CONFIG, dataset, tokenizer, tmp_path / "a", held_out=held_out, context=CONTEXT)
    for stop in stops:
        context = replace(CONTEXT, progress=Interrupting(stop))
        with pytest.raises(KeyboardInterrupt):
            train(shape, CONFIG, dataset, tokenizer, tmp_path / "b", held_out=held_out, context=context)
    train(shape, CONFIG, dataset, tokenizer, tmp_path / "b", held_out=held_out, context=CONTEXT)
    name = "model/model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert without_times(tmp_path / "a/metrics.jsonl") == without_times(tmp_path / "b/metrics.jsonl")


def test_a_finished_run_only_writes_its_results_again(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    first = train(model_config(tokenizer), CONFIG, dataset, tokenizer, tmp_path)
    weights = (tmp_path / "model/model.safetensors").read_bytes()
    context = Context(progress=Interrupting(0))
    again = train(model_config(tokenizer), CONFIG, dataset, tokenizer, tmp_path, context=context)
    assert (tmp_path / "model/model.safetensors").read_bytes() == weights
    assert again.summary == first.summary
    assert first.summary.bits_per_byte_after is None


def test_a_run_that_ran_out_of_memory_continues_with_smaller_micro_batches(
    tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer
) -> None:
    shape, config = model_config(tokenizer), replace(CONFIG, tokens=600)
    whole = train(shape, config, dataset, tokenizer, tmp_path / "a").model
    with pytest.raises(KeyboardInterrupt):
        train(shape, config, dataset, tokenizer, tmp_path / "b", context=replace(CONTEXT, progress=Interrupting(2)))
    parts = train(shape, config, dataset, tokenizer, tmp_path / "b", context=Context(micro_batch_size=3)).model
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    losses = [[p.loss for p in read_metrics(tmp_path / name / "metrics.jsonl").train] for name in ("a", "b")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_folder_of_another_training_is_refused(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    shape, config = model_config(tokenizer), replace(CONFIG, tokens=400)
    model = train(shape, config, dataset, tokenizer, tmp_path).model
    with pytest.raises(ConfigError, match=r"config.seed 0 -> 1"):
        train(shape, replace(config, seed=1), dataset, tokenizer, tmp_path)
    with pytest.raises(ConfigError, match=r"model.d_ff null -> 8"):
        train(replace(shape, d_ff=8), config, dataset, tokenizer, tmp_path)
    with pytest.raises(ConfigError, match="initial_weights"):
        train(model, config, dataset, tokenizer, tmp_path)


def test_other_data_or_another_held_out_text_is_refused(
    tmp_path: Path, dataset: Dataset, held_out: Dataset, tokenizer: Tokenizer
) -> None:
    """Measurements before and after training would be of two texts."""
    shape, config = model_config(tokenizer), replace(CONFIG, tokens=400)
    train(shape, config, dataset, tokenizer, tmp_path, held_out=held_out)
    for other in (None, dataset):
        with pytest.raises(ConfigError, match="holds the training of another call: held_out"):
            train(shape, config, dataset, tokenizer, tmp_path, held_out=other)
    with pytest.raises(ConfigError, match="holds the training of another call: dataset"):
        train(shape, config, held_out, tokenizer, tmp_path, held_out=held_out)
    words = Tokenizer.train(["a field of stones"], vocab_size=258, special_tokens=["<|endoftext|>"])
    with pytest.raises(ConfigError, match="holds the training of another call: tokenizer"):
        train(shape, config, dataset, words, tmp_path, held_out=held_out)


def test_a_folder_with_results_of_unknown_origin_is_refused(
    tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer
) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"metrics\.jsonl of unknown origin"):
        train(model_config(tokenizer), CONFIG, dataset, tokenizer, tmp_path)


def test_a_given_model_is_trained_further(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    config = replace(CONFIG, tokens=2000)
    first = train(model_config(tokenizer), config, dataset, tokenizer, tmp_path / "a")
    end = read_metrics(tmp_path / "a/metrics.jsonl").train[-1].loss

    def continued(out: str, context: Context) -> Transformer:
        return train(
            load_model(tmp_path / "a/model"), config, dataset, tokenizer, tmp_path / out, context=context
        ).model

    second = continued("b", CONTEXT)
    start = read_metrics(tmp_path / "b/metrics.jsonl").train[0].loss
    assert start < end + 0.5
    with pytest.raises(KeyboardInterrupt):
        continued("c", replace(CONTEXT, progress=Interrupting(4)))
    again = continued("c", CONTEXT)
    assert_equal_weights(second, again)
    assert not torch.equal(first.model.embedding.weight, second.embedding.weight)


def assert_equal_weights(first: Transformer, second: Transformer) -> None:
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


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
        train(model_config(tokenizer), config, dataset, tokenizer, tmp_path, context=CONTEXT)
    assert caught.value.fix is not None and "Lower the learning rate" in caught.value.fix
    assert not (tmp_path / "model").exists()


def test_devices_are_understood_as_everywhere(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    shape, config = model_config(tokenizer), replace(CONFIG, tokens=200)
    for name in ("cuda:99", "tpu"):
        with pytest.raises(ConfigError, match=f"device `{name}`"):
            train(shape, config, dataset, tokenizer, tmp_path, context=Context(device=name))
    trained = train(shape, config, dataset, tokenizer, tmp_path, context=Context(device="auto")).model
    assert trained.device.type == resolve_device("auto")


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="less than one row"):
        train(model_config(tokenizer), replace(CONFIG, global_batch_tokens=8), dataset, tokenizer, tmp_path)
    with pytest.raises(ConfigError, match="the model only 100"):
        train(replace(model_config(tokenizer), vocab_size=100), CONFIG, dataset, tokenizer, tmp_path)
    with pytest.raises(ConfigError, match="24 tokens, cannot be cut evenly into short_rows of 7"):
        train(model_config(tokenizer), replace(CONFIG, short_rows=7), dataset, tokenizer, tmp_path)


def test_training_leaves_the_global_generator_alone(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    train(model_config(tokenizer), replace(CONFIG, tokens=200), dataset, tokenizer, tmp_path)
    assert torch.equal(torch.rand(1), expected)


def test_untied_embeddings_start_from_bigrams_and_tied_ones_at_random(
    tmp_path: Path, dataset: Dataset, held_out: Dataset, tokenizer: Tokenizer
) -> None:
    before: dict[str, float] = {}
    for name, tied, start in (("bigrams", False, "bigrams"), ("random", False, "random"), ("tied", True, "bigrams")):
        shape = replace(model_config(tokenizer), tie_embeddings=tied)
        config = replace(CONFIG, tokens=200, initial_embeddings=start)
        result = train(shape, config, dataset, tokenizer, tmp_path / name, held_out=held_out)
        assert result.summary.bits_per_byte_before is not None
        before[name] = result.summary.bits_per_byte_before
        first = first_model(shape, config, dataset, tokenizer)
        measured = text_loss(first, tokenizer, held_out_excerpt(held_out.documents(), CONFIG.eval_bytes))
        assert before[name] == pytest.approx(measured.bits_per_byte, rel=1e-4)
    assert before["bigrams"] < 0.5 * before["random"]
    assert before["tied"] == pytest.approx(before["random"], rel=0.1)


def test_short_rows_are_for_the_first_half(tmp_path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    lengths: list[int] = []
    model = Transformer(model_config(tokenizer))
    model.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    config = replace(CONFIG, tokens=4 * 192, global_batch_tokens=192, short_rows=8)
    summary = train(model, config, dataset, tokenizer, tmp_path).summary
    assert lengths == [8, 8, 24, 24]
    short = replace(model.config, context_length=8).flops_per_token
    assert summary.flops == pytest.approx(384 * short + 384 * model.config.flops_per_token)


def test_a_text_is_learnt_by_heart_only_after_many_passes() -> None:
    assert "after 16 passes a model mostly learns" in Budget(tokens=1600, asked=9000, pass_tokens=100).line
    few = Budget(tokens=50, asked=9000, pass_tokens=100).line
    assert "by heart" not in few and "90 passes over the text's 100 tokens. More text" in few
