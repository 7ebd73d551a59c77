"""Attacks: within their limits, alike each time, on synthetic clips only, and they do harm."""

import numpy as np
import pytest
import soundfile
import torch
from sounds import make_speech

from deepfake_audio.datasets import load_manifest
from deepfake_audio.errors import ConfigError
from deepfake_audio.evaluation import attacks as module
from deepfake_audio.evaluation.attacks import Attacks
from deepfake_audio.evaluation.robustness import measure_robustness


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for index in range(10):
        path = folder / ("bonafide" if index % 2 else "spoof") / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, make_speech(1.5 + 0.1 * index, index), 16_000)
    (folder / "spoof" / "short.wav").write_bytes((folder / "spoof" / "0.wav").read_bytes()[:9_000])
    return load_manifest([folder])


@pytest.fixture(scope="module")
def attacks(detector, clips):
    detector.detect(make_speech(2.0), sample_rate_hz=16_000)  # under inference mode first
    return Attacks(detector.scorer, clips)


@pytest.fixture(scope="module")
def samples():
    return (make_speech(2.2, 4) * 20_000).astype(np.int16)


def logit(attacks, samples):
    with torch.no_grad():
        return float(attacks.logit(torch.from_numpy(samples.astype(np.float32) / 32768.0)))


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
@pytest.mark.parametrize("snr_db", [30, 50])
def test_a_change_within_its_limit_lowers_the_score(attacks, samples, kind, snr_db):
    attack = attacks(kind, snr_db)
    changed = attack(samples, 0)
    np.testing.assert_array_equal(changed, attack(samples, 1))
    change = changed.astype(float) - samples
    reached = 10 * np.log10(np.square(samples, dtype=float).mean() / np.square(change).mean())
    assert reached == pytest.approx(snr_db, abs=1.5) or (kind == "pgd" and reached > snr_db - 0.5)
    assert logit(attacks, changed) < logit(attacks, samples)


def test_many_steps_do_more_harm_than_one(attacks, samples):
    assert logit(attacks, attacks("pgd", 30)(samples, 0)) < logit(
        attacks, attacks("fgsm", 30)(samples, 0)
    )


@pytest.mark.long
def test_one_filter_is_fitted_for_all_and_within_its_limit(attacks, samples, monkeypatch):
    monkeypatch.setattr(module, "_FILTER_STEPS", 8)
    attack = attacks("filter", 6.0)
    changed = attack(samples, 0)
    spectra = [np.abs(np.fft.rfft(x.astype(float))) for x in (samples, changed)]
    strong = spectra[0] > 0.01 * spectra[0].max()
    gain_db = 20 * np.log10(spectra[1][strong] / spectra[0][strong])
    assert np.abs(np.median(gain_db)) + gain_db.std() > 0.5
    assert np.percentile(np.abs(gain_db), 95) < 6.5
    assert logit(attacks, changed) < logit(attacks, samples)


def test_what_is_too_short_to_be_judged_stays(attacks, samples):
    np.testing.assert_array_equal(attacks("pgd", 30)(samples[:3_000], 0), samples[:3_000])
    silence = np.zeros(32_000, np.int16)
    np.testing.assert_array_equal(attacks("fgsm", 30)(silence, 0), silence)


def test_only_synthetic_clips_are_attacked(detector, clips):
    clean, attacked, sent = measure_robustness(detector, clips, ["clean", "pgd:20", "pgd:20+g722"])
    clean_auc, auc = (result.evaluation.figures["auc"].value for result in (clean, attacked))
    assert auc < clean_auc
    assert sent.evaluation.figures["cllr"] != attacked.evaluation.figures["cllr"]
    assert [r.evaluation.clips["bonafide"] for r in (clean, attacked)] == [5, 5]


def test_an_exported_model_is_refused(detector, clips):
    class Exported:
        network = None
        header = detector.scorer.header

    with pytest.raises(ConfigError, match="gradient"):
        Attacks(Exported(), clips)
