"""A neural vocoder of our own: it predicts a spectrum, and an inverse transform makes the samples.

Small enough to be trained in minutes on a CPU, see :mod:`deepfake_audio.training.vocoder`. Another
mel setting or another seed gives other traces.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._files import written_whole
from ..config import SAMPLE_RATE_HZ, Config
from ..errors import CheckpointError, ConfigError
from ..features.spectral import mel_filterbank, power_spectrum, stft

FORMAT = "deepfake_audio.istft_vocoder/1"


@dataclass(frozen=True)
class IstftVocoderConfig(Config):
    """What the vocoder hears, and its shape.

    Attributes
    ----------
    n_fft, hop_length : int
        Of the analysis and of the inverse transform, samples at 16 kHz.
    n_bands : int
        Mel bands; what they leave out, the network makes up.
    width, blocks : int
        Channels, and how many blocks of convolutions.
    """

    n_fft: int = 1024
    hop_length: int = 256
    n_bands: int = 80
    width: int = 128
    blocks: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            # The largest is far more than minutes can train; files may ask for anything.
            if not (isinstance(value, int) and 1 <= value <= 4_096):
                raise ConfigError("must lie in [1, 4096]", name=f"vocoder.{name}")
        if self.hop_length > self.n_fft // 4:  # with less the inverse transform has gaps at the end
            raise ConfigError(
                "frames must overlap by three quarters",
                name="vocoder.hop_length",
                hint=f"at most {self.n_fft // 4}",
            )
        if self.n_bands > self.n_fft // 4:
            raise ConfigError(
                "too many for the transform",
                name="vocoder.n_bands",
                hint=f"at most {self.n_fft // 4}, or a longer n_fft",
            )


class _Block(nn.Module):
    """A wide look along time, then a mix of channels, with a shortcut (ConvNeXt, 2201.03545)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.along_time = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 3 * width)
        self.narrow = nn.Linear(3 * width, width)

    def forward(self, frames: Tensor) -> Tensor:
        mixed = self.norm(self.along_time(frames).transpose(1, 2))
        change: Tensor = self.narrow(F.gelu(self.widen(mixed))).transpose(1, 2)
        return frames + change


class IstftVocoder(nn.Module):
    """Log-mel spectrogram to magnitude and phase, and to samples (after Vocos, 2306.00814).

    Parameters
    ----------
    config : IstftVocoderConfig
        What it hears, and its shape.
    """

    bank: Tensor
    window: Tensor

    def __init__(self, config: IstftVocoderConfig) -> None:
        super().__init__()
        self.config = config
        width, n_bins = config.width, config.n_fft // 2 + 1
        self.first = nn.Conv1d(config.n_bands, width, 7, padding=3)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(config.blocks)))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, 2 * n_bins)
        bank = mel_filterbank(config.n_bands, config.n_fft, SAMPLE_RATE_HZ)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Analyse samples (batch, samples) at 16 kHz: (batch, n_bands, frames)."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        spectrum = stft(waveform, n_fft=n_fft, win_length=n_fft, hop_length=hop)
        magnitude = (power_spectrum(spectrum) + 1e-9).sqrt()
        return torch.log(torch.matmul(self.bank, magnitude).clamp_min(1e-5))

    def forward(self, log_mel: Tensor, length: int) -> Tensor:
        """Map log-mel (batch, n_bands, frames) to samples (batch, length)."""
        frames = self.blocks(self.first(log_mel))
        log_magnitude, phase = self.last(self.norm(frames.transpose(1, 2))).chunk(2, dim=2)
        # A wild guess early in training must not overflow; no tone of full scale is louder.
        magnitude = log_magnitude.clamp(max=math.log(self.config.n_fft / 4)).exp()
        spectrum = torch.polar(magnitude, phase).transpose(1, 2)
        spoken: Tensor = torch.istft(
            spectrum,
            self.config.n_fft,
            self.config.hop_length,
            window=self.window,
            length=length,
        )
        return spoken

    @torch.inference_mode()
    def copy(self, samples: np.ndarray) -> np.ndarray:
        """Resynthesise float32 samples, shape (samples,), at 16 kHz; same shape."""
        if not len(samples):
            return samples
        waveform = torch.from_numpy(samples)[None]
        copied: np.ndarray = self(self.log_mel(waveform), len(samples))[0].numpy()
        return copied

    def save(self, path: str | Path) -> None:
        """Write weights and settings as safetensors, whole or not at all."""
        about = {"format": FORMAT, "config": json.dumps(self.config.to_dict())}
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        with written_whole(Path(path)) as partial:
            safetensors.torch.save_file(weights, partial, metadata=about)

    @classmethod
    def load(cls, path: str | Path) -> IstftVocoder:
        """Read what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the file is damaged or something else.
        """
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about.get("format") != FORMAT:
                raise ValueError("another format")
            network = cls(IstftVocoderConfig.from_dict(json.loads(about["config"])))
            network.load_state_dict(weights)
        except Exception as error:  # libraries raise all sorts of things about damaged files
            raise CheckpointError(
                "is not a vocoder of this package", name=str(path), hint="check the file"
            ) from error
        return network.eval()


def is_istft_vocoder(path: Path) -> bool:
    """Tell by its header whether a file holds such a vocoder."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return bool((file.metadata() or {}).get("format") == FORMAT)
    except (OSError, safetensors.SafetensorError):
        return False
