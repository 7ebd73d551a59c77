"""A folder with what the documents name: recordings, labelled clips, settings, reports."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import soxr
from audio_files import encode_av
from server.history import detection

import deepfake_audio
from deepfake_audio.augment.vocoders import VOCODERS
from deepfake_audio.report import Report
from deepfake_audio.server import keys, migrations
from deepfake_audio.server.database import Database, now
from deepfake_audio.server.settings import Settings

PACKAGE = Path(deepfake_audio.__file__).parent
REPOSITORY = PACKAGE.parent
RATE_HZ = 16_000

POLICY = """\
version = "2026-11"

[surfaces.upload]
review_from = "balanced"
"""

SETTINGS = """\
data_dir = "service"
policy_file = "policy.toml"
model = "tiny"
"""

ASSESSMENT = """\
[model]
name = "tiny"

[[scores]]
file = "runs/test/scores.csv"
command = "deepfake-audio evaluate --data CORPUS --out runs/test"
model = "{model}"
"""


def samples() -> dict[str, np.ndarray]:
    """Return the bundled recordings by name, float32 at 16 kHz."""
    paths = sorted((PACKAGE / "samples").glob("*.flac"))
    return {path.stem: soundfile.read(path, dtype="float32")[0] for path in paths}


def microphone() -> list[np.ndarray]:
    """Return a bundled recording as live sound at 48 kHz, in chunks of 100 ms."""
    sound = soxr.resample(samples()["synthetic_espeak_1"], RATE_HZ, 48_000)
    return [sound[at : at + 4800] for at in range(0, sound.size, 4800)]


def furnish(folder: Path, reports: Iterable[Report], model: str) -> None:
    """Put everything into an empty folder.

    Parameters
    ----------
    folder : Path
    reports : iterable of Report
        Of some recordings, for what reads reports.
    model : str
        Of the score table.
    """
    for name in ("deepfake_audio", "models"):
        (folder / name).symlink_to(REPOSITORY / name)
    found = samples()
    human, robot = found["genuine_librivox_1"], found["synthetic_espeak_1"]
    soundfile.write(folder / "clip.wav", human, RATE_HZ)
    soundfile.write(folder / "call.wav", np.concatenate([human, robot]), RATE_HZ)
    soundfile.write(folder / "voice-note.ogg", robot, RATE_HZ, format="OGG", subtype="VORBIS")
    soundfile.write(folder / "clip.opus", human, RATE_HZ, format="OGG", subtype="OPUS")
    for name in ("a.mp3", "upload.mp3"):
        soundfile.write(folder / name, robot, RATE_HZ, format="MP3")
    (folder / "b.m4a").write_bytes(encode_av(human, RATE_HZ, "mp4", "aac"))
    (folder / "broken.wav").write_bytes(b"RIFF, and then nothing that makes sense")

    uploads = folder / "uploads" / "more"
    uploads.mkdir(parents=True)
    for path in (PACKAGE / "samples").glob("*.flac"):
        shutil.copy(path, uploads)
    labelled_clips(folder / "ours")
    labelled_clips(folder / "CORPUS" / "data")

    lines = "".join(report.to_json() + "\n" for report in reports)
    (folder / "may").mkdir()
    (folder / "may" / "reports.jsonl").write_text(lines)
    (folder / "today.jsonl").write_text(lines)
    score_files(folder)
    (folder / "policy.toml").write_text(POLICY)
    (folder / "service.toml").write_text(SETTINGS)
    (folder / "assessment.toml").write_text(ASSESSMENT.format(model=model))
    past_service(folder / "service.toml")


def past_service(settings: Path) -> None:
    """Make the database of a service that has had one recording, whose audio is gone by now."""
    database = Database(Settings.load(settings).database)
    migrations.upgrade(database)
    with database.write() as session:
        keys.create(session, tenant="acme", name="past", scopes=frozenset({keys.Scope.SUBMIT}))
        session.add(detection(now()))
    database.close()


def labelled_clips(folder: Path) -> None:
    """Write a dozen pieces of two seconds of each class: speech, and copies of it by a vocoder."""
    speech = np.concatenate([s for name, s in samples().items() if name.startswith("genuine")])
    starts = np.linspace(0, speech.size - 2 * RATE_HZ, 12).astype(int)
    for index, start in enumerate(starts):
        piece = speech[start : start + 2 * RATE_HZ]
        copy = VOCODERS["lpc"](piece, np.random.default_rng(index))
        for place, sound in (("bonafide", piece), ("spoof/lpc", copy)):
            path = folder / place / f"{index:02}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound, RATE_HZ)


def score_files(folder: Path) -> None:
    """Write an ASVspoof score file with its protocol, and a score table, of made-up scores."""
    rng = np.random.default_rng(0)
    (folder / "runs" / "test").mkdir(parents=True)
    scores, protocol = [], []
    table = ["id,label,llr_synthetic,p_synthetic"]
    for index in range(80):
        spoof = index % 2 == 1
        llr = rng.normal(2 if spoof else -2, 1.5)
        label = "spoof" if spoof else "bonafide"
        scores.append(f"LA_{index:04} {-llr:.4f}")
        protocol.append(f"S1 LA_{index:04} - {'A07' if spoof else '-'} {label}")
        table.append(f"LA_{index:04},{label},{llr:.4f},{1 / (1 + np.exp(-llr)):.6f}")
    (folder / "scores.txt").write_text("\n".join(scores) + "\n")
    (folder / "protocol.txt").write_text("\n".join(protocol) + "\n")
    (folder / "runs" / "test" / "scores.csv").write_text("\n".join(table) + "\n")
