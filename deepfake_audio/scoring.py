"""The core: windows of many recordings through the network, and back to one score each.

Recordings become rows of ``(recording, channel, start)``; rows of one window length, whatever
recording and channel they come from, share batches of one shape; the logits go back to their
recordings as maps of channels by windows, for :mod:`deepfake_audio.reduction`. What a recording
scores depends on nothing but itself: not on its neighbours, the batch size or the order (to
rounding, which is coarser in bf16).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from .batching import batch_sizes
from .checkpoint import CheckpointHeader
from .config import SAMPLE_RATE_HZ, WindowConfig
from .devices import Precision, resolve_device, resolve_precision
from .errors import CheckpointError, ConfigError, DeviceError
from .onnx_network import OnnxNetwork
from .reduction import Evidence, Score, conclude, mean_where_any
from .windows import (
    BoolArray,
    FloatArray,
    IntArray,
    active_seconds,
    activity,
    frame_moments,
    in_windows,
    is_sounding,
    sliding,
    window_starts,
)

if TYPE_CHECKING:
    import torch

    from .model import Network

CPU_BATCH_WINDOWS = 16
"""Windows in a batch on a CPU: few enough for the feature maps to stay in its caches."""

CUDA_BATCH_WINDOWS = 256
"""Windows in a batch on a GPU."""


class Heard(NamedTuple):
    """What the network says about windows, one element each.

    Attributes
    ----------
    llr : ndarray
        Log-likelihood ratio, high for synthetic.
    speech : ndarray of bool
        Whether the network takes the window for speech.
    distance : ndarray
        How far it lies from known speech; NaN if the model does not know.
    """

    llr: FloatArray
    speech: BoolArray
    distance: FloatArray

    def part(self, start: int, stop: int) -> Heard:
        """Return some of the windows."""
        return Heard(self.llr[start:stop], self.speech[start:stop], self.distance[start:stop])

    def placed(self, where: BoolArray) -> Heard:
        """Put windows in the places of a mask of any shape, in order; 0 and False elsewhere."""
        llr, distance, speech = np.zeros(where.shape), np.zeros(where.shape), np.zeros_like(where)
        llr[where], speech[where], distance[where] = self
        return Heard(llr, speech, distance)


@dataclass(frozen=True)
class _Plan:
    """Where the windows of one recording lie, and which of them sound."""

    samples: FloatArray  # (channels, samples)
    length: int
    starts: IntArray  # (windows,)
    active: BoolArray  # (channels, windows, frames)
    sounding: BoolArray  # (channels, windows)

    @classmethod
    def of(cls, samples: FloatArray, config: WindowConfig) -> _Plan:
        length, starts = window_starts(samples.shape[1], config)
        active = activity(in_windows(frame_moments(samples), starts, length))
        return cls(samples, length, starts, active, is_sounding(active))


class Scorer:
    """Scores recordings, many at a time.

    Parameters
    ----------
    network : Network or OnnxNetwork
        Of a torch network a copy is made for inference on ``device``.
    header : CheckpointHeader
        How to cut windows and how to read logits.
    device : str or torch.device, default "cpu"
        Where to compute; as for :func:`~deepfake_audio.devices.resolve_device`.
    batch_windows : int, optional
        Most windows in a batch; the default suits the device.
    precision : {"auto", "fp32", "bf16"}, default "auto"
        See :data:`deepfake_audio.devices.Precision`. In fp32 a recording scores the same to 1e-4
        whatever stands beside it; in bf16 to some thousandths. An exported network is in fp32.

    Raises
    ------
    ConfigError
        If the precision is unknown.
    DeviceError
        If there is no such device, or an exported network is to run on a GPU.
    """

    def __init__(
        self,
        network: Network | OnnxNetwork,
        header: CheckpointHeader,
        device: torch.device | str = "cpu",
        *,
        batch_windows: int | None = None,
        precision: Precision = "auto",
    ) -> None:
        if precision not in get_args(Precision):
            raise ConfigError(
                f"unknown precision {precision!r}",
                hint=f"use one of {', '.join(get_args(Precision))}",
            )
        self.header = header
        self.precision: Literal["fp32", "bf16"] = "fp32"
        self.network: Network | OnnxNetwork = network
        self.device: torch.device | str = "cpu"
        if isinstance(network, OnnxNetwork):
            if str(device) not in ("auto", "cpu"):
                raise DeviceError(
                    "an exported model runs on the CPU", name=str(device), hint="use cpu or auto"
                )
            self.device_type = "cpu"
        else:
            self._use_torch(network, device, precision)
        cuda = self.device_type == "cuda"
        self.batch_windows = batch_windows or (CUDA_BATCH_WINDOWS if cuda else CPU_BATCH_WINDOWS)

    def _use_torch(
        self, network: Network, device: torch.device | str, precision: Precision
    ) -> None:
        import torch

        from .model import fused

        found = resolve_device(str(device))
        self.device, self.device_type = found, found.type
        self.precision = resolve_precision(precision, found)
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.network = fused(network, dtype).to(found)

    def n_windows(self, samples: FloatArray) -> int:
        """Return how many windows a recording of shape (channels, samples) gives."""
        _, starts = window_starts(samples.shape[1], self.header.windows)
        return int(samples.shape[0] * starts.size)

    def score(self, recordings: Sequence[FloatArray]) -> list[Score]:
        """Score recordings together.

        Parameters
        ----------
        recordings : sequence of ndarray, shape (channels, samples)
            float32 audio at 16 kHz; lengths and numbers of channels may differ.

        Returns
        -------
        list of Score
            One for each recording, in order.

        Raises
        ------
        CheckpointError
            If the network gives a score that is not a finite number.
        """
        began = time.perf_counter()
        plans = [_Plan.of(samples, self.header.windows) for samples in recordings]
        counts = np.array([np.count_nonzero(plan.sounding) for plan in plans], dtype=np.int64)
        stops = np.cumsum(counts)
        heard = self._run(plans, counts)
        # Nearly all time goes into windows; a recording without any still costs its plan.
        elapsed_s = (time.perf_counter() - began) * (counts + 1) / (counts.sum() + counts.size)
        return [
            conclude(_evidence(plan, heard.part(start, stop)), float(cost))
            for plan, start, stop, cost in zip(plans, stops - counts, stops, elapsed_s, strict=True)
        ]

    def hear(self, windows: Sequence[FloatArray]) -> Heard:
        """Score single windows, whatever they come from.

        Parameters
        ----------
        windows : sequence of ndarray of float32, shape (samples,)
            Lengths may differ; those of one length share batches.

        Returns
        -------
        Heard
            Each shaped (windows,).

        Raises
        ------
        CheckpointError
            If the network gives a score that is not a finite number.
        """

        def fill(batch: FloatArray, chosen: IntArray) -> None:
            for row, index in enumerate(chosen):
                batch[row] = windows[index]

        return self._batches(np.array([len(w) for w in windows], dtype=np.int64), fill)

    def _run(self, plans: Sequence[_Plan], counts: IntArray) -> Heard:
        """Return what there is to say about every sounding window, each shaped (rows,)."""
        if not counts.sum():
            return Heard(np.zeros(0), np.zeros(0, dtype=np.bool_), np.zeros(0))
        where = [np.nonzero(plan.sounding) for plan in plans]  # channel-major, as in the plan
        recording = np.repeat(np.arange(len(plans)), counts)
        channel = np.concatenate([channels for channels, _ in where])
        start = np.concatenate(
            [plan.starts[windows] for plan, (_, windows) in zip(plans, where, strict=True)]
        )

        def fill(batch: FloatArray, chosen: IntArray) -> None:
            _gather(batch, plans, recording[chosen], channel[chosen], start[chosen])

        return self._batches(np.array([plan.length for plan in plans])[recording], fill)

    def _batches(self, length: IntArray, fill: Callable[[FloatArray, IntArray], None]) -> Heard:
        """Run windows of the given lengths; ``fill`` copies some of one length into a batch."""
        logits = np.empty(length.size)
        speech = np.empty(length.size)
        distance = np.full(length.size, np.nan)
        known = self.header.known_speech
        for bucket in np.unique(length):
            rows = np.flatnonzero(length == bucket)
            batch = np.empty((min(self.batch_windows, rows.size), bucket), dtype=np.float32)
            for size in batch_sizes(rows.size, self.batch_windows):
                chosen, rows = rows[:size], rows[size:]
                fill(batch[:size], chosen)
                logits[chosen], speech[chosen], embedding = self._forward(batch[:size])
                if known:
                    distance[chosen] = known.distance(embedding)
        if not (np.isfinite(logits).all() and np.isfinite(speech).all()):
            raise CheckpointError(
                "the network gave a score that is not a finite number", name=self.header.name
            )
        calibration = self.header.calibration
        return Heard(calibration.llr(logits), speech >= calibration.speech_threshold, distance)

    def _forward(self, batch: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return logits, probabilities of speech and embeddings of windows (batch, samples)."""
        if isinstance(self.network, OnnxNetwork):
            logit, speech, embedding = self.network.run(batch)
            return logit, 1 / (1 + np.exp(-speech.astype(np.float64))), embedding
        import torch

        with torch.inference_mode():
            output = self.network(torch.from_numpy(batch).to(self.device))
        return (
            output.logit.double().cpu().numpy(),
            output.speech.double().sigmoid().cpu().numpy(),
            output.embedding.float().cpu().numpy(),
        )


def _gather(
    batch: FloatArray,
    plans: Sequence[_Plan],
    recording: IntArray,
    channel: IntArray,
    start: IntArray,
) -> None:
    """Copy windows into ``batch``, one indexing operation for each recording among them."""
    edges = np.flatnonzero(np.diff(recording, prepend=-1, append=-1))
    for low, high in itertools.pairwise(edges):
        windows = sliding(plans[recording[low]].samples, batch.shape[1])
        batch[low:high] = windows[channel[low:high], start[low:high]]


def _evidence(plan: _Plan, rows: Heard) -> Evidence:
    """Put the sounding windows of one recording in their places."""
    llr, speech, distance = rows.placed(plan.sounding)
    return Evidence(
        duration_s=plan.samples.shape[1] / SAMPLE_RATE_HZ,
        length=plan.length,
        starts=plan.starts,
        sounding=plan.sounding,
        speech=speech,
        llr=llr,
        speech_s=active_seconds(plan.active, plan.starts, speech),
        distance=mean_where_any(np.where(speech, distance, 0).sum(axis=1), speech.sum(axis=1)),
    )
