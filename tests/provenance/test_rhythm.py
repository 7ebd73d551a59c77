from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import MUSIC_STYLES, make_music, make_speech

import deepfake_audio
from deepfake_audio.provenance import read_provenance
from deepfake_audio.provenance.rhythm import RhythmListener

RATE_HZ = 16_000
SAMPLES = sorted((Path(deepfake_audio.__file__).parent / "samples").glob("*.flac"))


def beeps(pattern: str = ".- ..", unit_s: float = 0.1, pitch_hz: float = 880.0) -> np.ndarray:
    """Play Morse code: a dash is three dots, a pause one dot, between letters three."""
    lengths = {".": 1, "-": 3, " ": -2}  # the pause of one dot is added to each sign
    parts = []
    for sign in pattern:
        n = round(abs(lengths[sign]) * unit_s * RATE_HZ)
        time = np.arange(n) / RATE_HZ
        fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.004)
        tone = 0.2 * np.sin(2 * np.pi * pitch_hz * time) * fade
        parts.append(np.zeros(n) if sign == " " else tone)
        if sign != " ":
            parts.append(np.zeros(round(unit_s * RATE_HZ)))
    return np.concatenate(parts).astype(np.float32)


def heard(*parts: np.ndarray, block: int | None = None) -> float | None:
    sound = np.concatenate(parts)[None]
    listener = RhythmListener(1)
    for start in range(0, sound.shape[1], block or sound.shape[1]):
        listener.feed(sound[:, start : start + (block or sound.shape[1])])
    return listener.found_s()


PAUSE = np.zeros(RATE_HZ // 2, np.float32)


@pytest.mark.parametrize("unit_s", [0.05, 0.1, 0.25])
@pytest.mark.parametrize("pitch_hz", [440.0, 880.0, 2500.0])
def test_heard_before_between_and_behind_speech(unit_s: float, pitch_hz: float) -> None:
    label, speech = beeps(unit_s=unit_s, pitch_hz=pitch_hz), make_speech(3)
    assert heard(label, speech) == pytest.approx(0, abs=0.03)
    assert heard(speech, PAUSE, label, PAUSE, speech) == pytest.approx(3.5, abs=0.03)
    assert heard(speech, PAUSE, label) == pytest.approx(3.5, abs=0.03)


def test_blocks_do_not_matter() -> None:
    sound = (make_speech(1), PAUSE, beeps(), PAUSE)
    assert heard(*sound, block=777) == heard(*sound) is not None


@pytest.mark.parametrize("coding", [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_survives_codecs(coding: tuple[str, str]) -> None:
    file = io.BytesIO()
    sound = np.concatenate([make_speech(2), PAUSE, beeps(), PAUSE])
    quiet = np.stack([0.5 * sound, np.zeros_like(sound)], axis=1)
    soundfile.write(file, quiet, RATE_HZ, format=coding[0], subtype=coding[1])
    assert read_provenance(file.getvalue()).rhythm_s == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize(
    "other",
    [".- .-", "....", "-. ..", ".-..", ".- ...", ". .- ..", ".- .. .", "-- --", "... --- ..."],
)
def test_other_rhythms_are_no_label(other: str) -> None:
    assert heard(PAUSE, beeps(other), PAUSE) is None


def test_speech_and_music_are_no_label() -> None:
    assert SAMPLES
    for path in SAMPLES:  # two of them by espeak-ng
        assert read_provenance(path).rhythm_s is None, path.name
    for seed in range(5):
        assert heard(make_speech(10, seed)) is None
    for style in MUSIC_STYLES:
        assert heard(make_music(style, 8)) is None, style
    assert heard(np.random.default_rng(0).normal(0, 0.1, 5 * RATE_HZ).astype(np.float32)) is None


def test_nothing_to_hear() -> None:
    assert heard(np.zeros(100, np.float32)) is None
    assert heard(np.zeros(RATE_HZ, np.float32)) is None
    assert RhythmListener(1).found_s() is None
