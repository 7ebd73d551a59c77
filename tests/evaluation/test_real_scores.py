"""Published score files of real systems; skipped where the shared folder is not there."""

from pathlib import Path

import pytest

from deepfake_audio.evaluation import (
    evaluate_scores,
    read_asv_scores,
    read_asvspoof,
    read_sasv_scores,
    tandem_figures,
)
from deepfake_audio.evaluation.metrics import act_dcf, cllr, eer, min_dcf
from deepfake_audio.evaluation.tandem import min_tdcf

SHARED = Path(__file__).parents[2].parent / "shared"
LA = SHARED / "asvspoof" / "LA"
ASV = LA / "ASVspoof2019_LA_asv_scores" / "ASVspoof2019.LA.asv.eval.gi.trl.scores.txt.gz"
PROTOCOL = LA / "ASVspoof2019_LA_cm_protocols" / "ASVspoof2019.LA.cm.eval.trl.txt.gz"
SASV = SHARED / "golden" / "sasv22_dev_scores.csv.gz"

pytestmark = pytest.mark.skipif(not SASV.exists(), reason="needs the shared score files")

B02_BY_ATTACK = {
    "A07": 12.86, "A08": 0.37, "A09": 0.0, "A10": 18.97, "A11": 0.12, "A12": 4.92, "A13": 9.57,
    "A14": 1.22, "A15": 2.22, "A16": 6.31, "A17": 7.71, "A18": 3.58, "A19": 13.94,
}  # fmt: skip


@pytest.fixture(scope="module")
def la_asv():
    return read_asv_scores(ASV)


def test_sasv22_detector_and_verifier():
    table, asv = read_sasv_scores(SASV)
    assert len(table) == 29_548
    score, bona = table.bonafide_score, table.is_bonafide
    cm = score[bona], score[~bona]
    close = {"rel": 1e-12}
    assert eer(*cm) == pytest.approx((0.00619731789960915, -0.6093828678131104), **close)
    assert cllr(*cm) == pytest.approx(0.028190618341414547, **close)
    assert min_dcf(*cm).value == pytest.approx(0.01631981160660231, **close)
    assert act_dcf(*cm).value == pytest.approx(0.018024153192537015, **close)
    assert min_tdcf(*cm).value == pytest.approx(0.10242432984697204, **close)
    assert eer(asv.of("target"), asv.of("nontarget")) == pytest.approx(
        (0.018709274330725147, 0.442594051361084), **close
    )
    figures = tandem_figures(table, asv)
    want = {
        "min_tdcf_revised": 0.10865024864318812,
        "min_tdcf_2019": 0.02815024927153577,
        "a_dcf": 0.5070649313642536,
        "a_dcf_asvspoof5_costs": 0.15667020042570493,
        "t_eer": 0.019896988285222448,
    }
    assert {name: figures[name] for name in want} == pytest.approx(want, **close)


def test_asvspoof2019_verifier(la_asv):
    assert len(la_asv.score) == 102_579
    rate, threshold = eer(la_asv.of("target"), la_asv.of("nontarget"))
    assert (100 * rate, threshold) == pytest.approx((2.457784, -5.680051), abs=5e-7)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "rate", "tdcf_2019", "tdcf_revised"),
    [("B01_CQCC-GMM", 9.5720, 0.2359, 0.2839), ("B02_LFCC-GMM", 8.0898, 0.2111, 0.2605)],
)
def test_asvspoof2019_baselines(la_asv, name, rate, tdcf_2019, tdcf_revised):
    table = read_asvspoof(SHARED / "asvspoof" / "scores" / f"{name}_LA_eval.txt.gz", PROTOCOL)
    evaluation = evaluate_scores(table, asv=la_asv, n_bootstrap=20)
    assert evaluation.clips["total"] == 71_237
    assert evaluation.clips["without_score"] == 0
    pooled = evaluation.figures["pooled_eer"]
    assert 100 * pooled.value == pytest.approx(rate, abs=5e-5)
    assert pooled.low < pooled.value < pooled.high
    # The published .2359 of B01 is .23594 cut to four digits.
    assert evaluation.tandem["min_tdcf_2019"] == pytest.approx(tdcf_2019, abs=6e-5)
    assert evaluation.tandem["min_tdcf_revised"] == pytest.approx(tdcf_revised, abs=6e-5)
    assert evaluation.tandem["asv_false_alarm"] == pytest.approx(0.02460467, abs=5e-9)
    assert evaluation.tandem["asv_miss"] == pytest.approx(0.02458101, abs=5e-9)
    assert evaluation.tandem["asv_false_alarm_spoof"] == pytest.approx(0.76065245, abs=5e-9)
    if name.startswith("B02"):
        got = {row.group: 100 * row.eer for row in evaluation.breakdown["system"]}
        assert got == pytest.approx(B02_BY_ATTACK, abs=0.00501)
