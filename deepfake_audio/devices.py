"""Where a network computes, and how exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from .errors import ConfigError, DeviceError

if TYPE_CHECKING:
    import torch

Exactly = Literal["fp32", "tf32", "bf16"]
"""What convolutions compute in: 24, 11 or 8 bits of precision. ``tf32`` is for GPUs alone."""

Precision = Literal["auto", "fp32", "tf32", "bf16"]
"""The same, or ``auto``: bf16 where the device multiplies it natively, else fp32."""


def resolve_precision(precision: Precision, device: torch.device) -> Exactly:
    """Return what to compute in on a device.

    Raises
    ------
    ConfigError
        If ``tf32`` is to run on a CPU.
    """
    if precision == "tf32" and device.type != "cuda":
        raise ConfigError("tf32 is for GPUs", name="precision", hint="use auto, fp32 or bf16")
    if precision != "auto":
        return precision
    return "bf16" if _multiplies_bf16(device) else "fp32"


def _multiplies_bf16(device: torch.device) -> bool:
    """Tell whether bf16 is native; elsewhere it is emulated, and slower than fp32."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Older releases of torch do not say.
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def resolve_device(device: str) -> torch.device:
    """Return the device for ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises
    ------
    DeviceError
        If there is no such device here.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        index = found.index or 0
        known = found.type == "cpu" or (found.type == "cuda" and index < torch.cuda.device_count())
    except RuntimeError:
        known = False
    if not known:
        raise DeviceError("no such device here", name=device, hint="use cpu or auto")
    return found


def resolve_devices(device: str) -> list[torch.device]:
    """Return the devices to share work out to: ``"cuda"`` means all GPUs, ``"cuda:1"`` that one.

    Raises
    ------
    DeviceError
        If there is no such device here.
    """
    import torch

    found = resolve_device(device)
    if found.type == "cuda" and found.index is None:
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [found]
