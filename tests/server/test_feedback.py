"""What people decided becomes a set to train on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from sqlalchemy import update

from deepfake_audio.datasets.manifest import load_manifest
from deepfake_audio.errors import DatasetError
from deepfake_audio.server import audit, feedback
from deepfake_audio.server.database import Detection

from .conftest import RunningService


def test_reviewed_recordings_are_a_manifest(
    service: RunningService, samples: dict[str, Path], tmp_path: Path
) -> None:
    client = service.client("submit", "read", tenant="acme")
    decisions = {
        "genuine_librivox_1": "genuine",
        "genuine_librivox_2": "unsure",
        "synthetic_espeak_1": "synthetic",
        "synthetic_espeak_2": "synthetic",
    }
    ids = {}
    for name, decision in decisions.items():
        content = samples[name].read_bytes()
        ids[name] = client.post(
            "/v1/detections", files={"file": content}, headers={"Prefer": "wait=30"}
        ).json()["id"]
        with service.database.write() as session:
            session.execute(
                update(Detection)
                .where(Detection.id == ids[name])
                .values(review_decision=decision, review_state="closed")
            )
    client.delete(f"/v1/detections/{ids['synthetic_espeak_2']}")
    out = tmp_path / "feedback"

    found = feedback.export(service.database, service.service.store, out, tenant="acme")

    assert found == feedback.Exported(genuine=1, synthetic=1, without_audio=1)
    clips = {clip.id: clip for clip in load_manifest([out / feedback.MANIFEST])}
    assert {clip.label for clip in clips.values()} == {"bonafide", "spoof"}
    genuine = clips[ids["genuine_librivox_1"]]
    assert genuine.path.read_bytes() == samples["genuine_librivox_1"].read_bytes()
    with (out / feedback.MANIFEST).open() as file:
        assert all(row["model_sha256"] for row in csv.DictReader(file))
    with service.database.read() as session:
        assert audit.newest(session, "feedback.exported")["clips"] == 2

    # Once more, after the audio of one has gone: what was exported stays.
    client.delete(f"/v1/detections/{ids['genuine_librivox_1']}")
    again = feedback.export(service.database, service.service.store, out, tenant="acme")
    assert again == found

    # Once more, after people have changed their minds: nothing stale is left to learn from.
    def decide(name: str, decision: str | None) -> None:
        with service.database.write() as session:
            session.get_one(Detection, ids[name]).review_decision = decision

    decide("genuine_librivox_1", "synthetic")  # its audio has gone from the store, not from here
    decide("synthetic_espeak_1", "unsure")
    (out / "spoof" / "det_0.part").write_bytes(b"half")
    changed = feedback.export(service.database, service.service.store, out, tenant="acme")
    assert changed == feedback.Exported(genuine=0, synthetic=1, without_audio=1)
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert sorted(files) == ["manifest.csv", f"spoof/{ids['genuine_librivox_1']}"]

    # Nor does somebody else's export take its place.
    with pytest.raises(DatasetError, match="another tenant"):
        feedback.export(service.database, service.service.store, out, tenant="other")
    assert sorted(path.name for path in out.rglob("det_*")) == [ids["genuine_librivox_1"]]


def test_another_tenant_exports_nothing_of_it(service: RunningService, tmp_path: Path) -> None:
    found = feedback.export(
        service.database, service.service.store, tmp_path / "out", tenant="other"
    )
    assert found == feedback.Exported(0, 0, 0)


def test_a_folder_of_something_else_is_left_alone(service: RunningService, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(DatasetError, match="something else"):
        feedback.export(service.database, service.service.store, tmp_path, tenant="acme")
