"""What a run reads of its machine."""

import sys
from types import SimpleNamespace

import pytest
import torch

from mpiqe.training.device import peak_memory_mb

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
