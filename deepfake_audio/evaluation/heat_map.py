"""Robustness as a picture: one row a kind of condition, one cell a strength of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError
from ..plots import check_format
from .robustness import ConditionResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cell = tuple[str, float | None]  # what stands over the figure, and the figure

_PANELS = {"pooled_eer": "pooled EER, %", "genuine_flagged": "genuine clips flagged, %"}
_GREY = "#57606a"


def cells_by_kind(results: Sequence[ConditionResult], figure: str) -> dict[str, list[Cell]]:
    """Group one figure of all conditions by kind, in the order in which they were measured.

    Conditions of several steps (``mp3:64000+trim``) stand in rows of their own.
    """
    rows: dict[str, list[Cell]] = {}
    for result in results:
        name = result.condition
        kind, _, strength = (name, "", "") if "+" in name else name.partition(":")
        rows.setdefault(kind, []).append((strength, result.row()[figure]))
    return rows


def heat_map(results: Sequence[ConditionResult]) -> Figure:
    """Draw EER and false alarms on genuine speech under all conditions.

    Parameters
    ----------
    results : sequence of ConditionResult
        At least one.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot.
    """
    from matplotlib.figure import Figure

    rows = cells_by_kind(results, "pooled_eer")
    columns = max(len(cells) for cells in rows.values())
    size = (2 * (1.4 + 0.75 * columns) + 1.2, 0.9 + 0.42 * len(rows))
    figure = Figure(figsize=size, dpi=150, facecolor="white", layout="constrained")
    for axes, (name, title) in zip(
        figure.subplots(1, len(_PANELS), sharey=True), _PANELS.items(), strict=True
    ):
        _draw(axes, cells_by_kind(results, name))
        axes.set_title(title, fontsize=10)
    return figure


def _draw(axes: Axes, rows: dict[str, list[Cell]]) -> None:
    columns = max(len(cells) for cells in rows.values())
    values = np.full((len(rows), columns), np.nan)
    for y, cells in enumerate(rows.values()):
        for x, (strength, value) in enumerate(cells):
            text = "-" if value is None else f"{100 * value:.1f}"
            values[y, x] = np.nan if value is None else 100 * value
            axes.text(
                *(x, y, f"{strength}\n{text}" if strength else text),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if value is not None and value > 0.35 else "black",
            )
    # One scale for all pictures, so that they can be laid side by side: 50 % is chance.
    axes.imshow(values, cmap="Reds", vmin=0, vmax=50, aspect="auto")
    axes.set_xticks([])
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.tick_params(length=0, labelcolor=_GREY)
    axes.spines[:].set_visible(False)


def save_heat_map(results: Sequence[ConditionResult], path: str | os.PathLike[str]) -> None:
    """Write :func:`heat_map` to a file; the suffix decides the format.

    Raises
    ------
    ConfigError
        If the format is none of ``.png``, ``.svg``, ``.pdf``, or the file cannot be written.
    MissingExtraError
        If matplotlib is not installed.
    """
    kind = check_format(path)
    try:
        heat_map(results).savefig(path, format=kind)
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", name=os.fspath(path)) from error
