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

from deepfake_audio.assessment.subject import load_subject
from deepfake_audio.assessment.config import ModelChoice
from deepfake_audio.config import Policy
from deepfake_audio.evaluation import ScoreTable, evaluate_scores
from deepfake_audio.evaluation.robustness import ConditionResult, dump, to_dict

MODEL = "unittest"
CONDITIONS = ("clean", "mp3:32000", "amr-nb:12200", "noise:10", "duration:2", "pgd:30", "reverb")
WEAK = "amr-nb:12200"
FAMILIES, LANGUAGES = ("tts", "vc", "vocoder"), ("en", "zh")
N = 120


def point() -> Policy:
    return load_subject(ModelChoice(MODEL), Path()).point


def identity() -> str:
    return str(load_subject(ModelChoice(MODEL), Path()).identity)


def scores(*, missed: float, seed: int = 0, n: int = N) -> ScoreTable:
    """Scores of which about so many of the synthetic clips lie below the threshold."""
    rng = np.random.default_rng(seed)
    spoof = np.arange(n) % 2 == 1
    below = rng.random(n) < np.where(spoof, missed, 0.98)
    p = np.where(below, point().threshold * 0.5, 0.5 + point().threshold / 2)
    return ScoreTable.from_columns(
        id=[f"clip-{i:03}" for i in range(n)],
        label=["spoof" if s else "bonafide" for s in spoof],
        llr_synthetic=np.log(p / (1 - p)),
        p_synthetic=p,
        family=[FAMILIES[i % 3] if s else "" for i, s in enumerate(spoof)],
        language=[LANGUAGES[i // 2 % 2] for i in range(n)],
        source=["here"] * n,
        channel=["opus:24000" if i % 4 < 2 else "mp3:64000" for i in range(n)],
    )


def write_robustness(path: Path, *, weak: float, threshold: float | None = None) -> None:
    """Measurements under all conditions, in which one codec is missed as often as is said."""
    at = point() if threshold is None else dataclasses.replace(point(), threshold=threshold)
    results = [
        ConditionResult(
            name,
            evaluate_scores(
                scores(missed=weak if name == WEAK else 0.2, seed=i), [at], n_bootstrap=0
            ),
        )
        for i, name in enumerate(CONDITIONS)
    ]
    path.write_text(dump(to_dict(results, model=identity(), data="own sounds")), encoding="utf-8")


def write_evaluation(folder: Path) -> None:
    """``metrics.json``, ``scores.csv`` and ``clips.csv``."""
    table = scores(missed=0.25, seed=7)
    result = evaluate_scores(
        table, [point()], n_bootstrap=50, about={"model": identity(), "data": "own sounds"}
    )
    (folder / "metrics.json").write_text(result.to_json(), encoding="utf-8")
    table.write_csv(folder / "scores.csv")
    surfaces, noises = ("upload", "message", "live"), ("quiet", "street")
    lines = ["id,duration_s,surface,noise"]
    lines += [
        f"{name},{1.5 + i % 12},{surfaces[i // 2 % 3]},{noises[i // 2 % 2]}"
        for i, name in enumerate(table.id.tolist())
    ]
    (folder / "clips.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


CONFIG = """\
template = "cn2018"

[scope]
operator = { en = "Example Voice Platform Ltd.", zh = "示例语音平台有限公司" }
service = { en = "Voice notes and rooms", zh = "语音消息与语音房" }
function = { en = "Finds synthetic speech in uploads, messages and live rooms, and hands doubtful recordings to people.", zh = "在上传、消息与直播语音中发现合成语音，并将存疑录音交由人工复核。" }
deployment = { en = "One service behind the upload gateway; SQLite; no audio leaves the platform.", zh = "部署于上传网关之后的单一服务，使用 SQLite，音频不离开平台。" }
location = { en = "Two CPU servers in the operator's own data centre", zh = "运营者自有机房的两台 CPU 服务器" }
users = { en = "Registered users in mainland China", zh = "中国大陆注册用户" }
contact = { en = "Head of content safety", zh = "内容安全负责人" }

[model]
name = "unittest"

[controls]
logs = { en = "Logs are kept for six months.", zh = "日志留存六个月。" }
complaints = { en = "Users may appeal; a person decides within 48 hours.", zh = "用户可申诉，由人工在 48 小时内作出决定。" }

[[evaluations]]
file = "metrics.json"
command = "deepfake-audio evaluate --model unittest --data clips --out ."

[[robustness]]
file = "robustness.json"
command = "deepfake-audio robustness --model unittest --data clips --out robustness.json"

[[scores]]
file = "scores.csv"
metadata = "clips.csv"
command = "deepfake-audio evaluate --model unittest --data clips --out ."

[targets]
false_positive = 0.1
miss = 0.5
min_clips = 15

[findings]
owner = "Detection team"
due_days = { high = 30, medium = 90 }

[[findings.plan]]
cell = "miss/codec/amr-nb:12200"
measure = { en = "Lower the threshold for calls; retrain with AMR.", zh = "降低通话场景阈值；加入 AMR 训练。" }
owner = "Li Wei"
due = 2027-01-31

[conclusion]
text = { en = "Fit for use with review by people; not for calls until F1 is closed.", zh = "在人工复核下可以使用；在问题关闭前不用于通话。" }
assessor = "A. Example"
"""


def write(folder: Path, **changes: Any) -> Path:
    """Write all of it into a folder, and return the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    write_evaluation(folder)
    write_robustness(folder / "robustness.json", weak=0.9)
    config = folder / "assessment.toml"
    config.write_text(changes.get("config", CONFIG), encoding="utf-8")
    return config


def make_later(path: Path, seconds: float) -> None:
    """Let a file be so much younger."""
    at = path.stat().st_mtime + seconds
    os.utime(path, (at, at))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
