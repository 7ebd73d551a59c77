"""From a :class:`~deepfake_audio.config.FrontendConfig` to the module that feeds the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import SAMPLE_RATE_HZ, FrontendConfig
from . import cepstral, phase, spectral

_LEVEL_RMS = 0.05  # -26 dBFS, the level speech is normalised to in telephony (ITU-T P.56)
_POWER_FLOOR = 1e-3  # about 60 dB under the loud bands of speech at that level (frames of 400)
_LOG_SCALE = 4.0  # brings log energies to unit range; the network's input norm does the rest


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
        mel = config.kind in ("log_mel", "mfcc")
        make_bank = spectral.mel_filterbank if mel else spectral.linear_filterbank
        bank = make_bank(config.n_bands, config.n_fft, SAMPLE_RATE_HZ)
        if mel:  # unit sum instead of unit area, so that one power floor fits both scales
            bank = bank / bank.sum(1, keepdim=True).clamp_min(1e-12)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer(
            "dct", cepstral.dct_matrix(config.n_rows, config.n_bands), persistent=False
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features of a batch of windows of one length.

        Parameters
        ----------
        waveform : Tensor, shape (batch, samples)
            16 kHz, nominally in [-1, 1].

        Returns
        -------
        Tensor, shape (batch, config.n_channels, config.n_rows, 1 + samples // hop_length)
        """
        config = self.config
        if config.normalize == "level":
            rms = waveform.square().mean(-1, keepdim=True).sqrt()
            waveform = waveform * (_LEVEL_RMS / rms.clamp_min(1e-5))
        sizes = {
            "n_fft": config.n_fft,
            "win_length": config.win_length,
            "hop_length": config.hop_length,
        }
        if config.phase:
            spectrum, weighted = phase.stft_pair(waveform, **sizes)
        else:
            spectrum = spectral.stft(waveform, **sizes)
        power = spectral.power_spectrum(spectrum)
        rows = spectral.log_filterbank_energies(power, self.bank, _POWER_FLOOR) / _LOG_SCALE
        if config.normalize == "mean":
            rows = rows - rows.mean(-1, keepdim=True)
        if config.kind in ("lfcc", "mfcc"):
            rows = torch.matmul(self.dct, rows)
        planes = [rows]
        if config.deltas:
            planes += [cepstral.delta(rows, order=1), cepstral.delta(rows, order=2)]
        if config.phase:
            planes += self._phase_planes(spectrum, weighted, power)
        return torch.stack(planes, 1)

    def _phase_planes(self, spectrum: Tensor, weighted: Tensor, power: Tensor) -> list[Tensor]:
        """Energy-weighted band means of group delay (frames) and phase deviation (radians)."""
        energy = torch.matmul(self.bank, power) + _POWER_FLOOR
        delay = torch.matmul(self.bank, phase.cross_power(spectrum, weighted)) / energy
        deviation = phase.phase_deviation(spectrum, self.config.hop_length)
        advance = torch.matmul(self.bank, deviation * power) / energy
        planes = [delay / (self.config.win_length / 4), advance]
        if self.config.kind in ("lfcc", "mfcc"):
            planes = [torch.matmul(self.dct, plane) for plane in planes]
        return planes
