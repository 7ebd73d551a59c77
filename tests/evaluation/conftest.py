"""Golden scores: grids of normal quantiles, so that no file of scores is needed."""

import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest


@pytest.fixture(scope="session")
def golden():
    path = Path(__file__).parents[1] / "golden" / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def cm(golden):
    """Bona fide and spoof scores of the golden detector."""
    return tuple(_grid(*golden["detector"][key]) for key in ("bonafide", "spoof"))


@pytest.fixture(scope="session")
def asv(golden):
    """Target, non-target and spoof scores of the golden verifier."""
    return tuple(_grid(*golden["verifier"][key]) for key in ("target", "nontarget", "spoof"))


def _grid(n, mean, sd):
    return np.array([NormalDist(mean, sd).inv_cdf((i + 0.5) / n) for i in range(n)])
