"""Scores of cached clips while a model is in the making."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ..checkpoint import CheckpointHeader
from ..datasets.cache import AudioCache
from ..datasets.clip import Clip
from ..evaluation.metrics import eer, page_macro_eer
from ..model import Network
from ..scoring import Scorer
from ..windows import window_starts

_CHUNK = 64


def as_float(samples: np.ndarray) -> np.ndarray:
    """Scale 16-bit samples to [-1, 1), float32."""
    scaled: np.ndarray = samples.astype(np.float32) / 32768.0
    return scaled


def score_cached(
    network: Network, header: CheckpointHeader, cache: AudioCache, indices: np.ndarray
) -> np.ndarray:
    """Score cached clips as the detector would; NaN where it would be inconclusive.

    Returns
    -------
    np.ndarray, float64, shape (len(indices),)
        Log-likelihood ratios under the header's calibration, high = synthetic.
    """
    # In fp32: what is fitted to these scores must not depend on the machine.
    scorer = Scorer(network, header, next(network.parameters()).device, precision="fp32")
    scores: list[float] = []
    for first in range(0, len(indices), _CHUNK):
        chunk = [as_float(cache[i])[None] for i in indices[first : first + _CHUNK]]
        found = scorer.score(chunk)
        scores += [np.nan if s.llr is None or s.reason is not None else s.llr for s in found]
    return np.array(scores)


@torch.inference_mode()
def speech_probabilities(
    network: Network, header: CheckpointHeader, recordings: Iterable[np.ndarray]
) -> np.ndarray:
    """Probability of speech in the first window of each int16 recording that is long enough.

    Returns
    -------
    np.ndarray, float64, shape (recordings,)
        Grouped by the length of the window, so in no particular order.
    """
    device = next(network.parameters()).device
    by_length: dict[int, list[np.ndarray]] = {}
    for samples in recordings:
        length, starts = window_starts(len(samples), header.windows)
        if len(starts):
            by_length.setdefault(length, []).append(samples[:length])
    probabilities = [np.zeros(0)]
    for windows in by_length.values():
        for first in range(0, len(windows), _CHUNK):
            batch = torch.from_numpy(as_float(np.stack(windows[first : first + _CHUNK])))
            probabilities.append(network(batch.to(device)).speech.double().sigmoid().cpu().numpy())
    return np.concatenate(probabilities)


def dev_figures(clips: Sequence[Clip], scores: np.ndarray) -> dict[str, float]:
    """Return pooled and page-macro EER (fractions) of scored clips, codec family left out."""
    core = np.array([clip.family != "codec" for clip in clips], dtype=bool)
    usable = np.flatnonzero(np.isfinite(scores) & core)
    scored = [clips[i] for i in usable.tolist()]
    bonafide = np.array([not clip.is_synthetic for clip in scored])
    high_bonafide = -scores[usable]
    macro, _ = page_macro_eer(high_bonafide, bonafide, [clip.source for clip in scored])
    pooled = eer(high_bonafide[bonafide], high_bonafide[~bonafide]).value
    return {"pooled_eer": pooled, "page_macro_eer": macro}
