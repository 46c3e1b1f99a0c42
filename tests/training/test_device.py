"""What a run reads of its machine."""

import sys
from types import SimpleNamespace

import pytest
import torch

from mpiqe.option_types import Precision
from mpiqe.training.device import about_emulation, peak_memory_mb

CPU = torch.device("cpu")


def test_the_peak_of_memory_is_that_of_this_process() -> None:
    before = peak_memory_mb(CPU)
    held = bytearray(200 << 20)
    assert peak_memory_mb(CPU) >= before
    assert peak_memory_mb(CPU) * 2**20 > len(held)


def test_on_windows_psutil_tells_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=300 << 20))
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(Process=lambda: windows))
    assert peak_memory_mb(CPU) == 300


@pytest.mark.parametrize(
    ("precision", "features", "said"),
    [
        ("bf16", {}, True),
        ("bf16", {"avx512_bf16": True}, False),
        ("fp32", {}, False),
    ],
)
def test_bf16_that_the_cpu_only_imitates_is_told(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, features: dict[str, bool], said: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    told = about_emulation(device="cpu", precision=precision)
    assert ("--precision fp32" in told if told else False) == said
