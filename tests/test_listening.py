from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from deepfake_audio import Detector, decoding
from deepfake_audio._sources import Deadline
from deepfake_audio.audio import DecodedAudio, LongAudio, begin, decode
from deepfake_audio.config import Limits
from deepfake_audio.errors import DeepfakeAudioError, LimitExceededError
from deepfake_audio.listening import listen

RATE = 16_000
MakeSpeech = Callable[..., np.ndarray]
DETECTOR = Detector.load("unittest", precision="fp32")


def long_sound(speech: MakeSpeech, channels: int = 1) -> np.ndarray:
    return np.stack([np.concatenate([speech(20, c), speech(9.7, c + 9)]) for c in range(channels)])


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples.T, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("size", [700, 16_000, 100_000])
def test_block_by_block_equals_one_piece(speech: MakeSpeech, size: int) -> None:
    sound = long_sound(speech, 2)
    blocks: Iterator[np.ndarray] = (
        sound[:, at : at + size] for at in range(0, sound.shape[1], size)
    )
    live = listen(DETECTOR.scorer, blocks, 2)
    [whole] = DETECTOR.scorer.score([sound])
    assert live.reason == whole.reason
    assert live.speech_s == pytest.approx(whole.speech_s)
    assert live.llr == pytest.approx(whole.llr, abs=1e-4)
    assert live.peak_llr == pytest.approx(whole.peak_llr, abs=1e-4)
    for field in ("channel", "start_s", "end_s", "llr"):
        np.testing.assert_allclose(
            getattr(live.segments, field), getattr(whole.segments, field), atol=1e-4
        )


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_a_long_input_is_reported_like_a_short_one(
    monkeypatch: pytest.MonkeyPatch, speech: MakeSpeech, rate: int, workers: int
) -> None:
    sources = [wav(long_sound(speech, 2), rate), wav(speech(3)[None]), b"no audio"]
    detector = Detector.load("unittest", precision="fp32", workers=workers)
    expected = list(detector.detect_many(sources))
    monkeypatch.setattr(decoding, "KEEP_SAMPLES", 5 * RATE)
    found = list(detector.detect_many(sources))
    assert isinstance(found[2], DeepfakeAudioError)
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert (one.verdict, one.warnings, one.input) == (
            other.verdict,
            other.warnings,
            other.input,
        )
        assert one.llr_synthetic == pytest.approx(other.llr_synthetic, abs=2e-4)
        assert len(one.segments) == len(other.segments)


def test_what_fits_is_decoded_as_a_whole(speech: MakeSpeech) -> None:
    content = wav(speech(3)[None])
    whole = begin(content, keep_samples=3 * RATE)
    assert isinstance(whole, DecodedAudio)
    long = begin(content, keep_samples=3 * RATE - 1)
    assert isinstance(long, LongAudio)
    sound = np.concatenate(list(long.blocks()), axis=1)
    np.testing.assert_array_equal(sound, whole.samples)
    assert long.end == (whole.info, whole.flags)
    assert decode(content).info == whole.info


def test_trouble_in_the_middle_is_told_in_its_place(
    monkeypatch: pytest.MonkeyPatch, speech: MakeSpeech
) -> None:
    monkeypatch.setattr(decoding, "KEEP_SAMPLES", RATE)
    sound = np.tile(speech(20), 4)[None]
    sound[0, 70 * RATE :] = 9.0  # far beyond full scale
    bad, good = DETECTOR.detect_many([wav(sound), wav(speech(3)[None])], names=["bad", "good"])
    assert isinstance(bad, DeepfakeAudioError)
    assert "bad" in str(bad)
    assert "full scale" in str(bad)
    assert good.input.name == "good"


def test_what_a_decoder_raises_in_the_middle_costs_one_input(
    monkeypatch: pytest.MonkeyPatch, speech: MakeSpeech
) -> None:
    monkeypatch.setattr(decoding, "KEEP_SAMPLES", RATE)

    def broken(self: LongAudio) -> Iterator[np.ndarray]:
        yield speech(5)[None]
        raise ZeroDivisionError

    monkeypatch.setattr(LongAudio, "blocks", broken)
    bad, good = DETECTOR.detect_many([wav(speech(9)[None]), wav(speech(0.9)[None])])
    assert "ZeroDivisionError" in str(bad)
    assert good.input.duration_s == 0.9


def test_the_time_of_others_is_not_counted() -> None:
    deadline = Deadline("x", Limits(max_decode_s=0.05))
    with deadline.resting():
        time.sleep(0.1)
    deadline.check()
    time.sleep(0.06)
    with pytest.raises(LimitExceededError):
        deadline.check()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_memory_does_not_grow_with_the_recording(tmp_path: Path, speech: MakeSpeech) -> None:
    """Two hours cost hardly more than half an hour, which is past what is kept whole."""
    code = (
        "import sys, resource, torch; torch.set_num_threads(1);"
        "from deepfake_audio import Detector; from deepfake_audio.config import Limits;"
        "d = Detector.load('unittest', precision='fp32');"
        "r = d.detect(sys.argv[1]);"
        "print(r.input.duration_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    minute = np.rint(np.tile(speech(20), 3) * 32767).astype(np.int16)
    minute[10 * RATE :] //= 2000  # mostly silence: this is about memory
    used = []
    for minutes in (30, 120):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(minute)
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        seconds, megabytes = done.stdout.split()
        assert float(seconds) == 60 * minutes
        used.append(int(megabytes))
    assert used[1] < used[0] + 60
