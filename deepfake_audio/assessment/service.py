"""What a moderation service has done, read from its database; nothing is written there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, MissingExtraError
from ..report import Verdict
from .cells import Cell, amount, rate
from .config import ServiceChoice
from .evidence import Source

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from ..server.settings import Settings

SCHEMA = "deepfake_audio.service_facts/1"

_SETTINGS = (
    "model", "candidate_model", "device", "max_upload_bytes", "max_duration_s", "queue_limit",
    "decoders", "decode_s", "decode_memory_bytes", "scorers", "retention_days", "insecure_local",
    "url_input", "webhook_allow_private", "url_allow_private",
)  # fmt: skip
"""Settings that an assessment shows; addresses and secrets stay where they are."""

_DECIDED = ("genuine", "synthetic")
_AGREES = {"genuine": Verdict.LIKELY_AUTHENTIC, "synthetic": Verdict.LIKELY_SYNTHETIC}
_CONTRADICTS = {"genuine": Verdict.LIKELY_SYNTHETIC, "synthetic": Verdict.LIKELY_AUTHENTIC}
_PAGE = 1000


def service_facts(choice: ServiceChoice, root: Path) -> dict[str, Any]:
    """Read settings, policy and database of a service.

    Parameters
    ----------
    choice : ServiceChoice
        Names the files.
    root : Path
        Where their paths start.

    Raises
    ------
    ConfigError
        If a file is not usable, or the database is not there.
    MissingExtraError
        Without the extra ``server``.
    """
    try:
        from ..server.database import Database
        from ..server.policy import PolicyFile, Surface, SurfacePolicy
        from ..server.settings import Settings
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"a service is read with {error.name}", hint='pip install "deepfake-audio[server]"'
        ) from error
    assert choice.settings is not None
    settings = Settings.load(root / choice.settings)
    file = choice.policy or settings.policy_file
    policy = PolicyFile.load(root / file if file else None)
    address = _address(settings, root)
    database = Database(address)
    try:
        with database.read() as session:
            counted = {
                "detections": _detections(session),
                "reviews": _reviews(session),
                "reviewers": _reviewers(session),
                "rooms": _rooms(session),
                "audit": _audit(session, root / choice.audit_head if choice.audit_head else None),
            }
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"cannot be read ({type(error).__name__})",
            name="service.settings",
            hint="check that its database belongs to this version",
        ) from error
    finally:
        database.close()
    surfaces = {
        str(surface): policy.surfaces.get(surface, SurfacePolicy()).model_dump(mode="json")
        for surface in Surface
    }
    return {
        "schema": SCHEMA,
        "settings": {name: getattr(settings, name) for name in _SETTINGS},
        "database": "sqlite" if address.startswith("sqlite") else "postgresql",
        "policy": {
            "version": policy.version,
            "sha256": policy.sha256,
            "dry_run": policy.dry_run,
            "surfaces": surfaces,
        },
        **counted,
    }


def _address(settings: Settings, root: Path) -> str:
    """Return the URL of the database; a file that is not there must not come to be by looking."""
    data = settings.data_dir if settings.data_dir.is_absolute() else root / settings.data_dir
    address = settings.database_url or f"sqlite:///{data.absolute() / 'service.sqlite3'}"
    path = address.removeprefix("sqlite:///")
    if path != address and not Path(path).is_file():
        raise ConfigError(
            "there is no database of a service",
            name="service.settings",
            hint="check data_dir and database_url in that file",
        )
    return address


def _detections(session: Session) -> dict[str, Any]:
    """Count outcomes, overall and by surface, and take the times from submission to decision."""
    from sqlalchemy import select

    from ..server.database import Detection

    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    seconds: dict[str, list[float]] = defaultdict(list)
    models: Counter[str] = Counter()
    first = last = None
    query = select(
        Detection.surface, Detection.status, Detection.verdict, Detection.action,
        Detection.created_at, Detection.finished_at, Detection.decided_by,
    ).order_by(Detection.id)  # fmt: skip
    for row in session.execute(query).yield_per(_PAGE):
        first, last = first or row.created_at, row.created_at
        for name in ("all", row.surface):
            group = counts[name]
            group["status"][row.status] += 1
            if row.verdict:
                group["verdict"][row.verdict] += 1
            if row.action:
                group["action"][row.action] += 1
            if row.finished_at:
                seconds[name].append((row.finished_at - row.created_at).total_seconds())
        model = (row.decided_by or {}).get("model")
        if model and row.status == "done":
            models[f"{model['name']} {model['version']} ({model['sha256'][:8]})"] += 1
    return {
        "first": first.isoformat(timespec="seconds") if first else None,
        "last": last.isoformat(timespec="seconds") if last else None,
        "models": dict(models.most_common()),
        "groups": {
            name: {
                "total": sum(group["status"].values()),
                **{what: dict(sorted(group[what].items())) for what in ("status", "verdict")},
                "action": dict(sorted(group["action"].items())),
                "latency_s": _percentiles(seconds[name]),
            }
            for name, group in sorted(counts.items(), key=lambda item: item[0] != "all")
        },
    }


def _percentiles(seconds: list[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    p50, p95, p99 = np.quantile(seconds, [0.5, 0.95, 0.99]).round(3).tolist()
    return {"n": len(seconds), "p50": p50, "p95": p95, "p99": p99, "max": round(max(seconds), 3)}


def _reviews(session: Session) -> dict[str, Any]:
    """Count how people's decisions stand to the verdicts, by surface."""
    from sqlalchemy import func, select

    from ..server.database import Detection

    query = select(
        Detection.surface, Detection.review_state, Detection.review_decision, Detection.verdict,
        func.count(),
    ).group_by(
        Detection.surface, Detection.review_state, Detection.review_decision, Detection.verdict
    )  # fmt: skip
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for surface, state, decision, verdict, count in session.execute(query):
        for name in ("all", surface):
            group = groups[name]
            group["open"] += count if state == "open" else 0
            if decision is None:
                continue
            group["decided" if decision in _DECIDED else "undecided"] += count
            group["agree"] += count if verdict == _AGREES.get(decision) else 0
            group["contradict"] += count if verdict == _CONTRADICTS.get(decision) else 0
    names = ("open", "decided", "undecided", "agree", "contradict")
    return {
        surface: {name: group[name] for name in names}
        for surface, group in sorted(groups.items(), key=lambda item: item[0] != "all")
        if any(group.values())
    }


