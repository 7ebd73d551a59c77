"""What is deployed, asked about recordings: a model and a policy here, or a running service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ..detector import Detector
from ..errors import ConfigError, DeepfakeAudioError, MissingExtraError
from ..report import Report
from .making import Recording

if TYPE_CHECKING:
    import httpx

    from ..server.policy import Rules

WAIT_S = 20
"""How long a service is asked to hold an answer back until it is there, seconds."""

PATIENCE_S = 600.0
"""Longest wait for a recording in all, a full queue included, seconds."""

_AT_A_TIME = 4
_PAUSE_S = 0.5
_BUSY = 429


class AnswerError(DeepfakeAudioError):
    """A recording that was not scored, as the service tells it."""

    code = "not_scored"


@dataclass(frozen=True)
class Answer:
    """What was said about one recording.

    Attributes
    ----------
    report : Report or DeepfakeAudioError
    action : str
        Of the policy: ``pass``, ``label``, ``review``, ``block``; empty where none was asked.
    policy : dict
        Identity of that policy; may be empty.
    """

    report: Report | DeepfakeAudioError
    action: str = ""
    policy: Mapping[str, Any] = field(default_factory=dict)


class Deployment(Protocol):
    """Something that judges recordings."""

    name: str
    """``local``, or the address of the service."""

    def ask(self, recordings: Sequence[Recording]) -> Iterator[Answer]:
        """Yield one answer a recording, in order."""


class LocalDeployment:
    """A model in this process, and the policy of a service if there is one.

    Parameters
    ----------
    load : callable
        Makes a detector at an operating point, by its name.
    point : str
        Where there is no policy.
    policy_file : path, optional
        As for ``deepfake-audio serve``; its surfaces decide on operating point and action.
    """

    name = "local"

    def __init__(
        self,
        load: Callable[[str], Detector],
        point: str = "balanced",
        policy_file: Path | None = None,
    ) -> None:
        self._load, self._point = load, point
        self._rules: Rules | None = None
        if policy_file is not None:
            self._rules = _rules(policy_file, load(point))

    def ask(self, recordings: Sequence[Recording]) -> Iterator[Answer]:
        """Score by operating point, as each surface has its own."""
        points = [self._point_of(each.surface) for each in recordings]
        answers: dict[int, Answer] = {}
        for point in dict.fromkeys(points):
            places = [i for i, each in enumerate(points) if each == point]
            chosen = [recordings[i] for i in places]
            reports = self._load(point).detect_many(
                [each.clip.path for each in chosen], names=[each.clip.id for each in chosen]
            )
            for place, report in zip(places, reports, strict=True):
                answers[place] = self._answer(recordings[place].surface, report)
        yield from (answers[i] for i in range(len(recordings)))

    def _point_of(self, surface: str) -> str:
        if self._rules is None:
            return self._point
        from ..server.policy import Surface

        return self._rules.surfaces[Surface(surface)].operating_point

    def _answer(self, surface: str, report: Report | DeepfakeAudioError) -> Answer:
        if self._rules is None or not isinstance(report, Report):
            return Answer(report)
        from ..server.policy import Surface

        action = self._rules.decide(Surface(surface), report).action
        return Answer(report, action.value, self._rules.identity())


def _rules(path: Path, detector: Detector) -> Rules:
    try:
        from ..server.policy import PolicyFile, Rules
    except ImportError as error:
        raise MissingExtraError(
            f"a policy file is read with {error.name}", hint='pip install "deepfake-audio[server]"'
        ) from None
    return Rules(PolicyFile.load(path), detector.scorer.header.policies)


class ServiceDeployment:
    """A running service, asked as a client of it asks.

    Parameters
    ----------
    url : str
        ``https://host``; ``http://`` shows key and recordings to whoever is on the way.
    key : str or None
        Of the scopes ``submit`` and ``read``; none for ``serve --insecure-local``.
    about : dict
        Sent along as the metadata of each recording, so that people know what it is.

    Raises
    ------
    ConfigError
        If the address is none that a service can have.
    MissingExtraError
        If httpx is not installed.
    """

    def __init__(self, url: str, key: str | None, about: Mapping[str, Any]) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtraError(
                "a service is asked with httpx", hint='pip install "deepfake-audio[server]"'
            ) from None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(
                "is no address of a service", name="--service",
                hint="give https://host, and the key in a file with --key-file",
            )  # fmt: skip
        self.name = f"{parts.scheme}://{parts.netloc}"
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=WAIT_S + 40)
        self._metadata = json.dumps(dict(about))
        self._transport_error = httpx.TransportError

    def ask(self, recordings: Sequence[Recording]) -> Iterator[Answer]:
        """Submit a few at a time."""
        with self._client, ThreadPoolExecutor(_AT_A_TIME) as pool:
            futures = [pool.submit(self._ask, each) for each in recordings]
            try:
                for future in futures:
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _ask(self, recording: Recording) -> Answer:
        end = time.monotonic() + PATIENCE_S
        said = self._submit(recording, end)
        while said["status"] not in ("done", "failed"):
            if time.monotonic() > end:
                return Answer(AnswerError(f"no answer within {PATIENCE_S:g} s"))
            time.sleep(_PAUSE_S)
            said = self._checked(self._request("GET", f"/v1/detections/{said['id']}"))
        if said["status"] == "failed":
            error = AnswerError(str((said["error"] or {}).get("message", "failed")))
            error.code = str((said["error"] or {}).get("code", error.code))
            return Answer(error)
        policy = (said.get("decided_by") or {}).get("policy") or {}
        return Answer(Report.from_dict(said["report"]), said["action"] or "", policy)

    def _submit(self, recording: Recording, end: float) -> dict[str, Any]:
        form = {
            "name": recording.clip.id, "surface": recording.surface,
            "metadata": self._metadata, "retention_days": "1",
        }  # fmt: skip
        content = recording.clip.path.read_bytes()
        while True:
            answer = self._request(
                "POST", "/v1/detections", data=form, headers={"Prefer": f"wait={WAIT_S}"},
                files={"file": (recording.clip.path.name, content)},
            )  # fmt: skip
            if answer.status_code != _BUSY or time.monotonic() > end:
                return self._checked(answer)
            time.sleep(min(float(answer.headers.get("retry-after", 1)), 30))

    def _request(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **given)
        except self._transport_error as error:
            raise ConfigError(
                f"does not answer ({error})", name=self.name, hint="is the service running there?"
            ) from error

    def _checked(self, answer: httpx.Response) -> dict[str, Any]:
        """Return what a service says, or raise what it complains of."""
        try:
            said: dict[str, Any] = answer.json()
            if answer.is_success:
                return said
            reason = f"{said['error']['message']}"
        except (ValueError, KeyError, TypeError):
            reason = "is no answer of this service"
        raise ConfigError(
            f"answers {answer.status_code}: {reason}", name=self.name,
            hint="the key needs the scopes submit and read",
        )  # fmt: skip
