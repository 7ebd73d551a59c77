"""A network at work: batches of windows in, what it says of them out.

It runs in torch on the CPU, in torch on GPUs (:mod:`deepfake_audio.cuda`), or as an exported graph.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, get_args

from .devices import Exactly, Precision, resolve_devices, resolve_precision
from .errors import ConfigError, DeviceError
from .onnx_network import OnnxNetwork, Outputs
from .windows import FloatArray

if TYPE_CHECKING:
    import torch

    from .model import Network


logger = logging.getLogger(__name__)

_PREPARING = threading.Lock()


class Runner(Protocol):
    """Runs a network; any number of threads may ask it at a time.

    Attributes
    ----------
    network : Network or OnnxNetwork
        What is run, made ready for inference.
    devices : sequence of torch.device or str
        Where.
    precision : {"fp32", "tf32", "bf16"}
        What convolutions compute in.
    lanes : int
        Threads that it takes to keep the devices busy.
    """

    network: Network | OnnxNetwork
    devices: list[torch.device | str]
    precision: Exactly
    lanes: int

    def run(self, batches: Iterable[FloatArray]) -> list[Outputs]:
        """Run batches, each of float32 and shape (batch, samples).

        Each is used up before the next is asked for: all may be the same memory.
        """

    def prepare(self) -> None:
        """Get ready for much work, if that takes anything."""


class OnnxRunner:
    """An exported graph on the CPU; attributes as of :class:`Runner`."""

    lanes = 1

    def __init__(self, network: OnnxNetwork) -> None:
        self.network: Network | OnnxNetwork = network
        self.devices: list[torch.device | str] = ["cpu"]
        self.precision: Exactly = "fp32"
        self._graph = network

    def run(self, batches: Iterable[FloatArray]) -> list[Outputs]:
        """Run batches."""
        return [self._graph.run(batch) for batch in batches]

    def prepare(self) -> None:
        """Do nothing: a graph runs without Python."""


class CpuRunner:
    """A torch network on the CPU; attributes as of :class:`Runner`."""

    lanes = 1

    def __init__(self, network: Network, precision: Exactly) -> None:
        import torch

        from .model import fused
        from .tracing import Heads

        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        module = fused(network, dtype).requires_grad_(False)
        self.network: Network | OnnxNetwork = module
        self.devices: list[torch.device | str] = [torch.device("cpu")]
        self.precision: Exactly = precision
        self._heads = Heads(module).eval()
        self._ask: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] = self._heads
        self._prepared = False

    def run(self, batches: Iterable[FloatArray]) -> list[Outputs]:
        """Run batches."""
        import torch

        found = []
        with torch.inference_mode():
            for batch in batches:
                logit, speech, embedding = self._ask(torch.from_numpy(batch))
                found.append(
                    Outputs(
                        logit.double().numpy(), speech.double().numpy(), embedding.float().numpy()
                    )
                )
        return found

    def prepare(self) -> None:
        """Record the network: half a second, after which it runs without Python."""
        from .tracing import traced

        with _PREPARING:
            if self._prepared:
                return
            self._prepared = True
            try:
                self._ask = traced(self._heads)
            except Exception as error:  # slower, and just as right
                logger.warning("the network runs as it is: it could not be recorded (%s)", error)

    def __getstate__(self) -> dict[str, object]:
        """Return what is pickled: a recording is made anew where it is wanted."""
        return {**vars(self), "_ask": self._heads, "_prepared": False}


def make_runner(
    network: Network | OnnxNetwork, device: torch.device | str, precision: Precision
) -> Runner:
    """Return what runs a network on a device.

    Raises
    ------
    ConfigError
        If there is no such precision, or the device does not compute in it.
    DeviceError
        If there is no such device, or an exported network is to run on a GPU.
    """
    if precision not in get_args(Precision):
        raise ConfigError(
            f"unknown precision {precision!r}", hint=f"use one of {', '.join(get_args(Precision))}"
        )
    if isinstance(network, OnnxNetwork):
        if str(device) not in ("auto", "cpu"):
            raise DeviceError(
                "an exported model runs on the CPU", name=str(device), hint="use cpu or auto"
            )
        return OnnxRunner(network)
    devices = resolve_devices(str(device))
    chosen = resolve_precision(precision, devices[0])
    if devices[0].type == "cpu":
        return CpuRunner(network, chosen)
    from .cuda import CudaRunner

    return CudaRunner(network, devices, chosen)
