"""Reports on standard output, one form a class; each is whole whenever the command ends."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from typing import Protocol

import typer

from ..report import Report, Segment, Verdict, describe_policy, printable
from .console import wants_colour

_COLOURS = {
    Verdict.LIKELY_SYNTHETIC: typer.colors.RED,
    Verdict.UNCERTAIN: typer.colors.YELLOW,
    Verdict.LIKELY_AUTHENTIC: typer.colors.GREEN,
    Verdict.INCONCLUSIVE: typer.colors.BRIGHT_BLACK,
}


class Output(Protocol):
    """Where reports go."""

    def write(self, report: Report) -> None:
        """Write one report."""

    def close(self) -> None:
        """Write what must follow the last report."""


def _put(text: str) -> None:
    # One call for each piece: an interrupt falls between pieces, never into one.
    sys.stdout.write(text)
    sys.stdout.flush()


class JsonOutput:
    """One JSON array."""

    def __init__(self) -> None:
        self._opening = "[\n"

    def write(self, report: Report) -> None:
        """Write one report."""
        opening, self._opening = self._opening, ",\n"
        _put(opening + report.to_json())

    def close(self) -> None:
        """Close the array."""
        _put("[]\n" if self._opening == "[\n" else "\n]\n")


class JsonLinesOutput:
    """One JSON object a line."""

    def write(self, report: Report) -> None:
        """Write one report."""
        _put(report.to_json() + "\n")

    def close(self) -> None:
        """Nothing follows."""


class CsvOutput:
    """One row a report, or one a segment; an empty field is no value."""

    COLUMNS = (
        "name", "verdict", "reason", "p_synthetic", "llr_synthetic", "policy", "threshold",
        "prior_synthetic", "duration_s", "speech_s", "format", "sample_rate_hz", "channels",
        "warnings", "sha256", "model", "model_version", "model_sha256", "novelty",
        "aigc", "c2pa", "rhythm_s", "authentic_below",
    )  # fmt: skip
    SEGMENT_COLUMNS = (
        "name", "verdict", "channel", "start_s", "end_s", "p_synthetic", "llr_synthetic",
    )  # fmt: skip

    def __init__(self, *, segments: bool) -> None:
        self._segments = segments
        self._header: tuple[str, ...] = self.SEGMENT_COLUMNS if segments else self.COLUMNS

    def write(self, report: Report) -> None:
        """Write one report."""
        rows = _segment_rows(report) if self._segments else [_row(report)]
        self._write_rows(rows)

    def close(self) -> None:
        """Write the header if no report has."""
        self._write_rows([])

    def _write_rows(self, rows: list[list[object]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if self._header:
            writer.writerow(self._header)
            self._header = ()
        writer.writerows(rows)
        _put(text.getvalue())


def _row(report: Report) -> list[object]:
    source, policy, model = report.input, report.policy, report.model
    found = report.provenance
    return [
        source.name, report.verdict.value, report.reason and report.reason.value,
        report.p_synthetic, report.llr_synthetic, policy.name, policy.threshold,
        policy.prior_synthetic, source.duration_s, source.speech_s, source.format,
        source.sample_rate_hz, source.channels, ";".join(report.warnings), source.sha256,
        model.name, model.version, model.sha256, report.novelty,
        found.aigc and (found.aigc["says"] or "unreadable"),
        found.c2pa and (found.c2pa["says"] or found.c2pa["state"]), found.rhythm_s,
        policy.authentic_below,
    ]  # fmt: skip


def _segment_rows(report: Report) -> list[list[object]]:
    about: list[object] = [report.input.name, report.verdict.value]
    rows = [
        [*about, s.channel, s.start_s, s.end_s, s.p_synthetic, s.llr_synthetic]
        for s in report.segments
    ]
    return rows or [[*about, None, None, None, None, None]]


class TextOutput:
    """For people: a block for one input, a line each for many.

    Parameters
    ----------
    segments : bool
        List the segments below each report.

    Attributes
    ----------
    many : bool
        One line a report, and closing lines on threshold and model.
    """

    def __init__(self, *, segments: bool) -> None:
        self.many = False
        self._segments = segments
        self._colour = wants_colour()
        self._verdicts: Counter[Verdict] = Counter()
        self._last: Report | None = None

    def write(self, report: Report) -> None:
        """Write one report."""
        self._last = report
        self._verdicts[report.verdict] += 1
        text = f"{report.summary()}  {printable(report.input.name)}" if self.many else str(report)
        if self._colour:
            phrase = report.verdict.phrase
            painted = typer.style(phrase, fg=_COLOURS[report.verdict], bold=True)
            head = text.partition("\n")[0]
            # The verdict is the first word of a line, and the last of the head of a block.
            at = 0 if self.many else len(head) - len(phrase)
            text = text[:at] + painted + text[at + len(phrase) :]
        if self._segments:
            lines = [_segment_line(report, segment) for segment in report.segments]
            text = "\n".join([text, *lines])
        _put(text + "\n")

    def close(self) -> None:
        """Say, after many lines, what they have in common."""
        if not self.many or self._last is None:
            return
        policy, model = self._last.policy, self._last.model
        counts = ", ".join(f"{self._verdicts[v]} {v.phrase}" for v in Verdict if self._verdicts[v])
        _put(
            f"# {counts}\n"
            f"# p under a prior of {policy.prior_synthetic:g}, "
            f"threshold {describe_policy(policy)}\n"
            f"# model {model}\n"
        )


def _segment_line(report: Report, segment: Segment) -> str:
    mark = "*" if segment.p_synthetic >= report.policy.threshold else " "
    channel = f"channel {segment.channel}  " if report.input.channels > 1 else ""
    return (
        f"  {mark} {channel}{segment.start_s:7.2f} - {segment.end_s:7.2f} s  "
        f"p {segment.p_synthetic:.3f}  LLR {segment.llr_synthetic:+.2f}"
    )
