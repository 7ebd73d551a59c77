"""Short-time spectra, filterbanks and spectral moments, batched in torch.

Every function takes a whole batch and has no loop over clips or frames. Where librosa has the
same feature the result equals librosa's with ``center=True, pad_mode="constant"``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_TINY_POWER = 1e-10  # librosa's ``amin``: keeps logarithms and ratios of silence finite


@functools.cache  # none is ever dropped: CUDA graphs know them by their address
@torch.inference_mode(False)  # whoever asks first: others may want gradients through it
def _hann(win_length: int, n_fft: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Periodic Hann window of ``win_length``, zero-padded on both sides to ``n_fft``."""
    window = torch.hann_window(win_length, periodic=True, dtype=dtype, device=device)
    left = (n_fft - win_length) // 2
    return torch.nn.functional.pad(window, (left, n_fft - win_length - left))


class Planes(NamedTuple):
    """A complex spectrum as its two parts: exporters know little of complex numbers."""

    real: Tensor
    imag: Tensor

    def part(self, bins: slice, frames: slice = slice(None)) -> Planes:
        """Return some of the bins and frames of (batch, bins, frames)."""
        return Planes(self.real[:, bins, frames], self.imag[:, bins, frames])


def windowed_stft(
    waveform: Tensor, window: Tensor, hop_length: int, *, padded: bool = False
) -> Tensor:
    """Short-time Fourier transform with a window of the transform's own length.

    Parameters
    ----------
    waveform : Tensor, shape (batch, samples)
        Real signal.
    window : Tensor, shape (n_fft,)
        Analysis window.
    hop_length : int
        Samples between frames.
    padded : bool
        The signal has ``n_fft // 2`` zeros at both ends already.

    Returns
    -------
    Tensor, complex, shape (batch, n_fft // 2 + 1, frames)
        Frame ``t`` is centred on sample ``t * hop_length``; ends are padded with zeros.
    """
    return torch.stft(
        waveform,
        n_fft=window.shape[0],
        hop_length=hop_length,
        window=window,
        center=not padded,
        pad_mode="constant",
        return_complex=True,
    )


def stft(
    waveform: Tensor,
    *,
    n_fft: int = 512,
    win_length: int = 400,
    hop_length: int = 160,
    padded: bool = False,
) -> Tensor:
    """Hann-windowed short-time Fourier transform; see :func:`windowed_stft`."""
    window = _hann(win_length, n_fft, waveform.dtype, waveform.device)
    return windowed_stft(waveform, window, hop_length, padded=padded)


def power_spectrum(spectrum: Tensor | Planes) -> Tensor:
    """Squared magnitude of a complex spectrum, same shape, real."""
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)


