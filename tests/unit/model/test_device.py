"""Devices: their names, and that one which is not there ends things before work begins."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.model.device import check_device, resolve_device
from tilth.recipes.step_functions import torch_device

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
