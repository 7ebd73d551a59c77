"""Reviewed recordings as a labelled set, for the next model to learn from."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import DatasetError
from . import audit
from .database import Database, Detection
from .store import Store

LABELS = {"genuine": "bonafide", "synthetic": "spoof"}
"""Decisions that say what a recording is, in the words of training."""

MANIFEST = "manifest.csv"
COLUMNS = (
    "id", "path", "label", "source", "sha256", "surface", "verdict", "p_synthetic", "model_sha256"
)  # fmt: skip
_PAGE = 200


def tenants(session: Session) -> list[str]:
    """Return whose recordings there are."""
    return list(session.scalars(select(Detection.tenant).distinct().order_by(Detection.tenant)))


@dataclass(frozen=True)
class Exported:
    """What was written: clips of each class, and reviewed ones whose audio has been deleted."""

    genuine: int
    synthetic: int
    without_audio: int


def export(
    database: Database, store: Store, out: Path, *, tenant: str, actor: str = "cli"
) -> Exported:
    """Write all recordings of a tenant that people have decided on, and a manifest of them.

    The folder is what ``deepfake-audio train --data`` takes. Run again, it is brought up to date:
    recordings that are there already are not copied again, and those on which people have changed
    their minds leave the class that they were in.

    Parameters
    ----------
    database, store : Database, Store
        Of the service.
    out : Path
        A folder that is new, empty, or of an earlier export.
    tenant : str
        Whose recordings.
    actor : str
        Stands in the audit trail: audio leaves the store.

    Raises
    ------
    DatasetError
        If the folder holds something else, or the recordings of another tenant.
    """
    out.mkdir(parents=True, exist_ok=True)
    _check(out, tenant)
    rows: list[dict[str, str]] = []
    counts = dict.fromkeys(LABELS, 0)
    without_audio = 0
    for detection in _decided(database, tenant):
        decision = detection.review_decision or ""
        target = out / LABELS[decision] / detection.id
        _move(out, target)
        if not target.exists() and not _fetch(store, detection.audio_key, target):
            without_audio += 1
            continue
        counts[decision] += 1
        rows.append(_row(detection, f"{LABELS[decision]}/{detection.id}"))
    _write_manifest(out, rows)
    _forget_others(out, {row["path"] for row in rows})
    with database.write() as session:
        audit.append(
            session,
            actor=actor,
            kind="feedback.exported",
            subject=tenant,
            data={"clips": len(rows), **counts},
        )
    return Exported(counts["genuine"], counts["synthetic"], without_audio)


def _check(out: Path, tenant: str) -> None:
    """Refuse a folder in which anything would be lost."""
    hint = "give a new folder, or an earlier export of this tenant"
    manifest = out / MANIFEST
    if not manifest.exists():
        if any(out.iterdir()):
            raise DatasetError("holds something else", name=str(out), hint=hint)
        return
    with manifest.open(newline="", encoding="utf-8") as file:
        sources = {row.get("source") for row in csv.DictReader(file)}
    if not sources <= {_source(tenant)}:
        raise DatasetError("holds recordings of another tenant", name=str(out), hint=hint)


def _source(tenant: str) -> str:
    return f"reviewed/{tenant}"


def _decided(database: Database, tenant: str) -> Iterator[Detection]:
    last = ""
    while True:
        with database.read() as session:
            page = session.scalars(
                select(Detection)
                .where(
                    Detection.tenant == tenant,
                    Detection.review_decision.in_(tuple(LABELS)),
                    Detection.id > last,
                )
                .order_by(Detection.id)
                .limit(_PAGE)
            ).all()
        if not page:
            return
        yield from page
        last = page[-1].id


def _move(out: Path, target: Path) -> None:
    """Put what an earlier export had in another class in its place."""
    for label in LABELS.values():
        former = out / label / target.name
        if former != target and former.exists():
            target.parent.mkdir(exist_ok=True)
            former.replace(target)


def _forget_others(out: Path, paths: set[str]) -> None:
    """Delete recordings of earlier exports, or halves of them, that are no longer in the set."""
    for label in LABELS.values():
        for file in (out / label).glob("det_*"):
            if f"{label}/{file.name}" not in paths:
                file.unlink()


def _fetch(store: Store, key: str | None, target: Path) -> bool:
    """Copy a recording, whole or not at all; tells whether it was still there."""
    if key is None:
        return False
    target.parent.mkdir(exist_ok=True)
    beginning = target.with_suffix(".part")
    try:
        with store.open(key) as source, beginning.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except FileNotFoundError:
        beginning.unlink(missing_ok=True)
        return False
    beginning.replace(target)
    return True


def _row(detection: Detection, path: str) -> dict[str, str]:
    return {
        "id": detection.id,
        "path": path,
        "label": LABELS[detection.review_decision or ""],
        "source": _source(detection.tenant),
        "sha256": detection.sha256,
        "surface": detection.surface,
        "verdict": detection.verdict or "",
        "p_synthetic": "" if detection.p_synthetic is None else f"{detection.p_synthetic:g}",
        "model_sha256": ((detection.decided_by or {}).get("model") or {}).get("sha256", ""),
    }


def _write_manifest(out: Path, rows: list[dict[str, str]]) -> None:
    beginning = out / f"{MANIFEST}.part"
    with beginning.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    beginning.replace(out / MANIFEST)