def hz_to_mel(frequency_hz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    frequency_hz = np.asarray(frequency_hz, dtype=np.float64)
    linear = frequency_hz * 3.0 / 200.0
    logarithmic = 15.0 + 27.0 * np.log(np.maximum(frequency_hz, 1.0) / 1000.0) / np.log(6.4)
    return np.where(frequency_hz < 1000.0, linear, logarithmic)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Inverse of :func:`hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))


def _triangles(edges_hz: np.ndarray, n_fft: int, sample_rate_hz: int) -> np.ndarray:
    """Triangular filters between consecutive edges, shape (len(edges) - 2, n_fft // 2 + 1)."""
    bins_hz = np.linspace(0.0, sample_rate_hz / 2, n_fft // 2 + 1)
    left, centre, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising = (bins_hz - left) / (centre - left)
    falling = (right - bins_hz) / (right - centre)
    triangles: np.ndarray = np.maximum(0.0, np.minimum(rising, falling))
    return triangles


@functools.lru_cache(maxsize=32)
def mel_filterbank(
    n_bands: int = 80,
    n_fft: int = 512,
    sample_rate_hz: int = 16_000,
    max_hz: float | None = None,
) -> Tensor:
    """Slaney-normalised triangular mel filters, equal to ``librosa.filters.mel``.

    Parameters
    ----------
    max_hz : float, optional
        Upper edge of the highest filter; half the sample rate by default.

    Returns
    -------
    Tensor, float32, shape (n_bands, n_fft // 2 + 1)
    """
    top_mel = hz_to_mel(np.array(max_hz or sample_rate_hz / 2))
    edges_hz = mel_to_hz(np.linspace(0.0, top_mel, n_bands + 2))
    area = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return torch.from_numpy(_triangles(edges_hz, n_fft, sample_rate_hz) * area[:, None]).float()


@functools.lru_cache(maxsize=32)
def linear_filterbank(n_bands: int = 80, n_fft: int = 512, sample_rate_hz: int = 16_000) -> Tensor:
    """Triangular filters of equal width in hertz, each summing to one.

    Linear spacing keeps the resolution above 4 kHz, where vocoders leave most of their traces
    (Sahidullah et al., Interspeech 2015).

    Returns
    -------
    Tensor, float32, shape (n_bands, n_fft // 2 + 1)
    """
    weights = _triangles(np.linspace(0.0, sample_rate_hz / 2, n_bands + 2), n_fft, sample_rate_hz)
    return torch.from_numpy(weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)).float()


@functools.lru_cache(maxsize=32)
def octave_filterbank(
    n_bands: int = 80, n_fft: int = 512, sample_rate_hz: int = 16_000, min_hz: float = 62.5
) -> Tensor:
    """Triangular filters of equal width in octaves, each summing to one: a constant Q.

    The filters of one transform, like librosa's ``pseudo_cqt``; where they would be narrower than
    a bin they are one bin wide, so that low ones overlap more (constant-Q transform: Brown, 1991;
    against spoofing: Todisco et al., Odyssey 2016).

    Parameters
    ----------
    min_hz : float
        Centre of the lowest filter; the highest lies one step below half the sample rate.

    Returns
    -------
    Tensor, float32, shape (n_bands, n_fft // 2 + 1)
    """
    step = (sample_rate_hz / 2 / min_hz) ** (1 / n_bands)
    centres = min_hz * step ** np.arange(n_bands)[:, None]
    bins_hz = np.linspace(0.0, sample_rate_hz / 2, n_fft // 2 + 1)
    widths = np.maximum(centres * (step - 1), bins_hz[1])
    weights = np.maximum(0.0, 1 - np.abs(bins_hz - centres) / widths)
    return torch.from_numpy(weights / weights.sum(1, keepdims=True)).float()


def log_filterbank_energies(power: Tensor, filterbank: Tensor, floor: float = 1e-6) -> Tensor:
    """Natural logarithm of band energies.

    Parameters
    ----------
    power : Tensor, shape (batch, bins, frames)
        Power spectrum.
    filterbank : Tensor, shape (bands, bins)
        Band weights.
    floor : float
        Added before the logarithm, in the units of ``power``.

    Returns
    -------
    Tensor, shape (batch, bands, frames)
    """
    return torch.log(torch.matmul(filterbank.type_as(power), power) + floor)


def power_to_db(power: Tensor, top_db: float | None = 80.0) -> Tensor:
    """Decibels re 1, limited to ``top_db`` below the loudest cell of each clip (as librosa)."""
    decibels = 10.0 * torch.log10(power.clamp_min(_TINY_POWER))
    if top_db is not None:
        decibels = torch.maximum(decibels, decibels.amax((-2, -1), keepdim=True) - top_db)
    return decibels


@dataclass(frozen=True)
class SpectralMoments:
    """Frame-wise descriptors of a spectrum's shape, each of shape (batch, frames).

    Attributes
    ----------
    centroid_hz, bandwidth_hz, rolloff_hz : Tensor
        Centre, spread, and frequency below which 85 % of the magnitude lies, in hertz.
    flatness : Tensor
        Geometric over arithmetic mean of the power, 0 (tone) to 1 (white noise).
    flux : Tensor
        Half-wave rectified change of the decibel spectrum since the frame before, averaged
        over frequency (librosa's onset strength before its aggregation options); 0 at frame 0.
    zero_crossing_rate : Tensor
        Share of neighbouring samples that differ in sign, 0 to 1.
    """

    centroid_hz: Tensor
    bandwidth_hz: Tensor
    rolloff_hz: Tensor
    flatness: Tensor
    flux: Tensor
    zero_crossing_rate: Tensor


def zero_crossing_rate(
    waveform: Tensor, *, frame_length: int = 512, hop_length: int = 160
) -> Tensor:
    """Zero crossings a sample in frames centred on ``t * hop_length``, shape (batch, frames).

    Ends are padded with their own value, which adds no crossing; equals
    ``librosa.feature.zero_crossing_rate``.
    """
    half = frame_length // 2
    padded = torch.nn.functional.pad(waveform[:, None], (half, half), mode="replicate")[:, 0]
    # Samples within librosa's threshold of zero count as positive zero.
    negative = torch.signbit(torch.where(padded.abs() <= 1e-10, 0.0, padded))
    crossing = torch.nn.functional.pad(negative[:, 1:] != negative[:, :-1], (1, 0)).float()
    frames = crossing.unfold(-1, frame_length, hop_length)  # (batch, frames, frame_length)
    # The first sample of a frame has no neighbour inside the frame.
    return frames[..., 1:].sum(-1) / frame_length


def spectral_moments(
    waveform: Tensor,
    *,
    n_fft: int = 512,
    win_length: int = 400,
    hop_length: int = 160,
    sample_rate_hz: int = 16_000,
    rolloff_share: float = 0.85,
) -> SpectralMoments:
    """Centroid, bandwidth, roll-off, flatness, flux and zero-crossing rate of each frame.

    Parameters
    ----------
    waveform : Tensor, shape (batch, samples)
        Real signal.
    rolloff_share : float
        Share of the magnitude that lies below the roll-off frequency.

    Returns
    -------
    SpectralMoments
        Definitions as in librosa 0.11; Peeters, "A large set of audio features", Ircam 2004.
    """
    power = power_spectrum(
        stft(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    )
    magnitude = power.sqrt()  # (batch, bins, frames)
    bins_hz = torch.linspace(
        0.0, sample_rate_hz / 2, power.shape[1], dtype=power.dtype, device=power.device
    )[:, None]
    total = magnitude.sum(1, keepdim=True)
    weights = magnitude / torch.where(total < 1e-12, 1.0, total)
    centroid = (weights * bins_hz).sum(1)  # (batch, frames)
    spread = (bins_hz - centroid[:, None]).square()
    bandwidth = (weights * spread).sum(1).sqrt()

    cumulative = magnitude.cumsum(1)
    reached = cumulative >= rolloff_share * cumulative[:, -1:]
    rolloff = bins_hz[:, 0][reached.to(torch.uint8).argmax(1)]

    floored = power.clamp_min(_TINY_POWER)
    flatness = floored.log().mean(1).exp() / floored.mean(1)

    decibels = power_to_db(power)
    rise = (decibels[..., 1:] - decibels[..., :-1]).clamp_min(0.0).mean(1)
    return SpectralMoments(
        centroid_hz=centroid,
        bandwidth_hz=bandwidth,
        rolloff_hz=rolloff,
        flatness=flatness,
        flux=torch.nn.functional.pad(rise, (1, 0)),
        zero_crossing_rate=zero_crossing_rate(waveform, frame_length=n_fft, hop_length=hop_length),
    )
