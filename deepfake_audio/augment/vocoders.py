"""Copy synthesis: human speech through a vocoder keeps its words and voice and gains its traces.

Paired with its original, such a copy is the cleanest synthetic example there is (Wang & Yamagishi,
2210.10570). Settings are drawn anew for each clip, so that a network learns the kind of trace and
not the trace.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np

from ..config import SAMPLE_RATE_HZ
from ..datasets.cache import to_int16
from ..errors import ConfigError, MissingExtraError
from .codec2 import MODES, codec2
from .codecs import transcode
from .hifigan import HifiGan
from .istft_vocoder import IstftVocoder, is_istft_vocoder
from .lpc import LpcSettings, resynthesize
from .lyra import QUANTIZERS, Lyra
from .renderings import Render

Vocoder = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Resynthesises float32 samples at 16 kHz; draws its settings from the generator."""

OPUS_BIT_RATE = 40_000
"""What the originals have been through: otherwise the lack of codec traces would tell copies
apart, and with them every uncompressed recording. In bits a second."""


def griffin_lim(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keep a mel spectrogram and guess the phase (Griffin & Lim, 1984)."""
    n_fft = int(rng.choice([512, 800, 1024, 2048]))
    hop = n_fft // int(rng.choice([4, 5, 8]))
    n_mels = int(rng.choice([0, 64, 80, 128]))  # 0 keeps the linear spectrogram
    magnitude = np.abs(librosa.stft(samples, n_fft=n_fft, hop_length=hop))
    if n_mels:
        bank = librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=n_fft, n_mels=n_mels)
        magnitude = np.maximum(np.linalg.pinv(bank) @ (bank @ magnitude), 1e-6)
    copied: np.ndarray = librosa.griffinlim(
        magnitude,
        n_iter=int(rng.integers(8, 48)),
        hop_length=hop,
        n_fft=n_fft,
        length=len(samples),
        random_state=int(rng.integers(2**31)),
    )
    return copied


def world(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pitch, envelope and aperiodicity, and back (Morise et al., 2016); needs pyworld."""
    try:
        with warnings.catch_warnings():  # of how it looks its own version up
            warnings.simplefilter("ignore")
            import pyworld
    except ImportError:
        raise MissingExtraError(
            "WORLD needs pyworld", hint='pip install "deepfake-audio[vocoders]"'
        ) from None
    rate, signal = SAMPLE_RATE_HZ, samples.astype(np.float64)
    period_ms = float(rng.choice([5.0, 8.0, 10.0]))
    rough, times = pyworld.dio(signal, rate, frame_period=period_ms)
    pitch = pyworld.stonemask(signal, rough, times, rate)
    envelope = pyworld.cheaptrick(signal, pitch, times, rate)
    n_fft = (envelope.shape[1] - 1) * 2
    aperiodicity = pyworld.d4c(signal, pitch, times, rate, fft_size=n_fft)
    if rng.random() < 0.7:  # statistical synthesisers predict a few dozen coefficients
        coded = pyworld.code_spectral_envelope(envelope, rate, int(rng.integers(24, 80)))
        envelope = pyworld.decode_spectral_envelope(coded, rate, n_fft)
        bands = pyworld.code_aperiodicity(aperiodicity, rate)
        aperiodicity = pyworld.decode_aperiodicity(bands, rate, n_fft)
    spoken: np.ndarray = pyworld.synthesize(pitch, envelope, aperiodicity, rate, period_ms)
    return spoken[: len(samples)].astype(np.float32)


def lpc(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pulses and noise through an all-pole filter, see :mod:`.lpc`."""
    settings = LpcSettings(
        order=int(rng.integers(12, 25)),
        window=int(rng.choice([384, 512, 640])),
        hop=int(rng.choice([80, 128, 160])),
        breath=float(rng.uniform(0.0, 0.4)),
    )
    return resynthesize(samples, settings, rng)


def hifigan(path: str | Path) -> Vocoder:
    """Return the HiFi-GAN generator stored at ``path``; it hears each clip at a pace of its own."""
    generator = HifiGan.load(path)

    def copy(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pace = 1.0 if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(0.75), np.log(1.3))))
        return generator.copy(samples, pace)

    return copy


def istft(path: str | Path) -> Vocoder:
    """Return the vocoder that ``deepfake-audio vocoder`` has trained."""
    network = IstftVocoder.load(path)
    return lambda samples, rng: network.copy(samples)


def lyra(folder: str | Path) -> Vocoder:
    """Return the Lyra codec whose graphs lie in ``folder``, at a random bit rate each clip."""
    codec = Lyra(folder)
    return lambda samples, rng: codec.copy(samples, int(rng.choice(QUANTIZERS)))


def sinusoids(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Codec 2 at one of its bit rates, see :mod:`.codec2`; needs its library."""
    return codec2(samples, int(rng.choice(sorted(MODES))))


VOCODERS: dict[str, Vocoder] = {
    "codec2": sinusoids,
    "griffin_lim": griffin_lim,
    "lpc": lpc,
    "world": world,
}
"""Vocoders that need no weights, by name."""


def find_vocoder(name: str | Path) -> Vocoder:
    """Return a vocoder by name or by its weights, or Lyra by the folder of its graphs.

    Raises
    ------
    ConfigError
        If it is none of these.
    """
    if str(name) in VOCODERS:
        return VOCODERS[str(name)]
    path = Path(name)
    if path.is_dir():
        return lyra(path)
    if path.is_file():
        return istft(path) if is_istft_vocoder(path) else hifigan(path)
    raise ConfigError(
        "no such vocoder",
        name=str(name),
        hint=f"use {', '.join(VOCODERS)}, a .safetensors of HiFi-GAN or of `deepfake-audio "
        "vocoder`, or the folder of Lyra's graphs",
    )


def copies(vocoder: Vocoder, name: str) -> Render:
    """Return the work of a copy rendering, at the level and with the coding of its original.

    Parameters
    ----------
    vocoder : callable
        From :func:`find_vocoder`.
    name : str
        Goes into the seed of each clip's settings.
    """

    def work(index: int, samples: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([index, zlib.crc32(name.encode())])
        return transcode(copy_of(samples, vocoder, rng), "opus", OPUS_BIT_RATE)

    return work


def copy_of(samples: np.ndarray, vocoder: Vocoder, rng: np.random.Generator) -> np.ndarray:
    """Copy a clip at its level and length, int16 in and out."""
    signal = samples.astype(np.float32) / 32768.0
    spoken = vocoder(signal, rng)
    copied = np.zeros_like(signal)
    length = min(len(copied), len(spoken))
    copied[:length] = spoken[:length]
    rms = float(np.sqrt(np.mean(copied**2)))
    return to_int16(copied * (float(np.sqrt(np.mean(signal**2))) / max(rms, 1e-9)))
