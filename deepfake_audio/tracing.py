"""A network without Python around it: the same operations, recorded once.

Between two operations of a module stands Python, and Python runs one thread at a time: with two
threads a third of the time goes into waiting for each other. A recorded network asks for nothing.
"""

from __future__ import annotations

import threading
import warnings

import torch
from torch import Tensor, nn

from .config import SAMPLE_RATE_HZ
from .model import Network

_EXAMPLE_S = 4
_RECORDING = threading.Lock()


class Heads(nn.Module):
    """The outputs that are of use outside training: logit, logit of speech, embedding."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map windows of shape (batch, samples) to the outputs, the batch first."""
        output = self.network(waveform)
        return output.logit, output.speech, output.embedding


def example_windows() -> Tensor:
    """Return windows to record a network with: two of noise."""
    # Defaults of the program around us, such as float64, are none of ours.
    noise = torch.Generator("cpu").manual_seed(0)
    shape = (2, _EXAMPLE_S * SAMPLE_RATE_HZ)
    return 0.05 * torch.randn(shape, generator=noise, dtype=torch.float32, device="cpu")


def traced(heads: Heads) -> torch.jit.ScriptModule:
    """Record a network as TorchScript; any number of windows, of any length, go through it.

    Parameters
    ----------
    heads : Heads
        In evaluation mode; its parameters are shared, not copied.

    Returns
    -------
    torch.jit.ScriptModule
        Returns what ``heads`` does, to the last bit, and lets go of Python's lock meanwhile.

    Raises
    ------
    RuntimeError
        If it cannot be recorded, for instance as TorchScript is switched off (``PYTORCH_JIT=0``).
    """
    example = example_windows()
    # Warnings are filtered for all threads: one at a time, or one would put back what another set.
    with (
        _RECORDING,
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        warnings.catch_warnings(),
    ):
        # The tracer comments on each size that Python sees, and TorchScript on its age. Tests
        # compare other numbers and lengths of windows.
        warnings.simplefilter("ignore")
        heads(example)  # what is made once and kept should not be recorded
        script = torch.jit.trace(heads, (example,), check_trace=False)
    if not isinstance(script, torch.jit.ScriptModule):
        raise RuntimeError("TorchScript is switched off")
    return script
