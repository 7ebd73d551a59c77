"""The model that is assessed: its identity, its operating point, its data sheet."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import load_checkpoint, models_folder
from ..config import Policy
from ..errors import ConfigError
from ..onnx_network import OnnxNetwork
from ..report import ModelInfo
from .config import ModelChoice

SCHEMA = "deepfake_audio.assessed_model/1"
CARD = "card.md"


@dataclass(frozen=True)
class Subject:
    """What the assessment is about.

    Attributes
    ----------
    identity : ModelInfo
    point : Policy
        The operating point in force.
    facts : dict
        All of it as plain JSON types.
    data_sheet : Path or None
        The file, if there is one.
    """

    identity: ModelInfo
    point: Policy
    facts: dict[str, Any]
    data_sheet: Path | None


def load_subject(choice: ModelChoice, root: Path) -> Subject:
    """Load the model and find its operating point.

    Raises
    ------
    CheckpointError
        If there is no such model.
    ConfigError
        If it has no such operating point.
    """
    file = root / choice.name
    checkpoint = load_checkpoint(file if file.exists() else choice.name)
    header = checkpoint.header
    point = header.policies.get(choice.operating_point)
    if point is None:
        raise ConfigError(
            f"the model has no operating point {choice.operating_point!r}",
            name="model.operating_point",
            hint=f"use {', '.join(header.policies)}",
        )
    if choice.threshold is not None:
        point = dataclasses.replace(
            point,
            threshold=choice.threshold,
            authentic_below=min(point.authentic_below, choice.threshold),
            expected_fpr=None,  # they were of the model's own threshold
            expected_fnr=None,
            worst_source=None,
            worst_source_fpr=None,
        )
    network = checkpoint.network
    facts = {
        "schema": SCHEMA,
        "name": header.name,
        "version": header.version,
        "sha256": checkpoint.sha256,
        "identity": str(ModelInfo(header.name, header.version, checkpoint.sha256)),
        "parameters": None if isinstance(network, OnnxNetwork) else network.n_parameters,
        "operating_point": point.to_dict(),
        "operating_points": {name: each.to_dict() for name, each in header.policies.items()},
    }
    sheet = _data_sheet(choice, root, file)
    identity = ModelInfo(header.name, header.version, checkpoint.sha256)
    return Subject(identity, point, facts, sheet)


def _data_sheet(choice: ModelChoice, root: Path, file: Path) -> Path | None:
    if choice.data_sheet is not None:
        return root / choice.data_sheet
    folder = (file if file.is_dir() else file.parent) if file.exists() else None
    card = (folder or models_folder() / choice.name) / CARD
    return card if card.is_file() else None
