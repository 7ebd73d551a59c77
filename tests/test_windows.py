from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_audio import windows
from deepfake_audio.config import WindowConfig
from deepfake_audio.windows import (
    FRAME,
    active_seconds,
    activity,
    cut,
    frame_moments,
    in_windows,
    is_sounding,
    lay_out,
    sliding,
    window_starts,
)

CONFIG = WindowConfig(window_s=4.0, hop_s=2.0, step_s=0.25, min_window_s=0.5)
RATE = 16_000
configs = st.builds(
    WindowConfig,
    window_s=st.sampled_from([2.0, 4.0]),
    hop_s=st.sampled_from([0.5, 1.0, 2.0]),
    step_s=st.sampled_from([0.1, 0.25, 0.5]),
    min_window_s=st.sampled_from([0.5, 1.0]),
)


@given(st.integers(0, 40 * RATE), configs)
def test_windows_lie_inside_and_cover(n_samples: int, config: WindowConfig) -> None:
    length, starts = window_starts(n_samples, config)
    if n_samples < config.min_window_s * RATE:
        assert length == 0
    if not length:
        assert starts.size == 0
        return
    assert starts.min() >= 0
    assert starts.max() + length <= n_samples
    # Lengths come from few buckets: the window or, for a single one, multiples of a step.
    step = round(config.step_s * RATE)
    if 8 * step <= n_samples <= config.single_s * RATE:
        step *= 2
    if n_samples > config.single_s * RATE:
        assert length == config.window_s * RATE
    else:
        assert starts.size == 1
        assert length % step == 0
    # No gap inside, spacing at most a hop, and less than a step lost at the two ends together.
    gaps = np.diff(starts)
    assert (gaps > 0).all()
    assert (gaps <= config.hop_s * RATE + 1).all()
    unheard = starts[0] + n_samples - (starts[-1] + length)
    assert unheard < step + FRAME
    assert (starts % FRAME == 0).all()
    # What has been heard of a stream stays where it is when more comes.
    later = window_starts(n_samples + 7 * RATE, config)[1]
    if starts.size > 2:
        np.testing.assert_array_equal(later[: starts.size - 1], starts[:-1])


@pytest.mark.parametrize(
    ("seconds", "length_s", "count"),
    [
        (0.4, 0, 0),
        (0.5, 0.5, 1),
        (1.3, 1.25, 1),
        (1.99, 1.75, 1),
        (3.99, 3.5, 1),
        (4, 4, 1),
        (6, 6, 1),
        (6.1, 4, 2),
        (6.5, 4, 3),
    ],
)
def test_known_layouts(seconds: float, length_s: float, count: int) -> None:
    length, starts = window_starts(round(seconds * RATE), CONFIG)
    assert (length, starts.size) == (length_s * RATE, count)


def test_cut_takes_the_samples_at_the_starts() -> None:
    samples = np.arange(2 * 9 * RATE, dtype=np.float32).reshape(2, -1)
    windows = cut(samples, CONFIG)
    _, starts = window_starts(samples.shape[1], CONFIG)
    assert windows.shape == (2, starts.size, 4 * RATE)
    for index, start in enumerate(starts):
        np.testing.assert_array_equal(windows[:, index], samples[:, start : start + 4 * RATE])
    assert cut(samples[:, :100], CONFIG).shape == (2, 0, 0)


def test_sliding_copies_nothing() -> None:
    samples = np.zeros((1, 100), dtype=np.float32)
    assert np.shares_memory(samples, sliding(samples, 10))
    assert sliding(samples, 10).shape == (1, 91, 10)


