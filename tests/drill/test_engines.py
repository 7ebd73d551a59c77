"""Engines that are installed, and what becomes of one that is broken."""

from __future__ import annotations

import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from deepfake_audio.drill import ENGINES, engines, find_engines
from deepfake_audio.drill.engines import EngineError, Voice
from deepfake_audio.drill.sentences import SENTENCES, text_in
from deepfake_audio.errors import ConfigError

INSTALL = "apt-get install espeak-ng flite festival"
PROGRAMS = {"espeak-ng": "espeak-ng", "flite": "flite", "festival": "text2wave"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_engine_speaks_alike_for_a_seed(name: str) -> None:
    if shutil.which(PROGRAMS[name]) is None:
        pytest.skip(f"{name} is not installed: {INSTALL}")
    [engine], skipped = find_engines([name])
    assert not skipped
    assert engine.version[0].isdigit()
    voice = engine.voice(0, rng())
    text = text_in(voice.language, rng())
    spoken, again, other = (engine.speak(voice, text, rng(seed)) for seed in (1, 1, 2))
    assert len(spoken.samples) > 16_000
    assert np.abs(spoken.samples).max() > 1000
    assert np.array_equal(spoken.samples, again.samples)
    assert not np.array_equal(spoken.samples[:16_000], other.samples[:16_000])
    assert not any(str(Path.home()) in word for word in spoken.command)


def test_languages_take_turns() -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip(f"espeak-ng is not installed: {INSTALL}")
    [engine], _ = find_engines(["espeak-ng"])
    spoken = {engine.voice(number, rng(number)).language for number in range(len(SENTENCES))}
    assert spoken == set(SENTENCES)


def program(folder: Path, name: str, body: str) -> None:
    """Put a program of ours on the PATH that a test has emptied."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


PIPER = """
import sys, wave
if "--version" in sys.argv:
    print("1.2.0")
    raise SystemExit
text, out = sys.stdin.read(), sys.argv[sys.argv.index("--output_file") + 1]
with wave.open(out, "wb") as file:
    file.setnchannels(1), file.setsampwidth(2), file.setframerate(22050)
    file.writeframes(bytes(range(256)) * 10 * len(text.encode()))
"""


def test_piper_is_asked_with_its_own_voice(path: Path, tmp_path: Path) -> None:
    program(path, "piper", PIPER)
    assert find_engines(["piper"])[1][0].why == "no voice was given with --piper-voice"
    voice = tmp_path / "de_DE-somebody.onnx"
    voice.write_bytes(b"")
    [engine], _ = find_engines(["piper"], [voice])
    assert (engine.version, engine.languages) == ("1.2.0", ["de"])
    spoken = engine.speak(engine.voices[0], "Guten Tag", rng())
    assert spoken.command[:3] == ["piper", "--model", str(voice)]
    assert len(spoken.samples) > 1000
    with pytest.raises(ConfigError, match="known language"):
        find_engines(["piper"], [voice.rename(tmp_path / "tlh.onnx")])


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("import sys; sys.exit('no voice today')", "status 1: no voice today"),
        ("pass", "wrote no speech"),
        ("open('speech.wav', 'w').write('not audio')", "wrote no speech"),
        ("import time; time.sleep(60)", "took longer than"),
    ],
)
def test_a_broken_engine(
    body: str, complaint: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = tmp_path / "en.onnx"
    voice.write_bytes(b"")
    program(path, "piper", "print('1.0')")
    [engine], _ = find_engines(["piper"], [voice])
    program(path, "piper", body)
    if "sleep" in body:
        monkeypatch.setattr(engines, "SPEAK_S", 0.3)
    with pytest.raises(EngineError, match=complaint):
        engine.speak(Voice(str(voice), "en"), "Hello", rng())


def test_what_is_not_installed_is_said(path: Path) -> None:
    found, skipped = find_engines()
    assert not found
    assert {each.what for each in skipped} == set(ENGINES)
    assert {each.why for each in skipped} == {"is not on the PATH"}
    with pytest.raises(ConfigError, match="use espeak-ng"):
        find_engines(["sh"])
