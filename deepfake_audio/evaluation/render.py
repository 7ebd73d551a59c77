"""An evaluation as Markdown that also reads well as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .bootstrap import Figure

if TYPE_CHECKING:
    from .evaluate import Evaluation

_FIGURES = {
    "pooled_eer": ("EER, pooled", True),
    "page_macro_eer": ("EER, mean of pages", True),
    "min_dcf": ("minDCF", False),
    "act_dcf": ("actDCF", False),
    "cllr": ("Cllr, bits", False),
    "auc": ("AUC", False),
}

_BINS_HEADER = (
    *("nuisance", "EER of it alone %", "bin", "genuine", "synthetic"),
    *("EER within it", "interval", "differs from"),
)

_TANDEM_RATES = ("asv_eer", "asv_false_alarm", "asv_miss", "asv_false_alarm_spoof", "t_eer")

_MAX_LISTED = 50

Row = tuple[str, ...]


def markdown(evaluation: Evaluation) -> str:
    """Render an evaluation, rates in per cent."""
    clips = evaluation.clips
    parts = ["# Evaluation"]
    if evaluation.about:
        parts.append("\n".join(f"* {key}: {value}" for key, value in evaluation.about.items()))
    parts.append(
        f"{clips['total']} clips; figures rest on {clips['bonafide']} genuine and "
        f"{clips['spoof']} synthetic ones. Left out: {clips['codec']} copies by a codec, "
        f"{clips['without_score']} without a score."
    )
    for title, header, rows in _sections(evaluation):
        if rows:
            parts += [f"## {title}", _table(header, rows)]
    if (more := len(evaluation.without_score) - _MAX_LISTED) > 0:
        parts.append(f"... and {more} more.")
    return "\n\n".join(parts) + "\n"


def _sections(evaluation: Evaluation) -> Iterator[tuple[str, Row, list[Row]]]:
    """Give title, header and rows of each table; some have no rows."""
    interval = f"{100 * evaluation.settings.get('level', 0.95):.0f} % interval"
    header: Row = ("figure", "value", interval)
    rows: list[Row] = [
        (title, *_estimate(evaluation.figures[name], percent))
        for name, (title, percent) in _FIGURES.items()
        if name in evaluation.figures
    ]
    yield "Figures", header, rows

    header = ("policy", "threshold", "authentic below", "genuine flagged", interval)
    header += ("synthetic not flagged", interval, "HTER", interval)
    header += ("uncertain: genuine %", "synthetic %")
    rows = []
    for policy in evaluation.policies:
        rates = [
            cell
            for figure in (policy.fpr, policy.fnr, policy.hter)
            for cell in _estimate(figure, True)
        ]
        band = _percent(policy.uncertain_bonafide), _percent(policy.uncertain_spoof)
        cuts = f"{policy.threshold:.4f}", f"{policy.authentic_below:.4f}"
        rows.append((policy.name, *cuts, *rates, *band))
    yield "Policies", header, rows

    rows = [
        (name, f"{_percent(value)} %" if name in _TANDEM_RATES else f"{value:.4f}")
        for name, value in evaluation.tandem.items()
    ]
    yield "With a speaker verifier", ("figure", "value"), rows

    rows = [
        (label, verdict, str(count))
        for label, verdicts in evaluation.verdicts.items()
        for verdict, count in verdicts.items()
    ]
    yield "Verdicts", ("label", "verdict", "clips"), rows

    rows = [(name, _percent(rate)) for name, rate in evaluation.pages.items()]
    yield "Pages with both labels", ("source", "EER %"), rows

    yield "Nuisances", _BINS_HEADER, list(_bins(evaluation))

    for attribute, groups in evaluation.breakdown.items():
        header = (attribute, "genuine", "synthetic", "EER %", "against", "EER % same source")
        header += ("genuine flagged %", "synthetic not flagged %", "HTER %")
        rows = []
        for row in groups:
            counts = str(row.n_bonafide), str(row.n_spoof)
            against = "" if row.eer is None else row.against
            values = row.eer_same_source, row.fpr, row.fnr, row.hter
            shares = [_percent(value) for value in values]
            rows.append((row.group, *counts, _percent(row.eer), against, *shares))
        yield f"By {attribute}", header, rows

    yield "Without a score", ("clip", "reason"), [*evaluation.without_score[:_MAX_LISTED]]


def _bins(evaluation: Evaluation) -> Iterator[Row]:
    for found in evaluation.nuisances:
        first: Row = (found.nuisance, _percent(found.eer_alone))
        for one in found.bins:
            pairs = [pair for pair in found.apart if one.values in pair]
            others = [values for pair in pairs for values in pair if values != one.values]
            rate = _estimate(one.eer, True) if one.eer else ("too few", "-")
            counts = str(one.n_bonafide), str(one.n_spoof)
            yield (*first, one.values, *counts, *rate, "; ".join(others))
            first = ("", "")


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.2f}"


def _estimate(figure: Figure | None, percent: bool) -> tuple[str, str]:
    """Value and interval as two cells."""
    if figure is None:
        return "-", "-"
    scale, digits = (100, 2) if percent else (1, 4)
    value = f"{scale * figure.value:.{digits}f}" + (" %" if percent else "")
    if figure.low is None or figure.high is None:
        return value, "-"
    return value, f"{scale * figure.low:.{digits}f} to {scale * figure.high:.{digits}f}"


def _table(header: Row, rows: Sequence[Row]) -> str:
    """Markdown table with columns padded to equal width; text left, numbers right."""
    # A bar in a name would open a new column, a line break a new row.
    cells = [[" ".join(cell.replace("|", "/").split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    right = [i > 0 and all(_is_number(row[i]) for row in cells) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + ":" if flush else "-" * width
        for width, flush in zip(widths, right, strict=True)
    ]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, cells)])


def _is_number(cell: str) -> bool:
    return cell in ("", "-") or cell.removesuffix(" %").replace(".", "").isdigit()
