"""Phase cues against plain NumPy formulas and against signals whose answer is known."""

from __future__ import annotations

import numpy as np
import torch

from deepfake_audio.features import phase

SIZES = {"n_fft": 512, "win_length": 400, "hop_length": 160}


def frames_of(clip: np.ndarray) -> np.ndarray:
    """Hann-windowed frames as the short-time transform takes them, shape (512, frames)."""
    window = np.zeros(512)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.pad(clip, 256)
    starts = np.arange(1 + len(clip) // 160) * 160
    return np.stack([padded[s : s + 512] * window for s in starts], 1)


def spectra_of(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frames = frames_of(clip)
    index = (np.arange(512) - 256)[:, None]
    return np.fft.rfft(frames, axis=0), np.fft.rfft(frames * index, axis=0)


def loud_part(values: np.ndarray) -> np.ndarray:
    return np.abs(values) > 1e-3 * np.abs(values).max()


def test_group_delay_equals_the_formula(clips: np.ndarray) -> None:
    ours = phase.group_delay(torch.from_numpy(clips), **SIZES).numpy()
    for row, clip in zip(ours, clips, strict=True):
        spectrum, weighted = spectra_of(clip)
        expected = (spectrum * weighted.conj()).real / (np.abs(spectrum) ** 2 + 1e-8)
        loud = loud_part(spectrum)
        np.testing.assert_allclose(row[loud], expected[loud], rtol=1e-4, atol=1e-4)


def test_group_delay_of_a_click_is_its_place() -> None:
    clip = torch.zeros(1, 3_200, dtype=torch.float64)
    clip[0, 1_600 + 37] = 1.0  # 37 samples after the middle of frame 10
    delay = phase.group_delay(clip, **SIZES)[0, :, 10]
    torch.testing.assert_close(delay, torch.full_like(delay, 37.0), rtol=1e-4, atol=0)


def test_modified_group_delay_equals_the_formula(clips: np.ndarray) -> None:
    ours = phase.modified_group_delay(torch.from_numpy(clips), **SIZES).numpy()
    for row, clip in zip(ours, clips, strict=True):
        spectrum, weighted = spectra_of(clip)
        logs = 0.5 * np.log(np.abs(spectrum) ** 2 + 1e-8)
        cepstrum = np.fft.irfft(logs, 512, axis=0)
        cepstrum[30:483] = 0
        smooth = np.exp(np.fft.rfft(cepstrum, axis=0).real)
        ratio = (spectrum * weighted.conj()).real / smooth ** (2 * 0.9)
        expected = np.sign(ratio) * np.abs(ratio) ** 0.4
        loud = np.abs(ratio) > 1e-3 * np.abs(ratio).max()
        np.testing.assert_allclose(row[loud], expected[loud], rtol=1e-4, atol=1e-5)


def test_instantaneous_frequency_equals_the_formula(clips: np.ndarray) -> None:
    ours = phase.instantaneous_frequency(torch.from_numpy(clips), **SIZES).numpy()
    bins_hz = np.arange(257)[:, None] * 16_000 / 512
    for row, clip in zip(ours, clips, strict=True):
        spectrum, _ = spectra_of(clip)
        advance = np.diff(np.angle(spectrum), axis=1)
        deviation = advance - 2 * np.pi * bins_hz * 160 / 16_000
        wrapped = np.angle(np.exp(1j * deviation))
        expected = bins_hz + wrapped * 16_000 / (2 * np.pi * 160)
        # At exactly half a turn both signs are right; leave those and inaudible cells out.
        clear = loud_part(spectrum)[:, 1:] & loud_part(spectrum)[:, :-1]
        clear &= np.abs(np.abs(wrapped) - np.pi) > 1e-3
        np.testing.assert_allclose(row[:, 1:][clear], expected[clear], rtol=1e-4, atol=1e-2)


def test_instantaneous_frequency_of_a_tone_is_its_frequency() -> None:
    time_s = torch.arange(16_000, dtype=torch.float64) / 16_000
    tone = torch.sin(2 * torch.pi * 1_010.0 * time_s)[None]
    frequency = phase.instantaneous_frequency(tone, **SIZES)[0]
    nearest_bin = round(1_010 / (16_000 / 512))
    middle = frequency[nearest_bin, 5:-5]
    torch.testing.assert_close(middle, torch.full_like(middle, 1_010.0), rtol=1e-4, atol=0)
