"""Attacks by someone who has the model: how little has to change for synthetic speech to pass.

Only synthetic clips are attacked; genuine ones are heard as they are. Gradients go through front
end and network in float32, whatever the detector itself computes in, and what they change is
rounded to 16 bits before it is judged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from ..audio import decode
from ..augment.channel import EQ_KNOTS_HZ
from ..augment.signals import filtered, transform_length
from ..config import SAMPLE_RATE_HZ
from ..datasets.cache import to_int16
from ..datasets.clip import Clip
from ..datasets.manifest import iter_audio
from ..errors import AudioError, ConfigError
from ..model import Network
from ..scoring import Scorer
from ..windows import window_starts

PGD_STEPS = 15
FILTER_CLIPS = 24
"""Synthetic clips, spread over the data, that the filter for all is fitted to."""

_FILTER_STEPS = 25
_FILTER_BATCH = 4
_FILTER_RATE = 0.3

Attack = Callable[[np.ndarray, int], np.ndarray]


class Attacks:
    """Makes the attacks on one detector.

    Parameters
    ----------
    scorer : Scorer
        Of the detector.
    clips : sequence of Clip
        A universal filter is fitted to some of the synthetic ones.

    Raises
    ------
    ConfigError
        If the network is an exported one, which has no gradient.
    """

    def __init__(self, scorer: Scorer, clips: Sequence[Clip]) -> None:
        if not isinstance(scorer.network, Network):
            raise ConfigError(
                "attacks need a gradient, which an exported model does not have",
                name=scorer.header.name,
                hint="give the .safetensors checkpoint",
            )
        # The fused copy on purpose: it is what will judge.
        self._network = copy.deepcopy(scorer.network).float().requires_grad_(False)
        self._device = torch.device(scorer.device)
        self._windows = scorer.header.windows
        synthetic = [clip for clip in clips if clip.is_synthetic]
        self._fitted_to = synthetic[:: max(len(synthetic) // FILTER_CLIPS, 1)]
        self._lock = Lock()
        self._filter_db = cache(self._fit_filter)

    def __call__(self, kind: str, strength_db: float) -> Attack:
        """Return an attack: ``fgsm`` or ``pgd`` at an SNR, or a ``filter`` with a largest gain."""
        work = {"fgsm": self.fgsm, "pgd": self.pgd, "filter": self.universal_filter}[kind]

        def attack(samples: np.ndarray, seed: int) -> np.ndarray:
            waveform = torch.from_numpy(samples.astype(np.float32) / 32768.0).to(self._device)
            if not window_starts(len(samples), self._windows)[0] or not samples.any():
                return samples  # too short to be judged
            with torch.inference_mode(False):
                attacked: np.ndarray = to_int16(work(waveform, strength_db).cpu().numpy())
                return attacked

        return attack

    def logit(self, waveform: Tensor) -> Tensor:
        """Mean logit over the windows of a clip, high = synthetic; waveform (samples,)."""
        length, starts = window_starts(len(waveform), self._windows)
        # Slices, as the gradient of a strided view would have a row for every sample.
        windows = torch.stack([waveform[start : start + length] for start in starts.tolist()])
        output = self._network(windows)
        mean: Tensor = output.logit.mean()
        return mean

    def _gradient(self, waveform: Tensor) -> Tensor:
        leaf = waveform.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            gradient: Tensor = torch.autograd.grad(self.logit(leaf), leaf)[0]
        return gradient

    def fgsm(self, waveform: Tensor, snr_db: float) -> Tensor:
        """One step along the sign of the gradient (Goodfellow et al., 1412.6572).

        Parameters
        ----------
        waveform : Tensor, shape (samples,)
            The clip.
        snr_db : float
            Power of the clip over that of the change, decibels, at least.
        """
        size = _rms(waveform) * 10.0 ** (-snr_db / 20.0)
        attacked: Tensor = waveform - size * self._gradient(waveform).sign()
        return attacked

    def pgd(self, waveform: Tensor, snr_db: float) -> Tensor:
        """Several steps along the gradient within a ball (Madry et al., 1706.06083).

        The ball is one of energy, because an SNR is what listeners notice. Parameters as for
        :meth:`fgsm`.
        """
        radius = _rms(waveform) * 10.0 ** (-snr_db / 20.0) * len(waveform) ** 0.5
        change = torch.zeros_like(waveform)
        for _ in range(PGD_STEPS):
            gradient = self._gradient(waveform + change)
            change = change - 2.5 * radius / PGD_STEPS * gradient / gradient.norm().clamp_min(1e-20)
            change = change * (radius / change.norm().clamp_min(1e-20)).clamp_max(1.0)
        return waveform + change

    def universal_filter(self, waveform: Tensor, limit_db: float) -> Tensor:
        """Apply the one equaliser that lets most clips pass; ``limit_db`` is its largest gain."""
        with self._lock:
            knots_db = self._filter_db(limit_db)
        return _equalized(waveform, knots_db)

    def _fit_filter(self, limit_db: float) -> Tensor:
        """Fit the equaliser by gradient; decibels at the knots, within the limit."""
        recordings = [torch.from_numpy(x).to(self._device) for x in _decoded(self._fitted_to)]
        recordings = [x for x in recordings if window_starts(len(x), self._windows)[0]]
        free = torch.zeros(len(EQ_KNOTS_HZ), device=self._device, requires_grad=True)
        optimizer = torch.optim.Adam([free], lr=_FILTER_RATE)
        for step in range(_FILTER_STEPS if recordings else 0):
            optimizer.zero_grad()
            for number in range(_FILTER_BATCH):
                waveform = recordings[(_FILTER_BATCH * step + number) % len(recordings)]
                with torch.enable_grad():
                    self.logit(_equalized(waveform, limit_db * torch.tanh(free))).backward()
            optimizer.step()
        return limit_db * torch.tanh(free.detach())


def _rms(waveform: Tensor) -> Tensor:
    return waveform.square().mean().sqrt()


def _equalized(waveform: Tensor, knots_db: Tensor) -> Tensor:
    """Filter (samples,) with gains that lie on lines between the knots over log frequency."""
    n_fft = transform_length(len(waveform))
    bins_hz = np.maximum(np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE_HZ), 1.0)
    share = [np.interp(np.log(bins_hz), np.log(EQ_KNOTS_HZ), row) for row in np.eye(len(knots_db))]
    gain_db = knots_db @ torch.from_numpy(np.stack(share)).to(knots_db)  # (bins,)
    return filtered(waveform[None], 10.0 ** (gain_db[None] / 20.0))[0]


def _decoded(clips: Sequence[Clip]) -> Iterator[np.ndarray]:
    for index, source in islice(iter_audio(clips), FILTER_CLIPS):
        try:
            yield decode(source, name=clips[index].id).samples[0]
        except AudioError:
            continue  # the detector will name it