def tone(seconds: float, level_db: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (np.sqrt(2) * 10 ** (level_db / 20) * np.sin(2 * np.pi * 400 * time)).astype(np.float32)


def whole(samples: np.ndarray) -> np.ndarray:
    """Activity with the whole recording as one window, (channels, frames)."""
    return activity(frame_moments(samples.astype(np.float32)))


def test_activity_follows_the_level() -> None:
    channel = np.concatenate([tone(1, -20), tone(1, -55), tone(1, -65), tone(1, -70)])
    active = whole(channel[None])[0].reshape(4, 100)
    # -55 dB is audible, and within 40 dB of -20 dB; what is below -60 dB is silence.
    assert active.mean(axis=1).tolist() == [1, 1, 0, 0]
    loud = np.concatenate([tone(1, -5), tone(1, -55)])
    assert whole(loud[None])[0].reshape(2, 100).mean(axis=1).tolist() == [1, 0]


def test_a_click_sets_no_standard() -> None:
    channel = tone(2, -50)
    channel[1000] = 1.0
    assert whole(channel[None]).all()


def test_offset_is_silence_and_channels_are_apart() -> None:
    samples = np.stack([np.full(RATE, 0.4, dtype=np.float32), tone(1, -30)])
    assert whole(samples).mean(axis=1).tolist() == [0, 1]
    assert whole(np.zeros((2, 100), dtype=np.float32)).shape == (2, 0)


def test_windows_are_judged_apart() -> None:
    samples = np.concatenate([tone(4, -5), tone(4, -55)])[None]
    starts = np.array([0, 4 * RATE])
    active = activity(in_windows(frame_moments(samples), starts, 4 * RATE))
    assert active.shape == (1, 2, 400)
    assert active.all()
    np.testing.assert_array_equal(active[:, 1], whole(samples[:, 4 * RATE :]))
    nothing = in_windows(frame_moments(samples), np.zeros(0, dtype=np.int64), 0)
    assert activity(nothing).shape == (1, 0, 0)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 2), st.floats(0, 14)), max_size=6),
    st.integers(0, 2**32 - 1),
    configs,
)
def test_a_layout_is_the_same_whatever_stands_beside_it(
    shapes: list[tuple[int, float]], seed: int, config: WindowConfig
) -> None:
    rng = np.random.default_rng(seed)
    recordings = []
    for channels, seconds in shapes:
        sound = rng.standard_normal((channels, round(seconds * RATE))).astype(np.float32)
        quiet = 10 ** rng.uniform(-6, -1, (channels, -(-sound.shape[1] // 4_000), 1))
        recordings.append(sound * np.repeat(quiet, 4_000, axis=1)[:, : sound.shape[1], 0])
    recordings = [
        np.array(samples, dtype=np.float32, order="CF"[place % 2])
        for place, samples in enumerate(recordings)
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(windows, "_SAMPLES_AT_ONCE", 10 * RATE)
        together = lay_out(recordings, config)
    assert len(together) == len(recordings)
    for samples, laid in zip(recordings, together, strict=True):
        length, starts = window_starts(samples.shape[1], config)
        [alone] = lay_out([samples], config)
        whole = np.ascontiguousarray(samples)
        active = activity(in_windows(frame_moments(whole), starts, length))
        np.testing.assert_array_equal(alone.active, active)
        assert laid.length == length
        np.testing.assert_array_equal(laid.starts, starts)
        np.testing.assert_array_equal(laid.active, active)
        np.testing.assert_array_equal(laid.sounding, is_sounding(active))


@given(st.integers(0, 2**32 - 1))
def test_seconds_equal_a_plain_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 7)
    starts = np.sort(rng.integers(0, 400, count)) * FRAME
    active = rng.random((2, count, 100)) < 0.3
    chosen = rng.random((2, count)) < 0.5
    expected = []
    for channel in range(2):
        covered = np.zeros(500, dtype=np.bool_)
        for window in np.flatnonzero(chosen[channel]):
            first = starts[window] // FRAME
            covered[first : first + 100] |= active[channel, window]
        expected.append(covered.sum() / 100)
    np.testing.assert_allclose(active_seconds(active, starts, chosen), expected)
