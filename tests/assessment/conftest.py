"""A written assessment, and the database of a service that has run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("reportlab")

from deepfake_audio.assessment import Assessment, assess

from . import demo


@dataclass(frozen=True)
class Written:
    """A report, and where it and its configuration lie."""

    config: Path
    out: Path
    result: Assessment

    def text(self, name: str) -> str:
        return (self.out / name).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The demo without a service. Not to be changed."""
    config = demo.write(tmp_path_factory.mktemp("assessment"))
    out = config.parent / "out"
    return Written(config, out, assess(config, out))


@pytest.fixture(scope="session")
def service_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings, policy and database of a service that has decided on some recordings."""
    pytest.importorskip("fastapi")
    folder = tmp_path_factory.mktemp("service")
    demo.run_service(folder)
    return folder
