"""Tandem metrics against golden values and where their definition gives the answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from deepfake_audio.errors import ConfigError, DatasetError
from deepfake_audio.evaluation.metrics import eer
from deepfake_audio.evaluation.tandem import (
    A_DCF_COSTS,
    AsvRates,
    TandemCosts,
    a_dcf,
    asv_rates,
    min_tdcf,
    t_eer,
)


def test_golden_asv_rates(asv, golden):
    want = golden["verifier"]
    assert_allclose(eer(*asv[:2]), (want["eer"], want["threshold"]), atol=1e-9)
    rates = asv_rates(*asv)
    assert_allclose(rates, [want[name] for name in rates._fields], atol=1e-9)
    assert asv_rates(*asv, threshold=np.inf) == AsvRates(0, 1, 0)


@pytest.mark.parametrize("form", ["2019", "revised"])
def test_golden_min_tdcf(cm, asv, golden, form):
    got = min_tdcf(*cm, asv_rates(*asv), form=form).value
    assert got == pytest.approx(golden["tandem"][f"min_tdcf_{form}"], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "costs"), [("a_dcf", A_DCF_COSTS), ("a_dcf_asvspoof5", TandemCosts())]
)
def test_golden_a_dcf(asv, golden, name, costs):
    want = golden["tandem"][name], golden["tandem"][f"{name}_threshold"]
    assert_allclose(a_dcf(*asv, costs), want, atol=1e-9)


def test_a_perfect_detector_leaves_the_verifiers_own_errors():
    rates = AsvRates(false_alarm=0.1, miss=0.05, false_alarm_spoof=0.5)
    assert min_tdcf([1, 2], [-1, 0], rates, form="2019").value == 0
    own = 0.9405 * 0.05 + 0.0095 * 10 * 0.1
    want = own / (own + min(0.9405 - own, 0.05 * 10 * 0.5))
    assert min_tdcf([1, 2], [-1, 0], rates).value == pytest.approx(want)
    assert min_tdcf([-1, 0], [1, 2], rates).value == pytest.approx(1)


@given(st.lists(st.integers(-9, 9), min_size=1), st.lists(st.integers(-9, 9), min_size=1))
def test_normalised_costs_never_exceed_the_better_constant_decision(one, other):
    assert 0 <= min_tdcf(one, other).value <= 1 + 1e-12
    assert 0 <= a_dcf(one, other, other).value <= 1 + 1e-12


def test_t_eer_of_a_detector_that_passes_all_is_the_verifiers_eer():
    # To the verifier these spoofs are non-targets like others.
    target, nontarget = np.arange(10.0, 110), np.arange(-80.0, 20)
    got = t_eer([0.0] * 5, [0.0] * 5, target, nontarget, nontarget)
    assert got.value == pytest.approx(eer(target, nontarget).value)


def test_t_eer_balances_all_three_errors(cm, asv):
    got = t_eer(*cm, *asv)
    passed = np.mean(cm[0] > got.cm_threshold)
    miss = 1 - passed * np.mean(asv[0] > got.asv_threshold)
    false_alarm = passed * np.mean(asv[1] > got.asv_threshold)
    spoofed = np.mean(cm[1] > got.cm_threshold) * np.mean(asv[2] > got.asv_threshold)
    assert got.value == pytest.approx(spoofed)
    assert_allclose([miss, false_alarm], spoofed, atol=0.006)
    assert 0 <= got.value <= 0.5


def test_refusals(cm, asv):
    with pytest.raises(ConfigError, match="sum to one"):
        TandemCosts(p_target=0.5)
    with pytest.raises(ConfigError, match="above zero"):
        TandemCosts(miss=-1)
    with pytest.raises(ConfigError, match="unknown form '2020'"):
        min_tdcf(*cm, form="2020")
    with pytest.raises(ConfigError, match="not defined"):
        min_tdcf(*cm, AsvRates(1.0, 1.0, 0.5))
    with pytest.raises(DatasetError, match=r"nontarget.*no scores"):
        a_dcf(asv[0], [], asv[2])
    with pytest.raises(DatasetError, match=r"asv_spoof.*NaN"):
        t_eer(*cm, *asv[:2], [np.nan])
