from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def clips() -> np.ndarray:
    """Three different signals of one length, float64, shape (3, 16000): glide, noise, bursts."""
    rng = np.random.default_rng(0)
    time_s = np.arange(16_000) / 16_000
    glide = np.sin(2 * np.pi * (120 + 90 * time_s) * time_s)
    voiced = sum(np.sin(2 * np.pi * 120 * k * time_s + k) / k for k in range(1, 30))
    bursts = rng.standard_normal(16_000) * (np.sin(2 * np.pi * 3 * time_s) > 0)
    return np.stack(
        [
            0.3 * glide + 0.01 * rng.standard_normal(16_000),
            0.2 * voiced + 0.02 * rng.standard_normal(16_000),
            0.1 * bursts + 0.001 * rng.standard_normal(16_000),
        ]
    )
