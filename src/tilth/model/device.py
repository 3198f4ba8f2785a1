"""Torch devices by name: what `auto` means, and a check that needs no torch where the CPU is asked for."""

from __future__ import annotations

import re

from tilth.errors import ConfigError

_NAMES = re.compile(r"auto|cpu|mps|cuda(:(?P<index>\d{1,4}))?")


def check_device(name: str) -> None:
    """Checks the name of a device, and that this machine has it, before any work is done for it.

    Raises: ConfigError otherwise.
    """
    known = _NAMES.fullmatch(name)
    if known is None:
        raise ConfigError(f"There is no device `{name}`.", fix="Use `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.")
    if name in ("auto", "cpu"):
        return
    import torch

    if name == "mps":
        there = torch.backends.mps.is_available()
    else:
        there = torch.cuda.is_available() and int(known["index"] or 0) < torch.cuda.device_count()
    if not there:
        raise ConfigError(
            f"The device `{name}` is not available: torch {torch.__version__} sees no such device here.",
            fix="Use `--device cpu`, or `auto`, which takes an accelerator where there is one.",
        )


def resolve_device(name: str) -> str:
    """Returns the torch device of a name; `auto` is the first accelerator there is, or the CPU.

    Raises: ConfigError for a name that is unknown, or a device that is not there.
    """
    check_device(name)
    if name != "auto":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
