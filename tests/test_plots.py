from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepfake_audio.audio import DecodedAudio, decode
from deepfake_audio.detector import Detector
from deepfake_audio.errors import ConfigError, MissingExtraError
from deepfake_audio.report import Report, Segment

matplotlib = pytest.importorskip("matplotlib")

from deepfake_audio import plots  # noqa: E402

MakeWav = Callable[..., Path]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def heard(detector: Detector, speech_wav: MakeWav) -> tuple[Report, DecodedAudio]:
    path = speech_wav("a $5 录音 <b>.wav", 7, channels=2)
    return detector.detect(path), decode(path)


def test_overlapping_segments_are_averaged() -> None:
    segments = [Segment(0, s, s + 4.0, p, 0.0) for s, p in [(0.0, 0.2), (2.0, 0.6), (8.0, 1.0)]]
    edges, p = plots.score_over_time(segments)
    assert edges.tolist() == [0, 2, 4, 6, 8, 12]
    np.testing.assert_allclose(p, [0.2, 0.4, 0.6, np.nan, 1.0])


def test_a_figure_shows_score_threshold_and_words(heard: tuple[Report, DecodedAudio]) -> None:
    report, audio = heard
    figure = plots.plot_report(report, audio)
    spectrogram, scores = figure.axes
    assert spectrogram.images[0].get_extent() == [0, 7, 0, 8]
    assert scores.get_xlim() == (0, 7)
    threshold = [line for line in scores.lines if set(line.get_ydata()) == {0.6}]
    assert len(threshold) == 1
    # A step line and a fill above the threshold for each channel.
    assert len(scores.patches) >= 4
    words = " ".join(text.get_text() for text in figure.texts)
    for part in ("uncertain", report.input.name, report.model.sha256[:8], "prior of 0.5"):
        assert part in words
    assert report.input.sha256 in words


def test_a_png_carries_the_report(heard: tuple[Report, DecodedAudio], tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.save_plot(*heard, path)
    content = path.read_bytes()
    assert content.startswith(PNG)
    start = content.index(b"Report\x00") + len(b"Report\x00")
    length = int.from_bytes(content[start - 7 - 8 : start - 7 - 4], "big") - 7
    inside = json.loads(content[start : start + length])
    assert Report.from_dict(inside) == heard[0]


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_other_formats(heard: tuple[Report, DecodedAudio], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    plots.save_plot(*heard, path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("seconds", [0.01, 0.3])
def test_nothing_heard_still_gives_a_picture(
    detector: Detector, speech_wav: MakeWav, tmp_path: Path, seconds: float
) -> None:
    path = speech_wav("short.wav", seconds)
    report = detector.detect(path)
    figure = plots.plot_report(report, decode(path))
    assert "no speech was scored" in [text.get_text() for text in figure.axes[1].texts]
    plots.save_plot(report, decode(path), tmp_path / "out.png")


def test_long_recordings_have_a_bounded_number_of_columns(
    heard: tuple[Report, DecodedAudio], speech: Callable[..., np.ndarray]
) -> None:
    report, audio = heard
    long = np.tile(speech(60), 30)[None]
    figure = plots.plot_report(report, DecodedAudio(audio.info, np.concatenate([long, long]), ()))
    assert figure.axes[0].images[0].get_array().shape[1] <= plots.MAX_COLUMNS + 1


def test_pyplot_is_left_alone(heard: tuple[Report, DecodedAudio]) -> None:
    before = dict(matplotlib.rcParams)
    plots.plot_report(*heard)
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not matplotlib.pyplot.get_fignums()


def test_what_cannot_be_written(heard: tuple[Report, DecodedAudio], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.png"):
        plots.save_plot(*heard, tmp_path / "out.gif")
    with pytest.raises(ConfigError, match="cannot be written"):
        plots.save_plot(*heard, tmp_path / "nowhere" / "out.png")


def test_without_matplotlib_the_extra_is_named(
    heard: tuple[Report, DecodedAudio], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"deepfake-audio\[plots\]"):
        plots.plot_report(*heard)
