"""What stands in ``deploy/`` speaks of commands, settings and files that exist."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("fastapi")

from deepfake_audio.cli.tools import app
from deepfake_audio.server.settings import ENV_PREFIX, Settings

yaml = pytest.importorskip("yaml")

REPOSITORY = Path(__file__).parents[1]
DEPLOY = REPOSITORY / "deploy"

pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="not a checkout")


def is_setting(variable: str) -> bool:
    return variable.removeprefix(ENV_PREFIX).lower() in Settings.model_fields


def accepts(command: list[str]) -> bool:
    """Whether ``deepfake-audio`` knows a command, and each of its options."""
    words = [word for word in command if not word.startswith("--")]
    said = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "200"})
    options = [word for word in command if word.startswith("--")]
    return said.exit_code == 0 and all(option in said.stdout for option in options)


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line]  # type: ignore[misc]


def test_the_image_is_made_of_what_is_there(dockerfile: list[tuple[str, str]]) -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for instruction, rest in dockerfile:
        if instruction == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (REPOSITORY / source).exists(), source
                assert f"!{Path(source).name}" in ignored, source
        if instruction == "CMD":
            program, *command = yaml.safe_load(rest)
            assert program == "deepfake-audio"
            assert accepts(command)
        for variable in re.findall(rf"{ENV_PREFIX}\w+", rest):
            assert is_setting(variable), variable
    torch = re.search(r'"torch[^"]*"', (REPOSITORY / "pyproject.toml").read_text())
    assert torch is not None
    assert torch[0] in dict(dockerfile)["RUN"] or any(torch[0] in rest for _, rest in dockerfile)
    users = [rest for instruction, rest in dockerfile if instruction == "USER"]
    assert users == ["deepfake"]  # and never root


def test_what_the_image_installs_is_an_extra(dockerfile: list[tuple[str, str]]) -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [extras] = [found[1] for _, rest in dockerfile if (found := re.search(r"\.\[([\w,]+)\]", rest))]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_composition_fits_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    composed: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    service, database = composed["services"]["service"], composed["services"]["database"]
    build = service["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    values = {
        "POSTGRES_PASSWORD": "pass",  # pragma: allowlist secret
        "DEEPFAKE_AUDIO_WEBHOOK_SECRET": "secret",  # pragma: allowlist secret
    }
    given = {
        key: re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: values[found[1]], value)
        for key, value in service["environment"].items()
    }
    assert all(map(is_setting, given))
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    settings = Settings.load(None)
    owner = database["environment"]
    assert settings.database_url == (
        f"postgresql+psycopg://{owner['POSTGRES_USER']}:pass@database/{owner['POSTGRES_DB']}"
    )
    assert settings.webhook_secret == "secret"  # pragma: allowlist secret
    mounted = {volume.split(":")[0] for each in (service, database) for volume in each["volumes"]}
    assert mounted == set(composed["volumes"])


def test_the_unit_starts_what_exists() -> None:
    unit = configparser.ConfigParser(strict=False, delimiters="=", interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "deepfake-audio.service", encoding="utf-8")
    program, *command = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "deepfake-audio"
    assert accepts(command)
    data = command[command.index("--data") + 1]
    assert data == f"/var/lib/{unit['Service']['StateDirectory']}"
    text = (DEPLOY / "deepfake-audio.service").read_text(encoding="utf-8")
    assert all(map(is_setting, re.findall(rf"{ENV_PREFIX}\w+", text)))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="apt-get install systemd")
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    program = shutil.which("true")
    assert program
    text = (DEPLOY / "deepfake-audio.service").read_text(encoding="utf-8")
    unit = tmp_path / "deepfake-audio.service"
    unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={program}", text), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    about = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not about
