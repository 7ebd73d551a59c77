"""Recordings made of clips: of one duration, and partly synthetic."""

import numpy as np
import pytest
import soundfile
import torch
from sounds import make_speech

from deepfake_audio.datasets import load_manifest
from deepfake_audio.errors import ConfigError, DatasetError
from deepfake_audio.evaluation.durations import joined, pieces
from deepfake_audio.evaluation.robustness import measure_robustness
from deepfake_audio.evaluation.splices import (
    make_splices,
    measure_splices,
    segment_scores,
    splice_table,
)

RATE_HZ = 16_000


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Four speakers and four systems in two sources, five clips of 3.5 s each."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["path,label,source,system,speaker"]
    for index in range(40):
        voice, label = index % 4, "spoof" if index % 8 >= 4 else "bonafide"
        gain = 2.0 if label == "spoof" else 1.0
        soundfile.write(folder / f"{index}.wav", gain * make_speech(3.5, index), RATE_HZ)
        system = f"sys{voice}" if label == "spoof" else ""
        lines.append(f"{index}.wav,{label},s{voice % 2},{system},sp{voice}")
    lines.append("broken.wav,spoof,s0,sys0,sp0")
    (folder / "broken.wav").write_bytes(b"nothing")
    (folder / "clips.csv").write_text("\n".join(lines))
    return load_manifest([folder / "clips.csv"])


def test_clips_give_their_middle_or_are_joined(clips):
    short = list(pieces(clips, 2.0))
    assert len(short) == 40
    assert {len(samples) for _, samples in short} == {2 * RATE_HZ}
    long = list(pieces(clips, 10.0))
    assert len(long) == 8  # 3 clips of each of the 8 voices, and what is left is too little
    assert {len(samples) for _, samples in long} == {10 * RATE_HZ}
    assert len({clip.id for clip, _ in [*short, *long]}) == 48


def test_what_is_joined_goes_over_without_a_step():
    tone = np.ones(1_000, np.float32)
    both = joined(tone, -tone)
    assert len(both) == 2_000 - 160
    assert np.abs(np.diff(both)).max() < 0.02


def test_durations_are_conditions(detector, clips):
    short, long = measure_robustness(detector, clips, ["duration:2", "duration:10"])
    assert (short.evaluation.clips["total"], long.evaluation.clips["total"]) == (40, 8)
    with pytest.raises(ConfigError, match="duration:SECONDS"):
        next(measure_robustness(detector, clips, ["duration:long"]))
    with pytest.raises(DatasetError, match="so long"):
        next(measure_robustness(detector, clips, ["duration:60"]))


def test_a_splice_is_the_host_but_for_the_stretch(clips):
    splices = make_splices(clips)
    assert [s.host.id for s in splices] == [s.host.id for s in make_splices(clips)]
    assert {s.host.label for s in splices} == {"bonafide", "spoof"}
    hosts = {
        clip.id: samples
        for label in ("bonafide", "spoof")
        for clip, samples in pieces([c for c in clips if c.label == label], 8.0)
    }
    for splice in splices:
        host = hosts[splice.host.id]
        changed = np.flatnonzero(splice.samples != host)
        assert splice.samples.shape == host.shape
        assert splice.start <= changed[0]
        assert changed[-1] < splice.stop
        assert 1.0 <= (splice.stop - splice.start) / RATE_HZ <= 3.0
        inside = [x[splice.start : splice.stop] for x in (splice.samples, host)]
        levels = [np.sqrt(np.mean(x**2)) for x in inside]
        assert levels[0] == pytest.approx(levels[1], rel=0.1)
        synthetic_s = 0.5 * splice.synthetic_share().sum()
        expected_s = (splice.stop - splice.start) / RATE_HZ
        expected_s = 8.0 - expected_s if splice.host.is_synthetic else expected_s
        assert synthetic_s == pytest.approx(expected_s, abs=1e-3)


def test_segments_have_the_mean_score_of_the_windows_over_them(detector):
    class Louder:
        def hear(self, windows):
            return np.array([float(window.mean()) for window in windows]), None

    steps = np.repeat(np.arange(8.0), 8_000).astype(np.float32)
    np.testing.assert_allclose(segment_scores(Louder(), steps, 0.5), np.arange(8.0))
    smooth = segment_scores(Louder(), steps, 1.0)
    np.testing.assert_allclose(smooth, [0.5, *range(1, 7), 6.5])


def test_who_hears_the_difference_finds_the_stretch(clips, detector):
    splices = make_splices(clips)

    class Deaf:
        def hear(self, windows):
            return np.zeros(len(windows)), None

    class Oracle:
        """Knows where the windows come from: they are views of the recordings."""

        def hear(self, windows):
            [splice] = [s for s in splices if np.shares_memory(s.samples, windows[0])]
            share = np.repeat(splice.synthetic_share(), 8_000)
            return share.reshape(-1, 8_000)[: len(windows)].mean(1), None

    assert next(measure_splices(Deaf(), splices)).segment_eer["all"] == pytest.approx(0.5)
    assert next(measure_splices(Oracle(), splices, [0.5])).segment_eer["all"] == 0
    measured = list(measure_splices(detector.scorer, splices))
    assert [result.window_s for result in measured] == [1.0, 2.0, 4.0]
    assert all(0 <= rate <= 1 for r in measured for rate in r.segment_eer.values())
    assert measured[0].files == len(splices)
    assert len(splice_table(measured).splitlines()) == 5


def test_too_little_is_said(clips):
    with pytest.raises(DatasetError, match="8 s of one voice"):
        make_splices(clips[:4])
