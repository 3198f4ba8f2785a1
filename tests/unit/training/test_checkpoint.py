"""Checkpoints hold all there is: tied weights, any optimizer state, settings; to paths and open files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tilth.errors import DataError
from tilth.training import load_checkpoint, save_checkpoint


class Tied(nn.Module):
    """Two names for one matrix, and a third that is a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("part", self.embedding.weight.detach()[2:4])
        self.register_buffer("counts", torch.arange(3))
        self.register_buffer("nothing", torch.zeros(0))


class Counting(torch.optim.Optimizer):
    """State of all kinds: integer tensors, numbers, text, None, lists, tuples and tensors within them."""

    def __init__(self, params: Any, lr: float = 0.1, betas: tuple[float, float] = (0.5, 0.25)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "name": "x", "maximize": False, "limit": None})

    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                state["counts"] = torch.tensor([state["step"], 1 << 40])
                state["history"] = [*state.get("history", []), ("at", float(state["step"]), torch.ones(2) * 3)]
                state["half"] = torch.ones(2, dtype=torch.bfloat16)
                state["rare"] = None
                state["limit"] = float("inf")


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("to_file", [False, True])
def test_everything_comes_back(tmp_path: Path, to_file: bool) -> None:
    torch.manual_seed(0)
    model = Tied()
    optimizer = Counting(model.parameters(), lr=0.3, betas=(0.75, 0.5))
    optimizer.step()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.7
    target: Any = io.BytesIO() if to_file else str(tmp_path / "deep" / "state.safetensors")
    save_checkpoint(target, model, {"counting": optimizer}, {"step": 2, "note": "ü"})
    if to_file:
        target.seek(0)
    other = Tied()
    other_optimizer = Counting(other.parameters())
    assert load_checkpoint(target, other, {"counting": other_optimizer}) == {"step": 2, "note": "ü"}
    assert equal(dict(other.state_dict()), dict(model.state_dict()))
    assert other.head.weight is other.embedding.weight
    assert equal(other_optimizer.state_dict(), optimizer.state_dict())
    assert other_optimizer.param_groups[0]["lr"] == 0.7 and other_optimizer.param_groups[0]["betas"] == (0.75, 0.5)


def test_equal_states_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        torch.manual_seed(0)
        model = Tied()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        model.head(model.embedding(torch.arange(6))).sum().backward()
        optimizer.step()
        save_checkpoint(tmp_path / name, model, {"adamw": optimizer}, {"step": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert b"pickle" not in (tmp_path / "a").read_bytes()
    header = (tmp_path / "a").read_bytes()
    stored = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    assert sum(name.endswith(".weight") for name in stored) == 1  # A tied matrix is there once.


def test_another_model_or_optimizer_is_refused(tmp_path: Path) -> None:
    model, path = nn.Linear(2, 3), tmp_path / "state"
    save_checkpoint(path, model, {"sgd": torch.optim.SGD(model.parameters(), lr=0.1)}, {})
    other = nn.Linear(3, 3)
    with pytest.raises(DataError, match=r"(?s)state is a checkpoint of another model.*size mismatch"):
        load_checkpoint(path, other, {"sgd": torch.optim.SGD(other.parameters(), lr=0.1)})
    with pytest.raises(DataError, match="its optimizers are sgd, and here adamw"):
        load_checkpoint(path, model, {"adamw": torch.optim.AdamW(model.parameters())})
    with pytest.raises(DataError, match="parameter group"):
        load_checkpoint(path, model, {"sgd": torch.optim.SGD([model.weight], lr=0.1)})


@pytest.mark.parametrize("to_file", [False, True])
def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path, to_file: bool) -> None:
    torch.manual_seed(0)
    model, path = Tied(), tmp_path / "state"
    optimizer = Counting(model.parameters())
    optimizer.step()
    save_checkpoint(path, model, {"counting": optimizer}, {"step": 2})
    whole = path.read_bytes()
    for index in range(0, len(whole), 7):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        with pytest.raises(DataError, match=r"damaged|not a (whole )?checkpoint"):
            load_checkpoint(io.BytesIO(path.read_bytes()) if to_file else path, Tied(), {"counting": optimizer})


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    save_file({"weight": torch.zeros(2)}, tmp_path / "other")
    (tmp_path / "broken").write_bytes(b"x" * 20)
    for name, words in (("other", "not a checkpoint"), ("broken", "not a whole"), ("missing", "not a whole")):
        with pytest.raises(DataError, match=words) as caught:
            load_checkpoint(tmp_path / name, model, {})
        assert name in str(caught.value)
    with pytest.raises(DataError, match="not a whole"):
        load_checkpoint(io.BytesIO(b"x" * 20), model, {})


def test_state_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["schedule"] = print
    with pytest.raises(DataError, match=r"sgd\.param_groups\.0\.schedule is a builtin"):
        save_checkpoint(tmp_path / "state", model, {"sgd": optimizer}, {})
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("to_file", [False, True])
def test_no_flipped_byte_is_loaded(tmp_path: Path, to_file: bool) -> None:
    model, path = nn.Linear(2, 3), tmp_path / "state"
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    save_checkpoint(path, model, {"adamw": optimizer}, {"step": 1, "loss": 0.5})
    content = path.read_bytes()
    for index in [*range(0, len(content), 7), len(content) - 1]:
        flipped = content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]
        path.write_bytes(flipped)
        with pytest.raises(DataError):
            load_checkpoint(io.BytesIO(flipped) if to_file else path, model, {"adamw": optimizer})
