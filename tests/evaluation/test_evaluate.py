"""The evaluation as a whole: what counts, what is left out, and how it is written down."""

import json

import numpy as np
import pytest

from deepfake_audio.config import Policy
from deepfake_audio.errors import ConfigError, DatasetError
from deepfake_audio.evaluation import AsvScores, ScoreTable, break_down, evaluate_scores
from deepfake_audio.evaluation.metrics import eer

POLICIES = (
    Policy(name="balanced", threshold=0.6, authentic_below=0.4),
    Policy(name="recall", threshold=0.4, authentic_below=0.3),
)


@pytest.fixture(scope="module")
def table():
    """Two pages, one source of genuine speech, codec copies, and clips without a score."""
    rng = np.random.default_rng(7)
    rows = []
    for source, label, system, family, mean, n in [
        ("page a", "bonafide", "", "none", -2, 30),
        ("page a", "spoof", "vits", "tts", 2, 20),
        ("page a", "spoof", "hifi|gan", "vocoder", 0, 20),
        ("page b", "bonafide", "", "none", 0, 20),
        ("page b", "spoof", "vits", "tts", 3, 6),
        ("page b", "spoof", "opus", "codec", -2, 9),
        ("corpus", "bonafide", "", "none", -3, 40),
        ("page b", "spoof", "rare", "vc", 1, 3),
    ]:
        rows += [(source, label, system, family, llr) for llr in rng.normal(mean, 1, n)]
    rows += [("corpus", "bonafide", "", "none", np.nan)] * 2
    source, label, system, family, llr = map(list, zip(*rows, strict=True))
    verdict = ["uncertain"] * (len(rows) - 2) + ["inconclusive", "failed"]
    return ScoreTable.from_columns(
        [f"clip {i}" for i in range(len(rows))],
        label,
        llr,
        source=source,
        system=system,
        family=family,
        language=["en"] * len(rows),
        channel=["studio" if x == "bonafide" else "" for x in label],
        verdict=verdict,
        reason=[""] * (len(rows) - 2) + ["no_speech", "corrupt_audio"],
    )


@pytest.fixture(scope="module")
def evaluation(table):
    return evaluate_scores(table, POLICIES, n_bootstrap=200, about={"data": "made up"})


def test_what_counts(evaluation):
    assert evaluation.clips == {
        "bonafide": 90,
        "spoof": 49,
        "codec": 9,
        "without_score": 2,
        "total": 150,
    }
    assert evaluation.without_score == (("clip 148", "no_speech"), ("clip 149", "corrupt_audio"))
    assert evaluation.verdicts == {
        "bonafide": {"failed": 1, "inconclusive": 1, "uncertain": 90},
        "spoof": {"uncertain": 58},
    }


def test_headline_figures_leave_codec_copies_out(table, evaluation):
    core = table.has_score & (table.family != "codec")
    score, bona = table.bonafide_score, table.is_bonafide
    want = eer(score[core & bona], score[core & ~bona]).value
    assert evaluation.figures["pooled_eer"].value == want
    assert want != eer(score[table.has_score & bona], score[table.has_score & ~bona]).value
    assert set(evaluation.pages) == {"page a", "page b"}
    macro = evaluation.figures["page_macro_eer"].value
    assert macro == pytest.approx(np.mean(list(evaluation.pages.values())))
    for figure in evaluation.figures.values():
        assert figure.low <= figure.high
        assert figure.low - 1e-9 < figure.value < figure.high + 1e-9


def test_policies_are_judged_at_their_thresholds(table, evaluation):
    core = table.has_score & (table.family != "codec")
    p, bona = table.p_synthetic, table.is_bonafide
    rates = evaluation.policies[0]
    assert rates.name == "balanced"
    assert rates.fpr.value == pytest.approx(np.mean(p[core & bona] >= 0.6))
    assert rates.fnr.value == pytest.approx(np.mean(p[core & ~bona] < 0.6))
    assert rates.fpr.low < rates.fpr.value < rates.fpr.high
    assert rates.hter.value == pytest.approx((rates.fpr.value + rates.fnr.value) / 2)
    assert rates.hter.low < rates.hter.value < rates.hter.high
    between = (p >= 0.4) & (p < 0.6)
    assert rates.uncertain_bonafide == pytest.approx(np.mean(between[core & bona]))
    assert rates.uncertain_spoof == pytest.approx(np.mean(between[core & ~bona]))


