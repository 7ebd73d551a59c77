"""Recordings in, reports and decisions out: ``/v1/detections`` and ``/v1/batches``."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

import soundfile
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from ...report import Verdict
from .. import audit, detections, outbound
from ..database import Detection, new_id
from ..detections import Filter, Submission
from ..errors import NotFoundError, RequestError
from ..fetching import fetch
from ..keys import Principal
from ..policy import Action, Surface
from ..service import Service
from ..uploads import Form, UploadedFile, UploadLimits, display_name, read_form
from .common import Reader, Reviewer, ServiceDep, Submitter

router = APIRouter(prefix="/v1", tags=["detections"])

_FIELDS = ("surface", "metadata", "callback_url", "retention_days", "name", "url")
_OVERHEAD = 256 * 1024  # of a multipart body beside its files

_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "surface": {"type": "string", "enum": [s.value for s in Surface]},
                        "metadata": {"type": "string", "description": "A JSON object."},
                        "callback_url": {"type": "string"},
                        "retention_days": {"type": "number"},
                        "name": {"type": "string"},
                        "url": {"type": "string", "description": "Instead of a file."},
                    },
                }
            }
        },
    }
}


@router.post("/detections", status_code=202, openapi_extra=_UPLOAD_BODY)
async def submit(request: Request, service: ServiceDep, principal: Submitter) -> JSONResponse:
    """Submit one recording: 202 and its identifier, or with ``Prefer: wait=N`` its report."""
    idempotency_key = request.headers.get("idempotency-key")
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= 255:
        raise RequestError("must have 1 to 255 characters", name="Idempotency-Key", status=422)
    wait_s = _preferred_wait(request, service)
    await _check_room(service, 1)
    with ExitStack() as kept:
        form = await _read(request, service, kept, max_files=1)
        if "url" in form.fields:
            await _fetch_into(form, service, kept)
        if len(form.files) != 1:
            raise RequestError(
                "no recording in the body", hint="send one as the part 'file'", status=422
            )
        submission = _submission(
            service, principal, form, form.files[0], idempotency_key=idempotency_key
        )
        with service.waiters.waiting(submission.id) as done:  # before anybody can be done with it
            detection, is_new = await _accept(service, submission)
            kept.close()  # the audio is in its place, and nobody knows how long the rest takes
            headers = {"Location": f"/v1/detections/{detection.id}"}
            if wait_s and detection.status in detections.WAITING:
                detection = await _wait(service, detection, done, wait_s)
        if wait_s:
            headers["Preference-Applied"] = f"wait={wait_s:g}"
    waits = detection.status in detections.WAITING
    status = 202 if waits else 201 if is_new else 200
    return JSONResponse(detections.as_dict(detection), status_code=status, headers=headers)


@router.post("/batches", status_code=202)
async def submit_batch(request: Request, service: ServiceDep, principal: Submitter) -> JSONResponse:
    """Submit several recordings, each as a part ``file``, under one identifier."""
    settings = service.settings
    if "idempotency-key" in request.headers:
        raise RequestError(
            "is for single recordings", name="Idempotency-Key", hint="leave it out", status=422
        )
    await _check_room(service, 1)
    with ExitStack() as kept:
        form = await _read(request, service, kept, max_files=settings.max_batch_files)
        if not form.files:
            raise RequestError(
                "no recording in the body", hint="send each as a part 'file'", status=422
            )
        await _check_room(service, len(form.files))
        batch_id = new_id("bat")
        submissions = [  # all of them are looked at before any is accepted
            _submission(service, principal, form, upload, batch_id=batch_id)
            for upload in form.files
        ]
        submitted = await asyncio.to_thread(_accept_batch, service, submissions)
    service.worker.wake()
    return JSONResponse(
        {"id": batch_id, "detections": [detections.as_dict(d) for d in submitted]},
        status_code=202,
        headers={"Location": f"/v1/batches/{batch_id}"},
    )


@router.get("/batches/{batch_id}")
def show_batch(batch_id: str, service: ServiceDep, principal: Reader) -> dict[str, Any]:
    """Say how far a batch is."""
    with service.database.read() as session:
        counted = session.execute(
            select(Detection.status, func.count())
            .where(Detection.tenant == principal.tenant, Detection.batch_id == batch_id)
            .group_by(Detection.status)
        ).all()
    if not counted:
        raise NotFoundError(f"no batch {batch_id}")
    states = {status: int(count) for status, count in counted}
    return {
        "id": batch_id,
        "total": sum(states.values()),
        "states": states,
        "finished": not any(state in states for state in detections.WAITING),
    }


@router.get("/detections")
def list_detections(
    service: ServiceDep,
    principal: Reader,
    status: Literal["queued", "processing", "done", "failed"] | None = None,
    verdict: Verdict | None = None,
    action: Action | None = None,
    surface: Surface | None = None,
    review: Literal["open", "closed"] | None = None,
    batch_id: str | None = None,
    sha256: str | None = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """List detections, the newest first; ``next_cursor`` leads on."""
    wanted = Filter(
        status, verdict, action, surface, review, batch_id, sha256, search, since, until
    )
    with service.database.read() as session:
        found, following = detections.page(
            session, principal.tenant, wanted, cursor=cursor, limit=limit
        )
        return {
            "detections": [detections.as_dict(detection) for detection in found],
            "next_cursor": following,
        }


@router.get("/detections/{detection_id}")
def show(detection_id: str, service: ServiceDep, principal: Reader) -> dict[str, Any]:
    """Return a detection with its report."""
    with service.database.read() as session:
        return detections.as_dict(detections.get(session, principal.tenant, detection_id))


@router.delete("/detections/{detection_id}")
def delete(detection_id: str, service: ServiceDep, principal: Submitter) -> dict[str, Any]:
    """Delete the audio; the record of the decision stays."""
    return detections.as_dict(
        detections.delete_audio(
            service.database,
            service.store,
            principal.tenant,
            detection_id,
            actor=principal.id,
            why="request",
        )
    )


@router.get("/detections/{detection_id}/audio")
def download(detection_id: str, service: ServiceDep, principal: Reviewer) -> StreamingResponse:
    """Return the recording as it was submitted, to be saved and not played."""
    key, _ = _audio_key(service, principal, detection_id)
    try:
        source = service.store.open(key)
    except FileNotFoundError as error:
        raise NotFoundError(f"no audio of {detection_id}") from error

    def blocks() -> Iterator[bytes]:
        with source:
            while block := source.read(1 << 18):
                yield block

    return StreamingResponse(
        blocks(),
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{detection_id}.bin"'},
    )


@router.get("/detections/{detection_id}/audio.wav")
def listen(detection_id: str, service: ServiceDep, principal: Reviewer) -> Response:
    """Return the recording as 16 kHz WAV: decoded in the sandbox, harmless to a browser."""
    key, name = _audio_key(service, principal, detection_id)
    try:
        with service.store.local(key) as path:
            audio = service.sandbox.decode(path, name=name)
    except FileNotFoundError as error:
        raise NotFoundError(f"no audio of {detection_id}") from error
    out = io.BytesIO()
    soundfile.write(out, audio.samples.T, 16_000, format="WAV", subtype="PCM_16")
    return Response(out.getvalue(), media_type="audio/wav")


def _audio_key(service: Service, principal: Principal, detection_id: str) -> tuple[str, str]:
    """Return where the audio of a detection is, and note down who asked for it."""
    with service.database.write() as session:
        detection = detections.get(session, principal.tenant, detection_id)
        if detection.audio_key is None:
            raise NotFoundError(f"the audio of {detection_id} was deleted")
        audit.append(
            session, actor=principal.id, kind="audio.accessed", subject=detection_id, data={}
        )
        return detection.audio_key, detection.name


async def _check_room(service: Service, count: int) -> None:
    """Turn away what would make the queue too long, before its body is read."""
    if not service.queue_room.is_plenty(count):
        await asyncio.to_thread(service.queue_room.check, count)


async def _accept(service: Service, submission: Submission) -> tuple[Detection, bool]:
    """Accept a submission; returns it, and whether it is a new one."""
    database, store = service.database, service.store
    named = submission.idempotency_key is not None
    if named and (found := await asyncio.to_thread(detections.known, database, submission)):
        return found, False
    detection = await asyncio.to_thread(detections.keep, store, submission)
    try:
        await asyncio.wrap_future(service.acceptor.accept(detection))
    except IntegrityError:  # the same idempotency key, at the same moment
        await asyncio.to_thread(store.delete, detection.audio_key or "")
        if found := await asyncio.to_thread(detections.known, database, submission):
            return found, False
        raise
    # After any other fault nobody knows whether the record is there: audio without one is
    # swept up later, a record without audio could not be mended.
    return detection, True


def _accept_batch(service: Service, submissions: Sequence[Submission]) -> list[Detection]:
    accepted = [detections.keep(service.store, submission) for submission in submissions]
    detections.record(service.database, accepted)
    return accepted


async def _read(request: Request, service: Service, kept: ExitStack, *, max_files: int) -> Form:
    settings = service.settings
    limits = UploadLimits(
        max_file_bytes=settings.max_upload_bytes,
        max_files=max_files,
        max_total_bytes=settings.max_upload_bytes * max_files + _OVERHEAD,
        seconds=settings.upload_s,
    )
    return await read_form(request, service.store, limits, kept)


async def _fetch_into(form: Form, service: Service, kept: ExitStack) -> None:
    """Put the recording that a form names by its address among the files of the form."""
    settings = service.settings
    if not settings.url_input:
        raise RequestError(
            "this service fetches nothing", name="url", hint="set url_input", status=422
        )
    limits = UploadLimits(settings.max_upload_bytes, 1, 0, settings.upload_s)
    work = partial(
        fetch,
        form.fields["url"],
        kept.enter_context(service.store.upload()),
        limits,
        allow_private=settings.url_allow_private,
    )
    fetched = await asyncio.get_running_loop().run_in_executor(service.fetchers, work)
    form.files.append(fetched)


def _submission(
    service: Service,
    principal: Principal,
    form: Form,
    upload: UploadedFile,
    *,
    idempotency_key: str | None = None,
    batch_id: str | None = None,
) -> Submission:
    """Return what a form asks for, checked."""
    settings = service.settings
    if unknown := sorted(set(form.fields) - set(_FIELDS)):
        raise RequestError(
            f"unknown field {unknown[0][:64]!r}", hint=f"known are {', '.join(_FIELDS)}", status=422
        )
    if not upload.n_bytes:
        raise RequestError("the recording is empty", name=upload.name, status=422)
    surface = form.fields.get("surface", Surface.UPLOAD.value)
    if surface not in {known.value for known in Surface}:
        raise RequestError(
            "unknown surface", name="surface", hint=f"use {', '.join(Surface)}", status=422
        )
    callback_url = form.fields.get("callback_url")
    if callback_url:
        if service.courier is None:
            raise RequestError(
                "this service makes no callbacks",
                name="callback_url",
                hint="set webhook_secret",
                status=422,
            )
        outbound.check_url(
            callback_url, allow_private=settings.webhook_allow_private, name="callback_url"
        )
    return Submission(
        tenant=principal.tenant,
        actor=principal.id,
        path=upload.path,
        sha256=upload.sha256,
        n_bytes=upload.n_bytes,
        name=display_name((form.fields.get("name") or upload.name).encode()),
        surface=surface,
        details=detections.canonical_details(
            form.fields.get("metadata", "{}"), settings.max_metadata_bytes
        ),
        retention_days=_retention(form.fields.get("retention_days"), settings.retention_days),
        callback_url=callback_url or None,
        idempotency_key=idempotency_key,
        batch_id=batch_id,
    )


def _retention(text: str | None, longest: float) -> float:
    if text is None:
        return longest
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= longest:
        raise RequestError(
            f"must be a number of days up to {longest:g}", name="retention_days", status=422
        )
    return days


def _preferred_wait(request: Request, service: Service) -> float:
    """Return how long a request wants to wait, seconds (RFC 7240)."""
    for preference in request.headers.get("prefer", "").split(","):
        key, _, value = preference.strip().partition("=")
        if key.lower() == "wait":
            try:
                wait_s = float(value.strip('" '))
            except ValueError:
                return 0.0
            return min(wait_s, service.settings.max_wait_s) if wait_s > 0 else 0.0
    return 0.0


async def _wait(
    service: Service, detection: Detection, done: asyncio.Future[Detection], wait_s: float
) -> Detection:
    """Return the detection when it is done, or as it is when the time is over."""
    with service.waiters.waiting(detection.id) as known:  # one that was accepted before
        told, _ = await asyncio.wait(
            [done, known], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
        )
    if told:
        return told.pop().result()
    return await asyncio.to_thread(_fetch, service, detection.id)


def _fetch(service: Service, detection_id: str) -> Detection:
    with service.database.read() as session:
        return session.get_one(Detection, detection_id)
