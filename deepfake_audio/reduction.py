"""What was heard in the windows of one recording, reduced to its score.

Maps of channels by windows in; out comes the mean over the speech windows of the channel that
decides, or the reason why there is none to trust.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .config import SAMPLE_RATE_HZ
from .report import Reason
from .windows import BoolArray, FloatArray, IntArray

MIN_SPEECH_S = 1.0
"""A score on less audio or speech than this, in seconds, supports no conclusion."""

MIN_SPEECH_SHARE = 0.2
"""Channels where less of what sounds is speech are music, noise or tones, ..."""

PLAIN_SPEECH_S = 6.0
"""... unless there is this much speech, in seconds: music around it is no way to hide it."""

RUN_WINDOWS = 3
"""Neighbouring windows that together speak for a part of a recording."""


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
