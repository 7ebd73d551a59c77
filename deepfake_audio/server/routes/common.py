"""What all routes need: the service, who asks, and how errors look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import JSONResponse

from ...errors import DeepfakeAudioError
from .. import keys
from ..errors import RequestError
from ..keys import Principal, Scope
from ..service import Service


def service_of(request: Request) -> Service:
    """Return the service that this request came to."""
    service: Service = request.app.state.service
    return service


async def _service_of(request: Request) -> Service:
    return service_of(request)  # async: FastAPI calls anything else on a thread


ServiceDep = Annotated[Service, Depends(_service_of)]


def principal_of(service: Service, authorization: str) -> Principal:
    """Return who an ``Authorization`` header speaks for.

    Raises
    ------
    RequestError
        If it holds no valid key.
    """
    if service.settings.insecure_local:
        return keys.LOCAL
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() == "bearer" and secret:
        with service.database.read() as session:
            principal = keys.authenticate(session, secret.strip())
        if principal is not None:
            return principal
    raise RequestError(
        "no valid API key",
        hint="send Authorization: Bearer KEY; `deepfake-audio keys create` makes one",
        status=401,
        code="unauthorized",
    )


def requires(*scopes: Scope) -> Callable[[Request], Coroutine[Any, Any, Principal]]:
    """Return a dependency that lets in whoever has one of these scopes."""

    async def check(request: Request) -> Principal:
        authorization = request.headers.get("authorization", "")
        service = service_of(request)
        if service.settings.insecure_local:
            principal = principal_of(service, authorization)
        else:
            principal = await asyncio.get_running_loop().run_in_executor(
                service.door, principal_of, service, authorization
            )
        if not any(map(principal.may, scopes)):
            raise RequestError(
                f"this key does not have the scope {' or '.join(scopes)}",
                hint="`deepfake-audio keys create --scope` makes one that does",
                status=403,
                code="forbidden",
            )
        return principal

    return check


Submitter = Annotated[Principal, Depends(requires(Scope.SUBMIT))]
Reader = Annotated[Principal, Depends(requires(Scope.READ))]
Reviewer = Annotated[Principal, Depends(requires(Scope.REVIEW))]
Admin = Annotated[Principal, Depends(requires(Scope.ADMIN))]
Operator = Annotated[Principal, Depends(requires(Scope.OPERATOR))]
ReaderOrOperator = Annotated[Principal, Depends(requires(Scope.READ, Scope.OPERATOR))]


def error_response(error: DeepfakeAudioError, status: int = 422) -> JSONResponse:
    """Return an error as all errors of the API look."""
    headers = {}
    if isinstance(error, RequestError):
        status = error.status
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
    body = {
        "error": {
            "code": error.code,
            "message": error.message,
            "name": error.name,
            "hint": error.hint,
        }
    }
    return JSONResponse(body, status_code=status, headers=headers)
