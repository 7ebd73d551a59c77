"""Windows through a network on GPUs: the next batch is copied while this one is computed.

One copy a batch, from pinned memory, on a stream of its own; in 16 bits where the sound has no
more, which halves the traffic and loses nothing. Everything else, from the waveform to the logit,
happens on the device, and one copy takes the answers back. Batches of a shape that has come before
are replayed as a CUDA graph, for small ones take longer to launch than to compute.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from .devices import Exactly
from .errors import DeviceError
from .model import Network, fused
from .onnx_network import OnnxNetwork, Outputs
from .windows import FloatArray

MAX_GRAPHS = 64
"""Shapes that are kept as graphs, each of which holds its windows; others are launched anew."""

_RECORDING = Lock()
_UNDER_WAY = 2  # batches: one is computed while the other is copied
_INT16_SCALE = 32768.0


def as_sent(batch: FloatArray, *, pin: bool = True) -> Tensor:
    """Return windows as they go to a device: in 16 bits if they fit, to the last bit.

    Parameters
    ----------
    batch : ndarray of float32 or int16, shape (batch, samples)
        Full scale 1, or PCM.
    pin : bool
        Put them into pinned memory, from which a device copies by itself.

    Returns
    -------
    Tensor, int16 or float32, shape (batch, samples)
        A copy; of float32, :func:`as_heard` gives back the very same numbers.
    """
    source = torch.from_numpy(batch)
    pcm = torch.empty(batch.shape, dtype=torch.int16, pin_memory=pin)
    if source.dtype == torch.int16:
        return pcm.copy_(source)
    if _fits(source[:1], pcm[:1]) and _fits(source, pcm):  # one row mostly tells
        return pcm
    return torch.empty(batch.shape, dtype=torch.float32, pin_memory=pin).copy_(source)


def _fits(source: Tensor, pcm: Tensor) -> bool:
    """Write samples as PCM, and tell whether nothing was lost."""
    scaled = source * _INT16_SCALE
    pcm.copy_(scaled)
    return bool((pcm == scaled).all())


def as_heard(sent: Tensor) -> Tensor:
    """Return windows from :func:`as_sent` as float32, full scale 1, on the device they are on."""
    return sent.float() / _INT16_SCALE if sent.dtype == torch.int16 else sent


class CudaRunner:
    """A torch network on GPUs, a copy on each; see :class:`~deepfake_audio.inference.Runner`.

    Whoever asks gets the first one that is idle, for all of his batches.
    """

    def __init__(
        self, network: Network, devices: Sequence[torch.device], precision: Exactly
    ) -> None:
        gpus = [_Gpu(network, device, precision) for device in devices]
        self.network: Network | OnnxNetwork = gpus[0].network
        self.devices: list[torch.device | str] = list(devices)
        self.precision: Exactly = precision
        self.lanes = 2 * len(gpus)  # one is made ready while another is computed
        self._idle: SimpleQueue[_Gpu] = SimpleQueue()
        for gpu in gpus:
            self._idle.put(gpu)

    def run(self, batches: Iterable[FloatArray]) -> list[Outputs]:
        """Run batches, float32 or int16 PCM.

        Raises
        ------
        DeviceError
            If the memory of the GPU does not suffice.
        """
        gpu = self._idle.get()
        try:
            return gpu.run(batches)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                "its memory does not suffice", name=str(gpu.device), hint="free some, or use cpu"
            ) from error
        finally:
            self._idle.put(gpu)

    def prepare(self) -> None:
        """Do nothing: each GPU is asked by one thread at a time."""


class _Gpu:
    """One device; to be asked by one thread at a time."""

    def __init__(self, network: Network, device: torch.device, precision: Exactly) -> None:
        self.device = device
        self.network = fused(network, torch.bfloat16 if precision == "bf16" else torch.float32).to(
            device
        )
        self._tf32 = precision == "tf32"
        self._copying, self._computing = torch.cuda.Stream(device), torch.cuda.Stream(device)
        # The weights were copied on the stream that was current.
        self._computing.wait_stream(torch.cuda.current_stream(device))
        self._seen: set[torch.Size] = set()
        self._graphs: dict[torch.Size, _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, batches: Iterable[FloatArray]) -> list[Outputs]:
        found: list[Outputs] = []
        under_way: deque[tuple[torch.cuda.Event, Tensor]] = deque()
        with torch.inference_mode(), torch.cuda.device(self.device):
            for batch in batches:
                under_way.append(self._begin(batch))
                if len(under_way) == _UNDER_WAY:
                    found.append(_outputs(*under_way.popleft()))
            found += itertools.starmap(_outputs, under_way)
        return found

    def _begin(self, batch: FloatArray) -> tuple[torch.cuda.Event, Tensor]:
        """Launch all that a batch needs; return the answers, and when they will be there."""
        pinned = as_sent(batch)
        with torch.cuda.stream(self._copying):
            sent = pinned.to(self.device, non_blocking=True)
        self._computing.wait_stream(self._copying)
        sent.record_stream(self._computing)  # its memory is the other stream's to give away
        with torch.cuda.stream(self._computing):
            answers = self._answers(as_heard(sent))
            taken = torch.empty(answers.shape, dtype=answers.dtype, pin_memory=True)
            taken.copy_(answers, non_blocking=True)
            done = torch.cuda.Event()
            done.record()
        return done, taken

    def _answers(self, windows: Tensor) -> Tensor:
        """Return (batch, 2 + embedding_dim): logit, logit of speech, embedding."""
        shape = windows.shape
        # The first batch of a shape also makes what must not be made during a capture: plans of
        # transforms, workspaces, the analysis windows.
        if shape in self._seen and shape not in self._graphs and len(self._graphs) < MAX_GRAPHS:
            self._graphs[shape] = _Graph(self._compute, windows, self._pool)
        self._seen.add(shape)
        graph = self._graphs.get(shape)
        return graph(windows) if graph else self._compute(windows)

    def _compute(self, windows: Tensor) -> Tensor:
        # A setting of the whole process for as long as it takes to launch: torch has no other.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=self._tf32):
            output = self.network(windows)
        heads = torch.stack([output.logit, output.speech], 1)
        return torch.cat([heads, output.embedding], 1)


class _Graph:
    """Work on windows of one shape, recorded once and replayed.

    What it answers with is overwritten by the next replay of any graph of the same pool: on one
    stream, and with the answers copied away on that stream, this does not matter.
    """

    def __init__(self, work: Callable[[Tensor], Tensor], windows: Tensor, pool: Any) -> None:
        self._windows = windows.clone()
        self._graph = torch.cuda.CUDAGraph()
        recording = torch.cuda.graph(
            self._graph,
            pool=pool,
            stream=torch.cuda.current_stream(),
            capture_error_mode="thread_local",  # other threads may use the device meanwhile, ...
        )
        with _RECORDING, recording:  # ... but not record: torch can do one at a time in a process
            self._answers = work(self._windows)

    def __call__(self, windows: Tensor) -> Tensor:
        self._windows.copy_(windows)
        self._graph.replay()
        return self._answers


def _outputs(done: torch.cuda.Event, answers: Tensor) -> Outputs:
    done.synchronize()
    table = answers.numpy()
    return Outputs(table[:, 0], table[:, 1], table[:, 2:])
