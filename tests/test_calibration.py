"""Calibration gives log-likelihood ratios; policies keep what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from deepfake_audio import calibration
from deepfake_audio.calibration import (
    Calibration,
    false_positive_rates_by_source,
    fit_calibration,
    fit_policies,
    probability,
)
from deepfake_audio.errors import ConfigError, DatasetError


def simulated(n_genuine=2000, n_synthetic=2000, seed=0, mean=1.0):
    """Unit-variance normals at -mean and +mean: the true LLR is 2 * mean * score."""
    rng = np.random.default_rng(seed)
    genuine, synthetic = rng.normal(-mean, 1, n_genuine), rng.normal(mean, 1, n_synthetic)
    return np.concatenate([genuine, synthetic]), np.arange(n_genuine + n_synthetic) >= n_genuine


def test_llr_and_probability():
    settings = Calibration(scale=2.0, offset=-1.0)
    assert_allclose(settings.llr([[0.5, 1.0]]), [[0.0, 1.0]])
    assert_allclose(settings.probability([-np.log(3), 0, np.log(3)]), [0.25, 0.5, 0.75])
    assert_allclose(settings.replace(prior_synthetic=0.1).probability(0.0), 0.1)
    assert_allclose(probability([-1e4, 1e4]), [0, 1])
    assert Calibration.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": np.nan},
        {"offset": np.inf},
        {"prior_synthetic": 0.0},
        {"speech_threshold": 1.5},
    ],
)
def test_impossible_calibrations_are_refused(wrong):
    with pytest.raises(ConfigError):
        Calibration(**wrong)


@pytest.mark.parametrize(("gain", "shift"), [(1, 0), (10, 3), (0.01, -5)])
def test_fit_recovers_the_true_llr_whatever_the_units(gain, shift):
    scores, truth = simulated(20_000, 20_000)
    fitted = fit_calibration(gain * scores + shift, truth)
    assert_allclose(fitted.llr(gain * np.array([-1, 0, 1]) + shift), [-2, 0, 2], atol=0.08)


def test_fit_does_not_depend_on_class_sizes():
    balanced = fit_calibration(*simulated(20_000, 20_000))
    skewed = fit_calibration(*simulated(20_000, 1_000))
    assert_allclose(skewed.llr([-1.0, 1.0]), balanced.llr([-1.0, 1.0]), atol=0.2)


def test_fit_is_the_minimum_of_the_balanced_cost():
    scores, truth = simulated(300, 100)
    fitted = fit_calibration(scores, truth)

    def cost(scale, offset):
        llr = scale * scores + offset
        bits = np.logaddexp(0, np.where(truth, -llr, llr))
        # The ridge is one clip's worth on logits of unit (class-balanced) variance.
        weights = np.where(truth, 1 / 100, 1 / 300) / 2
        variance = weights @ (scores - weights @ scores) ** 2
        return weights @ bits + scale**2 * variance / (2 * 400)

    best = cost(fitted.scale, fitted.offset)
    for change in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert cost(fitted.scale + change[0], fitted.offset + change[1]) > best


def test_weights_count_like_repeated_clips():
    scores, truth = simulated(2000, 2000)
    twice = scores > 0
    weighted = fit_calibration(scores, truth, np.where(twice, 2.0, 1.0))
    repeated = fit_calibration(
        np.concatenate([scores, scores[twice]]), np.concatenate([truth, truth[twice]])
    )
    assert_allclose(weighted.llr([-1, 1]), repeated.llr([-1, 1]), atol=0.02)
    assert abs(weighted.offset - fit_calibration(scores, truth).offset) > 0.1


def test_perfect_separation_stays_finite_and_backward_logits_say_nothing():
    perfect = fit_calibration([-2.0, -1.0, 1.0, 2.0], [False, False, True, True])
    assert 0.5 < perfect.scale < 10
    backwards = fit_calibration([-2.0, -1.0, 1.0, 2.0], [True, True, False, False])
    assert backwards.scale > 0
    assert_allclose(backwards.probability(backwards.llr([-2.0, 2.0])), 0.5, atol=1e-3)
    constant = fit_calibration([7.0] * 4, [False, False, True, True])
    assert_allclose(constant.probability(constant.llr(7.0)), 0.5)


@given(
    st.lists(st.floats(-50, 50), min_size=2, max_size=30).flatmap(
        lambda x: st.tuples(st.just(x), st.lists(st.booleans(), min_size=len(x), max_size=len(x)))
    )
)
def test_fit_is_always_increasing_and_finite(case):
    logits, truth = case
    if all(truth) or not any(truth):
        truth[0] = not truth[0]
    fitted = fit_calibration(logits, truth)
    assert fitted.scale > 0
    assert np.isfinite(fitted.llr(logits)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 1.0], [True, True]), "no genuine speech"),
        (([0.0, 1.0], [False, False]), "no synthetic speech"),
        (([0.0, np.nan], [True, False]), "1 scores are NaN"),
        (([0.0], [True, False]), "shape"),
        (([0.0, 1.0], [True, False], [1.0]), "2 logits but 1 weights"),
        (([0.0, 1.0], [True, False], [1.0, 0.0]), "weights must be"),
    ],
)
def test_unusable_calibration_sets_are_refused(arguments, message):
    with pytest.raises(DatasetError, match=message):
        fit_calibration(*arguments)


@pytest.fixture(scope="module")
def calibration_set():
    scores, truth = simulated(3000, 3000)
    return 2 * scores, truth, np.array([f"source {i % 20}" for i in range(6000)])


def test_policies_keep_their_promises(calibration_set):
    llr, truth, sources = calibration_set
    policies = fit_policies(llr, truth, sources)
    assert list(policies) == ["recall", "balanced", "precision"]
    p = probability(llr)
    for name, policy in policies.items():
        assert policy.name == name
        flagged = p >= policy.threshold
        assert policy.expected_fpr == pytest.approx(flagged[~truth].mean())
        assert policy.expected_fnr == pytest.approx((~flagged)[truth].mean())
        # Sources alike in size and kind: the balanced share is the pooled one, nearly.
        assert policy.expected_fpr == pytest.approx(calibration.FPR_TARGETS[name], abs=1.5e-3)
        below = (p < policy.authentic_below)[truth].mean()
        assert below <= calibration.FNR_BELOW_BAND[name] + 1.5e-3
        worst = false_positive_rates_by_source(p, truth, sources, policy.threshold)
        assert policy.worst_source_fpr == max(entry["fpr"] for entry in worst.values())
        assert worst[policy.worst_source]["fpr"] == policy.worst_source_fpr
    thresholds = [policy.threshold for policy in policies.values()]
    assert thresholds == sorted(thresholds)


def test_policies_state_their_prior(calibration_set):
    even = fit_policies(*calibration_set)["balanced"]
    rare = fit_policies(*calibration_set, prior_synthetic=0.01)["balanced"]
    assert rare.prior_synthetic == 0.01
    assert rare.threshold < even.threshold
    assert rare.expected_fpr == even.expected_fpr  # the same clips are flagged


def test_a_loud_source_moves_the_threshold_but_a_tiny_one_hardly():
    llr, truth = simulated(2000, 2000, mean=1.5)
    plain = np.array(["big"] * 4000)

    def threshold(n_odd):
        # So many genuine clips of one other source, all scored as if synthetic.
        scores = np.concatenate([llr, np.full(n_odd, 4.0)])
        labels = np.concatenate([truth, np.zeros(n_odd, dtype=bool)])
        names = np.concatenate([plain, ["odd"] * n_odd])
        return fit_policies(scores, labels, names)["recall"].threshold

    assert threshold(1) - threshold(0) < 0.3 * (threshold(60) - threshold(0))


def test_worst_source_needs_ten_clips():
    llr = np.array([5.0] * 3 + [-5.0] * 97 + [6.0] * 50)
    truth = np.arange(150) >= 100
    sources = np.array(["tiny"] * 3 + ["large"] * 97 + ["spoofs"] * 50)
    policy = fit_policies(llr, truth, sources)["recall"]
    assert policy.worst_source == "large"
    few = fit_policies(llr[[0, 50, 120]], truth[[0, 50, 120]], ["a", "b", "c"])["recall"]
    assert (few.worst_source, few.worst_source_fpr) == (None, None)


def test_cuts_stay_on_their_side_of_even_odds():
    llr = np.array([-5.0] * 30 + [5.0] * 30)
    policies = fit_policies(llr, np.arange(60) >= 30, ["a"] * 60)
    for policy in policies.values():
        assert policy.expected_fpr == policy.expected_fnr == 0
        assert policy.authentic_below == policy.threshold == 0.5
    backwards = fit_policies(-llr, np.arange(60) >= 30, ["a"] * 60)
    for policy in backwards.values():
        assert (policy.expected_fpr, policy.expected_fnr) == (0, 1)
        assert policy.authentic_below < 0.5 < policy.threshold


def test_rates_by_source_are_worst_first():
    got = false_positive_rates_by_source(
        [0.9, 0.1, 0.9, 0.5, 0.2, 1.0],
        [False, False, False, False, False, True],
        ["a", "a", "b", "b", "c", "c"],
        threshold=0.5,
    )
    assert got == {
        "b": {"clips": 2, "fpr": 1.0},
        "a": {"clips": 2, "fpr": 0.5},
        "c": {"clips": 1, "fpr": 0.0},
    }
    assert list(got) == ["b", "a", "c"]
    assert false_positive_rates_by_source([1.0], [True], ["a"], 0.5) == {}
    with pytest.raises(DatasetError, match="2 scores"):
        false_positive_rates_by_source([1.0, 2.0], [True], ["a"], 0.5)
