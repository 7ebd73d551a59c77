"""Scores of cached clips while a model is in the making."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ..checkpoint import CheckpointHeader
from ..datasets.cache import AudioCache
from ..datasets.manifest import Clip
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
    """Score cached clips as the detector would; NaN where nothing could be scored.

    Returns
    -------
    np.ndarray, float64, shape (len(indices),)
        Log-likelihood ratios under the header's calibration, high = synthetic.
    """
    scorer = Scorer(network, header, next(network.parameters()).device)
    scores: list[float] = []
    for first in range(0, len(indices), _CHUNK):
        chunk = [as_float(cache[i])[None] for i in indices[first : first + _CHUNK]]
        scores += [np.nan if s.llr is None else s.llr for s in scorer.score(chunk)]
    return np.array(scores)


@torch.inference_mode()
def speech_probabilities(
    network: Network, header: CheckpointHeader, recordings: Iterable[np.ndarray]
) -> np.ndarray:
    """Probability of speech of the first window of each int16 recording; too short ones left out.

    Returns
    -------
    np.ndarray, float64, shape (recordings,)
    """
    device = next(network.parameters()).device
    probabilities: list[float] = []
    for samples in recordings:
        length, starts = window_starts(len(samples), header.windows)
        if len(starts):
            window = torch.from_numpy(as_float(samples[:length]))[None].to(device)
            probabilities.append(float(network(window).speech.sigmoid()))
    return np.array(probabilities)


def dev_figures(clips: Sequence[Clip], scores: np.ndarray) -> dict[str, float]:
    """Return pooled and page-macro EER (fractions) of scored clips, codec family left out."""
    usable = np.flatnonzero(np.isfinite(scores) & [clip.family != "codec" for clip in clips])
    bonafide = np.array([not clips[i].is_synthetic for i in usable])
    high_bonafide = -scores[usable]
    macro, _ = page_macro_eer(high_bonafide, bonafide, [clips[i].source for i in usable])
    pooled = eer(high_bonafide[bonafide], high_bonafide[~bonafide]).value
    return {"pooled_eer": pooled, "page_macro_eer": macro}
