"""A deployment to assess: labelled recordings, measurements, reports, a service, a configuration.

The measurements of robustness are made here by hand, so that a weakness can be planted in them.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_audio.assessment.config import ModelChoice
from deepfake_audio.assessment.subject import load_subject
from deepfake_audio.config import Policy
from deepfake_audio.evaluation import ScoreTable, evaluate_scores
from deepfake_audio.evaluation.robustness import ConditionResult, dump, to_dict

MODEL = "unittest"
CONDITIONS = ("clean", "mp3:32000", "amr-nb:12200", "noise:10", "duration:2", "pgd:30", "reverb")
WEAK = "amr-nb:12200"
FAMILIES, LANGUAGES = ("tts", "vc", "vocoder"), ("en", "zh")
N = 120


def point(model: str = MODEL) -> Policy:
    return load_subject(ModelChoice(model), Path()).point


def identity(model: str = MODEL) -> str:
    return str(load_subject(ModelChoice(model), Path()).identity)


def scores(at: Policy, *, missed: float, seed: int = 0, n: int = N) -> ScoreTable:
    """Scores of which about so many of the synthetic clips lie below the threshold."""
    rng = np.random.default_rng(seed)
    spoof = np.arange(n) % 2 == 1
    below = rng.random(n) < np.where(spoof, missed, 0.98)
    p = np.where(below, at.threshold * 0.5, 0.5 + at.threshold / 2)
    return ScoreTable.from_columns(
        id=[f"clip-{i:03}" for i in range(n)],
        label=["spoof" if s else "bonafide" for s in spoof],
        llr_synthetic=np.log(p / (1 - p)),
        p_synthetic=p,
        family=[FAMILIES[i % 3] if s else "" for i, s in enumerate(spoof)],
        language=[LANGUAGES[i // 2 % 2] for i in range(n)],
        source=["here"] * n,
        channel=["phone" if i % 4 < 2 else "studio" for i in range(n)],
    )


def write_robustness(
    path: Path, *, weak: float, threshold: float | None = None, model: str = MODEL
) -> None:
    """Measurements under all conditions, in which one codec is missed as often as is said."""
    at = usual = point(model)
    if threshold is not None:
        at = dataclasses.replace(at, threshold=threshold, authentic_below=0.0)
    results = [
        ConditionResult(
            name,
            evaluate_scores(
                scores(usual, missed=weak if name == WEAK else 0.2, seed=i), [at], n_bootstrap=0
            ),
        )
        for i, name in enumerate(CONDITIONS)
    ]
    path.write_text(
        dump(to_dict(results, model=identity(model), data="own sounds")), encoding="utf-8"
    )


def write_evaluation(folder: Path, model: str = MODEL) -> None:
    """``metrics.json``, ``scores.csv`` and ``clips.csv``."""
    at = point(model)
    table = scores(at, missed=0.25, seed=7)
    result = evaluate_scores(
        table, [at], n_bootstrap=20, about={"model": identity(model), "data": "own sounds"}
    )
    (folder / "metrics.json").write_text(result.to_json(), encoding="utf-8")
    table.write_csv(folder / "scores.csv")
    surfaces, noises = ("upload", "message", "live"), ("quiet", "street")
    lines = ["id,duration_s,surface,noise,codec"]
    lines += [
        f"{name},{1.5 + i % 12},{surfaces[i // 2 % 3]},{noises[i // 2 % 2]},opus:24000"
        for i, name in enumerate(table.id.tolist())
    ]
    (folder / "clips.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


CONFIG = Path(__file__).with_name("assessment.toml").read_text(encoding="utf-8")


def write(folder: Path, config: str = CONFIG, model: str = MODEL) -> Path:
    """Write all of it into a folder, and return the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    write_evaluation(folder, model)
    write_robustness(folder / "robustness.json", weak=0.9, model=model)
    path = folder / "assessment.toml"
    path.write_text(
        config.replace("{identity}", identity(model)).replace(f'"{MODEL}"', f'"{model}"'),
        encoding="utf-8",
    )
    return path


def make_later(path: Path, seconds: float) -> None:
    """Let a file be so much younger."""
    at = path.stat().st_mtime + seconds
    os.utime(path, (at, at))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


SETTINGS = """\
data_dir = "data"
port = 0
model = "tiny"
device = "cpu"
policy_file = "policy.toml"
webhook_secret = "never to be shown"  # pragma: allowlist secret
"""

POLICY = """\
version = "2026-11"

[surfaces.upload]
label_from = "recall"
review_from = "balanced"
"""


def run_service(folder: Path) -> None:
    """Let a service decide on the bundled recordings, and people on some of them."""
    from server.conftest import running
    from sqlalchemy import select

    import deepfake_audio
    from deepfake_audio.server import audit
    from deepfake_audio.server.database import Detection, Review, new_id, now
    from deepfake_audio.server.settings import Settings

    (folder / "service.toml").write_text(SETTINGS)
    (folder / "policy.toml").write_text(POLICY)
    settings = Settings.load(
        folder / "service.toml",
        data_dir=folder / "data",
        policy_file=folder / "policy.toml",
        webhook_secret=None,
    )
    samples = sorted((Path(deepfake_audio.__file__).parent / "samples").glob("*.flac"))
    with running(settings) as service:
        client = service.client("submit", "read")
        for surface in ("upload", "message"):
            for path in samples:
                client.post(
                    "/v1/detections",
                    files={"file": path.read_bytes()},
                    data={"surface": surface, "name": path.name},
                    headers={"Prefer": "wait=30"},
                ).raise_for_status()
        client.post(
            "/v1/detections", files={"file": b"no audio"}, headers={"Prefer": "wait=30"}
        ).raise_for_status()
        with service.database.write() as session:
            for detection in session.scalars(
                select(Detection).where(Detection.surface == "upload", Detection.status == "done")
            ):
                said = "genuine" if detection.name.startswith("genuine") else "synthetic"
                detection.review_decision, detection.review_state = said, "closed"
                for reviewer in ("Ann", "Bo"):
                    disagrees = reviewer == "Bo" and detection.name.endswith("espeak_2.flac")
                    session.add(
                        Review(
                            id=new_id("rev"),
                            detection_id=detection.id,
                            tenant=detection.tenant,
                            reviewer=reviewer,
                            decision="genuine" if disagrees else said,
                            note="",
                            created_at=now(),
                        )
                    )
        with service.database.read() as session:
            (folder / "head.txt").write_text(str(audit.current_head(session)))