def test_breakdown_by_system_sets_spoofs_against_genuine_speech(table, evaluation):
    rows = {row.group: row for row in evaluation.breakdown["system"]}
    assert set(rows) == {"vits", "hifi|gan", "opus", "rare"}
    score, bona = table.bonafide_score, table.is_bonafide & table.has_score
    of_gan = score[table.system == "hifi|gan"]
    gan = rows["hifi|gan"]
    assert (gan.n_bonafide, gan.n_spoof, gan.against) == (0, 20, "all genuine")
    assert gan.eer == eer(score[bona], of_gan).value
    assert gan.eer_same_source == eer(score[bona & (table.source == "page a")], of_gan).value
    assert gan.fpr is None
    # At the first policy.
    assert gan.fnr == np.mean(table.p_synthetic[table.system == "hifi|gan"] < 0.6)
    assert rows["rare"].eer is None  # three clips are too few


def test_breakdown_by_source_and_channel(table, evaluation):
    rows = {row.group: row for row in evaluation.breakdown["source"]}
    assert list(rows) == ["page a", "corpus", "page b"]
    assert {name: rows[name].eer for name in ("page a", "page b")} == evaluation.pages
    assert rows["page b"].n_spoof == 9  # without the codec copies
    assert rows["corpus"].against == "all spoof"
    assert rows["corpus"].eer < rows["page a"].eer
    assert rows["corpus"].fnr is None
    assert rows["corpus"].hter is None
    page = (table.source == "page a") & table.has_score
    wrong = (table.p_synthetic >= 0.6) == table.is_bonafide
    shares = [wrong[page & (table.label == label)].mean() for label in ("bonafide", "spoof")]
    assert rows["page a"].hter == pytest.approx(np.mean(shares))
    assert [row.group for row in evaluation.breakdown["channel"]] == ["studio"]
    assert break_down(table, "speaker", None) == []
    assert break_down(table, "language", None)[0].fpr is None


def test_json_and_report_are_saved(tmp_path, evaluation):
    evaluation.save(tmp_path / "made" / "on demand")
    saved = json.loads((tmp_path / "made" / "on demand" / "metrics.json").read_text())
    assert saved["schema"] == "deepfake_audio.evaluation/1"
    assert saved["figures"]["pooled_eer"]["value"] == evaluation.figures["pooled_eer"].value
    assert saved["about"] == {"data": "made up"}
    report = (tmp_path / "made" / "on demand" / "report.md").read_text()
    assert report == evaluation.to_markdown()
    assert "| EER, pooled" in report
    assert "* data: made up" in report
    assert "clip 149 | corrupt_audio" in report
    tables = [line for line in report.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    gan = next(line for line in tables if "gan" in line)
    assert "hifi/gan" in gan
    assert gan.count("|") == 10  # a bar in a name opens no column


def test_one_label_alone_still_gives_its_error_rate(table):
    genuine = table.select(table.is_bonafide)
    evaluation = evaluate_scores(genuine, POLICIES, n_bootstrap=10)
    assert (evaluation.figures, evaluation.pages) == ({}, {})
    assert evaluation.policies[0].fpr.value > 0
    assert evaluation.policies[0].fnr is None
    assert "genuine flagged" in evaluation.to_markdown()
    evaluation.to_json()


def test_without_replicates_there_are_no_intervals(table):
    figure = evaluate_scores(table, n_bootstrap=0).figures["auc"]
    assert (figure.low, figure.high) == (None, None)


def test_tandem_figures_join_trials_by_id(table):
    scored = table.select(table.has_score)
    key = np.where(scored.is_bonafide, "target", "spoof").astype("<U9")
    key[np.flatnonzero(scored.is_bonafide)[::3]] = "nontarget"
    asv = AsvScores(key, np.where(key == "nontarget", -3.0, 3.0), scored.id)
    tandem = evaluate_scores(table, asv=asv, n_bootstrap=0).tandem
    assert (tandem["asv_eer"], tandem["asv_false_alarm_spoof"]) == (0, 1)
    assert tandem["a_dcf"] < tandem["a_dcf_asv"]  # the detector helps a verifier that is blind
    assert 0 < tandem["min_tdcf_2019"] < 1
    nameless = evaluate_scores(table, asv=AsvScores(key, asv.score), n_bootstrap=0)
    assert "a_dcf" not in nameless.tandem
    assert "t_eer" in nameless.to_markdown()


def test_refusals(table):
    with pytest.raises(DatasetError, match="none of 2 clips has a score"):
        evaluate_scores(table.select(~table.has_score))
    with pytest.raises(ConfigError, match="same name"):
        evaluate_scores(table, (Policy(), Policy()), n_bootstrap=0)
