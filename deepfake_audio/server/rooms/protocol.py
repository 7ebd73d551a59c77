"""What a client of a room says: control messages as JSON, audio in binary frames."""

from __future__ import annotations

import json
import struct
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ...errors import DeepfakeAudioError
from ..errors import RequestError

OPUS_RATE_HZ = 48_000

MAX_CONTROL_CHARS = 64 * 1024
"""Longest control message."""

MAX_PAYLOAD_BYTES = 256 * 1024
"""Largest chunk: more than a second at 48 kHz in floats."""

HEADER = struct.Struct("<HHI")
"""Speaker, reserved (zero), running number of the chunk."""

Encoding = Literal["pcm_s16le", "pcm_f32le", "opus"]
SpeakerId = Annotated[int, Field(ge=0, le=0xFFFF)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Auth(_Message):
    """The key of the client; first, unless the service runs without keys."""

    type: Literal["auth"]
    key: Annotated[str, Field(max_length=256)]


class Start(_Message):
    """Open a room."""

    type: Literal["start"]
    name: Annotated[str, Field(max_length=255)] = "room"
    metadata: dict[str, Any] = Field(default_factory=dict)
    surface: Literal["live"] = "live"
    callback_url: str | None = None


class Resume(_Message):
    """Come back to a room; ``received`` is the number of the last message that arrived."""

    type: Literal["resume"]
    stream: Annotated[str, Field(max_length=64)]
    token: Annotated[str, Field(max_length=128)]
    received: Annotated[int, Field(ge=0)] = 0


class Join(_Message):
    """Somebody begins to speak."""

    type: Literal["speaker"]
    id: SpeakerId
    name: Annotated[str, Field(max_length=255)] = ""
    sample_rate_hz: Annotated[int, Field(ge=8_000, le=96_000)] = OPUS_RATE_HZ
    channels: Annotated[int, Field(ge=1, le=2)] = 1
    encoding: Encoding = "pcm_s16le"

    @model_validator(mode="after")
    def _opus_has_one_rate(self) -> Join:
        if self.encoding == "opus" and self.sample_rate_hz != OPUS_RATE_HZ:
            raise ValueError(f"Opus is decoded at {OPUS_RATE_HZ} Hz, whatever was encoded")
        return self


class Leave(_Message):
    """A speaker has finished and wants the report."""

    type: Literal["leave"]
    id: SpeakerId


class Stop(_Message):
    """The room has finished."""

    type: Literal["stop"]


class Ping(_Message):
    """The client is there, though nobody speaks."""

    type: Literal["ping"]


Control = Auth | Start | Resume | Join | Leave | Stop | Ping

_CONTROL: TypeAdapter[Control] = TypeAdapter(Annotated[Control, Field(discriminator="type")])
_TYPES = ", ".join(("auth", "start", "resume", "speaker", "leave", "stop", "ping"))


class Frame(NamedTuple):
    """A chunk of a speaker's sound."""

    speaker: int
    sequence: int
    payload: bytes


def parse_control(text: str) -> Control:
    """Read a text message.

    Raises
    ------
    RequestError
        If it is too long, no JSON, or no message of this protocol.
    """
    if len(text) > MAX_CONTROL_CHARS:
        raise RequestError(
            f"a message of more than {MAX_CONTROL_CHARS} characters", code="message_too_large"
        )
    try:
        said = json.loads(text)
        # What Python reads and no other program does: NaN, and halves of characters.
        json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
        return _CONTROL.validate_python(said)
    except ValidationError as error:
        raise _bad_message(error) from error
    except (ValueError, RecursionError) as error:
        raise RequestError("a text message that is no JSON", code="bad_message") from error


def _bad_message(error: ValidationError) -> RequestError:
    first = error.errors()[0]
    # The first part is the kind of message; before that is known there is none.
    return RequestError(
        first["msg"].removeprefix("Value error, "),
        name=".".join(str(part) for part in first["loc"][1:]) or None,
        hint=None if first["loc"] else f"types are {_TYPES}",
        code="bad_message",
    )


def parse_frame(data: bytes) -> Frame:
    """Read a binary message.

    Raises
    ------
    RequestError
        If it is too short or too long, or its reserved bits are set.
    """
    if len(data) <= HEADER.size:
        raise RequestError(
            f"a binary message of {len(data)} bytes",
            hint=f"send a header of {HEADER.size} bytes and then audio",
            code="bad_frame",
        )
    if len(data) - HEADER.size > MAX_PAYLOAD_BYTES:
        raise RequestError(
            f"a chunk of more than {MAX_PAYLOAD_BYTES} bytes",
            hint="send 20 to 100 ms in a chunk",
            code="frame_too_large",
        )
    speaker, reserved, sequence = HEADER.unpack_from(data)
    if reserved:
        raise RequestError(
            "reserved bits of a frame's header are set", hint="send zero", code="bad_frame"
        )
    return Frame(speaker, sequence, data[HEADER.size :])


def error_message(error: DeepfakeAudioError, *, fatal: bool = False) -> dict[str, Any]:
    """Return what a client is told of an error; after a fatal one nothing more is taken."""
    return {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "name": error.name,
        "hint": error.hint,
        "fatal": fatal,
    }
