"""The detector within bins of a nuisance."""

import numpy as np
import pytest

from deepfake_audio.evaluation import ScoreTable, evaluate_scores
from deepfake_audio.evaluation.metrics import eer
from deepfake_audio.evaluation.nuisances import eer_alone

CLIPS = 400


@pytest.fixture(scope="module")
def table():
    """Half of the clips genuine; what is right in loud clips is left to chance in quiet ones."""
    rng = np.random.default_rng(3)
    spoof = np.arange(CLIPS) % 2 == 1
    loud = level() > -20
    llr = rng.normal(0, 1, CLIPS) + np.where(loud, 6, 0) * (spoof - 0.5)
    label = np.where(spoof, "spoof", "bonafide")
    return ScoreTable.from_columns([f"{i}" for i in range(CLIPS)], label, llr)


def level():
    return np.random.default_rng(5).uniform(-30, -15, CLIPS)


def within(table, n_bootstrap=200, **columns):
    evaluation = evaluate_scores(table, nuisances=columns, n_bootstrap=n_bootstrap)
    return evaluation, {found.nuisance: found for found in evaluation.nuisances}


def test_each_bin_has_the_error_rate_of_its_clips(table):
    _, found = within(table, level_db=level())
    bins = found["level_db"].bins
    edges = np.quantile(level(), [1 / 3, 2 / 3])
    bona, score = table.is_bonafide, table.bonafide_score
    for number, one in enumerate(bins):
        rows = np.searchsorted(edges, level()) == number
        assert (one.n_bonafide, one.n_spoof) == ((rows & bona).sum(), (rows & ~bona).sum())
        assert one.eer.value == eer(score[rows & bona], score[rows & ~bona]).value
        assert one.eer.low <= one.eer.value <= one.eer.high
    assert [one.values.split()[0] for one in bins][::2] == ["up", "over"]


def test_bins_that_differ_by_more_than_chance_are_named(table):
    same = np.random.default_rng(1).uniform(0, 1, CLIPS)
    evaluation, found = within(table, level_db=level(), duration_s=same)
    names = [one.values for one in found["level_db"].bins]
    assert (names[0], names[2]) in found["level_db"].apart
    assert found["duration_s"].apart == ()
    # By name in the row of the bin, of the nuisance that has them.
    text = evaluation.to_markdown()
    row = next(line for line in text.splitlines() if line.startswith("| level_db"))
    assert names[2] in row.split("|")[-2]
    assert "nuisances" in evaluation.to_json()


def test_without_intervals_nothing_is_told_apart(table):
    _, found = within(table, n_bootstrap=0, level_db=level())
    assert found["level_db"].apart == ()


def test_texts_have_a_bin_each_and_few_clips_no_figure(table):
    codec = np.full(CLIPS, "wav", dtype="<U4")
    codec[:300] = "opus"
    codec[:40] = "mp3"
    codec[40:60] = ""
    _, found = within(table, source_codec=codec)
    rows = {one.values: one for one in found["source_codec"].bins}
    assert list(rows) == ["opus", "wav", "mp3"]  # largest first, the unknown nowhere
    assert rows["mp3"].eer is None
    assert (rows["mp3"].n_bonafide, rows["mp3"].n_spoof) == (20, 20)
    assert rows["wav"].eer is not None


def test_clips_without_a_score_or_a_value_do_not_count(table):
    llr = table.llr_synthetic.copy()
    llr[:50] = np.nan
    numbers = level()
    numbers[50:100] = np.nan
    some = ScoreTable.from_columns(table.id, table.label, llr)
    _, found = within(some, level_db=numbers)
    bins = found["level_db"].bins
    assert sum(one.n_bonafide + one.n_spoof for one in bins) == CLIPS - 100


@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_that_most_clips_have_is_a_bin_of_its_own(table, sign):
    silence = sign * np.where(np.arange(CLIPS) < 300, 0.0, level() + 40)
    _, found = within(table, leading_silence_s=silence)
    counts = [one.n_bonafide + one.n_spoof for one in found["leading_silence_s"].bins]
    assert counts == [300, 100][::sign]
    _, found = within(table, leading_silence_s=np.zeros(CLIPS))
    assert [one.values for one in found["leading_silence_s"].bins] == ["0"]


def test_how_much_a_nuisance_says_alone():
    spoof = np.arange(200) % 2 == 1
    assert eer_alone(np.where(spoof, 1.0, 0.0), spoof) == 0
    assert eer_alone(np.where(spoof, 0.0, 1.0), spoof) == 0  # either direction
    assert eer_alone(np.where(spoof, "mp3", "wav"), spoof) == 0
    assert eer_alone(np.full(200, "wav"), spoof) == 0.5
    assert np.isnan(eer_alone(np.full(200, np.nan), spoof))
    quarter = np.where(np.arange(200) < 50, "mp3", "wav")  # of both classes alike
    assert eer_alone(quarter, spoof) == pytest.approx(0.5, abs=0.01)


def test_one_class_gives_no_bins(table):
    only = table.select(table.is_bonafide)
    assert evaluate_scores(only, nuisances={"x": np.zeros(len(only))}).nuisances == ()
