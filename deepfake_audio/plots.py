"""One picture of a report: what was heard, and the score over time beneath it.

Drawn without pyplot, so that no global state is touched and threads do not meet.
"""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .audio import DecodedAudio
from .config import SAMPLE_RATE_HZ
from .errors import ConfigError, MissingExtraError
from .report import VERDICT_COLOURS, Report, Segment, Verdict, describe_policy, printable
from .windows import FloatArray, sliding

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FFT_LENGTH = 512
MIN_HOP = 80
MAX_COLUMNS = 2000
"""Columns of the spectrogram; a long recording is sampled at this many places."""

DYNAMIC_RANGE_DB = 80.0
_CHANNEL_COLOURS = ("#24506e", "#b8742a", "#5b4a8a", "#2f7d6d", "#8a4a5b", "#6b6b2a")
_GRID = "#d0d7de"
# Tried in this order for names that the default font cannot write.
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei")


def plot_report(report: Report, audio: DecodedAudio) -> Figure:
    """Draw a report: spectrogram above, score over time below.

    Parameters
    ----------
    report : Report
        What was said about the input.
    audio : DecodedAudio
        The same input, decoded.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot; after ``%matplotlib inline`` a notebook shows it.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), dpi=150, facecolor="white")
    upper, lower = figure.subplots(
        2,
        1,
        sharex=True,
        height_ratios=[3, 2],
        gridspec_kw={"left": 0.07, "right": 0.98, "top": 0.83, "bottom": 0.16, "hspace": 0.08},
    )
    for axes in (upper, lower):
        axes.tick_params(labelsize=9, color=_GRID)
        axes.spines[:].set_color(_GRID)
    channel = _most_suspicious_channel(report)
    _draw_spectrogram(upper, audio.samples[channel])
    if audio.samples.shape[0] > 1:
        upper.set_title(f"channel {channel}", loc="right", fontsize=8, pad=3)
    _draw_scores(lower, report)
    lower.set_xlim(0, max(report.input.duration_s, 0.01))
    _draw_text(figure, report)
    return figure


def require_matplotlib() -> None:
    """Raise MissingExtraError where matplotlib is missing, before work that it will draw."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError("plots need matplotlib", hint='pip install "deepfake-audio[plots]"')


def check_format(path: str | os.PathLike[str]) -> str:
    """Return the format that a file name asks for.

    Raises
    ------
    ConfigError
        If it is none of ``.png``, ``.svg`` and ``.pdf``.
    MissingExtraError
        If matplotlib is not installed.
    """
    require_matplotlib()
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise ConfigError("plots are written as .png, .svg or .pdf", name=os.fspath(path))
    return kind


def save_plot(report: Report, audio: DecodedAudio, path: str | os.PathLike[str]) -> None:
    """Write :func:`plot_report` to a file; PNG files carry the report as JSON inside.

    Parameters
    ----------
    report, audio
        As for :func:`plot_report`.
    path : path
        The suffix decides the format: ``.png``, ``.svg``, ``.pdf``.

    Raises
    ------
    ConfigError
        If the format is unknown or the file cannot be written.
    MissingExtraError
        If matplotlib is not installed.
    """
    kind = check_format(path)
    metadata = {"Title": f"{report.input.name}: {report.verdict.phrase}"}
    if kind == "png":
        metadata["Report"] = report.to_json(ensure_ascii=True)
    figure = plot_report(report, audio)
    try:
        with warnings.catch_warnings():
            # A name in a script that no font here knows is drawn as boxes; that is no news.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.savefig(path, format=kind, metadata=metadata)
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", name=os.fspath(path)) from error


