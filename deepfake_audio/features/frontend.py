"""From a :class:`~deepfake_audio.config.FrontendConfig` to the module that feeds the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import SAMPLE_RATE_HZ, FrontendConfig
from . import cepstral, phase, spectral
from .long_term import long_term_phase, long_term_spectrum

_LEVEL_RMS = 0.05  # -26 dBFS, the level speech is normalised to in telephony (ITU-T P.56)
_POWER_FLOOR = 1e-3  # about 60 dB under the loud bands of speech at that level (frames of 400)
_BIN_FLOOR = 1e-6  # for single bins of long frames: below the noise of 16-bit samples
_LOG_SCALE = 4.0  # brings log energies to unit range; the network's input norm does the rest

_SCALES = {
    "log_linear": "linear",
    "lfcc": "linear",
    "log_mel": "mel",
    "mfcc": "mel",
    "constant_q": "octave",
}
_BANKS = {
    "linear": spectral.linear_filterbank,
    "mel": spectral.mel_filterbank,
    "octave": spectral.octave_filterbank,
}


class Bands(NamedTuple):
    """What a filterbank hears in a batch of windows; each plane is (batch, bands, frames).

    Attributes
    ----------
    values : Tensor
        Logarithms of energies, scaled. Of kind ``long_term``, those of single bins as they are; of
        kind ``long_term_phase``, its spectrum: (batch, 1, bins).
    cues : sequence of Tensor
        Group delay and phase deviation; none without phase.
    """

    values: Tensor
    cues: Sequence[Tensor]


class Spectra:
    """Short-time spectra of a batch of windows, for front ends that may share them.

    Of front ends with one transform, window and level, one whose hop is a multiple of another's
    takes some of its frames. Level and padding are made once for all of them, and kept meanwhile.

    Parameters
    ----------
    waveform : Tensor, shape (batch, samples)
    configs : sequence of FrontendConfig
        Who will ask; others may not.
    """

    def __init__(self, waveform: Tensor, configs: Sequence[FrontendConfig]) -> None:
        self._waveform = waveform
        self._hops: dict[tuple[int, int, bool], set[int]] = {}
        self._pad = 0  # samples at each end, enough for all of them
        for config in configs:
            if config.phase:
                continue  # it needs two transforms, and makes them itself
            self._hops.setdefault(self._key(config), set()).add(config.hop_length)
            self._pad = max(self._pad, config.n_fft // 2)
        self._padded: dict[bool, Tensor] = {}  # the windows: as they are, and at speech level
        self._made: dict[tuple[int, int, bool, int], spectral.Planes] = {}

    @staticmethod
    def _key(config: FrontendConfig) -> tuple[int, int, bool]:
        return config.n_fft, config.win_length, config.normalize == "level"

    def of(self, config: FrontendConfig) -> spectral.Planes:
        """Return the spectrum (batch, bins, frames) that a front end hears."""
        key = self._key(config)
        hops = self._hops[key]
        hop = min(hop for hop in hops if config.hop_length % hop == 0)
        made = self._made.get((*key, hop)) or self._make(config, hop)
        if len(hops) > 1:  # others are made once, and their memory is wanted
            self._made[*key, hop] = made
        stride = config.hop_length // hop
        return made if stride == 1 else made.part(slice(None), slice(None, None, stride))

    def _make(self, config: FrontendConfig, hop: int) -> spectral.Planes:
        levelled = config.normalize == "level"
        if levelled not in self._padded:
            heard = at_speech_level(self._waveform) if levelled else self._waveform
            self._padded[levelled] = F.pad(heard, (self._pad, self._pad))
        padded = self._padded[levelled]
        spare = self._pad - config.n_fft // 2
        spectrum = spectral.stft(
            padded[:, spare : -spare or None],
            n_fft=config.n_fft,
            win_length=config.win_length,
            hop_length=hop,
            padded=True,
        )
        return spectral.Planes(spectrum.real, spectrum.imag)


def at_speech_level(waveform: Tensor) -> Tensor:
    """Scale each window (batch, samples) to the level of speech in telephony."""
    rms = waveform.square().mean(-1, keepdim=True).sqrt()
    return waveform * (_LEVEL_RMS / rms.clamp_min(1e-5))


class Frontend(nn.Module):
    """Waveform windows to feature maps.

    Parameters
    ----------
    config : FrontendConfig
        What to compute.
    """

    bank: Tensor
    dct: Tensor

    def __init__(self, config: FrontendConfig) -> None:
        super().__init__()
        self.config = config
        if config.is_long_term:
            return  # it hears the bins themselves
        scale = _SCALES[config.kind]
        bank = _BANKS[scale](config.n_bands, config.n_fft, SAMPLE_RATE_HZ)
        if scale == "mel":  # unit sum instead of unit area, so that one power floor fits all
            bank = bank / bank.sum(1, keepdim=True).clamp_min(1e-12)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer(
            "dct", cepstral.dct_matrix(config.n_rows, config.n_bands), persistent=False
        )

    @property
    def bands_key(self) -> tuple[object, ...]:
        """Front ends with the same key have the same :meth:`bands`, which they may share."""
        config = self.config
        scale = _SCALES.get(config.kind, config.kind)
        sizes = (config.n_fft, config.win_length, config.hop_length, config.n_bands)
        return scale, *sizes, config.normalize, config.phase

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features of a batch of windows of one length.

        Parameters
        ----------
        waveform : Tensor, shape (batch, samples)
            16 kHz, nominally in [-1, 1].

        Returns
        -------
        Tensor, shape (batch, config.n_channels, config.n_rows, 1 + samples // hop_length)
            One frame only for ``long_term`` and ``long_term_phase``.
        """
        return self.features(self.bands(waveform))

    def bands(self, waveform: Tensor, spectra: Spectra | None = None) -> Bands:
        """Compute what cepstra and derivatives are made of, from windows (batch, samples).

        With ``spectra`` of the same windows, transforms that others made are not made again.
        """
        config = self.config
        if config.phase:
            return self._with_phase(waveform)
        spectrum = (spectra or Spectra(waveform, [config])).of(config)
        if config.is_long_term:
            spectrum = spectrum.part(slice(1, None))
        if config.kind == "long_term_phase":
            return Bands(long_term_phase(spectrum), ())
        power = spectral.power_spectrum(spectrum)
        if config.kind == "long_term":
            return Bands(torch.log(power + _BIN_FLOOR), ())
        return Bands(self._energies(power), ())

    def _with_phase(self, waveform: Tensor) -> Bands:
        config = self.config
        spectrum, weighted = phase.stft_pair(
            at_speech_level(waveform) if config.normalize == "level" else waveform,
            n_fft=config.n_fft,
            win_length=config.win_length,
            hop_length=config.hop_length,
        )
        power = spectral.power_spectrum(spectrum)
        return Bands(self._energies(power), self._phase_cues(spectrum, weighted, power))

    def _energies(self, power: Tensor) -> Tensor:
        """Logarithms of the bands, scaled."""
        energies = spectral.log_filterbank_energies(power, self.bank, _POWER_FLOOR) / _LOG_SCALE
        if self.config.normalize == "mean":
            energies = energies - energies.mean(-1, keepdim=True)
        return energies

    def features(self, bands: Bands) -> Tensor:
        """Compute the features from what :meth:`bands` gives; shapes as for :meth:`forward`."""
        if self.config.kind == "long_term_phase":
            return bands.values.unsqueeze(-1)
        if self.config.kind == "long_term":
            return long_term_spectrum(bands.values, 1 / _LOG_SCALE).unsqueeze(-1)
        energies, cues = bands
        if self.config.kind in ("lfcc", "mfcc"):
            energies, *cues = (torch.matmul(self.dct, plane) for plane in (energies, *cues))
        planes = [energies]
        if self.config.deltas:
            width = self.config.delta_width
            planes += [cepstral.delta(energies, width=width, order=n) for n in (1, 2)]
        return torch.stack([*planes, *cues], 1)

    def _phase_cues(
        self, spectrum: Tensor, weighted: Tensor, power: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energy-weighted band means of group delay (frames) and phase deviation (radians)."""
        energy = torch.matmul(self.bank, power) + _POWER_FLOOR
        delay = torch.matmul(self.bank, phase.cross_power(spectrum, weighted)) / energy
        deviation = phase.phase_deviation(spectrum, self.config.hop_length)
        advance = torch.matmul(self.bank, deviation * power) / energy
        return delay / (self.config.win_length / 4), advance
