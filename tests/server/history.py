"""Two weeks of a made-up past, written straight into the record."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from deepfake_audio.server.database import Database, Detection, Review, new_id, now


def past_id(kind: str, at: datetime) -> str:
    """Return an identifier as it would have been made then."""
    return f"{kind}_{int(at.timestamp() * 1000):012x}{new_id(kind)[-20:]}"


def detection(at: datetime, tenant: str = "acme", **columns: Any) -> Detection:
    """Return a scored recording of a moment."""
    given = {
        "verdict": "likely_authentic",
        "p_synthetic": 0.1,
        "action": "pass",
        "sha256": "0" * 64,
        "status": "done",
        "finished_at": at + timedelta(milliseconds=200),
    } | columns
    return Detection(
        id=past_id("det", at),
        tenant=tenant,
        submitted_by="key_past",
        created_at=at,
        surface="upload",
        name="past.flac",
        n_bytes=1,
        details={},
        retain_until=at,
        attempts=1,
        **given,
    )


def review(of: Detection, reviewer: str, decision: str, at: datetime) -> Review:
    return Review(
        id=past_id("rev", at),
        detection_id=of.id,
        tenant=of.tenant,
        reviewer=reviewer,
        decision=decision,
        note="",
        created_at=at,
    )


def two_weeks(database: Database, tenant: str, reviewers: Sequence[str], *, seed: int = 0) -> None:
    """Write scores that shift upwards in the second week, with people who mostly agree."""
    chance = random.Random(seed)
    moment = now()
    with database.write() as session:
        for day in range(14):
            for _ in range(chance.randint(60, 90)):
                at = moment - timedelta(days=day, seconds=chance.randint(60, 80_000))
                shape = (0.9, 2.6) if day < 7 else (0.8, 4)
                p = chance.betavariate(*((30, 1) if chance.random() < 0.08 else shape))
                verdict, action = "likely_authentic", "pass"
                if p >= 0.9:
                    verdict, action = "likely_synthetic", "review"
                elif p >= 0.5:
                    verdict, action = "uncertain", "label"
                elif chance.random() < 0.04:
                    verdict = "inconclusive"
                took = timedelta(seconds=chance.lognormvariate(-1.4, 0.6))
                one = detection(
                    at,
                    tenant,
                    verdict=verdict,
                    action=action,
                    p_synthetic=None if verdict == "inconclusive" else p,
                    finished_at=at + took,
                )
                session.add(one)
                if action != "review":
                    continue
                truth = "synthetic" if chance.random() < 0.85 else "genuine"
                said = [truth if chance.random() < 0.9 else "unsure" for _ in reviewers]
                session.flush()
                for minute, (person, decision) in enumerate(zip(reviewers, said, strict=True), 1):
                    session.add(review(one, person, decision, at + timedelta(minutes=minute)))
                one.review_state, one.review_decision = "closed", said[-1]
