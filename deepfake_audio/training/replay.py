"""What a model remembers of the speech it was made with: embeddings that keep it from forgetting.

No sound can be made of them again: a few dozen numbers a window, pooled over time.
"""

from __future__ import annotations

import numpy as np

from ..checkpoint import CheckpointHeader, Replay
from ..datasets.cache import AudioCache
from ..model import Network
from .scores import first_windows

N_KEPT = 1500
"""Windows kept of each of train and dev."""


def remember(
    network: Network,
    header: CheckpointHeader,
    cache: AudioCache,
    train: np.ndarray,
    dev: np.ndarray,
) -> Replay:
    """Collect embeddings of speech of train, to learn from again, and of dev, to measure on.

    Parameters
    ----------
    network : Network
        Trained, in evaluation mode.
    header : CheckpointHeader
        Calibrated.
    cache : AudioCache
        Where the clips are.
    train, dev : np.ndarray
        Indices of clips that the network learned from, and of clips that it did not; after a
        refit it learned from both, and what is measured on dev is better than the truth.
    """
    embeddings, synthetic, held_out = [], [], []
    for indices, is_held_out in ((train, False), (dev, True)):
        core = [i for i in indices.tolist() if cache.clips[i].family != "codec"]
        # Evenly over the list, and so over the sources.
        some = core[:: max(len(core) // N_KEPT, 1)][:N_KEPT]
        found = first_windows(network, header, (cache[i] for i in some))
        spoken = np.flatnonzero(found.speech >= header.calibration.speech_threshold)
        embeddings.append(found.embedding[spoken].astype(np.float16))
        labels = [cache.clips[some[found.recording[i]]].is_synthetic for i in spoken]
        synthetic.append(np.array(labels, dtype=np.bool_))
        held_out.append(np.full(spoken.size, is_held_out))
    return Replay(np.concatenate(embeddings), np.concatenate(synthetic), np.concatenate(held_out))
