"""How far speech lies from all speech that a network is known to have learned from.

A detector answers whatever it is asked, also about what it has never heard the like of. Known
speech, genuine and synthetic together, is one Gaussian in the leading directions of the network's
embedding; how far a window lies from it is its Mahalanobis distance (Lee et al., 1807.03888, with
one class in place of several: on dev more classes, or centroids, told no more). What is reported
is not the distance but the share of calibration recordings that are less far.

It says that a recording is unlike what the network knows, and not that the verdict is wrong.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import CheckpointError, DatasetError

UNKNOWN_SOURCE = 0.99
"""Novelty from which a report warns of an ``unknown_source``: 1 in 100 calibration recordings."""

MAX_DIRECTIONS = 64
"""Directions of the embedding that are looked at; what little varies in the others is noise."""

VERSION = 1
"""Of the form in which these statistics are kept."""

_N_LEVELS = 201  # of the distances of calibration recordings: half a per cent apart
_FLOOR = 1e-6  # smallest variance of a direction beside the largest

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class KnownSpeech:
    """Where known speech lies, and how far from it calibration recordings are.

    Attributes
    ----------
    mean : ndarray of float32, shape (embedding_dim,)
        Of the embeddings of known windows.
    directions : ndarray of float32, shape (embedding_dim, directions)
        Each as long as makes known speech vary by one along it.
    levels : ndarray of float32, shape (levels,)
        Distances of calibration recordings, from the nearest to the farthest, at equal shares.

    Raises
    ------
    CheckpointError
        If the shapes do not fit together, a value is not finite, or ``levels`` falls.
    """

    mean: Floats
    directions: Floats
    levels: Floats

    def __post_init__(self) -> None:
        fits = self.mean.ndim == self.levels.ndim == 1 and self.levels.size > 1
        fits = fits and self.directions.shape[:1] == self.mean.shape and self.directions.ndim == 2
        values = (self.mean, self.directions, self.levels)
        if not (fits and all(np.isfinite(value).all() for value in values)):
            raise CheckpointError("the statistics of known speech are damaged", hint="fit them")
        if (np.diff(self.levels) < 0).any():
            raise CheckpointError("the levels of known speech do not rise", hint="fit them")

    def distance(self, embeddings: ArrayLike) -> NDArray[np.float64]:
        """Return Mahalanobis distances of embeddings, (windows, embedding_dim), per direction.

        Root mean square over the directions: about 1 for known speech.
        """
        along = (np.asarray(embeddings, dtype=np.float32) - self.mean) @ self.directions
        distance: NDArray[np.float64] = np.sqrt(np.square(along, dtype=np.float64).mean(axis=1))
        return distance

    def novelty(self, distance: float) -> float:
        """Return the share of calibration recordings that are less far, from 0 to 1."""
        shares = np.linspace(0, 1, self.levels.size)
        return float(np.interp(distance, self.levels, shares))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "version": VERSION,
            "embedding_dim": self.mean.size,
            **{name: _to_text(getattr(self, name)) for name in ("mean", "directions", "levels")},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KnownSpeech:
        """Build from plain JSON types; the reverse of :meth:`to_dict`.

        Raises
        ------
        CheckpointError
            If they are of another version, or damaged.
        """
        if values.get("version") != VERSION:
            raise CheckpointError(
                f"statistics of known speech of unknown version {values.get('version')!r}",
                hint="install a newer deepfake-audio",
            )
        dim = int(values["embedding_dim"])
        directions = _from_text(values["directions"])
        if dim < 1 or directions.size % dim:
            raise CheckpointError("the statistics of known speech are damaged", hint="fit them")
        mean, levels = _from_text(values["mean"]), _from_text(values["levels"])
        return cls(mean, directions.reshape(dim, -1), levels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KnownSpeech) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]


def _to_text(values: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _from_text(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)


def fit_known_speech(embeddings: ArrayLike, weights: ArrayLike | None = None) -> KnownSpeech:
    """Fit the Gaussian; its levels say nothing until :func:`with_levels` has measured them.

    Parameters
    ----------
    embeddings : array_like, shape (windows, embedding_dim)
        Of windows of known speech, genuine and synthetic.
    weights : array_like, shape (windows,), optional
        Relative weight of each window, for instance less for those of large sources.

    Raises
    ------
    DatasetError
        If there are fewer than two windows, or an embedding is not finite.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
        raise DatasetError(f"known speech needs two or more finite embeddings, not {x.shape}")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    mean = np.average(x, axis=0, weights=w)
    covariance = np.atleast_2d(np.cov(x, rowvar=False, aweights=w))
    variances, vectors = np.linalg.eigh(covariance)  # rising
    variances = np.maximum(variances, max(float(variances[-1]), 1e-12) * _FLOOR)
    kept = slice(-MAX_DIRECTIONS, None)
    directions = vectors[:, kept] / np.sqrt(variances[kept])
    return KnownSpeech(_float32(mean), _float32(directions), _float32([0, 1]))


def with_levels(known: KnownSpeech, distances: ArrayLike) -> KnownSpeech:
    """Take the distances of calibration recordings as the measure of novelty.

    Parameters
    ----------
    known : KnownSpeech
        What they were measured from.
    distances : array_like, shape (recordings,)
        Of recordings that it was not fitted on.

    Raises
    ------
    DatasetError
        If there are none, or one is not finite.
    """
    values = np.asarray(distances, dtype=np.float64)
    if not values.size or not np.isfinite(values).all():
        raise DatasetError("the levels of novelty need distances of calibration recordings")
    levels = np.quantile(values, np.linspace(0, 1, _N_LEVELS))
    return KnownSpeech(known.mean, known.directions, _float32(levels))


def _float32(values: ArrayLike) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float32)
