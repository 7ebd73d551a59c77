"""Scores of cached clips while a model is in the making."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..checkpoint import CheckpointHeader
from ..datasets.cache import AudioCache
from ..datasets.clip import Clip
from ..evaluation.metrics import eer, page_macro_eer
from ..model import Network
from ..reduction import Score
from ..scoring import Scorer
from ..windows import window_starts

_CHUNK = 64


def as_float(samples: np.ndarray) -> np.ndarray:
    """Scale 16-bit samples to [-1, 1), float32."""
    scaled: np.ndarray = samples.astype(np.float32) / 32768.0
    return scaled


def conclusions(
    network: Network, header: CheckpointHeader, cache: AudioCache, indices: np.ndarray
) -> Iterator[Score]:
    """Score cached clips as the detector would, in order."""
    # In fp32: what is fitted to these scores must not depend on the machine.
    scorer = Scorer(network, header, next(network.parameters()).device, precision="fp32")
    for first in range(0, len(indices), _CHUNK):
        yield from scorer.score([as_float(cache[i])[None] for i in indices[first : first + _CHUNK]])


def score_cached(
    network: Network, header: CheckpointHeader, cache: AudioCache, indices: np.ndarray
) -> np.ndarray:
    """Score cached clips as the detector would; NaN where it would be inconclusive.

    Returns
    -------
    np.ndarray, float64, shape (len(indices),)
        Log-likelihood ratios under the header's calibration, high = synthetic.
    """
    found = conclusions(network, header, cache, indices)
    return np.array([np.nan if s.llr is None or s.reason is not None else s.llr for s in found])


class FirstWindows(NamedTuple):
    """What the network says of the first window of each recording that is long enough for one.

    Attributes
    ----------
    recording : np.ndarray, int64, shape (windows,)
        Which recording each is of; they come by length, so in no particular order.
    speech : np.ndarray, float64, shape (windows,)
        Probability of speech.
    embedding : np.ndarray, float32, shape (windows, embedding_dim)
    """

    recording: np.ndarray
    speech: np.ndarray
    embedding: np.ndarray


@torch.inference_mode()
def first_windows(
    network: Network, header: CheckpointHeader, recordings: Iterable[np.ndarray]
) -> FirstWindows:
    """Ask the network about the beginnings of int16 recordings, each shaped (samples,)."""
    device = next(network.parameters()).device
    by_length: dict[int, list[tuple[int, np.ndarray]]] = {}
    for index, samples in enumerate(recordings):
        length, starts = window_starts(len(samples), header.windows)
        if len(starts):
            by_length.setdefault(length, []).append((index, samples[:length]))
    order: list[int] = []
    speech, embeddings = [np.zeros(0)], []
    for windows in by_length.values():
        for first in range(0, len(windows), _CHUNK):
            indices, batch = zip(*windows[first : first + _CHUNK], strict=True)
            output = network(torch.from_numpy(as_float(np.stack(batch))).to(device))
            order += indices
            speech.append(output.speech.double().sigmoid().cpu().numpy())
            embeddings.append(output.embedding.float().cpu().numpy())
    dim = sum(branch.model.embedding_dim for branch in header.branches)
    return FirstWindows(
        np.array(order, dtype=np.int64),
        np.concatenate(speech),
        np.concatenate(embeddings) if embeddings else np.zeros((0, dim), dtype=np.float32),
    )


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
