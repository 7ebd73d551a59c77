from __future__ import annotations

import pytest
import torch

from deepfake_audio.devices import resolve_device
from deepfake_audio.errors import DeviceError


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda")
    for name in ("tpu", "cuda:99", "meta", ""):
        with pytest.raises(DeviceError):
            resolve_device(name)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="cuda"):
            resolve_device("cuda")
