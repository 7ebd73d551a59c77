"""Pictures of an evaluation show its figures."""

import numpy as np
import pytest
from scipy.special import ndtr

from deepfake_audio.config import Policy
from deepfake_audio.errors import ConfigError
from deepfake_audio.evaluation import ScoreTable, det_curve, evaluate_scores

pytest.importorskip("matplotlib")

from deepfake_audio.evaluation.pictures import (
    PICTURES,
    det_picture,
    reliability,
    reliability_picture,
    save_pictures,
    scores_picture,
    systems_picture,
)

POLICIES = (Policy(name="balanced", threshold=0.35, authentic_below=0.3, prior_synthetic=0.2),)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(2)
    label = ["bonafide"] * 200 + ["spoof"] * 130
    system = [""] * 200 + ["hi_$fi"] * 60 + ["vits"] * 40 + ["rare"] * 3 + ["opus"] * 27
    family = [""] * 200 + ["vocoder"] * 60 + ["tts"] * 43 + ["codec"] * 27
    mean = np.select([np.array(family) == "vocoder", np.array(family) == "tts"], [0.5, 3], -2)
    llr = rng.normal(mean, 1.0)
    llr[5] = np.nan
    return ScoreTable.from_columns(
        [f"{i}" for i in range(330)], label, llr, system=system, family=family, source=["s"] * 330
    )


@pytest.fixture(scope="module")
def counted(table):
    return table.select(table.is_counted)


@pytest.fixture(scope="module")
def evaluation(table):
    return evaluate_scores(table, POLICIES, n_bootstrap=0)


def test_headline_figures_and_pictures_rest_on_the_same_clips(counted, evaluation):
    assert len(counted) == evaluation.clips["bonafide"] + evaluation.clips["spoof"] == 199 + 103


def test_the_det_curve_passes_through_every_operating_point(counted, evaluation):
    [axes] = det_picture(counted, evaluation).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines)[:3] == ["all (103)", "tts (43)", "vocoder (60)"]
    bona, score = counted.is_bonafide, counted.bonafide_score
    want = det_curve(score[bona], score[~bona])
    x, y = (ndtr(np.asarray(values)) for values in lines["all (103)"].get_data())
    np.testing.assert_allclose(x, np.clip(want.false_alarm, 5e-4, 1 - 5e-4))
    np.testing.assert_allclose(y, np.clip(want.miss, 5e-4, 1 - 5e-4))
    rate = evaluation.figures["pooled_eer"].value
    point = lines[f"EER {100 * rate:.1f} %"]
    assert ndtr(point.get_xdata()) == ndtr(point.get_ydata()) == pytest.approx(rate)
    [policy] = evaluation.policies
    point = lines["balanced 0.35"]
    assert ndtr(point.get_xdata()) == pytest.approx(policy.fnr.value)
    assert ndtr(point.get_ydata()) == pytest.approx(policy.fpr.value)
    ticks = dict(zip(axes.get_xticks(), axes.get_xticklabels(), strict=True))
    assert {round(100 * ndtr(x), 3) for x in ticks} == {float(t.get_text()) for t in ticks.values()}


def test_true_probabilities_lie_on_the_diagonal_whatever_the_numbers():
    rng = np.random.default_rng(0)
    llr = np.concatenate([rng.normal(-2, 2, 20_000), rng.normal(2, 2, 5_000)])  # calibrated
    synthetic = np.arange(25_000) >= 20_000
    for prior in (0.5, 0.2):
        p = 1 / (1 + np.exp(-llr - np.log(prior / (1 - prior))))
        found = reliability(p, synthetic, prior_synthetic=prior)
        np.testing.assert_allclose(found.observed, found.stated, atol=0.05)
        assert found.clips.sum() == 25_000
    boasting = reliability(1 / (1 + np.exp(-3 * llr)), synthetic)
    assert boasting.observed[0] > boasting.stated[0] + 0.02
    assert boasting.observed[-1] < boasting.stated[-1] - 0.02


def test_a_bin_without_clips_is_left_out():
    p = np.array([0.05, 0.05, 1.0, 0.95])
    found = reliability(p, np.array([False, True, True, True]))
    assert found.clips.tolist() == [2, 2]
    assert found.stated == pytest.approx([0.05, 0.975])
    assert found.observed == pytest.approx([1 / 4, 1.0])  # one genuine clip weighs like three


def test_the_reliability_diagram_shows_its_bins(counted, evaluation):
    [axes] = reliability_picture(counted, evaluation).axes
    found = reliability(1 / (1 + np.exp(-counted.llr_synthetic)), ~counted.is_bonafide)
    np.testing.assert_allclose(axes.lines[1].get_xdata(), found.stated)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), found.observed)
    assert [int(text.get_text()) for text in axes.texts] == found.clips.tolist()


def test_each_system_has_a_bar_as_long_as_its_error_rate(counted, evaluation):
    [axes] = systems_picture(counted, evaluation).axes
    bars = dict(zip((t.get_text() for t in axes.get_yticklabels()), axes.patches, strict=True))
    rows = {row.group: row for row in evaluation.breakdown["system"] if row.eer is not None}
    assert "rare" not in rows  # three clips give no rate
    assert set(bars) == {f"{name} ({row.n_spoof})" for name, row in rows.items()}
    for name, row in rows.items():
        assert bars[f"{name} ({row.n_spoof})"].get_width() == pytest.approx(100 * row.eer)
    assert axes.patches[-1].get_width() == max(bar.get_width() for bar in axes.patches)


def test_both_histograms_hold_all_clips_of_their_class(counted, evaluation):
    [axes] = scores_picture(counted, evaluation).axes
    genuine, synthetic = axes.containers
    for bars, rows in ((genuine, counted.is_bonafide), (synthetic, ~counted.is_bonafide)):
        heights = [bar.get_height() for bar in bars]
        edges = [bars[0].get_x(), *(bar.get_x() + bar.get_width() for bar in bars)]
        counts, _ = np.histogram(counted.llr_synthetic[rows], edges)
        assert sum(heights) == pytest.approx(100)
        np.testing.assert_allclose(heights, 100 * counts / rows.sum(), atol=1.0)
    # The threshold is one on p under a prior of 0.2.
    [line] = axes.lines
    x = line.get_xdata()[0]
    assert 1 / (1 + np.exp(-x - np.log(0.2 / 0.8))) == pytest.approx(0.35)


def test_pictures_are_written(table, evaluation, tmp_path):
    files = save_pictures(table, evaluation, tmp_path / "new")
    assert [file.stem for file in files] == list(PICTURES)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        save_pictures(table, evaluation, tmp_path / "file")
    one_class = table.select(table.is_bonafide)
    assert save_pictures(one_class, evaluate_scores(one_class), tmp_path / "none") == []
