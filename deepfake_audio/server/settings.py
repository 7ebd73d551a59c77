"""One typed settings file for the service, overridden by the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from .._files import read_toml
from ..config import Limits
from ..errors import ConfigError
from .logs import LogFormat

ENV_PREFIX = "DEEPFAKE_AUDIO_"

_PATHS = ("data_dir", "policy_file")
"""Settings that in a file mean a place beside it."""

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class Settings(BaseSettings):
    """What an operator decides; each field can be set in the file or as ``DEEPFAKE_AUDIO_FIELD``.

    Attributes
    ----------
    data_dir : Path
        Where the embedded database and the audio lie, unless the two URLs say otherwise.
    database_url : str or None
        As SQLAlchemy writes it; SQLite in ``data_dir`` by default.
    storage_url : str or None
        Folder or ``s3://bucket/prefix`` for audio; a folder in ``data_dir`` by default.
    host, port : str, int
        Where to listen.
    log_format : {"text", "json"}
        How to log to standard error; JSON has one object a line, for machines.
    telemetry : bool
        Send spans by OpenTelemetry, see :mod:`deepfake_audio.server.telemetry`.
    insecure_local : bool
        No keys at all, for a first try; refused unless ``host`` is a loopback address.
    model, device : str
        As for :meth:`deepfake_audio.Detector.load`.
    candidate_model : str or None
        A second model that listens in the shadow of the first, and can be promoted.
    policy_file : Path or None
        Thresholds and actions, see :mod:`deepfake_audio.server.policy`.
    max_upload_bytes : int
        Largest recording.
    upload_s : float
        Seconds that one upload may take.
    max_duration_s : float
        Longest recording, seconds.
    max_batch_files : int
        Recordings in one batch.
    max_metadata_bytes : int
        Largest metadata of a submission, as JSON.
    queue_limit : int
        Submissions that may wait; further ones are told to come again.
    max_wait_s : float
        Longest ``Prefer: wait``, seconds.
    decoders : int
        Processes that decode.
    decode_s, decode_memory_bytes : float, int
        What one recording may cost a decoder: seconds, and address space.
    audible_labels : bool
        Listen for the rhythm of an audible label as well, which takes as long as decoding; labels
        among the tags of a file are always read.
    scorers : int
        Threads that score.
    lease_s : float
        A submission whose worker says nothing for so long is given to another one, seconds.
    retention_days : float
        How long audio is kept unless a submission asks for less.
    two_person_review : bool
        Close a case only once two people agree, see :mod:`deepfake_audio.server.reviews`.
    max_rooms, max_speakers : int
        Live rooms at a time, and speakers in one.
    max_room_s, room_idle_s : float
        Longest life of a room, and the longest silence of its connection, seconds.
    max_room_speed : float
        How many times faster than real time a speaker's sound may come for long.
    max_event_delay_s : float
        Events of rooms that would come later than this are left out, seconds; reports miss
        nothing.
    rooms_apart : bool
        Score rooms in processes of their own, one for each of ``scorers``, begun with the first
        room; each takes some 200 MiB, and many more rooms are heard in time. On a CPU only.
    resume_s : float
        How long a live room waits for a client that has gone, seconds.
    webhook_secret : str or None
        Signs callbacks; without it none are accepted.
    webhook_allow_private : bool
        Let callbacks go to private addresses, as inside one's own network.
    url_input, url_allow_private : bool
        Let clients name a recording by its URL; also by one of a private address.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Path("deepfake-audio-data")
    database_url: str | None = None
    storage_url: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    log_format: LogFormat = "text"
    telemetry: bool = False
    insecure_local: bool = False
    model: str = "default"
    candidate_model: str | None = None
    device: str = "auto"
    policy_file: Path | None = None
    max_upload_bytes: Count = 64 * 1024**2
    upload_s: Positive = 60.0
    max_duration_s: Positive = 20 * 60.0
    max_batch_files: Count = 100
    max_metadata_bytes: Count = 16 * 1024
    queue_limit: Count = 1000
    max_wait_s: Positive = 60.0
    decoders: Count = 2
    decode_s: Positive = 30.0
    decode_memory_bytes: Count = 2 * 1024**3
    audible_labels: bool = False
    scorers: Count = 2
    lease_s: Positive = 120.0
    retention_days: Positive = 183.0
    two_person_review: bool = False
    max_rooms: Count = 200
    max_speakers: Count = 32
    max_room_s: Positive = 4 * 3600.0
    room_idle_s: Positive = 60.0
    max_room_speed: Annotated[float, Field(ge=1)] = 5.0
    max_event_delay_s: Positive = 0.3
    rooms_apart: bool = True
    resume_s: Positive = 30.0
    webhook_secret: str | None = None
    webhook_allow_private: bool = False
    url_input: bool = False
    url_allow_private: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: arguments, environment, file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, path: Path | None = None, **given: object) -> Self:
        """Read the settings file, the environment, and what was given on the command line.

        ``data_dir`` and ``policy_file`` of a file, where relative, are those of its folder.

        Raises
        ------
        ConfigError
            If the file cannot be read, or a value is unknown or out of range.
        """
        given = {k: v for k, v in given.items() if v is not None}
        if path is not None:
            said = read_toml(path)
            named = {name.upper() for name in os.environ}
            overruled = {*given, *(key for key in _PATHS if ENV_PREFIX + key.upper() in named)}
            for key in _PATHS:
                if key not in overruled and isinstance(said.get(key), str):
                    given[key] = path.parent / said[key]
        # pydantic-settings takes the file from the class.
        chosen = type(
            cls.__name__,
            (cls,),
            {"model_config": SettingsConfigDict(toml_file=path), "__module__": cls.__module__},
        )
        try:
            loaded: Self = chosen(**given)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "settings"
            raise ConfigError(
                first["msg"], name=field, hint=f"known settings are {', '.join(cls.model_fields)}"
            ) from error
        return loaded

    @property
    def database(self) -> str:
        """The database to use."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'service.sqlite3'}"

    @property
    def models(self) -> tuple[str, ...]:
        """All models that may be in service."""
        return (self.model, self.candidate_model) if self.candidate_model else (self.model,)

    @property
    def storage(self) -> str:
        """Where audio goes."""
        return self.storage_url or str(self.data_dir.absolute() / "audio")

    @property
    def limits(self) -> Limits:
        """What one recording may cost the decoder."""
        return Limits(
            max_duration_s=self.max_duration_s,
            max_samples=int(self.max_duration_s * 16_000 * 4),
            max_file_bytes=self.max_upload_bytes,
            max_decode_s=self.decode_s,
        )
