"""From a configuration to a report in four forms."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from . import html, markdown
from .compose import compose
from .config import AssessmentConfig
from .document import Document, to_dict
from .material import Material, gather

SCHEMA = "deepfake_audio.assessment/1"
REPORT = "report"


@dataclass(frozen=True)
class Assessment:
    """A report that was written.

    Attributes
    ----------
    material : Material
        What it rests on.
    documents : dict of str to Document
        By language.
    files : tuple of Path
        In four forms.
    """

    material: Material
    documents: dict[str, Document]
    files: tuple[Path, ...]

    @property
    def open_findings(self) -> int:
        """How many findings are open."""
        return int(self.material.findings["summary"]["open"])

    @property
    def names_a_typeface(self) -> bool:
        """Whether Chinese in a PDF is left to a typeface of the reader's."""
        return "zh" in self.documents and self.material.config.pdf_font is None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON types."""
        found = self.material
        return {
            "schema": SCHEMA,
            "template": found.config.template,
            "model": found.subject.facts,
            "cells": found.read(found.cells.ref),
            "rectification": found.findings,
            "sources": [dataclasses.asdict(each) for each in found.evidence.sources.values()],
            "documents": {name: to_dict(document) for name, document in self.documents.items()},
        }


def assess(config: Path, out: Path, *, moment: datetime | None = None) -> Assessment:
    """Assess a deployment, and write the report.

    Parameters
    ----------
    config : Path
        TOML, see :class:`~deepfake_audio.assessment.config.AssessmentConfig`.
    out : Path
        Folder of the report, made if need be. Of the assessments before, it holds the evidence
        and the rectification log, which goes on.
    moment : datetime, optional
        When this is; now.

    Raises
    ------
    ConfigError
        If the configuration is not usable; names the key.
    DatasetError
        If a file of evidence is not there or not what it should be.
    MissingExtraError
        Without the extra ``assessment``, or ``server`` where a service is assessed.
    """
    from . import pdf  # asks for its extra before anything is done

    chosen = AssessmentConfig.load(config)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be created ({error.strerror})", name=str(out)) from error
    found = gather(chosen, config.name, out, moment or datetime.now(UTC))
    documents = {language: compose(found, language) for language in chosen.languages}
    font = chosen.root / chosen.pdf_font if chosen.pdf_font else None
    forms: dict[str, Callable[[Document], bytes]] = {
        "html": lambda document: html.render(document).encode(),
        "md": lambda document: markdown.render(document).encode(),
        "pdf": lambda document: pdf.render(document, font),
    }
    # All are made before the first is written: no half of a report lies there.
    contents = {
        f"{REPORT}.{language}.{form}": render(document)
        for language, document in documents.items()
        for form, render in forms.items()
    }
    result = Assessment(
        found, documents, tuple(out / name for name in (*contents, f"{REPORT}.json"))
    )
    text = json.dumps(result.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    contents[f"{REPORT}.json"] = text.encode()
    try:
        for name, content in contents.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", name=str(out)) from error
    return result
