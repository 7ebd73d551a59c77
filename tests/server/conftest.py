"""A real service on a real port, over SQLite and, where it is installed, over PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner, Result

pytest.importorskip("fastapi")

from deepfake_audio.cli.tools import app
from deepfake_audio.server import keys, migrations
from deepfake_audio.server.database import Database
from deepfake_audio.server.run import listen, make_server
from deepfake_audio.server.service import Service
from deepfake_audio.server.settings import Settings

START_S = 30


class RunningService:
    """A service that answers, and ways to ask it."""

    def __init__(self, service: Service, url: str, server: uvicorn.Server) -> None:
        self.service = service
        self.url = url
        self._server = server

    @property
    def database(self) -> Any:
        return self.service.database

    def key(self, *scopes: str, tenant: str = "acme", name: str = "test", **given: Any) -> str:
        """Make a key and return its secret."""
        with self.database.write() as session:
            chosen = frozenset(map(keys.Scope, scopes))
            return keys.create(session, tenant=tenant, name=name, scopes=chosen, **given)[1]

    def client(self, *scopes: str, tenant: str = "acme", name: str = "test") -> httpx.Client:
        """Return a client with a key of these scopes; without any, one without a key."""
        headers = {}
        if scopes:
            headers["Authorization"] = f"Bearer {self.key(*scopes, tenant=tenant, name=name)}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def stop(self) -> None:
        self._server.should_exit = True


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[RunningService]:
    service = Service(settings)
    sock = listen(settings)
    server = make_server(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    deadline = time.monotonic() + START_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    host, port = sock.getsockname()[:2]
    try:
        yield RunningService(service, f"http://{host}:{port}", server)
    finally:
        server.should_exit = True
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Postgres:
    """A database cluster of its own, as the distribution's package provides it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        # It refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._run(_program("initdb"), "-D", "data", "-A", "trust", "-U", "test", "--no-sync")

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=self._folder, user=self._user, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        # Nothing here has to survive a power cut, only the end of the process.
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        options += " -c fsync=off"
        self._run(_program("pg_ctl"), "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        self._run(_program("pg_ctl"), "-D", "data", "-w", "-m", "immediate", "stop")

    def create(self, name: str) -> str:
        """Make an empty database and return its URL."""
        import psycopg

        address = f"host=127.0.0.1 port={self.port} user=test dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://test@127.0.0.1:{self.port}/{name}"


def _program(name: str) -> str:
    found = shutil.which(name) or next(
        iter(sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), reverse=True)), ""
    )
    if not found:
        pytest.skip("PostgreSQL is not installed")
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Not below the folders of pytest, which other accounts may not enter.
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        os.chmod(folder, 0o755)
        cluster = Postgres(Path(folder))
        cluster.start()
        yield cluster
        cluster.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'service.sqlite3'}"
    cluster: Postgres = request.getfixturevalue("postgres")
    return cluster.create(f"{tmp_path.name}-{time.time_ns()}"[-60:])


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Open one of each kind, brought to the present version."""
    opened = Database(database_url)
    migrations.upgrade(opened)
    yield opened
    opened.close()


@contextlib.contextmanager
def dripping(head: bytes = b"") -> Iterator[str]:
    """Somebody's server that says one thing, and then a byte now and then without an end."""
    over = threading.Event()

    def drip(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):  # until somebody hangs up
            line.sendall(head)
            while not over.wait(0.05):
                line.sendall(b"x")

    def accept(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed below
            while True:
                threading.Thread(target=drip, args=sock.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as sock:
        threading.Thread(target=accept, args=(sock,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/"
        finally:
            over.set()


MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path, request: pytest.FixtureRequest) -> MakeSettings:
    """Factory of settings with a folder of their own and the smallest released model.

    With ``TEST_DATABASE=postgresql`` all tests of the service run over PostgreSQL.
    """
    defaults = {"data_dir": tmp_path / "data", "port": 0, "model": "tiny", "device": "cpu"}
    defaults["rooms_apart"] = False  # processes take seconds to begin; those that test them ask
    if os.environ.get("TEST_DATABASE") == "postgresql":
        cluster: Postgres = request.getfixturevalue("postgres")
        defaults["database_url"] = cluster.create(f"{tmp_path.name}-{time.time_ns()}"[-60:])

    def make(**given: Any) -> Settings:
        return Settings.load(None, **(defaults | given))

    return make


def tool(settings: Settings, *words: str) -> Result:
    """Run ``deepfake-audio`` in this process, on the data of a service."""
    env = {"DEEPFAKE_AUDIO_DATABASE_URL": settings.database_url}
    return CliRunner(env=env).invoke(app, [*words, "--data", str(settings.data_dir)])


def until(holds: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until something holds; fail if it does not come to that."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@pytest.fixture
def service(make_settings: MakeSettings) -> Iterator[RunningService]:
    """A running service with keys, over SQLite unless told otherwise."""
    with running(make_settings()) as found:
        yield found


@pytest.fixture(scope="session")
def samples() -> dict[str, Path]:
    """Bundled recordings, by name."""
    import deepfake_audio

    folder = Path(deepfake_audio.__file__).parent / "samples"
    return {path.stem: path for path in folder.glob("*.flac")}
