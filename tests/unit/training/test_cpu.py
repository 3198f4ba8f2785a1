"""Process settings: they end with their block, and products stay float32."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from tilth.training import cpu
from tilth.training.cpu import fast_cpu


def precision() -> str:
    return cast(Any, torch.backends.mkldnn).matmul.fp32_precision


@pytest.mark.parametrize("wanted", [True, False])
def test_settings_end_with_the_block(monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    monkeypatch.setattr(cpu, "onednn_is_exact_and_faster", lambda: wanted)
    before = precision()
    with fast_cpu():
        assert precision() == ("bf16" if wanted else before)
        assert float(torch.tensor(1e-39) * 1.0) == 0  # a denormal
    assert precision() == before
    assert float(torch.tensor(1e-39) * 1.0) > 0


def test_products_have_the_precision_of_float32() -> None:
    """With eight bits, as bfloat16 has, the error would be 10,000 times as large."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 256), torch.randn(256, 64)
    exact = (x.double() @ y.double()).float()
    with fast_cpu():
        assert (x @ y - exact).abs().max() < 1e-4
        assert (torch.bmm(x[None], y[None])[0] - exact).abs().max() < 1e-4


def test_processors_with_matrix_units_and_those_of_intel_keep_torchs_default(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"avx512_f": True, "amx_tile": False, "cpu_name": "AMD EPYC"}
    for change, expected in (
        ({}, True),
        ({"amx_tile": True}, False),
        ({"cpu_name": "Intel(R) Xeon(R)"}, False),
        ({"avx512_f": False}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda change=change: known | change)
        cpu.onednn_is_exact_and_faster.cache_clear()
        assert cpu.onednn_is_exact_and_faster() is expected
    monkeypatch.undo()
    cpu.onednn_is_exact_and_faster.cache_clear()


def test_a_setting_that_was_made_before_stays() -> None:
    torch.set_flush_denormal(True)
    try:
        with fast_cpu():
            pass
        assert float(torch.tensor(1e-39) * 1.0) == 0
    finally:
        torch.set_flush_denormal(False)


def test_a_torch_without_a_precision_for_products_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.9 there is no such setting."""
    monkeypatch.delattr(type(torch.backends.mkldnn), "matmul", raising=False)
    monkeypatch.delattr(torch.backends.mkldnn, "matmul", raising=False)
    with fast_cpu():
        assert float(torch.tensor(1e-39) * 1.0) == 0
