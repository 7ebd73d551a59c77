"""A released model learns from a few clips of one's own, and forgets nothing.

Only the last layer moves: the embedding stays, and with it the speech gate, the attack families and
novelty. The new weights are those that explain the new clips best while they still explain the
embeddings that the model remembers of its own training (rehearsal, Robins, 1995), near the old
ones. How much the memory counts is raised until the equal error rate on remembered speech that
was held out stays where it was.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from ..checkpoint import WEIGHTS_NAME, Checkpoint, CheckpointHeader, Replay, save_checkpoint
from ..datasets.cache import AudioCache, open_cache
from ..datasets.manifest import load_manifest
from ..errors import CheckpointError, DatasetError
from ..evaluation.metrics import eer
from ..model import Body, Branch, Network
from ..windows import window_starts
from .scores import as_float

MAX_LOSS = 0.005
"""How far the equal error rate on remembered speech may rise: half a point."""

MIN_CLIPS = 10
"""Clips of each class below which there is nothing to learn from."""

_REHEARSAL = (1.0, 3.0, 10.0, 30.0, 100.0)  # weights of the memory beside the new clips
_RIDGE = 0.01  # pulls towards the old weights, in units of an embedding of variance one
_FOLDS = 5
_CHUNK = 32

Floats = NDArray[np.float64]
Say = Callable[[str], None]


@dataclass(frozen=True)
class _Head:
    """The last layer of a network as one linear map of its rectified embedding."""

    weight: Floats  # (dim,)
    bias: float

    @classmethod
    def of(cls, network: Network) -> _Head:
        shares = 1 / (network.spreads.double().numpy() * len(network.branches))
        heads = [_body(branch).heads for branch in network.branches]
        weight = [
            share * head.weight[0].detach().double().numpy()
            for share, head in zip(shares, heads, strict=True)
        ]
        bias = sum(s * float(h.bias[0].detach()) for s, h in zip(shares, heads, strict=True))
        return cls(np.concatenate(weight), bias)

    def logit(self, embedding: NDArray[Any]) -> Floats:
        """Return logits of embeddings shaped (windows, dim)."""
        logit: Floats = np.maximum(embedding, 0).astype(np.float64) @ self.weight + self.bias
        return logit

    def put_into(self, network: Network) -> Network:
        """Return a copy of a network with this last layer."""
        changed = copy.deepcopy(network)
        shares = 1 / (network.spreads.double().numpy() * len(network.branches))
        first = 0
        old = _Head.of(network)
        for share, branch in zip(shares, changed.branches, strict=True):
            head = _body(branch).heads
            last = first + head.in_features
            with torch.no_grad():
                head.weight[0] = torch.from_numpy(self.weight[first:last] / share)
                # Each branch takes its part of what the bias of all has moved by.
                head.bias[0] += (self.bias - old.bias) / (share * len(shares))
            first = last
        return changed


def _body(branch: torch.nn.Module) -> Body:
    assert isinstance(branch, Branch)
    assert isinstance(branch.body, Body)
    return branch.body


@dataclass(frozen=True)
class _Windows:
    """Windows of labelled clips: embeddings (windows, dim), labels, and which clip each is of."""

    embedding: NDArray[np.float32]
    synthetic: NDArray[np.bool_]
    clip: NDArray[np.int64]

    def of_clips(self, clips: NDArray[np.int64]) -> _Windows:
        """Return the windows of some clips."""
        chosen = np.isin(self.clip, clips)
        return _Windows(self.embedding[chosen], self.synthetic[chosen], self.clip[chosen])


def finetune(
    checkpoint: Checkpoint,
    data: Sequence[str | Path],
    out: str | Path,
    *,
    cache: str | Path | None = None,
    say: Say = print,
) -> Path:
    """Adapt a model to clips of one's own; seconds on a CPU.

    Parameters
    ----------
    checkpoint : Checkpoint
        A model that remembers what it was made with.
    data : sequence of path
        Labelled clips, see :func:`deepfake_audio.datasets.load_manifest`; those of split ``test``
        are left out.
    out : path
        Folder for ``model.safetensors``.
    cache : path, optional
        Folder for decoded clips; inside the output folder by default.
    say : callable
        Told in one line what is being done.

    Returns
    -------
    Path
        The checkpoint. Its ``metrics["finetune"]`` has the equal error rates before and after, on
        remembered speech and, by cross-validation, on the new clips.

    Raises
    ------
    CheckpointError
        If the model remembers nothing, or its last layer is no linear one.
    DatasetError
        If there are fewer than ten clips of a class.
    """
    header = checkpoint.header
    if any(branch.model.head != "linear" for branch in header.branches):
        raise CheckpointError(
            "has a cosine head, and only linear ones can be fitted anew",
            name=header.name,
            hint="fine-tune a model with linear heads",
        )
    if checkpoint.replay is None:
        raise CheckpointError(
            "remembers nothing of its training, so that it would forget",
            name=header.name,
            hint="use a model of version 1.3.0 or later, or one that `train` has made",
        )
    network = checkpoint.torch_network
    out = Path(out)
    clips = [clip for clip in load_manifest(data) if clip.split != "test"]
    say(f"decoding {len(clips)} clips")
    decoded, failures = open_cache(clips, Path(cache or out / "cache"))
    for failure in failures:
        say(f"left out: {failure}")
    new = _embed(network, header, decoded)
    _require_both(new)
    old = _Head.of(network)
    if header.training.get("refit"):
        say("it learned from the speech it is measured on, too: those figures promise too much")
    say(f"learning from {len(np.unique(new.clip))} clips")
    head, rehearsal = _adapt(old, new, checkpoint.replay, header)
    figures = _figures(old, head, rehearsal, new, checkpoint.replay, header)
    say(
        "equal error rate on remembered speech {old_before:.1%} -> {old_after:.1%}, on the new "
        "clips {new_before:.1%} -> {new_after:.1%} (cross-validated)".format(**figures)
    )
    changed = dataclasses.replace(
        header,
        version=f"{header.version}+finetuned",
        training={**header.training, "finetuned_from": checkpoint.sha256},
        metrics={**header.metrics, "finetune": figures},
    )
    path = out / WEIGHTS_NAME
    save_checkpoint(path, head.put_into(network), changed, checkpoint.replay)
    return path


@torch.inference_mode()
def _embed(network: Network, header: CheckpointHeader, cache: AudioCache) -> _Windows:
    """Ask the network about all windows of speech of all clips."""
    by_length: dict[int, list[tuple[int, np.ndarray]]] = {}
    for index in range(len(cache.clips)):
        samples = cache[index]
        length, starts = window_starts(len(samples), header.windows)
        for start in starts:
            by_length.setdefault(length, []).append((index, samples[start : start + length]))
    dim = sum(branch.model.embedding_dim for branch in header.branches)
    embeddings, owners = [np.zeros((0, dim), dtype=np.float32)], [np.zeros(0, dtype=np.int64)]
    for windows in by_length.values():
        for first in range(0, len(windows), _CHUNK):
            indices, batch = zip(*windows[first : first + _CHUNK], strict=True)
            output = network(torch.from_numpy(as_float(np.stack(batch))))
            speech = output.speech.double().sigmoid().numpy()
            spoken = speech >= header.calibration.speech_threshold
            embeddings.append(output.embedding.float().numpy()[spoken])
            owners.append(np.array(indices, dtype=np.int64)[spoken])
    clip = np.concatenate(owners)
    labels = np.array([c.is_synthetic for c in cache.clips], dtype=np.bool_)
    return _Windows(np.concatenate(embeddings), labels[clip], clip)


def _require_both(new: _Windows) -> None:
    for name, chosen in (("synthetic", new.synthetic), ("genuine", ~new.synthetic)):
        count = len(np.unique(new.clip[chosen]))
        if count < MIN_CLIPS:
            raise DatasetError(
                f"{count} {name} clips with speech",
                hint=f"give at least {MIN_CLIPS} of each class, of several speakers",
            )


def _adapt(
    old: _Head, new: _Windows, replay: Replay, header: CheckpointHeader
) -> tuple[_Head, float]:
    """Fit the last layer; returns it, and the weight of the memory that it took."""
    before = _eer(old, replay)
    for rehearsal in _REHEARSAL:
        head = _fit(old, new, replay, header, rehearsal)
        if _eer(head, replay) <= before + MAX_LOSS:
            return head, rehearsal
    return old, float("inf")  # nothing can be learned that would not cost what is known


def _fit(
    old: _Head, new: _Windows, replay: Replay, header: CheckpointHeader, rehearsal: float
) -> _Head:
    """Fit a last layer near the old one to new clips and to the memory of training."""
    known = ~replay.held_out
    memory = replay.embedding[known].astype(np.float32)
    embedding = np.maximum(np.concatenate([new.embedding, memory]), 0).astype(np.float64)
    synthetic = np.concatenate([new.synthetic, replay.synthetic[known]])
    weight = np.concatenate(
        [_weights(new.synthetic, new.clip), rehearsal * _weights(replay.synthetic[known])]
    )
    calibration = header.calibration
    base = np.concatenate([old.logit(new.embedding), old.logit(memory)])
    # In units in which the remembered embedding has variance one, each direction is as dear.
    unit = np.maximum(memory, 0).std(axis=0).astype(np.float64) + 1e-3
    inputs = embedding / unit
    sign = np.where(synthetic, 1.0, -1.0)

    def objective(moved: Floats) -> tuple[float, Floats]:
        logit = base + inputs @ moved[:-1] + moved[-1]
        margin = sign * (calibration.scale * logit + calibration.offset)
        loss = weight @ np.logaddexp(0, -margin) + _RIDGE * moved[:-1] @ moved[:-1]
        slope = -weight * sign * calibration.scale / (1 + np.exp(np.minimum(margin, 500)))
        gradient = np.append(inputs.T @ slope + 2 * _RIDGE * moved[:-1], slope.sum())
        return float(loss), gradient

    moved = minimize(objective, np.zeros(unit.size + 1), jac=True, method="L-BFGS-B").x
    return _Head(old.weight + moved[:-1] / unit, old.bias + float(moved[-1]))


def _weights(synthetic: NDArray[np.bool_], clip: NDArray[np.int64] | None = None) -> Floats:
    """Give both classes the same weight, and all clips of a class; all of them weigh one."""
    weight = np.ones(synthetic.size)
    if clip is not None:
        _, index, count = np.unique(clip, return_inverse=True, return_counts=True)
        weight = 1 / count[index]
    for label in (False, True):
        chosen = synthetic == label
        weight[chosen] /= 2 * max(weight[chosen].sum(), 1e-9)
    return weight


def _figures(
    old: _Head,
    head: _Head,
    rehearsal: float,
    new: _Windows,
    replay: Replay,
    header: CheckpointHeader,
) -> dict[str, float]:
    """Return equal error rates before and after; those on new clips by cross-validation."""
    clips = np.unique(new.clip)
    order = np.random.default_rng(0).permutation(clips)
    after = np.zeros(new.clip.size)
    for fold in range(_FOLDS):
        left_out = order[fold::_FOLDS]
        kept = new.of_clips(np.setdiff1d(clips, left_out))
        chosen = np.isin(new.clip, left_out)
        fitted = head
        if np.isfinite(rehearsal) and len(np.unique(kept.synthetic)) == 2:
            fitted = _fit(old, kept, replay, header, rehearsal)
        after[chosen] = fitted.logit(new.embedding[chosen])
    return {
        "clips": int(clips.size),
        "rehearsal": rehearsal if np.isfinite(rehearsal) else -1.0,
        "old_before": _eer(old, replay),
        "old_after": _eer(head, replay),
        "new_before": _clip_eer(old.logit(new.embedding), new),
        "new_after": _clip_eer(after, new),
    }


def _eer(head: _Head, replay: Replay) -> float:
    """Return the equal error rate on remembered speech that was not trained on."""
    chosen = replay.held_out
    score = -head.logit(replay.embedding[chosen].astype(np.float32))
    genuine = ~replay.synthetic[chosen]
    return float(eer(score[genuine], score[~genuine]).value)


def _clip_eer(logit: Floats, new: _Windows) -> float:
    """Return the equal error rate over clips, each the mean of its windows."""
    clips, index = np.unique(new.clip, return_inverse=True)
    score = -np.bincount(index, logit) / np.bincount(index)
    genuine = np.ones(clips.size, dtype=np.bool_)
    genuine[index[new.synthetic]] = False
    return float(eer(score[genuine], score[~genuine]).value)
