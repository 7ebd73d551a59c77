"""Metrics against golden values, properties, and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from deepfake_audio.errors import ConfigError, DatasetError
from deepfake_audio.evaluation import metrics
from deepfake_audio.evaluation.metrics import DcfCosts, eer

# Whole numbers, so that ties are common and monotone maps exact.
scores = st.lists(st.integers(-20, 20), min_size=1, max_size=40)


@pytest.mark.parametrize("name", ["eer", "min_dcf", "act_dcf"])
def test_golden_operating_points(cm, golden, name):
    got = getattr(metrics, name)(*cm)
    want = golden["detector"][name], golden["detector"][f"{name}_threshold"]
    assert_allclose(got, want, atol=1e-9)


def test_golden_cllr(cm, golden):
    assert metrics.cllr(*cm) == pytest.approx(golden["detector"]["cllr"], abs=1e-9)


@pytest.mark.parametrize("case", ["ties", "separable", "inverted"])
def test_golden_small_cases(golden, case):
    want = golden[case]
    got = eer(want["bonafide"], want["spoof"])
    assert got.value == pytest.approx(want["eer"], abs=1e-9)
    assert got.threshold == want.get("eer_threshold", got.threshold)


def test_golden_ties_dcf_and_cllr(golden):
    want = golden["ties"]
    got = metrics.min_dcf(want["bonafide"], want["spoof"])
    assert_allclose(got, (want["min_dcf"], want["min_dcf_threshold"]), atol=1e-9)
    assert metrics.cllr(want["bonafide"], want["spoof"]) == pytest.approx(want["cllr"], abs=1e-12)


@given(scores, scores)
def test_det_points_are_what_their_thresholds_do(bona, fake):
    curve = metrics.det_curve(bona, fake)
    for miss, false_alarm, threshold in zip(*curve, strict=True):
        assert miss == np.mean(np.array(bona) <= threshold)
        assert false_alarm == np.mean(np.array(fake) > threshold)
    assert (curve.miss[0], curve.false_alarm[0]) == (0, 1)
    assert (curve.miss[-1], curve.false_alarm[-1]) == (1, 0)
    assert np.all(np.diff(curve.threshold) > 0)


@given(scores, scores)
def test_eer_does_not_change_under_increasing_maps(bona, fake):
    want = eer(bona, fake).value
    for increasing in (lambda x: 3.0 * x - 7, lambda x: x**3, np.exp):
        assert eer(increasing(np.array(bona)), increasing(np.array(fake))).value == want


@given(scores)
def test_a_detector_that_knows_nothing_is_at_chance(values):
    assert metrics.auc(values, values) == pytest.approx(0.5)
    assert metrics.cllr([0.0], [0.0]) == 1
    assert eer([values[0]] * 3, [values[0]] * 5).value == 0.5
    assert metrics.min_dcf(values, values).value == pytest.approx(1)


@given(scores, scores)
def test_auc_counts_pairs_and_turns_with_the_sign(bona, fake):
    difference = np.subtract.outer(bona, fake)
    want = np.mean((difference > 0) + (difference == 0) / 2)
    assert metrics.auc(bona, fake) == pytest.approx(want)
    assert metrics.auc(-np.array(bona), -np.array(fake)) == pytest.approx(1 - want)


@given(scores, scores)
def test_bounds(bona, fake):
    assert 0 <= eer(bona, fake).value <= 1
    assert 0 <= metrics.min_dcf(bona, fake).value <= 1
    assert metrics.act_dcf(bona, fake).value >= metrics.min_dcf(bona, fake).value - 1e-12
    assert metrics.cllr(bona, fake) >= 0


@given(scores, scores, st.integers(-21, 21))
def test_error_rates_accept_from_the_threshold_on(bona, fake, threshold):
    miss, false_alarm = metrics.error_rates(bona, fake, threshold)
    assert miss == np.mean([b < threshold for b in bona])
    assert false_alarm == np.mean([f >= threshold for f in fake])


def test_cllr_does_not_overflow():
    assert metrics.cllr([-1e5], [1e5]) == pytest.approx(1e5 / np.log(2))


def test_costs_decide_the_bayes_threshold():
    assert DcfCosts().bayes_threshold == pytest.approx(-0.6418538861723947, abs=1e-15)
    assert DcfCosts(prior_spoof=0.5, false_alarm=1.0).bayes_threshold == pytest.approx(0)
    with pytest.raises(ConfigError, match="prior_spoof"):
        DcfCosts(prior_spoof=1.0)
    with pytest.raises(ConfigError, match="above zero"):
        DcfCosts(miss=0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [([], "no scores"), ([1, np.nan], "1 of 2"), ([np.inf], "1 of 1"), ([[1.0]], "shape")],
)
@pytest.mark.parametrize("name", ["eer", "min_dcf", "act_dcf", "cllr", "auc", "det_curve"])
def test_unusable_scores_are_refused_with_their_class(name, bad, message):
    metric = getattr(metrics, name)
    with pytest.raises(DatasetError, match=f"bonafide.*{message}"):
        metric(bad, [0.0])
    with pytest.raises(DatasetError, match=f"spoof.*{message}"):
        metric([0.0], bad)


def test_page_macro_eer_looks_within_sources():
    # Each page is perfect within itself, but one sits far above the other.
    values = np.array([11] * 5 + [10] * 5 + [1] * 5 + [0] * 5 + [5] * 9, dtype=float)
    bona = np.array([True] * 5 + [False] * 5 + [True] * 5 + [False] * 5 + [True] * 9)
    sources = ["high"] * 10 + ["low"] * 10 + ["one label only"] * 9
    mean, by_source = metrics.page_macro_eer(values, bona, sources)
    assert mean == 0
    assert by_source == {"high": 0.0, "low": 0.0}
    assert eer(values[bona], values[~bona]).value > 0.2
    assert np.isnan(metrics.page_macro_eer(values, bona, sources, min_clips=6)[0])


def test_page_macro_eer_is_the_plain_mean_and_skips_unnamed_sources():
    values = np.array([1.0] * 5 + [0.0] * 5 + [0.0] * 50 + [1.0] * 50)
    bona = np.array([True] * 5 + [False] * 5 + [True] * 50 + [False] * 50)
    mean, by_source = metrics.page_macro_eer(values, bona, ["small"] * 10 + ["large"] * 100)
    assert by_source == {"large": 1.0, "small": 0.0}
    assert mean == 0.5
    assert metrics.page_macro_eer(values, bona, ["small"] * 10 + [""] * 100)[0] == 0


def test_page_macro_eer_refuses_different_lengths():
    with pytest.raises(DatasetError, match="2 scores but 1 labels"):
        metrics.page_macro_eer([0.0, 1.0], [True], ["a", "b"])
    with pytest.raises(DatasetError, match="2 labels but 1 sources"):
        metrics.page_macro_eer([0.0, 1.0], [True, False], ["a"])
