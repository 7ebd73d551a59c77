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
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .batching import batch_sizes
from .calibration import probability
from .checkpoint import CheckpointHeader
from .config import SAMPLE_RATE_HZ
from .devices import Precision
from .errors import CheckpointError
from .inference import make_runner
from .onnx_network import OnnxNetwork
from .reduction import Evidence, Score, conclude, mean_where_any
from .windows import (
    BoolArray,
    FloatArray,
    IntArray,
    Layout,
    active_seconds,
    lay_out,
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

PREPARE_AFTER_WINDOWS = 256
"""From then on :meth:`Scorer.prepare` has saved about what it costs."""


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


class _Plan(NamedTuple):
    """One recording, (channels, samples), and its windows."""

    samples: FloatArray
    layout: Layout


class Scorer:
    """Scores recordings, many at a time.

    Parameters
    ----------
    network : Network or OnnxNetwork
        Of a torch network a copy is made for inference on ``device``.
    header : CheckpointHeader
        How to cut windows and how to read logits.
    device : str or torch.device, default "cpu"
        Where to compute; as for :func:`~deepfake_audio.devices.resolve_devices`.
    batch_windows : int, optional
        Most windows in a batch; the default suits the device.
    precision : {"auto", "fp32", "tf32", "bf16"}, default "auto"
        See :data:`deepfake_audio.devices.Precision`. In fp32 a recording scores the same to 1e-4
        whatever stands beside it; in bf16 to some thousandths. An exported network is in fp32.

    Raises
    ------
    ConfigError
        If the precision is unknown, or not one of the device's.
    DeviceError
        If there is no such device, or an exported network is to run on a GPU.

    Attributes
    ----------
    runner : Runner
        What runs the network.
    network, devices, precision, lanes
        As of the runner.
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
        self.header = header
        self.runner = make_runner(network, device, precision)
        self.network = self.runner.network
        self.precision = self.runner.precision
        self.devices = self.runner.devices
        self.lanes = self.runner.lanes
        self._heard = 0
        on_cpu = str(self.device) == "cpu"
        self.batch_windows = batch_windows or (CPU_BATCH_WINDOWS if on_cpu else CUDA_BATCH_WINDOWS)

    @property
    def device(self) -> torch.device | str:
        """The first of the devices, and mostly the only one."""
        return self.devices[0]

    def prepare(self) -> None:
        """Get ready for much work; done anyway after some hundred windows.

        On a CPU this takes half a second, once. From then on two threads score half as much again,
        and one a tenth; with a window at a time up to a half. Scores stay the same to the last bit.
        """
        self.runner.prepare()

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
        layouts = lay_out(recordings, self.header.windows)
        plans = list(map(_Plan, recordings, layouts))
        counts = np.array([np.count_nonzero(its.sounding) for its in layouts], dtype=np.int64)
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
        # Channel-major, as in the layout.
        where = [np.nonzero(plan.layout.sounding) for plan in plans]
        recording = np.repeat(np.arange(len(plans)), counts)
        channel = np.concatenate([channels for channels, _ in where])
        start = np.concatenate(
            [plan.layout.starts[windows] for plan, (_, windows) in zip(plans, where, strict=True)]
        )

        def fill(batch: FloatArray, chosen: IntArray) -> None:
            _gather(batch, plans, recording[chosen], channel[chosen], start[chosen])

        return self._batches(np.array([plan.layout.length for plan in plans])[recording], fill)

    def _batches(self, length: IntArray, fill: Callable[[FloatArray, IntArray], None]) -> Heard:
        """Run windows of the given lengths; ``fill`` copies some of one length into a batch."""
        self._heard += length.size
        if self._heard > PREPARE_AFTER_WINDOWS:
            self.prepare()
        parts = list(self._parts(length))

        def batches() -> Iterator[FloatArray]:
            memory = np.empty(0, dtype=np.float32)
            for rows in parts:
                samples = int(length[rows[0]])
                if memory.size < rows.size * samples:
                    memory = np.empty(rows.size * samples, dtype=np.float32)
                batch = memory[: rows.size * samples].reshape(rows.size, samples)
                fill(batch, rows)
                yield batch

        logits, speech = np.empty(length.size), np.empty(length.size)
        distance = np.full(length.size, np.nan)
        known = self.header.known_speech
        for rows, outputs in zip(parts, self.runner.run(batches()), strict=True):
            logits[rows], speech[rows], embedding = outputs
            if known:
                distance[rows] = known.distance(embedding)
        if not (np.isfinite(logits).all() and np.isfinite(speech).all()):
            raise CheckpointError(
                "the network gave a score that is not a finite number", name=self.header.name
            )
        calibration = self.header.calibration
        is_speech = probability(speech) >= calibration.speech_threshold
        return Heard(calibration.llr(logits), is_speech, distance)

    def _parts(self, length: IntArray) -> Iterator[IntArray]:
        """Share windows out to batches: give the places of those that go together."""
        for bucket in np.unique(length):
            rows = np.flatnonzero(length == bucket)
            for size in batch_sizes(rows.size, self.batch_windows):
                yield rows[:size]
                rows = rows[size:]


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
        samples = plans[recording[low]].samples
        if high == low + 1:  # as of most recordings: indexing by lists takes ten times as long
            begin = int(start[low])
            batch[low] = samples[channel[low], begin : begin + batch.shape[1]]
            continue
        windows = sliding(samples, batch.shape[1])
        batch[low:high] = windows[channel[low:high], start[low:high]]


def _evidence(plan: _Plan, rows: Heard) -> Evidence:
    """Put the sounding windows of one recording in their places."""
    length, starts, active, sounding = plan.layout
    llr, speech, distance = rows.placed(sounding)
    return Evidence(
        duration_s=plan.samples.shape[1] / SAMPLE_RATE_HZ,
        length=length,
        starts=starts,
        sounding=sounding,
        speech=speech,
        llr=llr,
        speech_s=active_seconds(active, starts, speech),
        distance=mean_where_any(np.where(speech, distance, 0).sum(axis=1), speech.sum(axis=1)),
    )
