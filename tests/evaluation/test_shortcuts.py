from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import make_speech
from typer.testing import CliRunner

from deepfake_audio.cli.tools import app
from deepfake_audio.datasets import load_manifest
from deepfake_audio.errors import DatasetError
from deepfake_audio.evaluation.nuisances import NUISANCES
from deepfake_audio.evaluation.shortcuts import check_data

RATE = 16_000


def build(root: Path) -> Path:
    """Synthetic clips have half a second of silence before them; nothing else differs."""
    lines = ["path,label,split,source,speaker,sentence"]
    rng = np.random.default_rng(0)
    for index in range(40):
        label = "spoof" if index % 2 else "bonafide"
        samples = make_speech(1.5, index) * rng.uniform(0.3, 1)
        silence = np.zeros(RATE // 2, dtype=np.float32)
        parts = (silence, samples) if label == "spoof" else (samples, silence)
        name = f"{index}.wav"
        soundfile.write(root / name, np.concatenate(parts), RATE)
        split = "train" if index < 20 else "dev"
        lines.append(f"{name},{label},{split},{split}-page,s{index % 7},{index}")
    soundfile.write(root / "double.wav", soundfile.read(root / "0.wav")[0], RATE)
    lines.append("double.wav,spoof,dev,dev-page,s9,x")
    (root / "broken.wav").write_bytes(b"no audio")
    lines.append("broken.wav,spoof,dev,dev-page,s9,y")
    table = root / "clips.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    return table


def test_what_is_given_away_is_found(tmp_path: Path) -> None:
    found = check_data(load_manifest([build(tmp_path)]))
    rates = {shortcut.name: shortcut.eer for shortcut in found.shortcuts}
    assert set(rates) == set(NUISANCES)
    assert rates["leading_silence_s"] < 0.06  # but for the mislabelled double
    assert rates["duration_s"] == pytest.approx(0.5)
    assert rates["level_db"] > 0.25
    assert found.shortcuts[0].eer == min(rates.values())
    assert found.leaks["source"] == []
    assert found.leaks["speaker"] == [f"s{i}" for i in range(7)]
    assert found.leaks["audio"] == ["0.wav"]
    assert found.doubles == [("0.wav", "double.wav")]
    assert len(found.unreadable) == 1
    assert "broken.wav" in found.unreadable[0]
    assert found.clips == {
        "dev bonafide": 10,
        "dev spoof": 11,
        "train bonafide": 10,
        "train spoof": 10,
    }


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", "--data", str(build(tmp_path))])
    assert result.exit_code == 0, result.output
    assert "| leading_silence_s |" in result.output
    assert "speaker in several splits: 7" in result.output


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    clips = [clip for clip in load_manifest([build(tmp_path)]) if not clip.is_synthetic]
    with pytest.raises(DatasetError, match="both classes"):
        check_data(clips)