def _reviewers(session: Session) -> dict[str, int]:
    """Count recordings that several people decided on, and those on which they all agreed."""
    from sqlalchemy import select

    from ..server.database import Review

    query = (
        select(Review.detection_id, Review.reviewer, Review.decision)
        .where(Review.decision.in_(_DECIDED))
        .order_by(Review.id)
    )
    said: dict[str, dict[str, str]] = defaultdict(dict)  # the last word of each
    for detection, reviewer, decision in session.execute(query):
        said[detection][reviewer] = decision
    several = [set(by_reviewer.values()) for by_reviewer in said.values() if len(by_reviewer) > 1]
    return {"recordings": len(several), "agree": sum(len(each) == 1 for each in several)}


def _rooms(session: Session) -> dict[str, int]:
    """Count live rooms, and those that people were alerted to."""
    from sqlalchemy import func, select

    from ..server.database import Room

    total, alerted = session.execute(select(func.count(), func.count(Room.alerted_at))).one()
    return {"total": total, "alerted": alerted}


def _audit(session: Session, kept: Path | None) -> dict[str, Any]:
    """Verify the chain, against a head that was kept elsewhere if there is one."""
    from ..server import audit

    expected = None
    if kept is not None:
        try:
            expected = audit.Head.parse(kept.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"holds no head ({error})", name="service.audit_head") from error
    found = audit.verify(session, expected=expected)
    return {
        "ok": found.ok,
        "faults": 0 if found.ok else 1,
        "fault": found.fault,
        "events": found.events,
        "head": str(found.head),
        "expected": str(expected) if expected else None,
    }


def service_cells(facts: dict[str, Any], source: Source) -> Iterator[Cell]:
    """Make the cells of what a service has done: all recordings, and each surface."""
    undecided = (Verdict.UNCERTAIN, Verdict.INCONCLUSIVE)
    for surface, group in facts["detections"]["groups"].items():
        where = ("overall", "service") if surface == "all" else ("surface", surface)
        place = source.ref / "detections" / "groups" / surface
        ended = group["status"].get("done", 0) + group["status"].get("failed", 0)
        if done := group["status"].get("done", 0):
            abstained = sum(group["verdict"].get(verdict, 0) for verdict in undecided)
            yield rate(("abstention", *where), abstained, done, place / "verdict", source)
        if ended:
            failed = group["status"].get("failed", 0)
            yield rate(("failure", *where), failed, ended, place / "status", source)
        if group["latency_s"]:
            p95 = group["latency_s"]["p95"]
            yield amount(("latency_p95_s", *where), p95, place / "latency_s" / "p95", source)
    for surface, group in facts["reviews"].items():
        if decided := group["decided"]:
            where = ("overall", "service") if surface == "all" else ("surface", surface)
            place = source.ref / "reviews" / surface
            name = ("disagreement", *where)
            yield rate(name, group["contradict"], decided, place / "contradict", source)
    faults = facts["audit"]["faults"]
    yield amount(("audit", "overall", "chain"), faults, source.ref / "audit" / "faults", source)
