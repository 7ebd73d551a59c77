"""One room: its speakers and what has been heard of them. All of it belongs to the hub's thread."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ...errors import DeepfakeAudioError
from ...listening import Window
from ...report import Verdict, printable
from ...streaming import StreamEvent, StreamPool
from ..engine import Engine
from ..errors import RequestError
from ..policy import Action, Surface
from .alarm import Alarm, Change, stricter
from .outbox import Message, Outbox
from .protocol import Frame, Join
from .sound import open_decoder

logger = logging.getLogger(__name__)

MIN_CHUNK_S = 0.005
"""A chunk counts for at least so many seconds of sound: what it costs is not only its sound."""

MAX_EVER = 256
"""Speakers of a room over all its life; each leaves a report."""

_SEVERITY = (
    Verdict.LIKELY_SYNTHETIC,
    Verdict.UNCERTAIN,
    Verdict.LIKELY_AUTHENTIC,
    Verdict.INCONCLUSIVE,
)


@dataclass(frozen=True)
class Opening:
    """What a room is opened with.

    Attributes
    ----------
    tenant, actor : str
        Whose it is, and which key opens it.
    name : str
        What the client calls it.
    details : dict
        Metadata of the client.
    callback_url : str or None
        Told of alerts and of the end.
    """

    tenant: str
    actor: str
    name: str
    details: dict[str, Any] = field(default_factory=dict)
    callback_url: str | None = None


@dataclass(frozen=True)
class RoomLimits:
    """What one room may cost; see :class:`~deepfake_audio.server.settings.Settings`."""

    max_speakers: int
    max_speed: float
    burst_s: float


class TooFastError(RequestError):
    """Sound comes faster than it may for long."""

    code = "too_fast"


class Speaker:
    """One speaker of a room.

    Parameters
    ----------
    message : Join
        What was said of the speaker.
    engine : Engine
        Judges.
    pool : StreamPool
        Hears.
    limits : RoomLimits
        How fast sound may come.
    """

    def __init__(self, message: Join, engine: Engine, pool: StreamPool, limits: RoomLimits) -> None:
        self.id = message.id
        self.name = printable(message.name) or f"speaker {message.id}"
        self.decoder = open_decoder(message.encoding, message.channels)
        self.stream = pool.open(message.sample_rate_hz, message.channels, name=self.name)
        self.alarm = Alarm(engine.rules)
        self.left_out = 0  # windows, since the last one that waits to be scored
        self._limits = limits
        self._credit_s = limits.burst_s
        self._credited_at = time.monotonic()

    def take(self, frame: Frame) -> list[Window]:
        """Take in a chunk; returns the windows it completes.

        Raises
        ------
        InvalidSamplesError
            If it is no sound; it counts as lost.
        TooFastError
            If more sound has come than may.
        """
        expected = self.stream.expected
        if expected is not None and frame.sequence < expected:
            # Known already: the stream counts it, and the decoder does not hear it twice.
            samples = np.empty((self.stream.channels, 0), np.float32)
        else:
            samples = self.decoder.decode(frame.payload)
        before_s = self.stream.duration_s
        self.stream.push(samples, sequence=frame.sequence)
        # Silence in place of what is lost costs as much as sound.
        self._pay(max(self.stream.duration_s - before_s, MIN_CHUNK_S))
        return self.stream.due()

    def _pay(self, sound_s: float) -> None:
        moment = time.monotonic()
        earned_s = self._limits.max_speed * (moment - self._credited_at)
        self._credit_s = min(self._credit_s + earned_s, self._limits.burst_s) - sound_s
        self._credited_at = moment
        if self._credit_s < 0:
            raise TooFastError(
                f"sound comes more than {self._limits.max_speed:g} times faster than real time",
                name=self.name,
                hint="send recordings to /v1/detections",
            )


class Reader(Protocol):
    """The connection that a room talks to."""

    def dismiss(self) -> None:
        """Make place for another one; on the event loop."""


class Room:
    """Speakers, and the messages about them.

    Parameters
    ----------
    room_id : str
        Its identifier.
    opening : Opening
        Who wants what.
    engine : Engine
        Hears and decides as long as the room lives, whatever comes into force meanwhile.
    pool : StreamPool
        Of the same engine.
    limits : RoomLimits
        What it may cost.

    Attributes
    ----------
    outbox : Outbox
        What the client is told.
    token : str
        Lets a client come back.
    reader : Reader or None
        Its connection; belongs to the event loop.
    reports : dict
        By speaker, of those who have left.
    closing : str or None
        Why the room ends, once it does.
    closed_at, away_since : float or None
        When it had ended, and since when it has no connection; ``time.monotonic``.
    """

    def __init__(
        self,
        room_id: str,
        opening: Opening,
        engine: Engine,
        pool: StreamPool,
        limits: RoomLimits,
    ) -> None:
        self.id = room_id
        self.opening = opening
        self.engine = engine
        self.pool = pool
        self.outbox = Outbox()
        self.token = secrets.token_urlsafe(24)
        self.reader: Reader | None = None
        self.speakers: dict[int, Speaker] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.closing: str | None = None
        self.opened_at = time.monotonic()
        self.away_since: float | None = self.opened_at
        self.closed_at: float | None = None
        # Each is written by one thread only: what was received, and what has been heard of it.
        self.received_bytes = 0
        self.heard_bytes = 0
        self._limits = limits

    def join(self, message: Join) -> None:
        """Begin to hear a speaker.

        Raises
        ------
        RequestError
            If there is one of this number, or there are too many.
        """
        if message.id in self.speakers or str(message.id) in self.reports:
            raise RequestError(
                f"there is a speaker {message.id} already",
                hint="give each speaker a number of its own",
                code="speaker_exists",
            )
        too_many = len(self.speakers) >= self._limits.max_speakers
        if too_many or len(self.speakers) + len(self.reports) >= MAX_EVER:
            raise RequestError(
                f"a room has up to {self._limits.max_speakers} speakers at a time",
                hint="open another room",
                code="too_many_speakers",
            )
        speaker = Speaker(message, self.engine, self.pool, self._limits)
        self.speakers[speaker.id] = speaker
        self.outbox.put({"type": "speaker", "id": speaker.id, "name": speaker.name})

    def speaker(self, speaker_id: int) -> Speaker:
        """Return a speaker who is there.

        Raises
        ------
        RequestError
            If there is none of this number.
        """
        if speaker_id not in self.speakers:
            raise RequestError(
                f"no speaker {speaker_id}", hint="introduce each one first", code="no_such_speaker"
            )
        return self.speakers[speaker_id]

    def hear(self, speaker: Speaker, event: StreamEvent, left_out: int) -> Message | None:
        """Tell what was heard, after so many events left out; returns the alert if it is raised."""
        action, change = speaker.alarm.hear(event)
        message = {"type": "event", "speaker": speaker.id, "action": action.value}
        self.outbox.put({**message, "left_out": left_out, **event.to_dict()}, passing=True)
        if change is None:
            return None
        rules = self.engine.rules
        policy = rules.surfaces[Surface.LIVE]
        alert = {
            "type": change.value,
            "speaker": speaker.id,
            "name": speaker.name,
            "action": speaker.alarm.level.value,
            "time_s": event.time_s,
            "p_synthetic": event.p_synthetic,
            "windows": policy.alert_windows,
            "of": policy.alert_of,
            "dry_run": rules.file.dry_run,
        }
        self.outbox.put(alert)
        return alert if change is Change.RAISED else None

    def leave(self, speaker: Speaker) -> None:
        """End a speaker with a report."""
        del self.speakers[speaker.id]
        entry: dict[str, Any] = {"name": speaker.name, "report": None, "action": "pass"}
        try:
            report = speaker.stream.close()
            decided = self.engine.decide(Surface.LIVE, report).action
            entry |= {
                "report": report.to_dict(),
                "action": stricter(decided, speaker.alarm.highest).value,
            }
        except DeepfakeAudioError as error:
            entry["error"] = {"code": error.code, "message": error.message}
        except Exception:  # whatever it is, the others of the room have their reports
            logger.exception("a speaker's report could not be made")
            entry["error"] = {"code": "internal_error", "message": "something went wrong here"}
        entry["alert"] = speaker.alarm.highest.value
        self.reports[str(speaker.id)] = entry
        self.outbox.put({"type": "report", "speaker": speaker.id, **entry})

    def expected(self) -> dict[str, int | None]:
        """Return the next number of each speaker; None if all of a speaker is still to come."""
        return {str(speaker.id): speaker.stream.expected for speaker in self.speakers.values()}

    def verdict(self) -> Verdict:
        """Return the gravest verdict on anybody in the room."""
        said = {entry["report"]["verdict"] for entry in self.reports.values() if entry["report"]}
        return next((v for v in _SEVERITY if v.value in said), Verdict.INCONCLUSIVE)

    def action(self) -> Action:
        """Return the strictest action for anybody in the room."""
        action = Action.PASS
        for entry in self.reports.values():
            action = stricter(action, Action(entry["action"]))
        return action
