"""The core: windows of many recordings through the network, and back to one score each.

Recordings become rows of ``(recording, channel, start)``; rows of one window length, whatever
recording and channel they come from, share batches of one shape; the logits go back to their
recordings as maps of channels by windows and are reduced there. What a recording scores depends
on nothing but itself: not on its neighbours, the batch size or the order (to rounding, which is
coarser in bf16).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np

from .checkpoint import CheckpointHeader
from .config import SAMPLE_RATE_HZ, WindowConfig
from .errors import CheckpointError, ConfigError, DeviceError
from .onnx_network import OnnxNetwork
from .report import Reason
from .windows import (
    BoolArray,
    FloatArray,
    IntArray,
    active_seconds,
    activity,
    frame_moments,
    in_windows,
    sliding,
    window_starts,
)

if TYPE_CHECKING:
    import torch

    from .model import Network

MIN_SPEECH_S = 1.0
"""A score on less audio or speech than this, in seconds, supports no conclusion."""

MIN_ACTIVE_SHARE = 0.125
"""Windows with a smaller share of active frames (half a second of a full window) are pauses; the
network is not asked."""

MIN_SPEECH_SHARE = 0.2
"""Channels where less of what sounds is speech are music, noise or tones, ..."""

PLAIN_SPEECH_S = 6.0
"""... unless there is this much speech, in seconds: music around it is no way to hide it."""

RUN_WINDOWS = 3
"""Neighbouring windows that together speak for a part of a recording."""

CPU_BATCH_WINDOWS = 16
"""Windows in a batch on a CPU: few enough for the feature maps to stay in its caches."""

CUDA_BATCH_WINDOWS = 256
"""Windows in a batch on a GPU."""

Precision = Literal["auto", "fp32", "bf16"]
"""What convolutions compute in: ``auto`` is bf16 where the device multiplies it natively."""

T = TypeVar("T")


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
class SegmentScores:
    """Scores of the speech windows of one recording, ordered by channel and time.

    Attributes
    ----------
    channel : ndarray of int, shape (segments,)
        From 0.
    start_s, end_s : ndarray, shape (segments,)
        Seconds from the start of the recording.
    llr : ndarray, shape (segments,)
        Log-likelihood ratio, high for synthetic.
    """

    channel: IntArray
    start_s: FloatArray
    end_s: FloatArray
    llr: FloatArray


@dataclass(frozen=True)
class Score:
    """What the network makes of one recording.

    Attributes
    ----------
    llr : float or None
        Mean log-likelihood ratio over the speech windows of the channel where it is highest.
        When no window counts as speech: over all windows that sound. None if there are none.
    reason : Reason or None
        Why the score supports no conclusion, if it does not.
    peak_llr : float or None
        Highest mean over RUN_WINDOWS neighbouring speech windows of any channel: what a part of the
        recording scores, however long the rest is. None if there are no so many.
    speech_s : float
        Seconds of active audio in speech windows, in the channel that has most.
    segments : SegmentScores
        The speech windows.
    elapsed_s : float
        Seconds spent, work shared with other recordings in proportion.
    distance : float or None
        Mean distance from known speech over the windows behind ``llr``, see
        :mod:`deepfake_audio.novelty`. None without speech, or if the model does not know.
    """

    llr: float | None
    peak_llr: float | None
    reason: Reason | None
    speech_s: float
    segments: SegmentScores
    elapsed_s: float
    distance: float | None = None


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


def is_sounding(active: BoolArray) -> BoolArray:
    """Tell windows worth a question to the network from pauses; drops the last axis, frames."""
    enough: BoolArray = active.sum(axis=-1) >= MIN_ACTIVE_SHARE * max(active.shape[-1], 1)
    return enough


@dataclass(frozen=True)
class Evidence:
    """What is known of the windows of one recording.

    Attributes
    ----------
    duration_s : float
        Length of the recording.
    length : int
        Samples in a window.
    starts : ndarray of int, shape (windows,)
        Their first samples.
    sounding, speech : ndarray of bool, shape (channels, windows)
        Which were heard by the network, and which it takes for speech.
    llr : ndarray, shape (channels, windows)
        Log-likelihood ratio of those that were heard.
    speech_s : ndarray, shape (channels,)
        Seconds of active audio in speech windows.
    distance : ndarray, shape (channels,)
        Mean distance of the speech windows from known speech; NaN without any.
    """

    duration_s: float
    length: int
    starts: IntArray
    sounding: BoolArray
    speech: BoolArray
    llr: FloatArray
    speech_s: FloatArray
    distance: FloatArray


class Scorer:
    """Scores recordings, many at a time.

    Parameters
    ----------
    network : Network or OnnxNetwork
        Of a torch network a copy is made for inference on ``device``.
    header : CheckpointHeader
        How to cut windows and how to read logits.
    device : str or torch.device, default "cpu"
        Where to compute; as for :func:`resolve_device`.
    batch_windows : int, optional
        Most windows in a batch; the default suits the device.
    precision : {"auto", "fp32", "bf16"}, default "auto"
        See :data:`Precision`. In fp32 a recording scores the same to 1e-4 whatever stands beside
        it; in bf16 to some thousandths. An exported network is in fp32.

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
        self.precision = _resolve_precision(precision, found)
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


