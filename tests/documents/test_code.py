"""The code in the README and in the documents runs, as it stands there.

The blocks of a page run one after the other in one folder: Python in one namespace, shell in a
shell that has the commands. A block that cannot run here says why, in a comment before it:
``<!-- not run: it wants a cluster -->``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deepfake_audio.detector import Detector

from .commands import stand_ins
from .workshop import PACKAGE, REPOSITORY, furnish, microphone

for _extra in ("av", "fastapi", "pyarrow", "reportlab"):
    pytest.importorskip(_extra, reason='pip install -e ".[dev]"')

pytestmark = pytest.mark.skipif(
    os.name != "posix" or not (shutil.which("bash") and shutil.which("curl")),
    reason="needs bash and curl",
)

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK_S = 600
"""A guard against what hangs, and no more: machines that run tests are busy."""


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    line: int
    """Of its first line of code."""
    before: str
    """The text since the block before it."""
    not_run: str
    """Why it is not run; empty if it is."""


_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->(?:\s|<!--.*?-->)*\Z")
_FILE = re.compile(r"`([\w.-]+\.toml)`[^\n]*:\s*\Z")


def blocks(text: str) -> Iterator[Block]:
    end = 0
    for fence in _FENCE.finditer(text):
        before = text[end : fence.start()]
        end = fence.end()
        marker = _NOT_RUN.search(before)
        line = text.count("\n", 0, fence.start()) + 2
        code = textwrap.dedent(fence[3])
        yield Block(fence[2], code, line, before, marker[1] if marker else "")


def _name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def _signed() -> dict[str, Any]:
    """What a receiver of a callback has."""
    import time

    from deepfake_audio.signatures import SIGNATURE_HEADER, sign

    signature = sign("s3cret", b"{}", int(time.time()))
    headers = {SIGNATURE_HEADER: signature}
    return {"secret": "s3cret", "body": b"{}", "headers": headers}  # pragma: allowlist secret


GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "README.md": lambda: {"microphone": microphone()},
    "docs/guides/moderation.md": lambda: {"microphone": microphone()},
    "docs/service.md": _signed,
}
"""What the Python of a page takes for granted."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with stand_ins(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    detector = Detector.load("tiny", device="cpu")
    paths = sorted((PACKAGE / "samples").glob("*.flac"))
    reports = [detector.detect(path) for path in paths]
    furnish(folder, reports, str(detector.model))
    return folder


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def workshop(furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "workshop"
    shutil.copytree(furnished, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def environment(programs: Path, port: int) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DEEPFAKE_AUDIO_")}
    return {
        **kept,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PACKAGE.parent),
        "DEEPFAKE_AUDIO_PORT": str(port),
        "NO_PROXY": "127.0.0.1",
    }


def run_shell(code: str, where: str, programs: Path, port: int) -> None:
    # Services of several pages and other tests run side by side.
    code = code.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("curl ", "curl --fail ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        env=environment(programs, port),
        capture_output=True,
        text=True,
        timeout=BLOCK_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{where}: exit status {done.returncode}\n{code}\n{done.stderr}"


def run_python(block: Block, page: Path, names: dict[str, Any]) -> str:
    """Run a block so that tracebacks point into the page; return what it printed."""
    padded = "\n" * (block.line - 1) + block.code
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(padded, str(page), "exec"), names)
    return printed.getvalue()


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_code_runs(page: Path, workshop: Path, programs: Path, free_port: int) -> None:
    found = list(blocks(page.read_text(encoding="utf-8")))
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in found:
        where = f"{_name(page)}:{block.line}"
        before, printed = printed, ""
        if block.not_run:
            continue
        if block.language == "bash":
            run_shell(block.code, where, programs, free_port)
        elif block.language == "python":
            if "__given__" not in names:
                names |= {"__given__": True, **GIVEN.get(_name(page), dict)()}
            printed = run_python(block, page, names)
        elif block.language == "text" and before and not block.before.strip():
            assert before == block.code, f"{where}: what the block before it prints is another"
        elif block.language == "toml":
            tomllib.loads(block.code)
            if named := _FILE.search(block.before):
                Path(named[1]).write_text(block.code, encoding="utf-8")


def test_installed_extras_exist() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = set()
    for page in [*PAGES, *REPOSITORY.glob("*.md")]:
        for extras in re.findall(r"pip install [^\n`]*\[([\w,]+)\]", page.read_text("utf-8")):
            asked |= set(extras.split(","))
    assert {"server", "train", "av", "docs"} <= asked
    assert asked <= set(project["optional-dependencies"])


def test_a_block_that_is_not_run_says_why() -> None:
    text = "<!-- not run: no corpus -->\n<!-- other -->\n```bash\nfalse\n```\n```bash\ntrue\n```\n"
    first, second = blocks(text)
    assert (first.not_run, first.code, first.line) == ("no corpus", "false\n", 4)
    assert not second.not_run
