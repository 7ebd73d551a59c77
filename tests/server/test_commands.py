"""Commands beside the service: a mistyped folder is told, and nothing is read as empty."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepfake_audio.cli.tools import app
from deepfake_audio.server.database import sqlite_file
from deepfake_audio.server.settings import Settings


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("audit", "verify"),
        ("audit", "head"),
        ("audit", "export"),
        ("keys", "list"),
        ("callbacks", "list"),
        ("feedback", "export", "--out", "reviewed"),
    ],
)
def test_a_database_that_is_not_there_is_no_empty_one(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, said, told = run(*command, "--data", "typo")
    assert (status, said) == (2, "")
    assert "service.sqlite3: no database here: give the --config or --data" in told
    assert list(tmp_path.iterdir()) == []


def test_another_database_is_not_the_services(tmp_path: Path) -> None:
    (tmp_path / "service.sqlite3").touch()
    for command in (("audit", "verify"), ("keys", "list")):
        status, said, told = run(*command, "--data", tmp_path)
        assert (status, said) == (2, "")
        assert "is no database of the service" in told


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////var/lib/x.sqlite3", Path("/var/lib/x.sqlite3")),
        ("sqlite:///x.sqlite3?timeout=5", Path("x.sqlite3")),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql+psycopg://deepfake@database/deepfake", None),
        ("nonsense", None),
    ],
)
def test_which_file_a_database_is(url: str, file: Path | None) -> None:
    assert sqlite_file(url) == file


def test_the_first_key_makes_the_database(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run("keys", "create", "first", "--data", data)[0] == 0
    status, head, told = run("audit", "verify", "--data", data)
    assert status == 0
    assert "events, whole" in told
    assert head.strip().split(":")[0].isdigit()


def test_an_export_for_nobody_says_who_there_is(tmp_path: Path) -> None:
    run("keys", "create", "first", "--data", tmp_path)
    status, _, told = run("feedback", "export", "--out", tmp_path / "out", "--data", tmp_path)
    assert status == 2
    assert "no recordings of tenant default: there are some of nobody" in told
    assert not (tmp_path / "out").exists()


def test_paths_in_a_settings_file_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "service.toml"
    file.write_text('data_dir = "kept"\npolicy_file = "policy.toml"\n')
    found = Settings.load(file)
    assert found.data_dir == tmp_path / "kept"
    assert found.policy_file == tmp_path / "policy.toml"
    assert Settings.load(file, data_dir=Path("mine")).data_dir == Path("mine")
    monkeypatch.setenv("DEEPFAKE_AUDIO_DATA_DIR", "elsewhere")
    assert Settings.load(file).data_dir == Path("elsewhere")


def test_a_policy_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    status, _, told = run("serve", "--policy-file", tmp_path / "none.toml", "--data", tmp_path)
    assert status == 2
    assert "none.toml: cannot be read (No such file or directory): check the path" in told
