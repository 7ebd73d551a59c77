"""Tell synthetic speech from genuine, offline, with a calibrated and honest report.

>>> import deepfake_audio
>>> report = deepfake_audio.detect("clip.wav")  # doctest: +SKIP
>>> print(report)  # doctest: +SKIP

Names are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import errors
    from .config import Limits, Policy
    from .detector import Detector, detect
    from .provenance import read_provenance
    from .report import Report, Segment, Verdict
    from .streaming import StreamConfig

__version__ = "0.1.0"

__all__ = [
    "Detector", "Limits", "Policy", "Report", "Segment", "StreamConfig", "Verdict", "__version__",
    "detect", "errors", "read_provenance",
]  # fmt: skip

_HOMES = {
    "Detector": ".detector",
    "detect": ".detector",
    "Limits": ".config",
    "Policy": ".config",
    "Report": ".report",
    "Segment": ".report",
    "StreamConfig": ".streaming",
    "Verdict": ".report",
    "errors": ".errors",
    "read_provenance": ".provenance",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_HOMES[name], __name__)
    value = module if name == "errors" else getattr(module, name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
