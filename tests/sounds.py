"""Sound made for tests."""

from __future__ import annotations

import numpy as np


def make_speech(seconds: float, seed: int = 0, rate_hz: int = 16_000) -> np.ndarray:
    """Harmonics of a gliding pitch in syllables, with a little noise; float32 (samples,)."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch_hz = 120 + 10 * (seed % 5) + 20 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    voice = sum(np.sin(k * phase) / k for k in range(1, 30))
    syllables = np.sin(2 * np.pi * 2.5 * time + seed) > -0.3
    sound = 0.1 * voice * syllables + 0.002 * rng.standard_normal(time.size)
    return sound.astype(np.float32)
