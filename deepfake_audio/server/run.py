"""The service as a process: threads, signals, and the socket it listens on."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack

import torch
import uvicorn

from .._process import prepare_for_batches, share_one_heap
from ..errors import ConfigError
from . import logs, telemetry
from .app import create_app
from .patience import ImpatientProtocol
from .service import Service
from .settings import Settings

HEADER_BYTES = 16 * 1024
CONNECTIONS = 1024
STOP_S = 30


def run(settings: Settings, *, on_listening: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Parameters
    ----------
    settings : Settings
        What the operator decided.
    on_listening : callable
        Told the address, once requests are taken.

    Raises
    ------
    ConfigError
        If the address is taken, or the settings name something that cannot be used.
    """
    logs.begin(settings.log_format)
    # Scorers are threads that each do a whole batch: threads inside a batch would wait for one
    # another. This process is ours.
    torch.set_num_threads(1)
    prepare_for_batches()
    share_one_heap()
    with ExitStack() as at_the_end:
        if settings.telemetry:
            at_the_end.callback(telemetry.begin())
        sock = listen(settings)
        host, port = sock.getsockname()[:2]
        server = make_server(Service(settings))
        on_listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        _serve(server, sock)


def _serve(server: uvicorn.Server, sock: socket.socket) -> None:
    """Serve until somebody asks to stop, which is no failure."""
    try:
        server.run(sockets=[sock])
    except (KeyboardInterrupt, SystemExit) as end:
        # uvicorn hands on the signal that it has stopped by; all else is a failure of its own.
        by_signal = isinstance(end, KeyboardInterrupt) or end.code == 128 + signal.SIGTERM
        if server.force_exit or not (server.should_exit and by_signal):
            raise


def make_server(service: Service) -> uvicorn.Server:
    """Return the HTTP server of a service."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(service),
            http=ImpatientProtocol,
            h11_max_incomplete_event_size=HEADER_BYTES,
            access_log=False,
            log_config=None,  # as all others log
            log_level="warning",
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=STOP_S,
            ws_max_size=1 << 20,
            ws_per_message_deflate=False,  # audio gains nothing from it
        )
    )


def listen(settings: Settings) -> socket.socket:
    """Return the socket to serve on; only what is sent after this is answered.

    Raises
    ------
    ConfigError
        If the address is taken or not of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        sock = socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as error:
        raise ConfigError(
            f"cannot listen ({error.strerror or error})",
            name=f"{settings.host}:{settings.port}",
            hint="choose another port, or stop what listens there",
        ) from error
    sock.set_inheritable(False)
    return sock