def mean_where_any(total: FloatArray, count: IntArray) -> FloatArray:
    """Return ``total / count`` of each channel, NaN where ``count`` is 0."""
    mean: FloatArray = np.where(count > 0, total, np.nan) / np.maximum(count, 1)
    return mean


def conclude(evidence: Evidence, elapsed_s: float = 0.0) -> Score:
    """Reduce the windows of one recording to its score."""
    llr, speech, speech_s = evidence.llr, evidence.speech, evidence.speech_s
    heard, spoken = evidence.sounding.sum(axis=1), speech.sum(axis=1)  # (channels,)
    plain = (spoken >= MIN_SPEECH_SHARE * heard) | (speech_s >= PLAIN_SPEECH_S)
    has_speech = (spoken > 0) & plain

    reason = None
    if evidence.duration_s < MIN_SPEECH_S:
        reason = Reason.TOO_SHORT
    elif not has_speech.any():
        reason = Reason.NO_SPEECH
    elif speech_s[has_speech].max() < MIN_SPEECH_S:
        reason = Reason.TOO_SHORT

    # The suspicious channel decides; a channel with next to no speech only if there is no other.
    eligible = has_speech & (speech_s >= MIN_SPEECH_S)
    eligible = eligible if eligible.any() else has_speech if has_speech.any() else heard > 0
    chosen = speech if has_speech.any() else evidence.sounding
    mean = np.where(chosen, llr, 0).sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)
    deciding = int(np.where(eligible, mean, -np.inf).argmax()) if eligible.any() else None
    distance = evidence.distance[deciding] if deciding is not None else np.nan
    channel, window = np.nonzero(speech)
    start_s = evidence.starts[window] / SAMPLE_RATE_HZ
    return Score(
        llr=None if deciding is None else float(mean[deciding]),
        peak_llr=_peak(llr, speech),
        reason=reason,
        speech_s=float(speech_s.max(initial=0.0)),
        segments=SegmentScores(
            channel, start_s, start_s + evidence.length / SAMPLE_RATE_HZ, llr[channel, window]
        ),
        elapsed_s=elapsed_s,
        distance=float(distance) if np.isfinite(distance) else None,
    )


def _peak(llr: FloatArray, speech: BoolArray) -> float | None:
    """Return the highest mean of a run of speech windows; arguments (channels, windows)."""
    if llr.shape[1] < RUN_WINDOWS:
        return None
    means = np.lib.stride_tricks.sliding_window_view(llr, RUN_WINDOWS, axis=1).mean(-1)
    runs = np.lib.stride_tricks.sliding_window_view(speech, RUN_WINDOWS, axis=1).all(-1)
    return float(means[runs].max()) if runs.any() else None


def batch_sizes(count: int, largest: int) -> Iterator[int]:
    """Split ``count`` windows into batches of few different sizes.

    Kernels are built anew for each shape of a batch: full batches, then powers of two.
    """
    while count:
        size = largest if count >= largest else 1 << (count.bit_length() - 1)
        yield size
        count -= size


def in_groups(
    items: Iterable[T], weigh: Callable[[T], int], limit: int, *, first: int | None = None
) -> Iterator[list[T]]:
    """Collect a stream into lists of about equal weight, in order.

    Parameters
    ----------
    items : iterable
        The stream; taken no further than the current group needs.
    weigh : callable
        Weight of an item, at least zero; every item weighs at least one.
    limit : int
        A group is closed by the item that brings it to this weight.
    first : int, optional
        Weight of the first group, if smaller; each further one is twice the last, up to ``limit``.

    Yields
    ------
    list
        Never empty.
    """
    group: list[T] = []
    weight = 0
    enough = limit if first is None else min(first, limit)
    for item in items:
        group.append(item)
        weight += max(weigh(item), 1)
        if weight >= enough:
            yield group
            group, weight, enough = [], 0, min(2 * enough, limit)
    if group:
        yield group


def _resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
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
