"""Where a network computes, and how exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from .errors import DeviceError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16"]
"""What convolutions compute in: ``auto`` is bf16 where the device multiplies it natively."""


def resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return what to compute in on a device."""
    if precision != "auto":
        return precision
    if device.type != "cpu":
        return "fp32"
    import torch

    # Elsewhere bf16 is emulated, and slower than fp32. Older releases of torch do not say.
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if known.get("avx512_bf16") or known.get("amx_bf16") else "fp32"


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
