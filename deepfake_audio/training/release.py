"""From a trained network to one that may be asked: calibration, policies, figures, on dev only.

And what it knows: novelty is measured from clips of train, against clips of dev.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..augment.bank import SoundBank, nonspeech
from ..calibration import (
    Calibration,
    false_positive_rates_by_source,
    fit_calibration,
    fit_policies,
    probability,
)
from ..checkpoint import CheckpointHeader
from ..config import SAMPLE_RATE_HZ
from ..datasets.cache import AudioCache
from ..model import Network
from ..novelty import KnownSpeech, fit_known_speech, with_levels
from .scores import conclusions, dev_figures, first_windows, score_cached

_SPEECH_MISS = 0.01  # share of dev clips that the speech gate may lose; music lies just below
_N_NONSPEECH = 400
_N_KNOWN = 3000  # clips of train that stand for all of them


def calibrate(
    network: Network,
    header: CheckpointHeader,
    cache: AudioCache,
    dev: np.ndarray,
    held_out: SoundBank,
) -> CheckpointHeader:
    """Fit the speech gate, the calibration and the policies on dev.

    Parameters
    ----------
    network : Network
        Trained, in evaluation mode.
    header : CheckpointHeader
        With an identity calibration, so that scores are raw logits.
    cache, dev : AudioCache, np.ndarray
        The clips to fit on; not trained on.
    held_out : SoundBank
        Sounds kept from training, on which the speech gate is measured.

    Returns
    -------
    CheckpointHeader
        Complete, with the dev figures in ``metrics["dev"]``.
    """
    clips = [cache.clips[i] for i in dev]
    sources = np.array([clip.source for clip in clips])
    synthetic = np.array([clip.is_synthetic for clip in clips])
    pooled = np.array([clip.family != "codec" for clip in clips])
    gate, gate_figures = _speech_gate(network, header, cache, dev, held_out)
    gated = dataclasses.replace(header, calibration=Calibration(speech_threshold=gate))
    logits = score_cached(network, gated, cache, dev)
    usable = np.isfinite(logits) & pooled
    # As in training, a source weighs with the root of its size.
    _, group, sizes = np.unique(sources[usable], return_inverse=True, return_counts=True)
    fitted = fit_calibration(logits[usable], synthetic[usable], sizes[group] ** -0.5)
    calibration = dataclasses.replace(fitted, speech_threshold=gate)
    llr = calibration.llr(logits[usable])
    policies = fit_policies(llr, synthetic[usable], sources[usable], calibration.prior_synthetic)
    p_synthetic = probability(llr, calibration.prior_synthetic)
    by_source = {
        name: false_positive_rates_by_source(
            p_synthetic, synthetic[usable], sources[usable], policy.threshold
        )
        for name, policy in policies.items()
    }
    figures: dict[str, Any] = {
        **dev_figures(clips, logits),
        "clips": int(usable.sum()),
        "inconclusive": int(np.isnan(logits).sum()),
        "genuine_fpr_by_source": by_source,
        "speech_gate": gate_figures,
    }
    return dataclasses.replace(
        header,
        calibration=calibration,
        policies=policies,
        metrics={**header.metrics, "dev": figures},
    )


def fit_novelty(
    network: Network,
    header: CheckpointHeader,
    cache: AudioCache,
    train: np.ndarray,
    dev: np.ndarray,
) -> CheckpointHeader:
    """Fit what novelty is measured from; changes no score and no verdict.

    Parameters
    ----------
    network : Network
        Trained, in evaluation mode.
    header : CheckpointHeader
        As from :func:`calibrate`.
    cache : AudioCache
        Where the clips are.
    train, dev : np.ndarray
        Indices of clips that the network learned from, and of clips that it did not.

    Returns
    -------
    CheckpointHeader
        With ``known_speech``.
    """
    known = _known_speech(network, header, cache, train)
    measured = dataclasses.replace(header, known_speech=known)
    core = [i for i in dev if cache.clips[i].family != "codec"]
    heard = conclusions(network, measured, cache, np.array(core, dtype=np.int64))
    distances = [s.distance for s in heard if s.distance is not None and s.reason is None]
    return dataclasses.replace(header, known_speech=with_levels(known, distances))


def carry_over(
    network: Network,
    header: CheckpointHeader,
    cache: AudioCache,
    learned: np.ndarray,
    dev: np.ndarray,
    held_out: SoundBank,
) -> CheckpointHeader:
    """Take what was fitted on dev over to a network that learned from dev, too.

    Calibration, policies and figures stay: they are those of the same recipe on speech that it had
    not heard. So does how far is far; distances are in units of the spread of what is known. The
    speech gate and what is known belong to one network and are fitted anew.

    Parameters
    ----------
    network : Network
        Trained on ``learned``, in evaluation mode.
    header : CheckpointHeader
        As from :func:`calibrate` and :func:`fit_novelty`, with the network before it.
    cache : AudioCache
        Where the clips are.
    learned, dev : np.ndarray
        Indices of clips that the network learned from, and of those that the one before did not.
    held_out : SoundBank
        Sounds kept from training, on which the speech gate is measured.
    """
    gate, figures = _speech_gate(network, header, cache, dev, held_out)
    calibration = dataclasses.replace(header.calibration, speech_threshold=gate)
    metrics = {**header.metrics, "dev": {**header.metrics["dev"], "speech_gate": figures}}
    header = dataclasses.replace(header, calibration=calibration, metrics=metrics)
    assert header.known_speech is not None
    known = _known_speech(network, header, cache, learned)
    known = dataclasses.replace(known, levels=header.known_speech.levels)
    return dataclasses.replace(header, known_speech=known)


def _known_speech(
    network: Network, header: CheckpointHeader, cache: AudioCache, learned: np.ndarray
) -> KnownSpeech:
    """Fit a Gaussian to the embeddings of clips that were learned from."""
    some = learned[:: max(len(learned) // _N_KNOWN, 1)]  # evenly over the list, and so the sources
    found = first_windows(network, header, (cache[i] for i in some))
    spoken = found.speech >= header.calibration.speech_threshold
    sources = np.array([cache.clips[i].source for i in some[found.recording[spoken]]])
    _, group, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    return fit_known_speech(found.embedding[spoken], sizes[group] ** -0.5)


def _speech_gate(
    network: Network,
    header: CheckpointHeader,
    cache: AudioCache,
    dev: np.ndarray,
    held_out: SoundBank,
) -> tuple[float, dict[str, float]]:
    """Choose the speech threshold that next to no speech of dev falls under."""
    speech = first_windows(network, header, (cache[i] for i in dev)).speech
    rng = np.random.default_rng(0)
    other = first_windows(
        network,
        header,
        (nonspeech(held_out, 4 * SAMPLE_RATE_HZ, rng) for _ in range(_N_NONSPEECH)),
    ).speech
    threshold = float(np.clip(np.quantile(speech, _SPEECH_MISS), 0.02, 0.5))
    return threshold, {
        "threshold": threshold,
        "speech_lost": float((speech < threshold).mean()),
        "nonspeech_passed": float((other >= threshold).mean()),
    }
