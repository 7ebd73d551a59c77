"""The bootstrap draws within strata, and its figures are those of the metrics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_audio.errors import ConfigError, DatasetError
from deepfake_audio.evaluation import metrics
from deepfake_audio.evaluation.bootstrap import (
    DetStatistics,
    Figure,
    confidence_intervals,
    figure_statistics,
    mean_over,
    resample,
)
from deepfake_audio.evaluation.metrics import DcfCosts

SCORES = np.array([3, 1, 2, 2, 0, -1, 1, 4, 0, 0, 2, -3], dtype=float)
BONA = np.array([1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 0], dtype=bool)


def test_counts_keep_the_size_of_every_stratum():
    group = np.array([2, 0, 1, 2, 2, 0, 2])
    counts = np.concatenate(list(resample(group, 500, np.random.default_rng(0))))
    assert counts.shape == (500, 7)
    for stratum, size in enumerate([2, 1, 4]):
        assert np.all(counts[:, group == stratum].sum(axis=1) == size)
    assert np.all(counts[:, 2] == 1)
    # Every clip is as likely as its neighbours.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.15)


@given(st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_counted_figures_equal_the_metrics_of_repeated_clips(counts):
    counts = np.array(counts, dtype=float)
    counts[[0, 3]] += 1  # both labels must occur
    drawn = np.repeat(np.arange(12), counts.astype(int))
    bona, fake = SCORES[drawn][BONA[drawn]], SCORES[drawn][~BONA[drawn]]
    statistics = figure_statistics(SCORES, BONA, np.array(["page"] * 12), DcfCosts())
    got = {name: float(statistic(counts[None])[0]) for name, statistic in statistics.items()}
    want = {
        "min_dcf": metrics.min_dcf(bona, fake).value,
        "act_dcf": metrics.act_dcf(bona, fake).value,
        "cllr": metrics.cllr(bona, fake),
        "auc": metrics.auc(bona, fake),
    }
    assert {name: got[name] for name in want} == pytest.approx(want)
    # Where no clip of a score was drawn, a step is empty, which changes no rate.
    assert got["pooled_eer"] == metrics.eer(bona, fake).value
    assert got["page_macro_eer"] == got["pooled_eer"]


def test_page_macro_figure_is_the_mean_over_pages():
    sources = np.array(["a", "b"])[np.arange(400) % 2]
    rng = np.random.default_rng(1)
    bona = rng.random(400) < 0.5
    scores = rng.normal(size=400) + bona
    statistics = figure_statistics(scores, bona, sources, DcfCosts())
    got = confidence_intervals(statistics, sources, n_replicates=0)["page_macro_eer"]
    assert got == Figure(metrics.page_macro_eer(scores, bona, sources)[0])
    assert "page_macro_eer" not in figure_statistics(scores, bona, np.full(400, ""), DcfCosts())


def test_interval_of_a_rate_is_the_binomial_one():
    flagged = np.arange(1000) < 200
    figure = confidence_intervals(
        {"rate": mean_over(flagged, np.ones(1000, dtype=bool))}, np.zeros(1000), n_replicates=2000
    )["rate"]
    assert figure.value == 0.2
    half = 1.96 * np.sqrt(0.2 * 0.8 / 1000)
    assert figure.low == pytest.approx(0.2 - half, abs=0.003)
    assert figure.high == pytest.approx(0.2 + half, abs=0.003)


def test_what_differs_only_between_strata_has_no_spread():
    flagged = np.arange(100) < 50
    mean = mean_over(flagged, np.ones(100, dtype=bool))
    within = confidence_intervals({"rate": mean}, flagged, n_replicates=50)["rate"]
    assert within == Figure(0.5, 0.5, 0.5)
    across = confidence_intervals({"rate": mean}, np.zeros(100), n_replicates=50)["rate"]
    assert across.low < 0.5 < across.high


def test_the_seed_decides():
    flagged = np.arange(100) < 30
    statistics = {"rate": mean_over(flagged, np.arange(100) < 97)}
    runs = [
        confidence_intervals(statistics, np.zeros(100), n_replicates=99, seed=seed)["rate"]
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_chunks_do_not_change_the_result(monkeypatch):
    statistics = {"auc": DetStatistics(SCORES, BONA).auc}
    whole = confidence_intervals(statistics, BONA, n_replicates=40)
    monkeypatch.setattr("deepfake_audio.evaluation.bootstrap._CHUNK_CELLS", 50)
    assert confidence_intervals(statistics, BONA, n_replicates=40) == whole


def test_refusals():
    with pytest.raises(ConfigError, match="n_replicates"):
        confidence_intervals({}, np.zeros(1), n_replicates=-1)
    with pytest.raises(ConfigError, match="level"):
        confidence_intervals({}, np.zeros(1), level=95)
    with pytest.raises(DatasetError, match="spoof"):
        DetStatistics(SCORES[BONA], BONA[BONA])
