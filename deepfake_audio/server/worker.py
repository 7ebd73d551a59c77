"""Submissions that wait -> decoders -> batches -> records; threads of the service's process.

Whatever has been decoded when a scorer is free is scored together, whoever sent it: batches grow
with the load, and a single recording waits for nobody.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..audio import DecodedAudio
from ..errors import AudioError, CorruptAudioError, DeepfakeAudioError
from ..labels import Provenance
from . import claims, telemetry
from .claims import MAX_ATTEMPTS, Outcome
from .database import Database, Detection
from .engine import Engine, Heard
from .models import Models
from .policy import Surface
from .sandbox import Reading, Sandbox, SandboxUnavailableError
from .store import Store, StoreUnavailableError

logger = logging.getLogger(__name__)

CLAIM_AT_A_TIME = 32
"""Submissions claimed in one transaction."""

MOST_WAITING = 64
"""Most submissions that wait for a decoder, and most decoded ones that wait for a scorer."""

CLAIM_BELOW = 8
"""Nothing is claimed while the decoders have so much to do: a few large claims cost less."""

GROUP_WINDOWS = 64
"""Recordings are scored together until they have this many windows, ..."""

GATHER_S = 0.25
"""... or the first has waited so long for others that are being decoded, seconds."""

_IDLE_S = 1.0
"""How often to look for work that another process has accepted, or has left behind, seconds."""

_REFRESH_S = 10.0
"""How often to look whether another process has promoted a model, seconds."""

_PAUSE_S = 0.5
"""After something unexpected, such as a database that is being restarted, seconds."""


@dataclass(frozen=True)
class _Decoded:
    detection: Detection
    audio: DecodedAudio
    provenance: Provenance
    decode_s: float


class Worker:
    """Claims, decodes, scores and records.

    Parameters
    ----------
    database : Database
        Where submissions wait.
    store : Store
        Where their audio is.
    sandbox : Sandbox
        Decodes.
    models : Models
        Score and decide.
    decoders, scorers : int
        Threads of each kind.
    lease_s, audible_labels : float, bool
        See :class:`~deepfake_audio.server.settings.Settings`.
    on_done : callable
        Told the records of submissions that are done, on a thread of the worker.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        sandbox: Sandbox,
        models: Models,
        *,
        decoders: int,
        scorers: int,
        lease_s: float,
        audible_labels: bool,
        on_done: Callable[[Sequence[Detection]], None],
    ) -> None:
        self._database = database
        self._store = store
        self._sandbox = sandbox
        self._models = models
        self._lease_s = lease_s
        self._audible_labels = audible_labels
        self._on_done = on_done
        self._stopped = threading.Event()
        self._wanted = threading.Event()
        self._claimed: queue.Queue[Detection | None] = queue.Queue(maxsize=MOST_WAITING)
        self._decoded: queue.Queue[_Decoded | None] = queue.Queue(maxsize=MOST_WAITING)
        self._in_hand: dict[str, str] = {}  # submission -> claim
        self._left_some = True  # perhaps, when something was last claimed
        self._decoding = 0
        self._lock = threading.Lock()
        self._gathering = threading.Lock()  # two that gather would halve each other's group
        self._claimer = threading.Thread(target=self._run, args=(self._claim,), daemon=True)
        self._keeper = threading.Thread(target=self._run, args=(self._renew,), daemon=True)
        self._decoders = [
            threading.Thread(target=self._run, args=(self._decode,), daemon=True)
            for _ in range(decoders)
        ]
        self._scorers = [
            threading.Thread(target=self._run, args=(self._score,), daemon=True)
            for _ in range(scorers)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in (self._claimer, self._keeper, *self._decoders, *self._scorers):
            thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._wanted.set()

    def stop(self) -> None:
        """Finish what is in hand, give back what was not begun, and end."""
        self._stopped.set()
        self._wanted.set()
        self._claimer.join()
        left = _drain(self._claimed)
        for _ in self._decoders:
            self._claimed.put(None)
        for thread in self._decoders:
            thread.join()
        for _ in self._scorers:
            self._decoded.put(None)
        for thread in self._scorers:
            thread.join()
        self._keeper.join()
        claims.release(self._database, left)

    def _run(self, serve: Callable[[], bool]) -> None:
        """Do something again and again, until it says that it is over."""
        while True:
            try:
                if not serve():
                    return
            except Exception:
                logger.exception("the worker could not go on; trying again")
                self._stopped.wait(_PAUSE_S)
                if self._stopped.is_set() and serve in (self._claim, self._renew):
                    return

    def _claim(self) -> bool:
        if self._stopped.is_set():
            return False
        self._wanted.clear()
        # No more than the decoders will soon be at: the rest is for other workers.
        waiting = self._claimed.qsize()
        room = CLAIM_AT_A_TIME - waiting if waiting < CLAIM_BELOW else 0
        taken = claims.claim(self._database, room, self._lease_s) if room else []
        self._left_some = len(taken) == room
        with self._lock:
            self._in_hand.update({d.id: d.claim or "" for d in taken})
        for detection in taken:
            self._claimed.put(detection)
        if not (room and self._left_some):
            self._wanted.wait(_IDLE_S)
        return True

    def _renew(self) -> bool:
        """Keep the claims in hand from passing to somebody else."""
        if self._stopped.wait(min(self._lease_s / 4, _REFRESH_S)):
            return False
        with self._lock:
            held = sorted(set(self._in_hand.values()))
        claims.renew(self._database, held, self._lease_s)
        self._models.refresh()
        return True

    def _decode(self) -> bool:
        detection = self._claimed.get()
        if detection is None:
            return False
        if self._left_some and self._claimed.qsize() < CLAIM_BELOW:
            self._wanted.set()
        began = time.perf_counter()
        try:
            with (
                self._at_work(),
                telemetry.span("decode", detection.traceparent, detection=detection.id),
            ):
                found = self._read(detection)
        except DeepfakeAudioError as error:
            outcome = Outcome(detection, self._models.live.identity(), error=error)
            self._record([outcome])
            return True
        except Exception as error:
            logger.exception("%s could not be decoded now; it goes back", detection.id)
            # That the store is away, or no decoder can be started, is no fault of the recording.
            outage = isinstance(error, (StoreUnavailableError, SandboxUnavailableError))
            self._give_back(detection, counts=not outage)
            self._stopped.wait(_PAUSE_S)
            return True
        self._decoded.put(_Decoded(detection, *found, time.perf_counter() - began))
        return True

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Let it be known that there will soon be something to score."""
        with self._lock:
            self._decoding += 1
        try:
            yield
        finally:
            with self._lock:
                self._decoding -= 1

    def _give_back(self, detection: Detection, *, counts: bool) -> None:
        with self._lock:  # should the database be away, too, the claim runs out
            self._in_hand.pop(detection.id, None)
        claims.release(self._database, [detection], counts=counts)

    def _read(self, detection: Detection) -> Reading:
        if detection.attempts > MAX_ATTEMPTS:
            raise AudioError(
                f"given up: it was begun {MAX_ATTEMPTS} times and never finished",
                name=detection.name,
                hint="look at the service's log",
            )
        with ExitStack() as lent:
            try:
                path = lent.enter_context(self._store.local(detection.audio_key or ""))
            except FileNotFoundError as error:
                raise CorruptAudioError(
                    "its audio is no longer in the store",
                    name=detection.name,
                    hint="submit it again",
                ) from error
            return self._sandbox.read(
                path, name=detection.name, audible_labels=self._audible_labels
            )

    def _score(self) -> bool:
        with self._gathering:
            group, over = self._gather()
        if not group:
            return not over
        engine, candidate = self._models.both()
        began_ns = time.time_ns()
        outcomes = _scored(engine, group)
        ended_ns = time.time_ns()
        counted = {detection.id for detection in self._record(outcomes)}
        telemetry.past("score", map(_told, outcomes), began_ns, ended_ns)
        if candidate is not None:
            heard = [item for item in group if item.detection.id in counted]
            self._shadow(engine, candidate, heard)
        return not over

    def _gather(self) -> tuple[list[_Decoded], bool]:
        """Return what is to be scored together, and whether that was the last for this thread."""
        group: list[_Decoded] = []
        windows = 0
        until = float("inf")
        while windows < GROUP_WINDOWS:
            try:
                if not group:
                    item = self._decoded.get()
                    until = time.monotonic() + GATHER_S
                elif self._decoding or not self._claimed.empty():
                    item = self._decoded.get(timeout=max(until - time.monotonic(), 0))
                else:
                    item = self._decoded.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return group, True
            group.append(item)
            windows += self._models.live.scorer.n_windows(item.audio.samples)
        return group, False

    def _shadow(self, live: Engine, candidate: Engine, group: Sequence[_Decoded]) -> None:
        """Let the candidate hear what the live model has decided on, after that is recorded."""
        try:
            claims.shadow(self._database, live.model.sha256, _scored(candidate, group))
        except Exception:
            logger.exception("what the candidate said could not be kept")

    def _record(self, outcomes: Sequence[Outcome]) -> list[Detection]:
        """Record outcomes, however long the database is away; returns those that counted."""
        while True:
            try:
                counted = claims.finish(self._database, outcomes)
                break
            except Exception:
                logger.exception("outcomes could not be recorded; trying again")
                if self._stopped.wait(_PAUSE_S):
                    counted = []  # whoever comes next will score them again
                    break
        with self._lock:
            for outcome in outcomes:
                self._in_hand.pop(outcome.detection.id, None)
        self._on_done(counted)
        return counted


def _scored(engine: Engine, group: Sequence[_Decoded]) -> list[Outcome]:
    """Score recordings together; should that fail, one by one, so that one cannot hurt others."""
    identity = engine.identity()
    heard = [
        Heard(item.audio, Surface(item.detection.surface), item.decode_s, item.provenance)
        for item in group
    ]
    try:
        reports = engine.reports(heard)
    except Exception as error:
        if len(group) > 1:
            return [outcome for item in group for outcome in _scored(engine, [item])]
        logger.exception("a recording could not be scored")
        failure = (
            error
            if isinstance(error, DeepfakeAudioError)
            else AudioError(
                f"could not be scored ({type(error).__name__})",
                name=group[0].detection.name,
                hint="please report it",
            )
        )
        return [Outcome(group[0].detection, identity, error=failure)]
    return [
        Outcome(
            item.detection,
            identity,
            report=report,
            decision=engine.decide(Surface(item.detection.surface), report),
        )
        for item, report in zip(group, reports, strict=True)
    ]


def _told(outcome: Outcome) -> telemetry.Part:
    """Return what a span says of a recording that was scored."""
    about: dict[str, str | int | float] = {
        "detection": outcome.detection.id,
        "model": outcome.identity["model"]["sha256"],
    }
    if outcome.report and outcome.decision:
        about["verdict"] = outcome.report.verdict.value
        about["action"] = outcome.decision.action.value
    failure = type(outcome.error).__name__ if outcome.error else None
    return telemetry.Part(outcome.detection.traceparent, about, failure)


def _drain(waiting: queue.Queue[Detection | None]) -> list[Detection]:
    left: list[Detection] = []
    while True:
        try:
            item = waiting.get_nowait()
        except queue.Empty:
            return left
        if item is not None:
            left.append(item)
