"""The documentation site builds without a warning, offline, with all that it promises."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import deepfake_audio
from deepfake_audio.cli.detect import app as detect_app
from deepfake_audio.cli.tools import app as tools_app

from .workshop import REPOSITORY

pytest.importorskip("mkdocs", reason='pip install "deepfake-audio[docs]"')
pytest.importorskip("mkdocstrings", reason='pip install "deepfake-audio[docs]"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def _text(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


@pytest.mark.long
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = re.compile(
        r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(?:https?:)?//"""
        r"""|<link(?![^>]*rel=["']?canonical)[^>]*\shref=["']?(?:https?:)?//"""
        r"""|@import[^;]*//|url\(["']?(?:https?:)?//"""
    )
    pages = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(pages) > 20
    for path in pages:
        assert not fetched.search(path.read_text(encoding="utf-8")), path
    for example in ('<script src="https://a/b.js">', "@import url(//a/b.css)"):
        assert fetched.search(example)


def _commands(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    yield words, command
    for name, sub in getattr(command, "commands", {}).items():
        yield from _commands(sub, f"{words} {name}")


@pytest.mark.long
def test_every_option_of_every_command_is_there(site: Path) -> None:
    text = _text(site / "reference" / "commands.html")
    _, *parts = re.split(r"^(detect|deepfake-audio[a-z -]*)¶$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    seen = 0
    for name, app in (("detect", detect_app), ("deepfake-audio", tools_app)):
        for words, command in _commands(typer.main.get_command(app), name):
            for option in (o for p in command.params for o in p.opts if o.startswith("--")):
                assert option in sections[words], (words, option)
                seen += 1
    assert seen > 100


@pytest.mark.long
def test_public_names_have_a_place(site: Path) -> None:
    places = "".join(p.read_text(encoding="utf-8") for p in (site / "reference").rglob("*.html"))
    for name in deepfake_audio.__all__:
        if name != "__version__":
            assert re.search(rf'id="deepfake_audio\.([\w.]+\.)?{name}"', places), name


@pytest.mark.long
def test_cards_and_figures_are_those_of_the_models(site: Path) -> None:
    index = _text(site / "index.html")
    for card in REPOSITORY.glob("models/*/card.md"):
        title = card.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        page = site / card.relative_to(REPOSITORY).with_suffix(".html")
        assert title.replace("`", "") in _text(page)
        figures = json.loads(card.with_name("test.json").read_text(encoding="utf-8"))["figures"]
        assert f"{100 * figures['pooled_eer']['value']:.1f} %" in index
