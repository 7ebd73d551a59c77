from __future__ import annotations

import numpy as np
import pytest

from deepfake_audio.config import Limits
from deepfake_audio.errors import InvalidSamplesError, LimitExceededError
from deepfake_audio.intake import Intake, Sound

RATE = 16_000


def make(rate: int = RATE, channels: int = 1) -> Intake:
    return Intake(rate, channels, name="room", patience_s=0.5, limits=Limits())


def put(
    intake: Intake, samples: np.ndarray, wanted: int = 1_600, sequence: int | None = None
) -> list[Sound]:
    return list(intake.put(samples, sequence=sequence, time_s=None, wanted=lambda: wanted))


def test_chunks_wait_until_they_are_of_use() -> None:
    intake = make()
    first, second = np.full(1_000, 1_000, np.int16), np.full(600, -1_000, np.int16)
    assert put(intake, first) == []
    assert intake.waiting_s == 1_000 / RATE
    assert intake.taken == 0
    [sound] = put(intake, second)
    np.testing.assert_allclose(sound.samples[0] * 32_768, [1_000] * 1_000 + [-1_000] * 600)
    assert not sound.lost
    assert (intake.waiting_s, intake.taken, intake.meter.total) == (0, 1_600, 1_600)


def test_a_change_of_type_keeps_the_order() -> None:
    intake = make()
    assert put(intake, np.full(100, 16_384, np.int16)) == []
    [before] = put(intake, np.full(100, -0.25))
    [after] = intake.end(lambda: 1_600)
    assert np.unique(before.samples).tolist() == [0.5]
    assert np.unique(after.samples).tolist() == [-0.25]


def test_what_waits_is_bounded() -> None:
    intake = make()
    given = 0
    for _ in range(100):
        given += sum(s.samples.shape[1] for s in put(intake, np.zeros(160), wanted=10**9))
        assert intake.n_bytes < 40 * 1024
    assert given + round(intake.waiting_s * RATE) == 16_000


def test_silence_stands_for_lost_chunks_of_floats() -> None:
    intake = make()
    chunk = np.full(8_000, 0.5, np.float32)
    sounds = put(intake, chunk, sequence=0) + put(intake, chunk, sequence=2)
    sounds += put(intake, chunk, sequence=3) + list(intake.end(lambda: 1_600))
    assert [sound.lost for sound in sounds] == [False, True, False, False]
    assert [sound.samples.shape[1] for sound in sounds] == [8_000] * 4
    assert not sounds[1].samples.any()
    assert intake.arrivals.lost == 1


def test_a_refused_chunk_leaves_no_trace() -> None:
    intake = make(channels=2)
    for bad in (np.zeros(100), np.full((2, 9), 30.0), np.zeros((2, 9), np.int64)):
        with pytest.raises(InvalidSamplesError, match="room"):
            put(intake, bad)
    assert (intake.meter.total, intake.meter.peak, intake.waiting_s) == (0, 0, 0)
    with pytest.raises(LimitExceededError):
        make(channels=99)
    with pytest.raises(LimitExceededError):
        make(rate=1_000)


def test_another_rate_is_brought_to_16_khz() -> None:
    intake = make(48_000)
    time_s = np.arange(48_000) / 48_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    sounds = [s for part in np.split(tone, 100) for s in put(intake, part)]
    sounds += intake.end(lambda: 1_600)
    samples = np.concatenate([sound.samples for sound in sounds], axis=1)[0]
    assert samples.size == RATE
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(samples[500:-500], expected[500:-500], atol=1e-3)
