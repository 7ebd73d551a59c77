from __future__ import annotations

import pytest
import torch

from deepfake_audio.devices import resolve_device, resolve_precision
from deepfake_audio.errors import ConfigError, DeviceError


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda")
    for name in ("tpu", "cuda:99", "meta", ""):
        with pytest.raises(DeviceError):
            resolve_device(name)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="cuda"):
            resolve_device("cuda")


def test_tf32_is_for_gpus() -> None:
    with pytest.raises(ConfigError, match="GPU"):
        resolve_precision("tf32", torch.device("cpu"))
    assert resolve_precision("tf32", torch.device("cuda")) == "tf32"


@pytest.mark.parametrize(
    ("capability", "found"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_auto_is_what_the_gpu_multiplies(
    capability: tuple[int, int], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision("auto", torch.device("cuda")) == found
