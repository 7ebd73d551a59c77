"""RawBoost, replay and transport: what each does, alike each time; and off, they draw nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sounds import make_speech

from deepfake_audio.augment import AugmentConfig, ChannelSimulator, SoundBank
from deepfake_audio.augment.bank import synthetic_rir
from deepfake_audio.augment.lpc import LpcSettings, resynthesize, track_pitch
from deepfake_audio.augment.pace import change_pitch, change_tempo
from deepfake_audio.augment.rawboost import _notch_kernels, convolutive, impulsive, stationary
from deepfake_audio.augment.renderings import coded
from deepfake_audio.augment.replay import replay
from deepfake_audio.augment.transport import (
    change_level,
    lose_packets,
    lost_packets,
    resample_through,
)
from deepfake_audio.datasets.cache import to_int16

RATE_HZ = 16_000
EFFECTS = ("pitch", "convolutive", "impulsive", "stationary", "replay", "resample", "packet_loss")


def generators(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, index]) for index in range(n)]


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return torch.from_numpy(np.stack([make_speech(1.0, seed, RATE_HZ) for seed in range(3)]))


def test_what_is_off_draws_no_random_numbers(batch: torch.Tensor) -> None:
    # The next number of each generator as it was before there were these effects.
    config = AugmentConfig(reverb=1, eq=1, band_limit=1, noise=1, overload=0.5, nonlinear=0.5)
    rngs = generators(3)
    ChannelSimulator(config, SoundBank())(batch, rngs)
    assert [int(rng.integers(2**31)) for rng in rngs] == [1198968563, 403531727, 790505593]


@pytest.mark.parametrize("name", [*EFFECTS, "level"])
def test_each_effect_is_a_function_of_its_generators(name: str, batch: torch.Tensor) -> None:
    off = dict.fromkeys(("reverb", "eq", "band_limit", "noise", "overload", "nonlinear"), 0.0)
    simulate = ChannelSimulator(AugmentConfig(**off, **{name: 1.0}), SoundBank())  # type: ignore[arg-type]
    together = simulate(batch, generators(3))
    assert torch.equal(together, simulate(batch, generators(3)))
    assert not torch.equal(together, simulate(batch, generators(3, seed=1)))
    alone = simulate(batch[1:2], generators(3)[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-4)
    assert (together - batch).abs().max() > 1e-3
    assert together.abs().max() <= 1.0


def test_an_effect_that_some_clips_draw_leaves_the_others_alone(batch: torch.Tensor) -> None:
    off = dict.fromkeys(("reverb", "eq", "band_limit", "noise", "overload", "nonlinear"), 0.0)
    simulate = ChannelSimulator(AugmentConfig(**off, impulsive=0.5), SoundBank())
    many = batch[:1].repeat(40, 1)
    changed = (simulate(many, generators(40)) - many).abs().amax(1) > 1e-3
    assert 8 < changed.sum() < 32


def test_everything_at_once_stays_finite(batch: torch.Tensor) -> None:
    config = AugmentConfig(**dict.fromkeys((*EFFECTS, "level"), 1.0))  # type: ignore[arg-type]
    loud = torch.cat([batch, torch.zeros(1, batch.shape[1]), 30 * batch[:1]]).float()
    out = ChannelSimulator(config, SoundBank())(loud, generators(5))
    assert torch.isfinite(out).all()
    assert out.abs().max() <= 1.0


def test_the_new_settings_survive_json() -> None:
    config = AugmentConfig(replay=0.1, loss_share=(0.0, 0.3), double_coding=0.5)
    assert AugmentConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_notch_filters_stop_bands_and_amplify_nothing() -> None:
    kernels = _notch_kernels(50, np.random.default_rng(0))
    gain = np.abs(np.fft.rfft(kernels))
    np.testing.assert_allclose(gain.max(1), 1.0, atol=1e-4)
    assert np.median(gain.min(1)) < 0.3


def test_convolutive_noise_adds_harmonics() -> None:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    tone = torch.from_numpy(0.3 * np.sin(2 * np.pi * 1_000 * time_s)).float()[None]
    spectrum = torch.fft.rfft(convolutive(tone, generators(1, seed=2)))[0].abs()
    for harmonic in (2_000, 3_000):
        assert spectrum[harmonic] > 100 * spectrum[harmonic + 500]


def test_convolutive_noise_does_not_depend_on_the_level(batch: torch.Tensor) -> None:
    faint, loud = (convolutive(gain * batch, generators(3)) / gain for gain in (0.01, 1.0))
    torch.testing.assert_close(faint, loud, rtol=0, atol=1e-4)


def test_impulses_hit_a_tenth_of_the_samples_at_most_and_grow_with_them() -> None:
    ones = torch.ones(20, 8_000)
    hit = impulsive(ones, generators(20)) != 1
    assert 0 < hit.float().mean(1).max() < 0.12
    assert not impulsive(torch.zeros(2, 8_000), generators(2)).any()


def test_stationary_noise_lies_10_to_40_db_below(batch: torch.Tensor) -> None:
    many = batch[:1].repeat(30, 1)
    noise = stationary(many, generators(30)) - many
    ratio_db = 10 * (many.square().mean(1) / noise.square().mean(1)).log10()
    assert 9.9 < ratio_db.min() < 20
    assert 30 < ratio_db.max() < 40.1


def test_replay_keeps_the_level_and_loses_the_bass(batch: torch.Tensor) -> None:
    rumble = 0.1 * torch.sin(2 * torch.pi * 20 * torch.arange(batch.shape[1]) / RATE_HZ)
    played = replay(batch + rumble, generators(3), synthetic_rir)
    torch.testing.assert_close(
        played.square().mean(1), (batch + rumble).square().mean(1), rtol=1e-3, atol=0
    )
    before, after = (torch.fft.rfft(x)[:, 20].abs() for x in (batch + rumble, played))
    assert (after < 0.3 * before).all()


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_packets_are_lost_in_bursts_of_the_asked_share(share: float) -> None:
    lost = np.stack([lost_packets(500, share, np.random.default_rng(s)) for s in range(40)])
    assert lost.mean() == pytest.approx(share, rel=0.25)
    begins = (lost[:, 1:] & ~lost[:, :-1]).sum()
    assert lost[:, 1:].sum() / begins == pytest.approx(2.0, rel=0.2)
    assert not lost_packets(100, 0.0, np.random.default_rng(0)).any()


def test_gaps_are_concealed_and_the_rest_stays() -> None:
    speech = to_int16(make_speech(2.0, 0, RATE_HZ))
    hissing = speech + np.random.default_rng(0).integers(-50, 50, len(speech)).astype(np.int16)
    np.testing.assert_array_equal(lose_packets(hissing, 0.0, np.random.default_rng(0)), hissing)
    silent, hidden = (
        lose_packets(hissing, 0.2, np.random.default_rng(1), conceal=conceal)
        for conceal in (False, True)
    )
    assert hidden.shape == hissing.shape
    assert hidden.dtype == np.int16
    assert 0.6 < np.mean(hidden == hissing) < 0.95
    assert np.mean(silent == 0) > 2 * np.mean(hidden == 0)
    # No clicks: what is made up is blended with what came.
    assert (
        np.abs(np.diff(hidden.astype(int))).max() < 1.5 * np.abs(np.diff(hissing.astype(int))).max()
    )


def test_lower_rates_lose_the_upper_band() -> None:
    hiss = to_int16(0.1 * np.random.default_rng(0).standard_normal(RATE_HZ))
    through = resample_through(hiss, 8_000)
    assert (through.shape, through.dtype) == (hiss.shape, np.int16)
    spectrum = np.abs(np.fft.rfft(through / 32768.0))
    assert spectrum[4_500:].mean() < 0.02 * spectrum[:3_500].mean()
    kept = resample_through(hiss, 48_000)
    assert np.corrcoef(kept, hiss)[0, 1] > 0.95


def test_pitch_moves_and_the_pace_stays() -> None:
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    tone = (0.3 * np.sin(2 * np.pi * 1_000 * time_s) * (time_s > 1)).astype(np.float32)
    moved = change_pitch(tone, 12.0)
    assert moved.shape == tone.shape
    assert np.argmax(np.abs(np.fft.rfft(moved))) / 2 == pytest.approx(2_000, abs=10)
    assert np.abs(moved[: int(0.9 * RATE_HZ)]).max() < 0.03


def test_tempo_moves_and_the_pitch_stays() -> None:
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    tone = (0.3 * np.sin(2 * np.pi * 1_000 * time_s)).astype(np.float32)
    for factor in (0.8, 1.25):
        spoken = change_tempo(tone, factor)
        assert len(spoken) == pytest.approx(len(tone) / factor, abs=1)
        peak_hz = np.argmax(np.abs(np.fft.rfft(spoken))) * RATE_HZ / len(spoken)
        assert peak_hz == pytest.approx(1_000, abs=2)
        middle = spoken[4_000:-4_000]
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.15)


def test_levels_are_exact_and_clip() -> None:
    speech = to_int16(make_speech(1.0, 0, RATE_HZ))
    fainter = change_level(speech, -20.0)
    np.testing.assert_allclose(fainter, speech / 10.0, atol=0.51)
    assert change_level(speech, 60.0).max() == 32767


def test_double_coding_is_a_second_codec_for_some() -> None:
    pytest.importorskip("av")
    speech = to_int16(make_speech(1.0, 0, RATE_HZ))
    once, never, always = coded(3), coded(3, 0.0), coded(3, 1.0)
    for index in range(3):
        np.testing.assert_array_equal(once(index, speech), never(index, speech))
        assert not np.array_equal(once(index, speech), always(index, speech))
        np.testing.assert_array_equal(always(index, speech), always(index, speech))


def test_the_pitch_of_a_voice_is_found_and_of_noise_there_is_none() -> None:
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    for pitch_hz in (90.0, 140.0, 250.0):
        voice = sum(np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in range(1, 15))
        assert np.median(track_pitch(voice, 160)) == pytest.approx(pitch_hz, rel=0.03)
    noise = np.random.default_rng(0).standard_normal(RATE_HZ)
    assert np.mean(track_pitch(noise, 160) > 0) < 0.1
    assert not track_pitch(np.zeros(RATE_HZ), 160).any()


def test_linear_prediction_keeps_formants_and_silence() -> None:
    hiss = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    shaped = np.convolve(hiss, np.cos(np.pi * np.arange(60) / 8) * 0.9 ** np.arange(60), "same")
    shaped[8_000:] = 0
    copy = resynthesize(shaped.astype(np.float32), LpcSettings(), np.random.default_rng(0))
    assert copy.shape == shaped.shape
    assert np.abs(copy[9_000:]).max() < 1e-3
    spectra = [np.abs(np.fft.rfft(x[:8_000])) for x in (shaped, copy)]
    assert [
        np.argmax(np.convolve(s, np.ones(100), "same")) / 0.5 for s in spectra
    ] == pytest.approx([1_000, 1_000], abs=60)
    rms = [np.sqrt(np.mean(x[:8_000] ** 2)) for x in (shaped, copy)]
    assert rms[1] == pytest.approx(rms[0], rel=0.15)
