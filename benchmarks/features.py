"""Features of decoded clips: in batches here, against librosa and plain torch, one clip at a time.

Where librosa has the feature, its own function is timed; LFCC and group delay are built on
`librosa.stft`, as one would. Plain torch is what one writes from the textbook: `torch.stft`, a
matrix product, a logarithm. All ways of a feature give the same numbers; only the time differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import librosa
import numpy as np
import scipy.fft
import torch
from _command import run

from deepfake_audio import features
from deepfake_audio.benchmarking import (
    Comparison,
    Waveforms,
    compare_feature,
    equal_lengths,
    librosa_mfcc,
)
from deepfake_audio.config import SAMPLE_RATE_HZ
from deepfake_audio.detector import Detector

STFT = {"n_fft": 512, "win_length": 400, "hop_length": 160}
FLOOR = 1e-6
MEL_BANK = features.mel_filterbank(80)
LINEAR_BANK = features.linear_filterbank(70).numpy()
MFCC_BANK = features.mel_filterbank(128)
MFCC_DCT, LFCC_DCT = (
    torch.from_numpy(scipy.fft.dct(np.eye(n), axis=0, norm="ortho")[:20]).float() for n in (128, 70)
)
HANN = np.pad(librosa.filters.get_window("hann", 400), 56)  # as long as the transform


def power(waveforms: torch.Tensor) -> torch.Tensor:
    return features.power_spectrum(features.stft(waveforms, **STFT))


def librosa_power(waveform: Waveforms) -> np.ndarray:
    return np.abs(librosa.stft(waveform, **STFT)) ** 2


def log_mel(waveforms: torch.Tensor) -> torch.Tensor:
    return features.log_filterbank_energies(power(waveforms), MEL_BANK, FLOOR)


def librosa_log_mel(waveform: Waveforms) -> np.ndarray:
    mel = librosa.feature.melspectrogram(y=waveform, sr=SAMPLE_RATE_HZ, n_mels=80, **STFT)
    return np.log(mel + FLOOR)


def mfcc_deltas(waveforms: torch.Tensor) -> torch.Tensor:
    mfcc = features.mfcc(waveforms)
    return torch.cat([mfcc, features.delta(mfcc), features.delta(mfcc, order=2)], dim=1)


def librosa_mfcc_deltas(waveform: Waveforms) -> np.ndarray:
    mfcc = librosa_mfcc(waveform)
    deltas = [librosa.feature.delta(mfcc, order=order, mode="nearest") for order in (1, 2)]
    return np.concatenate([mfcc, *deltas])


def librosa_lfcc(waveform: Waveforms) -> np.ndarray:
    energies = np.log(LINEAR_BANK @ librosa_power(waveform) + FLOOR)
    return scipy.fft.dct(energies, axis=0, norm="ortho")[:20]


def moments(waveforms: torch.Tensor) -> torch.Tensor:
    return torch.stack(list(vars(features.spectral_moments(waveforms, **STFT)).values()), dim=1)


def librosa_moments(waveform: Waveforms) -> np.ndarray:
    magnitude = np.abs(librosa.stft(waveform, **STFT))
    shared = {"S": magnitude, "sr": SAMPLE_RATE_HZ}
    decibels = librosa.power_to_db(magnitude**2)
    crossings = librosa.feature.zero_crossing_rate(waveform, frame_length=512, hop_length=160)
    return np.concatenate(
        [
            librosa.feature.spectral_centroid(**shared),
            librosa.feature.spectral_bandwidth(**shared),
            librosa.feature.spectral_rolloff(**shared),
            librosa.feature.spectral_flatness(S=magnitude),
            librosa.onset.onset_strength(S=decibels, center=False)[None],
            crossings,
        ]
    )


def group_delay(waveforms: torch.Tensor) -> torch.Tensor:
    return features.group_delay(waveforms, **STFT)


def librosa_group_delay(waveform: Waveforms) -> np.ndarray:
    index = np.arange(512) - 256
    spectrum = librosa.stft(waveform, n_fft=512, hop_length=160, window=HANN)
    weighted = librosa.stft(waveform, n_fft=512, hop_length=160, window=HANN * index)
    return (spectrum * weighted.conj()).real / (np.abs(spectrum) ** 2 + 1e-8)


def torch_power(waveform: Waveforms) -> torch.Tensor:
    spectrum = torch.stft(
        torch.from_numpy(waveform),
        n_fft=512,
        hop_length=160,
        win_length=400,
        window=torch.hann_window(400),
        pad_mode="constant",
        return_complex=True,
    )
    return spectrum.abs() ** 2


def torch_log_mel(waveform: Waveforms) -> torch.Tensor:
    return torch.log(MEL_BANK @ torch_power(waveform) + FLOOR)


def torch_mfcc(waveform: Waveforms) -> torch.Tensor:
    decibels = 10 * torch.log10((MFCC_BANK @ torch_power(waveform)).clamp_min(1e-10))
    return MFCC_DCT @ decibels.clamp_min(decibels.max() - 80)


def torch_lfcc(waveform: Waveforms) -> torch.Tensor:
    bank = torch.from_numpy(LINEAR_BANK)
    return LFCC_DCT @ torch.log(bank @ torch_power(waveform) + FLOOR)


Batched = Callable[[torch.Tensor], torch.Tensor]
ClipByClip = Callable[[Waveforms], np.ndarray]
PAIRS: dict[str, tuple[Batched, ClipByClip]] = {
    "power spectrum": (power, librosa_power),
    "log mel spectrogram": (log_mel, librosa_log_mel),
    "MFCC": (features.mfcc, librosa_mfcc),
    "MFCC with deltas": (mfcc_deltas, librosa_mfcc_deltas),
    "LFCC": (features.lfcc, librosa_lfcc),
    "spectral moments": (moments, librosa_moments),
    "group delay": (group_delay, librosa_group_delay),
}
"""(batch, samples) to (batch, rows, frames), and (samples,) to the same (rows, frames)."""

PLAIN_TORCH: dict[str, Callable[[Waveforms], torch.Tensor]] = {
    "power spectrum": torch_power,
    "log mel spectrogram": torch_log_mel,
    "MFCC": torch_mfcc,
    "LFCC": torch_lfcc,
}
"""(samples,) to (rows, frames)."""


def measure(detector: Detector, clips: Sequence[bytes], repeats: int) -> list[Comparison]:
    """Compare each pair, and time the front end of the model, which nobody else has."""
    waveforms, device = equal_lengths(clips), detector.scorer.device
    front_end = features.Frontend(detector.scorer.header.branches[0].frontend)
    found = []
    for name, (batched, one) in PAIRS.items():
        ways: dict[str, Callable[[Waveforms], object]] = {"librosa, clip by clip": one}
        if name in PLAIN_TORCH:
            ways["plain torch, clip by clip"] = PLAIN_TORCH[name]
        found.append(
            compare_feature(name, batched, ways, waveforms, device=device, repeats=repeats)
        )
    name = "front end of the model"
    found.append(compare_feature(name, front_end, {}, waveforms, device=device, repeats=repeats))
    return found


if __name__ == "__main__":
    run(__doc__ or "", measure)
