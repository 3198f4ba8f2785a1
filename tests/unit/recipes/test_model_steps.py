"""The steps that use a trained model: what they leave behind, and on which device they run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tilth.cli import main
from tilth.errors import ConfigError
from tilth.evaluation import Baselines
from tilth.execute import Context
from tilth.files import read_json
from tilth.inference.result import TextSample
from tilth.model import ModelConfig, Transformer, load_model, save_model
from tilth.recipes import step_functions
from tilth.recipes.step_functions import Pretraining, Sampling, export, measure_baselines, pretrain, sample
from tilth.results import decode, read_result
from tilth.steps import Inputs
from tilth.storage import write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TrainConfig
from tilth.types import Document

ABSENT = f"cuda:{torch.cuda.device_count()}"
TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 20


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    tokenizer = Tokenizer.train([TEXT], vocab_size=260)
    tokenizer.save(tmp_path / "tokenizer")
    model = Transformer(ModelConfig(vocab_size=260, d_model=16, n_layers=1, n_heads=2, context_length=64))
    for name in ("initial_model", "model"):
        for weight in model.parameters():
            torch.nn.init.normal_(weight)
        save_model(model, tmp_path / "pretrain" / name)
    for name in ("train", "held_out"):
        write_dataset(tmp_path / name, [Document.make(TEXT + name, source=name)], made_by="test")
    return Inputs(
        folders={name: tmp_path / name for name in ("tokenizer", "pretrain", "train", "held_out")}, sources={}
    )


def test_samples_read_back(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    counts = sample(Sampling(prompts=1, max_tokens=5), inputs, tmp_path / "out", Context())
    path = tmp_path / "out" / "samples.json"
    samples = decode(tuple[TextSample, ...], read_json(path), str(path))
    assert counts == {"samples": 1} and len(samples) == 1
    assert samples[0].prompt in TEXT
    assert samples[0].before != samples[0].after


def test_baselines_read_back_and_go_into_the_card(inputs: Inputs, tmp_path: Path) -> None:
    for name in ("measured", "exported"):
        (tmp_path / name).mkdir()
    measure_baselines({"max_bytes": 500}, inputs, tmp_path / "measured", Context())
    baselines = read_result(Baselines, tmp_path / "measured" / "baselines.json")
    assert set(baselines.bits_per_byte) == {"model before", "model", "5-gram", "zstd -19"}
    assert baselines.held_out_bytes == 500
    assert baselines.curve_bits_per_byte == {}
    # What is drawn beside the curve is measured on as much text as the curve.
    part, whole = {"max_bytes": 100}, {"max_bytes": 500, "curve_bytes": 100}
    measured: list[Baselines] = []
    for index, config in enumerate((part, whole)):
        out = tmp_path / f"measured {index}"
        out.mkdir()
        measure_baselines(config, inputs, out, Context())
        measured.append(read_result(Baselines, out / "baselines.json"))
    assert measured[1].curve_bits_per_byte == {
        name: bits for name, bits in measured[0].bits_per_byte.items() if not name.startswith("model")
    }
    folders = {
        "model": inputs["pretrain"] / "model",
        "tokenizer": inputs["tokenizer"],
        "baselines": tmp_path / "measured" / "baselines.json",
    }
    export({}, Inputs(folders=folders, sources={}), tmp_path / "exported", Context())
    card = (tmp_path / "exported" / "README.md").read_text()
    for name, value in baselines.bits_per_byte.items():
        assert f"| Bits per byte on held-out text, {name} | {round(value, 4):,.4g} |" in card
    expected, exported = load_model(folders["model"]), load_model(tmp_path / "exported")
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), exported.parameters(), strict=True))


def test_steps_ask_for_their_contexts_device(inputs: Inputs, tmp_path: Path) -> None:
    for device, works in (("cpu", True), (ABSENT, False)):
        out, context = tmp_path / device, Context(device=device)
        out.mkdir()
        for step in (
            lambda out=out, context=context: sample(Sampling(prompts=1, max_tokens=3), inputs, out, context),
            lambda out=out, context=context: measure_baselines({"max_bytes": 500}, inputs, out, context),
        ):
            if works:
                step()
            else:
                with pytest.raises(ConfigError, match="is not available"):
                    step()
        assert {path.name for path in out.iterdir()} == (
            {"samples.json", "baselines.json", "surprise.json"} if works else set()
        )


def test_models_go_to_their_contexts_device(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without an accelerator it can only be seen in what the stages are asked for."""
    asked: list[str] = []

    class AskedError(Exception):
        pass

    def ask(*_: object, device: str = "none", context: Context | None = None, **__: object) -> None:
        asked.append(device if context is None else context.device)
        raise AskedError

    monkeypatch.setattr(step_functions, "torch_device", lambda context: f"resolved {context.device}")
    monkeypatch.setattr("tilth.model.load_model", ask)
    monkeypatch.setattr("tilth.training.train", ask)
    shape = ModelConfig(vocab_size=260, d_model=16, n_layers=1, n_heads=2, context_length=64)
    configs = (
        (sample, Sampling(prompts=1)),
        (measure_baselines, {"max_bytes": 500}),
        (pretrain, Pretraining(model=shape, training=TrainConfig())),
    )
    for step, config in configs:
        with pytest.raises(AskedError):
            step(config, inputs, tmp_path, Context(device="x"))  # pyright: ignore[reportArgumentType]
    assert asked == ["resolved x"] * 3


def test_load_model_refuses_too(inputs: Inputs) -> None:
    with pytest.raises(ConfigError, match="is not available"):
        load_model(inputs["pretrain"] / "model", device=ABSENT)


@pytest.mark.parametrize("verb", ["run", "train", "improve", "eval", "chat"])
def test_every_verb_checks_before_it_works(
    verb: str, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    words = {
        "run": ["quickstart"],
        "train": ["train", "--tokenizer", "tokenizer", "--out", "out"],
        "improve": ["--out", "out"],
        "eval": ["pretrain/model", "held_out", "--tokenizer", "tokenizer"],
        "chat": ["pretrain/model", "--tokenizer", "tokenizer", "--prompt", "the"],
    }[verb]
    with pytest.raises(SystemExit) as caught:
        main([verb, *words, "--device", ABSENT])
    shown = capsys.readouterr()
    assert caught.value.code == 2
    assert "is not available" in shown.err and "Traceback" not in shown.err
    assert "bits per byte" not in shown.out
    assert sorted(tmp_path.iterdir()) == before
