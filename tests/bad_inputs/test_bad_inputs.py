"""Bad inputs end in one line that names the file and a remedy, or in a flag; in nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from deepfake_audio import errors
from deepfake_audio.audio import decode, probe
from deepfake_audio.config import Limits

from . import make_bad_inputs

LIMITS = Limits(
    max_duration_s=60, max_samples=10_000_000, max_source_samples=10_000_000, max_decode_s=20
)

# What the interesting ones must give; of the rest, any error or any flag will do.
EXPECTED: dict[str, type[errors.DeepfakeAudioError] | str] = {
    "empty.wav": errors.EmptyAudioError,
    "text.wav": errors.UnsupportedFormatError,
    "utf16_text.mp3": errors.UnsupportedFormatError,
    "playlist.m3u8": errors.UnsupportedFormatError,
    "concat.mp4": errors.UnsupportedFormatError,
    "no_channels.wav": errors.CorruptAudioError,
    "zero_frames.wav": errors.EmptyAudioError,
    "half.wav": "truncated",
    "many_channels.wav": errors.LimitExceededError,
    "rate_1.wav": errors.LimitExceededError,
    "rate_huge.wav": errors.LimitExceededError,
    "half.mp3": "truncated",
    "scrambled.mp3": "truncated",
    "half.flac": "truncated",
    "length_lies.flac": errors.LimitExceededError,
    "bomb.flac": errors.LimitExceededError,
    "half.opus": "truncated",
    "no_audio_pages.opus": errors.CorruptAudioError,
    "one_nan.wav": "invalid_samples",
    "many_nan.wav": errors.InvalidSamplesError,
    "infinite.wav": errors.InvalidSamplesError,
    "all_nan.wav": errors.InvalidSamplesError,
    "beyond_float32.wav": errors.InvalidSamplesError,
    "integers_as_floats.wav": errors.InvalidSamplesError,
    "offset.wav": "dc_offset",
    "clipped.wav": "clipped",
    "one_sample.wav": errors.EmptyAudioError,
    "dead_channel.wav": "silent_channel",
    "missing.wav": errors.AudioNotFoundError,
    "folder.wav": errors.AudioNotFoundError,
    "pipe.wav": errors.AudioNotFoundError,
    "endless.wav": errors.AudioNotFoundError,
    "forbidden.wav": errors.AudioNotFoundError,
    "no_index.m4a": errors.CorruptAudioError,
    "silent_film.mp4": errors.UnsupportedFormatError,
    "header_only.aac": errors.CorruptAudioError,
    "half.mp4": "truncated",
    "half.webm": "truncated",
}


@pytest.fixture(scope="module")
def bad_inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_bad_inputs(tmp_path_factory.mktemp("bad"))


def _names() -> list[str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return list(make_bad_inputs(Path(folder)))


NAMES = _names()


def test_there_are_enough_of_them() -> None:
    assert len(NAMES) >= 40


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("read", [decode, probe])
def test_bad_input(name: str, read, bad_inputs: dict[str, Path], capsys) -> None:
    path = bad_inputs[name]
    started = time.monotonic()
    try:
        result = read(path, limits=LIMITS)
    except errors.DeepfakeAudioError as error:
        result = error
    if isinstance(result, errors.DeepfakeAudioError):
        outcome: object = type(result)
        message = str(result)
        assert len(message.splitlines()) == 1
        assert message.startswith(" ".join(str(path).split()))
        assert result.hint
    else:
        if read is probe:  # a header can be sound where the rest is not
            return
        outcome = result.flags
        assert outcome, "read as if nothing were wrong"
        assert np.isfinite(result.samples).all()
        assert np.abs(result.samples).max() < 8
    assert time.monotonic() - started < 10
    assert capsys.readouterr().err == ""  # nor a traceback out of a callback
    expected = EXPECTED.get(name)
    if read is decode and isinstance(expected, str):
        assert isinstance(outcome, tuple)
        assert expected in outcome
    elif read is decode and expected:
        assert outcome is expected


def test_every_expectation_has_its_input() -> None:
    optional = {"forbidden.wav", "pipe.wav", "endless.wav"}
    optional |= {name for name in EXPECTED if name.endswith((".mp4", ".m4a", ".webm", ".aac"))}
    assert set(EXPECTED) - optional <= set(NAMES)
