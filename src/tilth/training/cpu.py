"""Settings of this process that make training on a CPU faster and leave the arithmetic as it is.

Measured on one core of an AMD Zen 5 (`benchmarks/RESULTS.md`):

- torch computes float32 products with MKL, which uses half of the vector width of other makers' processors. oneDNN,
  which torch has as well, uses all of it: 200 GFLOP/s instead of 85. torch takes it for float32 where products may be
  of lower precision ("bf16"), which oneDNN makes use of only on processors with matrix units (AMX); there the setting
  is not made.
- glibc gives memory of more than 128 kB back to the kernel as soon as it is free, and the kernel clears it for the next
  activation: 3,600 page faults a step, a sixth of its time. With a higher threshold the memory stays with the process.
- Denormals (numbers below 1e-38) take a CPU many times as long as others; a saturated softmax is full of them.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_KEPT_BLOCK, _KEPT_IN_ALL = 32 << 20, 512 << 20
"""Bytes: the largest block that is kept (glibc allows no more), and what may lie unused at the end of the heap."""


@contextmanager
def fast_cpu() -> Generator[None]:
    """Makes these settings, as long as it lasts; that of memory stays. What a system does not have is left out."""
    keep_memory()
    products: Any = getattr(torch.backends.mkldnn, "matmul", None)  # torch 2.9 and later
    before = None if products is None else products.fp32_precision
    kept_denormals = float(torch.tensor(1e-39) * 1.0) > 0
    if products is not None and onednn_is_exact_and_faster():
        products.fp32_precision = "bf16"
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(not kept_denormals)
        if products is not None:
            products.fp32_precision = before


@cache
def onednn_is_exact_and_faster() -> bool:
    """Whether oneDNN's float32 products are float32 all through, and faster than MKL's."""
    if not torch.backends.mkldnn.is_available():
        return False
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_f")) and not known.get("amx_tile") and "Intel" not in str(known.get("cpu_name", ""))


def keep_memory() -> None:
    """Lets glibc keep freed memory for the next allocation; other C libraries have no such setting."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BLOCK)
        mallopt(_TRIM_THRESHOLD, _KEPT_IN_ALL)
