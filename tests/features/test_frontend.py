"""Every front end is a configuration, and any of them can feed the network."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_audio.config import FrontendConfig
from deepfake_audio.errors import ConfigError
from deepfake_audio.features import Frontend
from deepfake_audio.model import UNITTEST_MODEL, build_network

KINDS = ("log_linear", "log_mel", "constant_q", "lfcc", "mfcc")


@pytest.mark.parametrize(
    ("kind", "deltas", "phase"), list(itertools.product(KINDS, (False, True), (False, True)))
)
def test_any_front_end_feeds_the_network(kind: str, deltas: bool, phase: bool) -> None:
    config = FrontendConfig(kind=kind, n_bands=24, n_coefficients=13, deltas=deltas, phase=phase)
    waveform = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    features = Frontend(config)(waveform)
    assert features.shape == (2, config.n_channels, config.n_rows, 101)
    assert torch.isfinite(features).all()
    network = build_network(config, UNITTEST_MODEL, seed=0).eval()
    output = network(waveform)
    assert output.logit.shape == (2,)
    assert output.family.shape == (2, 4)
    assert torch.isfinite(output.logit).all()


@settings(max_examples=15, deadline=None)
@given(gain_db=st.floats(-30, 20), kind=st.sampled_from(KINDS))
def test_level_normalisation_removes_loudness(gain_db: float, kind: str) -> None:
    frontend = Frontend(FrontendConfig(kind=kind, normalize="level"))
    waveform = 0.05 * torch.randn(1, 8_000, generator=torch.Generator().manual_seed(1))
    louder = waveform * 10 ** (gain_db / 20)
    torch.testing.assert_close(frontend(waveform), frontend(louder), rtol=1e-3, atol=1e-3)


def test_mean_normalisation_removes_a_constant_line_response() -> None:
    frontend = Frontend(FrontendConfig(normalize="mean"))
    features = frontend(torch.randn(2, 16_000, generator=torch.Generator().manual_seed(2)))
    np.testing.assert_allclose(features.mean(-1).numpy(), 0.0, atol=1e-4)


def test_derivatives_are_taken_over_as_many_frames_as_asked_for() -> None:
    waveform = torch.randn(2, 8_000, generator=torch.Generator().manual_seed(3)) * 0.1
    narrow = Frontend(FrontendConfig(deltas=True, delta_width=3))(waveform)
    values = narrow[:, 0]
    slope, curvature = narrow[:, 1, :, 1:-1], narrow[:, 2, :, 1:-1]
    torch.testing.assert_close(slope, (values[..., 2:] - values[..., :-2]) / 2)
    expected = values[..., 2:] - 2 * values[..., 1:-1] + values[..., :-2]
    torch.testing.assert_close(curvature, expected, rtol=1e-4, atol=1e-4)


def test_silence_is_finite() -> None:
    for kind in KINDS:
        features = Frontend(FrontendConfig(kind=kind, phase=True, deltas=True))(
            torch.zeros(1, 8_000)
        )
        assert torch.isfinite(features).all(), kind


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "wavelet"},
        {"normalize": "loudness"},
        {"win_length": 600},
        {"n_bands": 300},
        {"n_coefficients": 90, "kind": "lfcc"},
        {"hop_length": 0},
        {"delta_width": 4},
        {"delta_width": 1},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"frontend.{next(iter(wrong))}"):
        FrontendConfig(**wrong)  # type: ignore[arg-type]
