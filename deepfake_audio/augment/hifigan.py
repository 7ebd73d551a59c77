"""HiFi-GAN V3: a neural vocoder small enough to copy hours of speech on a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch
import soxr
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import SAMPLE_RATE_HZ
from ..errors import CheckpointError
from ..features.spectral import mel_filterbank

_LEAK = 0.1


class _Block(nn.Module):
    """Two dilated convolutions, each with a shortcut (HiFi-GAN's second residual form)."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) * d // 2, dilation=d)
            for d in dilations
        )

    def forward(self, signal: Tensor) -> Tensor:
        for conv in self.convs:
            signal = signal + conv(F.leaky_relu(signal, _LEAK))
        return signal


class HifiGan(nn.Module):
    """HiFi-GAN V3 generator (Kong et al., 2010.05646): log-mel at 22.05 kHz to a waveform.

    Tensor names follow the published layout with weight normalisation removed, so any generator
    of this shape stored as safetensors can be loaded.
    """

    sample_rate_hz = 22_050
    n_fft = 1024
    hop_length = 256
    n_bands = 80

    def __init__(self) -> None:
        super().__init__()
        self.conv_pre = nn.Conv1d(self.n_bands, 256, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for stage, (kernel, stride) in enumerate(((16, 8), (16, 8), (8, 4))):
            channels = 256 >> (stage + 1)
            padding = (kernel - stride) // 2
            self.ups.append(nn.ConvTranspose1d(2 * channels, channels, kernel, stride, padding))
            for size, dilations in ((3, (1, 2)), (5, (2, 6)), (7, (3, 12))):
                self.resblocks.append(_Block(channels, size, dilations))
        self.conv_post = nn.Conv1d(32, 1, 7, padding=3)

    @classmethod
    def load(cls, path: str | Path) -> HifiGan:
        """Read a generator from a safetensors file of any floating-point type."""
        network = cls()
        try:
            weights = safetensors.torch.load_file(path)
            network.load_state_dict({k: v.float() for k, v in weights.items()})
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                "is not a HiFi-GAN V3 generator", name=str(path), hint="check the file"
            ) from error
        return network.eval()

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map log-mel (batch, 80, frames) to samples (batch, 256 * frames)."""
        signal = self.conv_pre(log_mel)
        for stage, up in enumerate(self.ups):
            signal = up(F.leaky_relu(signal, _LEAK))
            blocks = self.resblocks[3 * stage : 3 * stage + 3]
            signal = torch.stack([block(signal) for block in blocks]).mean(0)
        return torch.tanh(self.conv_post(F.leaky_relu(signal)))[:, 0]

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Analyse samples (batch, samples) at 22.05 kHz as the generator was trained on."""
        margin = (self.n_fft - self.hop_length) // 2
        padded = F.pad(waveform[:, None], (margin, margin), mode="reflect")[:, 0]
        window = torch.hann_window(self.n_fft, dtype=waveform.dtype, device=waveform.device)
        frames = padded.unfold(-1, self.n_fft, self.hop_length) * window
        spectrum = torch.fft.rfft(frames).transpose(1, 2)  # (batch, bins, frames)
        magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
        bank = mel_filterbank(self.n_bands, self.n_fft, self.sample_rate_hz, max_hz=8_000.0)
        return torch.log(torch.matmul(bank.to(magnitude), magnitude).clamp_min(1e-5))

    @torch.inference_mode()
    def copy(self, samples: np.ndarray, pace: float = 1.0) -> np.ndarray:
        """Resynthesise a recording.

        Parameters
        ----------
        samples : ndarray of float32, shape (samples,)
            At 16 kHz, full scale 1.
        pace : float
            The generator hears the recording this much faster, and what it says is slowed down
            again: its traces then lie at other frequencies, as those of other vocoders do.

        Returns
        -------
        ndarray of float32, shape (samples,) or a little shorter
        """
        rate_hz = self.sample_rate_hz / pace
        resampled = soxr.resample(samples, SAMPLE_RATE_HZ, rate_hz)
        if len(resampled) < self.n_fft:
            return samples
        spoken = self(self.log_mel(torch.from_numpy(resampled)[None]))[0].numpy()
        copied: np.ndarray = soxr.resample(spoken, rate_hz, SAMPLE_RATE_HZ)
        return copied
