"""Metrics, intervals and reports on scores; no network is needed for any of it.

Inside this package scores are high for *bona fide* speech, the convention of the field; tables
and files of this project say ``llr_synthetic``, which is high for synthetic speech.
"""

from ..datasets.protocol import read_protocol
from .bootstrap import Figure, confidence_intervals
from .breakdown import BreakdownRow, break_down
from .evaluate import Evaluation, PolicyRates, evaluate_scores, tandem_figures
from .metrics import (
    DcfCosts,
    act_dcf,
    auc,
    cllr,
    det_curve,
    eer,
    error_rates,
    min_dcf,
    page_macro_eer,
)
from .protocol import (
    AsvScores,
    read_asv_scores,
    read_asvspoof,
    read_sasv_scores,
    read_scores,
    write_protocol,
    write_scores,
)
from .table import ScoreTable, score_table_from_reports
from .tandem import AsvRates, TandemCosts, a_dcf, asv_rates, min_tdcf, t_eer

__all__ = [
    "AsvRates",
    "AsvScores",
    "BreakdownRow",
    "DcfCosts",
    "Evaluation",
    "Figure",
    "PolicyRates",
    "ScoreTable",
    "TandemCosts",
    "a_dcf",
    "act_dcf",
    "asv_rates",
    "auc",
    "break_down",
    "cllr",
    "confidence_intervals",
    "det_curve",
    "eer",
    "error_rates",
    "evaluate_scores",
    "min_dcf",
    "min_tdcf",
    "page_macro_eer",
    "read_asv_scores",
    "read_asvspoof",
    "read_protocol",
    "read_sasv_scores",
    "read_scores",
    "score_table_from_reports",
    "t_eer",
    "tandem_figures",
    "write_protocol",
    "write_scores",
]
