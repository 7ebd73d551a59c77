"""Long-term spectra: what they leave out, and what they find."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from deepfake_audio.config import FrontendConfig, ModelConfig
from deepfake_audio.errors import ConfigError
from deepfake_audio.features import Frontend, Planes, long_term_phase, long_term_spectrum, spectral
from deepfake_audio.features.frontend import Spectra, at_speech_level
from deepfake_audio.features.long_term import SURROUNDINGS
from deepfake_audio.model import build_network, join

LONG_TERM = FrontendConfig(kind="long_term", n_fft=4096, win_length=4096, hop_length=1024)
PHASE = FrontendConfig(kind="long_term_phase", n_fft=2048, win_length=2048, hop_length=512)
KINDS = pytest.mark.parametrize("config", [LONG_TERM, PHASE], ids=["spectrum", "phase"])
SPECTRUM = ModelConfig(kind="spectrum", stem_channels=4, channels=(8, 8), blocks=(1, 1))


def _noise(seconds: float, seed: int = 0, rows: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.05 * torch.randn(rows, round(16_000 * seconds), generator=generator)


def _less_surroundings(spectrum: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    margin = SURROUNDINGS // 2
    padded = np.pad(spectrum, ((0, 0), (margin, margin)), mode="edge")
    bins = range(spectrum.shape[1])
    around = [padded[:, i : i + SURROUNDINGS].mean(1) for i in bins]
    difference: npt.NDArray[np.float64] = spectrum - np.stack(around, 1)
    return difference


def test_equals_a_plain_formula() -> None:
    log_power = torch.randn(3, 200, 9, dtype=torch.float64)
    rows = log_power.numpy()
    for plane, spectrum in enumerate((rows.mean(2), np.sqrt(rows.var(2) + 1e-5))):
        ours = long_term_spectrum(log_power)[:, plane].numpy()
        np.testing.assert_allclose(ours, _less_surroundings(spectrum), rtol=1e-4, atol=1e-6)


def test_a_front_end_hears_scaled_logarithms_of_bins() -> None:
    waveform = _noise(1.0)
    levelled = waveform * 0.05 / waveform.square().mean(-1, keepdim=True).sqrt()
    hop, size = LONG_TERM.hop_length, LONG_TERM.n_fft
    padded = np.pad(levelled.double().numpy(), ((0, 0), (size // 2, size // 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]
    spectrum = np.fft.rfft(frames * np.hanning(size + 1)[:-1])  # (batch, frames, bins)
    rows = np.log(np.abs(spectrum[..., 1:]) ** 2 + 1e-6) / 4
    features = Frontend(LONG_TERM)(waveform)[..., 0].numpy()
    for plane, expected in enumerate((rows.mean(1), np.sqrt(rows.var(1) + 1e-5))):
        np.testing.assert_allclose(features[:, plane], _less_surroundings(expected), atol=2e-3)


def test_phase_equals_a_plain_formula_whatever_the_magnitudes() -> None:
    angle = torch.rand(3, 200, 9, dtype=torch.float64) * 2 * torch.pi
    magnitude = torch.rand(3, 200, 9, dtype=torch.float64) + 1
    advance = np.diff(angle.numpy(), axis=2)
    length = np.sqrt(np.abs(np.exp(1j * advance).mean(2)) ** 2 + 1e-6)
    spectrum = Planes(magnitude * angle.cos(), magnitude * angle.sin())
    ours = long_term_phase(spectrum)[:, 0].numpy()
    np.testing.assert_allclose(ours, _less_surroundings(length), atol=1e-4)


def test_a_line_response_and_a_level_leave_no_trace() -> None:
    log_power = torch.randn(1, 2048, 40)
    slope = torch.linspace(0, 3, 2048)[None, :, None]
    plain, coloured = long_term_spectrum(log_power), long_term_spectrum(log_power + slope + 2)
    inner = slice(SURROUNDINGS, -SURROUNDINGS)  # at the edges a slope has one side only
    torch.testing.assert_close(plain[..., inner], coloured[..., inner], rtol=0, atol=1e-3)


def test_a_weak_tone_that_stays_stands_out() -> None:
    waveform = _noise(4.0)
    time_s = torch.arange(waveform.shape[1]) / 16_000
    waveform[1] += 0.005 * torch.sin(2 * torch.pi * 3_000 * time_s)  # 23 dB under the noise
    for config, times in ((LONG_TERM, 2.0), (PHASE, 1.5)):
        quiet, tone = Frontend(config)(waveform)[:, 0, :, 0]
        assert tone.argmax() == 3_000 * config.n_fft // 16_000 - 1  # the first row is bin 1
        assert tone.max() > times * quiet.max()


@KINDS
@pytest.mark.parametrize("seconds", [0.5, 1.0, 4.0, 6.0])
def test_feeds_its_network_at_any_length(config: FrontendConfig, seconds: float) -> None:
    network = build_network(config, SPECTRUM, seed=0).eval()
    windows = _noise(seconds, rows=3)
    features = Frontend(config)(windows)
    assert features.shape == (3, config.n_channels, config.n_rows, 1)
    with torch.inference_mode():
        output, alone = network(windows), network(windows[1:2])
    assert output.embedding.shape == (3, SPECTRUM.embedding_dim)
    torch.testing.assert_close(output.logit[1:2], alone.logit, rtol=0, atol=1e-4)


def test_front_ends_that_share_a_transform_hear_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = FrontendConfig(kind="long_term", n_fft=2048, win_length=2048, hop_length=1024)
    windows = _noise(1.3)
    plain = FrontendConfig(normalize="none")
    together = Spectra(windows, [coarse, PHASE, plain, FrontendConfig()])
    for config in (coarse, PHASE, plain, FrontendConfig()):
        heard = at_speech_level(windows) if config.normalize == "level" else windows
        sizes = {name: getattr(config, name) for name in ("n_fft", "win_length", "hop_length")}
        expected = spectral.stft(heard, **sizes)  # which pads for itself
        for part, of_it in zip(together.of(config), (expected.real, expected.imag), strict=True):
            torch.testing.assert_close(part, of_it, rtol=0, atol=1e-6)
    made: list[int] = []
    transform = spectral.stft

    def counted(waveform: torch.Tensor, **sizes: int) -> torch.Tensor:
        made.append(sizes["hop_length"])
        return transform(waveform, **sizes)

    monkeypatch.setattr(spectral, "stft", counted)
    networks = [build_network(config, SPECTRUM, seed=0).eval() for config in (coarse, PHASE)]
    with torch.inference_mode():
        joint = join(networks)(windows).logit
        assert made == [512]
        apart = torch.stack([network(windows).logit for network in networks]).mean(0)
    torch.testing.assert_close(joint, apart, rtol=0, atol=1e-5)


@KINDS
def test_silence_is_finite(config: FrontendConfig) -> None:
    assert torch.isfinite(Frontend(config)(torch.zeros(1, 8_000))).all()


def test_silence_has_a_gradient() -> None:
    real, imag = (torch.zeros(1, 100, 9, requires_grad=True) for _ in range(2))
    long_term_phase(Planes(real, imag)).sum().backward()
    for part in (real, imag):
        assert part.grad is not None
        assert torch.isfinite(part.grad).all()


@KINDS
def test_a_level_leaves_no_trace(config: FrontendConfig) -> None:
    waveform = _noise(2.0)
    loud, quiet = Frontend(config)(waveform), Frontend(config)(waveform / 30)
    torch.testing.assert_close(loud, quiet, rtol=0, atol=1e-3)


def test_a_network_and_a_front_end_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="long_term"):
        build_network(FrontendConfig(), SPECTRUM)
    for kind in ("long_term", "long_term_phase"):
        with pytest.raises(ConfigError, match=f"{kind} has neither deltas"):
            FrontendConfig(kind=kind, n_fft=2048, win_length=2048, deltas=True)
    with pytest.raises(ConfigError, match="three quarters"):
        FrontendConfig(kind="long_term_phase", n_fft=2048, win_length=2048, hop_length=1024)
