from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import make_speech

from deepfake_audio import Detector, Verdict
from deepfake_audio.config import WindowConfig
from deepfake_audio.errors import ConfigError, InvalidSamplesError, LimitExceededError
from deepfake_audio.listening import Listener, Window
from deepfake_audio.streaming import Stream, StreamConfig, StreamEvent

RATE = 16_000
MakeSpeech = Callable[..., np.ndarray]
DETECTOR = Detector.load("unittest", precision="fp32")


def as_int16(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples * 32767).astype(np.int16)


def chunks(samples: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Cut (channels, samples) into chunks whose sizes go round."""
    cut, at = [], 0
    while at < samples.shape[1]:
        size = sizes[len(cut) % len(sizes)]
        cut.append(samples[:, at : at + size])
        at += size
    return cut


def same_report(live, whole) -> None:
    assert (live.verdict, live.reason) == (whole.verdict, whole.reason)
    assert live.input.speech_s == pytest.approx(whole.input.speech_s, abs=1e-6)
    assert live.input.duration_s == whole.input.duration_s
    assert len(live.segments) == len(whole.segments)
    for one, other in zip(live.segments, whole.segments, strict=True):
        assert (one.channel, one.start_s, one.end_s) == (
            other.channel,
            other.start_s,
            other.end_s,
        )
        assert one.llr_synthetic == pytest.approx(other.llr_synthetic, abs=2e-4)
    if whole.llr_synthetic is not None:
        assert live.llr_synthetic == pytest.approx(whole.llr_synthetic, abs=2e-4)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 16),
    st.integers(1, 2),
    st.sampled_from([8_000, RATE, 44_100]),
    # Chunks of one sample among longer ones; of nothing else, they would be half a million calls.
    st.lists(st.integers(1, 30_000), min_size=1, max_size=4).filter(
        lambda sizes: sum(sizes) >= 800 * len(sizes)
    ),
    st.sampled_from([0.5, 1.0]),
)
def test_the_end_equals_the_whole(seconds, channels, rate, sizes, hop_s) -> None:
    samples = np.stack([make_speech(seconds * rate / RATE, seed) for seed in range(channels)])
    samples[:, samples.shape[1] // 3 : samples.shape[1] // 2] *= 0.001  # a pause
    # Away from 16 kHz the stream keeps what was resampled in 16 bits.
    sound = as_int16(samples)
    stream = DETECTOR.stream(rate, channels, config=StreamConfig(hop_s=hop_s))
    events = [event for chunk in chunks(sound, sizes) for event in stream.feed(chunk)]
    if not sound.size:
        assert stream.close().verdict is Verdict.INCONCLUSIVE
        return
    report = stream.close()
    try:
        whole = DETECTOR.detect(sound, sample_rate_hz=rate)
    except InvalidSamplesError:  # more channels than samples
        return
    if rate == RATE:
        same_report(report, whole)
        expected = np.arange(1, int(seconds / hop_s + 1e-9) + 1) * hop_s
        assert [event.time_s for event in events] == expected[expected >= 0.5].tolist()
    else:
        assert report.verdict == whole.verdict
        assert report.input.speech_s == pytest.approx(whole.input.speech_s, abs=0.03)
        if whole.llr_synthetic is not None:
            assert report.llr_synthetic == pytest.approx(whole.llr_synthetic, abs=0.02)


def test_events_are_about_the_last_seconds(speech: MakeSpeech) -> None:
    stream = DETECTOR.stream(RATE, name="room 7", config=StreamConfig(memory_s=4))
    events = stream.feed(np.concatenate([speech(8), np.zeros(9 * RATE, np.float32)]))
    assert [event.time_s for event in events] == list(range(1, 18))
    assert all(event.llr_synthetic is not None for event in events[:8])
    assert events[0].segments[0].start_s == 0
    assert (events[7].segments[0].start_s, events[7].segments[0].end_s) == (4, 8)
    last = events[-1]
    assert (last.verdict, last.reason, last.segments) == (Verdict.INCONCLUSIVE, "no_speech", ())
    assert last.llr_synthetic is None
    smoothed = np.mean([event.segments[0].llr_synthetic for event in events[4:8]])
    assert events[7].llr_synthetic == pytest.approx(smoothed, abs=1e-3)
    values = events[3].to_dict()
    assert values["schema"] == "deepfake_audio.event/1"
    assert values["verdict"] == events[3].verdict.value
    report = stream.close()
    assert (report.input.name, report.input.format, report.input.sha256) == (
        "room 7",
        "stream",
        None,
    )


def test_streams_of_a_pool_share_batches_and_nothing_else(speech: MakeSpeech) -> None:
    sounds = [as_int16(speech(3 + seed, seed)) for seed in range(4)]
    pool = DETECTOR.stream_pool()
    streams = [pool.open(RATE, name=str(i)) for i in range(4)]
    found: dict[str, list[float | None]] = {stream.name: [] for stream in streams}
    for second in range(7):
        for stream, sound in zip(streams, sounds, strict=True):
            stream.push(sound[second * RATE : (second + 1) * RATE])
        for stream, event in pool.step():
            found[stream.name].append(event.llr_synthetic)
    for stream, sound in zip(streams, sounds, strict=True):
        alone = DETECTOR.stream(RATE)
        expected = [event.llr_synthetic for event in alone.feed(sound)]
        assert found[stream.name] == pytest.approx(expected, abs=2e-4)
        same_report(stream.close(), DETECTOR.detect(sound, sample_rate_hz=RATE))
    assert len(pool) == 0


def test_workers_share_what_is_due_and_change_nothing(speech: MakeSpeech) -> None:
    shared = Detector.load("unittest", precision="fp32", workers=3)
    pools = [DETECTOR.stream_pool(), shared.stream_pool()]
    streams = [[pool.open(16_000, name=str(i)) for i in range(5)] for pool in pools]
    told = []
    for pool, opened in zip(pools, streams, strict=True):
        events = []
        for second in range(6):
            for i, stream in enumerate(opened):
                stream.push(speech(6, seed=i)[second * 16_000 : (second + 1) * 16_000])
            events += [(stream.name, event) for stream, event in pool.step()]
        told.append(events)
        told[-1] += [(stream.name, stream.close().llr_synthetic) for stream in opened]
    (names, alone), (same_names, together) = (zip(*its, strict=True) for its in told)
    assert names == same_names
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, StreamEvent):
            assert (one.time_s, one.verdict) == (other.time_s, other.verdict)
            one, other = one.llr_synthetic, other.llr_synthetic
        assert one == pytest.approx(other, abs=2e-4)


def test_an_abandoned_stream_is_forgotten() -> None:
    pool = DETECTOR.stream_pool()
    kept, gone = pool.open(RATE), pool.open(RATE)
    assert len(pool) == 2
    del gone
    gc.collect()
    assert len(pool) == 1
    assert not kept.closed


def test_a_step_asks_those_with_windows_that_wait(
    speech: MakeSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    hand_over = Stream.due

    def due(stream: Stream) -> list[Window]:
        asked.append(stream.name)
        return hand_over(stream)

    monkeypatch.setattr(Stream, "due", due)
    pool = DETECTOR.stream_pool()
    first, second, third = (pool.open(RATE, name=name) for name in ("first", "second", "third"))
    assert pool.step() == []
    second.push(speech(2))
    third.push(speech(2))
    assert first.feed(speech(2, 1))  # scored at once: nothing of it waits
    del third  # left with windows that waited
    gc.collect()
    asked.clear()
    assert {stream.name for stream, _ in pool.step()} == {"second"}
    assert pool.step() == []
    assert asked == ["second"]
    first.push(speech(2, 2))
    assert first.due()  # handed to somebody else, as the service does
    asked.clear()
    assert pool.step() == []
    assert asked == []


def test_floats_that_are_no_numbers_are_silence_and_hide_no_scale(speech: MakeSpeech) -> None:
    sound = speech(2)
    sound[100:110] = np.nan
    sound[200] = np.inf
    stream = DETECTOR.stream(RATE)
    for start in range(0, len(sound), 1_600):
        stream.push(sound[start : start + 1_600])
    with pytest.raises(InvalidSamplesError, match="times full scale"):
        stream.push(np.array([np.nan, 30.0, np.inf, 1.0]))
    report = stream.close()
    assert "invalid_samples" in report.warnings
    same_report(report, DETECTOR.detect(sound, sample_rate_hz=RATE))


def test_a_room_stays_small(speech: MakeSpeech) -> None:
    stream = DETECTOR.stream(RATE)
    minute = as_int16(np.tile(speech(6), 10))
    stream.push(minute)
    before = stream.n_bytes
    listener = stream._listener
    for _ in range(5):
        stream.feed(minute)
    grown = stream.n_bytes - before
    # Ten hours of one channel, by what five minutes add.
    assert before + grown * 10 * 12 < 256 * 1024
    assert listener.duration_s == 360


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_room_stays_small_between_chunks(speech: MakeSpeech, dtype: type) -> None:
    stream = DETECTOR.stream(48_000)
    sound = np.tile(speech(6), 3)
    sound = as_int16(sound) if dtype is np.int16 else sound
    most = 0
    for start in range(0, len(sound), 4_800):
        stream.push(sound[start : start + 4_800])
        stream.due()
        most = max(most, stream.n_bytes)
    assert 100 * 1024 < most < 240 * 1024


def test_late_and_lost_chunks(speech: MakeSpeech) -> None:
    sound = as_int16(speech(9))
    pieces = [sound[at : at + 1600] for at in range(0, len(sound), 1600)]
    whole = DETECTOR.detect(sound, sample_rate_hz=RATE)
    # Neighbours change places: nothing is lost, nothing is different.
    order = list(range(len(pieces)))
    for at in range(5, len(order) - 1, 7):
        order[at], order[at + 1] = order[at + 1], order[at]
    for place in ("sequence", "time_s"):
        stream = DETECTOR.stream(RATE)
        for index in order:
            where = {"sequence": 100 + index} if place == "sequence" else {"time_s": index / 10}
            stream.feed(pieces[index], **where)
        assert stream.arrivals.reordered == len(range(5, len(order) - 1, 7))
        assert (stream.arrivals.lost, stream.arrivals.late) == (0, 0)
        same_report(stream.close(), whole)
    # A missing chunk becomes silence in its place, and a straggler is told and thrown away.
    for place in ("sequence", "time_s"):
        stream = DETECTOR.stream(RATE)
        for index, piece in enumerate(pieces):
            if index != 20:
                stream.feed(piece, **{place: index if place == "sequence" else index / 10})
        stream.feed(pieces[20], **{place: 20 if place == "sequence" else 2.0})
        arrivals = stream.arrivals
        assert (arrivals.lost, arrivals.late) == (1, 1)
        assert arrivals.lost_s == pytest.approx(0.1)
        report = stream.close()
        assert "lost_audio" in report.warnings
        assert report.input.duration_s == whole.input.duration_s
        silenced = sound.copy()
        silenced[32_000:33_600] = 0
        assert report.llr_synthetic == pytest.approx(
            DETECTOR.detect(silenced, sample_rate_hz=RATE).llr_synthetic, abs=2e-4
        )


def test_windows_with_much_lost_are_not_heard(speech: MakeSpeech) -> None:
    stream = DETECTOR.stream(RATE)
    sound = speech(12)
    stream.feed(sound[: 4 * RATE], time_s=0.0)
    events = stream.feed(sound[5 * RATE :], time_s=5.0)
    heard = {event.time_s for event in events if event.segments}
    assert heard == {9, 10, 11, 12}
    assert stream.arrivals.lost_s == pytest.approx(1)
    # An absurd gap is cut to something bearable.
    stream.feed(sound, time_s=1e7)
    assert stream.arrivals.lost_s == pytest.approx(31)


def test_what_is_refused(speech: MakeSpeech) -> None:
    for rate, channels in ((1_000, 1), (RATE, 0), (RATE, 99)):
        with pytest.raises(LimitExceededError):
            DETECTOR.stream(rate, channels)
    for hop_s in (0.0, -1.0):
        with pytest.raises(ConfigError, match="too short"):
            DETECTOR.stream(RATE, config=StreamConfig(hop_s=hop_s))
    with pytest.raises(ConfigError, match="divide"):
        DETECTOR.stream(RATE, config=StreamConfig(hop_s=0.7))
    stream = DETECTOR.stream(RATE, 2)
    for bad in (speech(1), np.zeros((3, 100)), np.array([["a"], ["b"]]), np.full((2, 9), 1e4)):
        with pytest.raises(InvalidSamplesError):
            stream.feed(bad)
    stream.feed(np.stack([speech(2), speech(2)]))  # and it goes on
    with pytest.raises(ValueError, match="not both"):
        stream.feed(np.zeros((2, 10)), sequence=1, time_s=0.0)
    stream.close()
    for ended in (stream.close, lambda: stream.feed(np.zeros((2, 10)))):
        with pytest.raises(ValueError, match="closed"):
            ended()
    placed = DETECTOR.stream(RATE)
    placed.feed(speech(1), sequence=0)
    for other in ({}, {"time_s": 1.0}):
        with pytest.raises(ValueError, match="sequence"):
            placed.feed(speech(1), **other)


def test_a_listener_without_events_gives_the_grid_alone(speech: MakeSpeech) -> None:
    listener = Listener(1, WindowConfig())
    starts = [window.start for window in listener.feed(speech(15)[None])]
    assert starts == [0, 3 * RATE, 6 * RATE, 9 * RATE]
    assert listener.finish() is not None
    assert all(dataclasses.asdict(StreamConfig()).values())
