"""What a service says: detections, refusals, and when to ask again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx

from ..errors import DeepfakeAudioError
from ..report import Report

POLL_S = 0.5
"""How often to ask again for what is not done, seconds."""

_AGAIN = (429, 503)
_PAUSE_S = 1.0


class ServiceError(DeepfakeAudioError):
    """The service refused a request, or did not answer.

    Attributes
    ----------
    status : int or None
        Of HTTP; None if there was no answer.
    """

    code = "service_error"

    def __init__(
        self,
        message: str,
        *,
        name: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, name=name, hint=hint)
        self.status = status
        self.code = code or type(self).code


@dataclass(frozen=True)
class Detection:
    """One submitted recording as the service has it.

    Attributes
    ----------
    id, status : str
        ``queued``, ``processing``, ``done`` or ``failed``.
    action : str or None
        What the policy says: ``pass``, ``label``, ``review`` or ``block``.
    report : Report or None
        Once it is done.
    error : dict or None
        Why it failed: ``code``, ``message``, ``hint``.
    fields : mapping
        All that the service said, see ``GET /openapi.json``.
    """

    id: str
    status: str
    action: str | None
    report: Report | None
    error: Mapping[str, Any] | None
    fields: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether there is a report, or there will be none."""
        return self.status in ("done", "failed")

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Build from what the service said."""
        said = fields["report"]
        report = Report.from_dict(said) if said else None
        return cls(
            fields["id"], fields["status"], fields["action"], report, fields["error"], fields
        )


class Patience:
    """One request, for as long as it may take to get through.

    Parameters
    ----------
    patience_s : float
        For how long to come again when the service is full, or away, seconds.
    url : str
        Whom to name when there is no answer.
    """

    def __init__(self, patience_s: float, url: str) -> None:
        self._deadline = time.monotonic() + patience_s
        self._url = url

    def weigh(self, outcome: httpx.Response | httpx.TransportError) -> dict[str, Any] | float:
        """Return what the service says, or after how many seconds to ask again.

        Raises
        ------
        ServiceError
            If it refuses, or patience is at its end.
        """
        if isinstance(outcome, httpx.TransportError):
            pause_s = _PAUSE_S
            fault = ServiceError(
                f"no answer ({type(outcome).__name__}: {outcome})",
                name=self._url,
                hint="check the address, and that the service runs",
            )
        elif outcome.is_success:
            said: dict[str, Any] = outcome.json()
            return said
        else:
            pause_s = _seconds(outcome.headers.get("Retry-After"))
            fault = _refusal(outcome)
            if outcome.status_code not in _AGAIN:
                raise fault
        if time.monotonic() + pause_s > self._deadline:
            raise fault
        return pause_s


def _refusal(answer: httpx.Response) -> ServiceError:
    try:
        said = answer.json()["error"]
        return ServiceError(
            said["message"],
            name=said["name"],
            hint=said["hint"],
            status=answer.status_code,
            code=said["code"],
        )
    except (ValueError, KeyError, TypeError):  # such as a proxy's page
        return ServiceError(
            f"HTTP status {answer.status_code}",
            name=str(answer.url),
            hint="check the address: that was not the service, but perhaps a proxy before it",
            status=answer.status_code,
        )


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdecimal() else _PAUSE_S
