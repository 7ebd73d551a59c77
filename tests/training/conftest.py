"""Fixtures of the tests of training: sixteen clips, and one thread."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from sounds import make_speech
from tiny_training import RATE_HZ

from deepfake_audio.training import release


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def few_sounds_without_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the speech gate by forty noises and melodies: making four hundred takes seconds."""
    monkeypatch.setattr(release, "_N_NONSPEECH", 40)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen clips, human ones falling and synthetic ones steady in pitch, as a CSV manifest."""
    folder = tmp_path_factory.mktemp("data")
    lines = ["path,label,source,system,speaker,split"]
    for index in range(16):
        label = "real" if index % 2 else "fake"
        split = "dev" if index >= 10 else "train"
        samples = make_speech(1.0 + 0.05 * index, index, RATE_HZ)
        soundfile.write(folder / f"{index}.wav", samples, RATE_HZ)
        lines.append(f"{index}.wav,{label},s{index % 3},sys,sp{index},{split}")
    table = folder / "clips.csv"
    table.write_text("\n".join(lines))
    return table
