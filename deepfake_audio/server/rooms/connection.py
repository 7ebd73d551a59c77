"""One WebSocket: who is there, which room, what is said, and what is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time

from starlette.websockets import WebSocket, WebSocketDisconnect

from ...errors import DeepfakeAudioError
from ...report import printable
from .. import detections, keys, locality, outbound
from ..errors import RequestError
from ..keys import Principal, Scope
from ..policy import Surface
from ..service import Service
from . import protocol
from .hub import TICK_S
from .outbox import Message
from .protocol import Auth, Control, Join, Leave, Ping, Resume, Start, Stop, error_message
from .room import Opening, Room

logger = logging.getLogger(__name__)

ENTER_S = 5.0
"""For the key, and for what follows it, seconds."""

MAX_FAULTS = 100
"""A client that makes more mistakes than this is shown out."""

_POLICY_VIOLATION = 1008


class Connection:
    """A client of a room, from its first message to its last.

    Parameters
    ----------
    websocket : WebSocket
        Not yet accepted.
    service : Service
        Whose client it is.
    """

    def __init__(self, websocket: WebSocket, service: Service) -> None:
        self._socket = websocket
        self._service = service
        self._hub = service.rooms
        self._told = asyncio.Event()
        self._dismissed = asyncio.Event()
        self._room: Room | None = None
        self._stopped = False
        self._faults = 0

    async def serve(self) -> None:
        """Talk until one of the two goes."""
        await self._socket.accept()
        try:
            async with asyncio.timeout(ENTER_S):
                principal = await self._authenticate()
            room, received = await self._enter(principal)
            await self._talk(room, received)
        except WebSocketDisconnect:
            pass
        except TimeoutError:
            await self._refuse(RequestError("nothing came for too long", code="timeout"))
        except DeepfakeAudioError as error:
            await self._refuse(error)
        except Exception:
            logger.exception("unforeseen: a connection to a room")
            await self._refuse(RequestError("something went wrong here", code="internal_error"))
        finally:
            self._detach()

    async def _authenticate(self) -> Principal:
        if self._service.settings.insecure_local:
            headers = self._socket.headers
            locality.check("CONNECT", headers.get("host"), headers.get("origin"))
            return keys.LOCAL
        message = await self._control()
        if not isinstance(message, Auth):
            raise RequestError(
                "the first message is not the key",
                hint='send {"type": "auth", "key": "dfa_..."}',
                code="unauthorized",
            )
        principal = await asyncio.get_running_loop().run_in_executor(
            self._service.door, self._principal, message.key
        )
        if principal is None:
            raise RequestError("no valid API key", code="unauthorized")
        if not principal.may(Scope.SUBMIT):
            raise RequestError(f"this key does not have the scope {Scope.SUBMIT}", code="forbidden")
        return principal

    def _principal(self, secret: str) -> Principal | None:
        with self._service.database.read() as session:
            return keys.authenticate(session, secret)

    async def _enter(self, principal: Principal) -> tuple[Room, int]:
        """Open a room or come back to one; returns it, and the last message that arrived."""
        async with asyncio.timeout(ENTER_S):
            message = await self._control()
            if isinstance(message, Auth):  # not needed, and no harm
                message = await self._control()
        if isinstance(message, Start):
            opening = self._opening(principal, message)
            room = await asyncio.to_thread(self._hub.open, opening)
            self._attach(room)
            await self._send(self._started(room))
            return room, 0
        if isinstance(message, Resume):
            room = self._known(principal, message)
            self._attach(room)
            expected = await self._hub.expected(room)
            await self._send({"type": "resumed", "stream": room.id, "speakers": expected})
            return room, message.received
        raise RequestError("neither start nor resume", code="bad_message")

    def _opening(self, principal: Principal, message: Start) -> Opening:
        settings = self._service.settings
        details = detections.canonical_details(
            json.dumps(message.metadata), settings.max_metadata_bytes
        )
        if message.callback_url:
            if self._service.courier is None:
                raise RequestError(
                    "this service makes no callbacks",
                    name="callback_url",
                    hint="set webhook_secret",
                )
            outbound.check_url(
                message.callback_url,
                allow_private=settings.webhook_allow_private,
                name="callback_url",
            )
        return Opening(
            principal.tenant,
            principal.id,
            printable(message.name),
            details,
            message.callback_url or None,
        )

    def _known(self, principal: Principal, message: Resume) -> Room:
        room = self._hub.find(message.stream)
        if (
            room is None
            or room.opening.tenant != principal.tenant
            or not secrets.compare_digest(room.token.encode(), message.token.encode())
        ):
            raise RequestError(
                "no such room to come back to",
                hint="GET /v1/streams/ID has the record; start another room to go on",
                code="no_such_stream",
            )
        return room

    def _attach(self, room: Room) -> None:
        """Become the reader of a room; whoever was it before, such as a dead line, is shown out."""
        if room.reader is not None:
            room.reader.dismiss()
        self._room, room.reader, room.away_since = room, self, None
        room.outbox.read_by(self._told)

    def _detach(self) -> None:
        """Leave the room to whoever comes back in time."""
        if self._room is not None and self._room.reader is self:
            self._room.reader, self._room.away_since = None, time.monotonic()

    def dismiss(self) -> None:
        """Make place for a connection that has come back to the room."""
        self._dismissed.set()

    def _started(self, room: Room) -> Message:
        settings = self._service.settings
        policy = room.engine.rules.surfaces[Surface.LIVE]
        return {
            "type": "started",
            "stream": room.id,
            "token": room.token,
            "resume_s": settings.resume_s,
            "hop_s": room.pool.config.hop_s,
            "alert": {"windows": policy.alert_windows, "of": policy.alert_of},
            "max_speakers": settings.max_speakers,
            "decided_by": room.engine.identity(),
        }

    async def _talk(self, room: Room, received: int) -> None:
        """Hear the client and tell it things, until one of the two has nothing more to say."""
        writing = asyncio.create_task(self._write(room, received))
        dismissed = asyncio.create_task(self._dismissed.wait())
        tasks = [asyncio.create_task(self._read(room)), writing, dismissed]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        if dismissed in done:
            raise RequestError("another connection has come back to the room", code="superseded")
        await self._socket.close()

    async def _read(self, room: Room) -> None:
        idle_s = self._service.settings.room_idle_s
        renew_s = idle_s / 50  # not with each of its chunks
        now = asyncio.get_running_loop().time
        renewed_at = now()
        try:
            async with asyncio.timeout(idle_s + renew_s) as patience:
                while True:
                    message = await self._receive()
                    try:
                        await self._handle(room, message)
                    except DeepfakeAudioError as error:
                        await self._note_fault(error)
                    # Nothing more is read for now: the network holds the client back.
                    while self._hub.is_full(room):
                        await asyncio.sleep(TICK_S)
                    if self._stopped:  # who has said the last word waits for the answer
                        patience.reschedule(None)
                    elif now() > renewed_at + renew_s:
                        renewed_at = now()
                        patience.reschedule(renewed_at + idle_s + renew_s)
        except TimeoutError as error:
            raise RequestError(
                f"nothing came for {idle_s:g} s", hint="ping while nobody speaks", code="idle"
            ) from error

    async def _handle(self, room: Room, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._hub.take(room, protocol.parse_frame(message))
            return
        match protocol.parse_control(message):
            case Join() as join:
                self._hub.join(room, join)
            case Leave() as leave:
                self._hub.leave(room, leave)
            case Stop():
                self._stopped = True
                self._hub.end(room, "stopped")
            case Ping():
                await self._send({"type": "pong"})
            case other:
                raise RequestError(
                    f"{other.type} inside a room",
                    hint="open another connection",
                    code="bad_message",
                )

    async def _note_fault(self, error: DeepfakeAudioError) -> None:
        self._faults += 1
        if self._faults > MAX_FAULTS:
            raise RequestError("too many mistakes", code="too_many_faults")
        await self._send(error_message(error))

    async def _write(self, room: Room, received: int) -> None:
        """Pass on what the room says, until it has ended."""
        while True:
            await self._told.wait()
            self._told.clear()
            messages, ended = room.outbox.after(received)
            for message in messages:
                await self._send(message)
                received = message["number"]
            if ended:
                return

    async def _control(self) -> Control:
        message = await self._receive()
        if isinstance(message, bytes):
            raise RequestError("sound outside a room", hint="start one first", code="bad_message")
        return protocol.parse_control(message)

    async def _receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text: str | None = message.get("text")
        data: bytes | None = message.get("bytes")
        return text if text is not None else data or b""

    async def _send(self, message: Message) -> None:
        await self._socket.send_text(json.dumps(message, separators=(",", ":"), allow_nan=False))

    async def _refuse(self, error: DeepfakeAudioError) -> None:
        """Say what is wrong, and hang up."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has gone meanwhile
            await self._send(error_message(error, fatal=True))
            await self._socket.close(_POLICY_VIOLATION, error.code)