def score_over_time(segments: list[Segment]) -> tuple[FloatArray, FloatArray]:
    """Average overlapping segments of one channel into one step function.

    Parameters
    ----------
    segments : list of Segment
        Of one channel.

    Returns
    -------
    edges_s : ndarray, shape (steps + 1,)
        Seconds.
    p_synthetic : ndarray, shape (steps,)
        Mean over the segments that cover each step; NaN where there is none.
    """
    start = np.array([segment.start_s for segment in segments])
    end = np.array([segment.end_s for segment in segments])
    p = np.array([segment.p_synthetic for segment in segments])
    edges = np.unique(np.concatenate([start, end]))
    # What each segment adds at its start it takes away at its end.
    delta = np.zeros((2, edges.size))
    for sign, times in ((1, start), (-1, end)):
        at = np.searchsorted(edges, times)
        np.add.at(delta[0], at, sign * p)
        np.add.at(delta[1], at, sign)
    total, count = np.cumsum(delta, axis=1)[:, :-1]
    count = count.round()
    mean = np.full(count.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return edges, mean.clip(0, 1)


def _most_suspicious_channel(report: Report) -> int:
    """Return the channel with the highest mean score, the one that decided."""
    scores: dict[int, list[float]] = {}
    for segment in report.segments:
        scores.setdefault(segment.channel, []).append(segment.llr_synthetic)
    return max(scores, key=lambda channel: float(np.mean(scores[channel])), default=0)


def _draw_spectrogram(axes: Axes, samples: FloatArray) -> None:
    axes.set_ylabel("frequency, kHz", fontsize=9)
    axes.tick_params(labelbottom=False, length=0)
    if samples.size < FFT_LENGTH:
        axes.set_ylim(0, SAMPLE_RATE_HZ / 2000)
        return
    hop = max(MIN_HOP, samples.size // MAX_COLUMNS)
    frames = sliding(samples[None], FFT_LENGTH)[0, ::hop]  # (columns, FFT_LENGTH)
    power = np.abs(np.fft.rfft(frames * np.hanning(FFT_LENGTH))) ** 2
    level_db = 10 * np.log10(power.T + 1e-10)  # (bins, columns)
    axes.imshow(
        level_db,
        origin="lower",
        aspect="auto",
        cmap="Greys",
        vmin=level_db.max() - DYNAMIC_RANGE_DB,
        extent=(0, samples.size / SAMPLE_RATE_HZ, 0, SAMPLE_RATE_HZ / 2000),
        interpolation="nearest",
    )


def _draw_scores(axes: Axes, report: Report) -> None:
    threshold = report.policy.threshold
    red = VERDICT_COLOURS[Verdict.LIKELY_SYNTHETIC]
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("p(synthetic)", fontsize=9)
    axes.set_xlabel("time, s", fontsize=9)
    axes.grid(axis="x", color=_GRID, linewidth=0.5)
    axes.axhspan(threshold, 1.02, color=red, alpha=0.07, linewidth=0)
    axes.axhline(threshold, color=red, linewidth=0.8, linestyle=(0, (5, 3)))
    axes.annotate(
        f"threshold {threshold:g}",
        (1, threshold),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 2 if threshold < 0.9 else -3),
        textcoords="offset points",
        ha="right",
        va="bottom" if threshold < 0.9 else "top",
        color=red,
        fontsize=8,
    )
    channels = sorted({segment.channel for segment in report.segments})
    for channel in channels:
        edges, p = score_over_time([s for s in report.segments if s.channel == channel])
        colour = _CHANNEL_COLOURS[channel % len(_CHANNEL_COLOURS)]
        label = f"channel {channel}" if report.input.channels > 1 else None
        axes.stairs(p, edges, baseline=None, color=colour, linewidth=1.6, label=label)
        hot = np.where(p >= threshold, p, np.nan)
        axes.stairs(hot, edges, baseline=threshold, fill=True, color=red, alpha=0.35, linewidth=0)
    if not channels:
        axes.text(
            0.5, 0.5, "no speech was scored", transform=axes.transAxes, ha="center", va="center"
        )
    elif report.input.channels > 1:
        axes.legend(
            loc="upper right",
            bbox_to_anchor=(1, -0.17),
            borderaxespad=0,
            ncols=8,
            fontsize=8,
            frameon=False,
        )


def _draw_text(figure: Figure, report: Report) -> None:
    left = 0.07
    figure.text(
        left,
        0.94,
        report.verdict.phrase + (f": {report.reason.phrase}" if report.reason else ""),
        fontsize=16,
        weight="bold",
        color=VERDICT_COLOURS[report.verdict],
    )
    facts = [f"{report.input.speech_s:.1f} s of speech in {report.input.duration_s:.1f} s"]
    if report.p_synthetic is not None and report.llr_synthetic is not None:
        facts.insert(
            0,
            f"p(synthetic) {report.p_synthetic:.3f} under a prior of "
            f"{report.policy.prior_synthetic:g}, LLR {report.llr_synthetic:+.2f}",
        )
    facts.extend(report.warnings)
    figure.text(
        left,
        0.895,
        _shorten(report.input.name),
        fontsize=10,
        family=_fonts(),
        parse_math=False,  # a file name may hold dollar signs
    )
    figure.text(left, 0.855, _shorten(" · ".join(facts), 150), fontsize=9)
    figure.text(
        left,
        0.02,
        f"threshold {describe_policy(report.policy)}\n"
        f"model {report.model}   input sha256 {report.input.sha256 or 'unknown'}",
        fontsize=7.5,
        color="#57606a",
        linespacing=1.5,
    )


def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    known = set(fontManager.get_font_names())
    return [font for font in _FONTS if font in known]


def _shorten(name: str, length: int = 110) -> str:
    name = printable(name)
    return name if len(name) <= length else "…" + name[1 - length :]
