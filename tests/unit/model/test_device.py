"""Devices: their names, and that one which is not there ends things before work begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tilth.cli import main
from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.model import ModelConfig, Transformer, load_model, save_model
from tilth.model.device import check_device, resolve_device
from tilth.recipes.step_functions import Sampling, measure_baselines, sample, torch_device
from tilth.steps import Inputs
from tilth.storage import write_dataset
from tilth.tokenizer import Tokenizer
from tilth.types import Document

ABSENT = f"cuda:{torch.cuda.device_count()}"
TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 20


@pytest.mark.parametrize(
    "name", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu ", "meta", "auto:0", "cuda:99999"]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="There is no device") as caught:
        check_device(name)
    assert caught.value.fix is not None and "`cuda:1`" in caught.value.fix


def test_a_device_that_is_not_there_is_refused() -> None:
    check_device("auto")
    check_device("cpu")
    for check in (check_device, resolve_device, lambda name: torch_device(Context(device=name))):
        with pytest.raises(ConfigError, match=f"`{ABSENT}` is not available") as caught:
            check(ABSENT)
        assert caught.value.fix


def test_auto_is_a_device_that_is_there() -> None:
    assert torch.zeros(1, device=resolve_device("auto")).device.type == resolve_device("auto")
    assert resolve_device("cpu") == "cpu"


def test_the_check_needs_no_torch_for_what_everyone_has() -> None:
    code = (
        "import sys; from tilth.model.device import check_device; check_device('auto'); check_device('cpu'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    tokenizer = Tokenizer.train([TEXT], vocab_size=260)
    tokenizer.save(tmp_path / "tokenizer")
    model = Transformer(ModelConfig(vocab_size=260, d_model=16, n_layers=1, n_heads=2, context_length=32))
    for name in ("initial_model", "model"):
        save_model(model, tmp_path / "pretrain" / name)
    for name in ("train", "held_out"):
        write_dataset(tmp_path / name, [Document.make(TEXT + name, source=name)], made_by="test")
    return Inputs(
        folders={name: tmp_path / name for name in ("tokenizer", "pretrain", "train", "held_out")}, sources={}
    )


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
        assert {path.name for path in out.iterdir()} == ({"samples.json", "baselines.json"} if works else set())


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
