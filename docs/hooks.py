"""What the documentation site shows that lies elsewhere, brought in when it is built.

Model cards, notebooks and the files at the top of the repository become pages without being
copied; the reference of the commands is asked from the commands. Links keep the form that they
need where they lie in the repository, and are turned into links of the site here.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
DOCS = "docs/"

TOP = {name: name.lower() for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}
"""Files at the top of the repository, and their pages."""

ELSEWHERE = {
    "README.md": "index.md",
    "deepfake_audio/streaming.py": "reference/api/listening.md",
}
"""What has no page of its own, and the page that stands for it."""

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?![a-z]+:|#)([^()\s#]+)(#[^()\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files that lie elsewhere."""
    for source, place in _taken_in().items():
        path = ROOT / source
        if path.suffix == ".ipynb":
            file = File.generated(config, place, content=notebook_page(path))
        elif path.suffix == ".md":
            file = File.generated(config, place, content=path.read_text(encoding="utf-8"))
        else:
            file = File.generated(config, place, abs_src_path=str(path))
        files.append(file)
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site, and put figures in their places."""
    place = page.file.src_uri
    sources = {taken: source for source, taken in _taken_in().items()}
    source = sources.get(place, DOCS + place)
    markdown = markdown.replace("<!-- figures of the models -->", figures_of_the_models())
    return "".join(
        part if part.startswith("```") else _LINK.sub(lambda m: _relink(m, source, place), part)
        for part in _split_fences(markdown)
    )


def _taken_in() -> dict[str, str]:
    """Files of the repository outside this folder, and their places in the site."""
    cards = {path: path for path in _found("models/*/*.md")}
    figures = {path: path for path in _found("models/*/*.json")}
    recipes = {path: path for path in _found("models/*/*.toml")}
    notebooks = {path: path.replace(".ipynb", ".md") for path in _found("notebooks/*.ipynb")}
    schema = {"deepfake_audio/report.schema.json": "reference/report.schema.json"}
    return {**TOP, **cards, **figures, **recipes, **notebooks, **schema}


def _found(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def _split_fences(markdown: str) -> Iterator[str]:
    at = 0
    for fence in _FENCE.finditer(markdown):
        yield markdown[at : fence.start()]
        yield fence[0]
        at = fence.end()
    yield markdown[at:]


def _relink(link: re.Match[str], source: str, place: str) -> str:
    """Return a link for the site; one to what the site lacks becomes text.

    Links that lead nowhere in the repository either stay as they are, for the build to fail.
    """
    text, target, anchor = link[1], link[2], link[3] or ""
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if wanted.startswith(DOCS):
        found = wanted.removeprefix(DOCS)
    elif (known := (_taken_in() | ELSEWHERE).get(wanted)) is not None:
        found = known
    elif (ROOT / wanted).exists():
        return text[1:-1]
    else:
        return link[0]
    return f"{text}({posixpath.relpath(found, posixpath.dirname(place) or '.')}{anchor})"


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown; it is kept without outputs, and so is its page."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    first, *rest = parts
    note = f"*A notebook: `{path.relative_to(ROOT).as_posix()}` in the repository.*"
    return "\n\n".join([first, note, *rest]) + "\n"


def commands_page() -> str:
    """Return what ``--help`` of every command prints, as one page."""
    from deepfake_audio.cli.detect import app as detect_app
    from deepfake_audio.cli.tools import app as tools_app

    lines = ["# Commands", "", "What `--help` prints.", ""]
    for name, app in (("detect", detect_app), ("deepfake-audio", tools_app)):
        for words in _commands(app):
            title = " ".join([name, *words])
            text = _help(app, words, name)
            lines += [f"## `{title}`", "", "```text", text, "```", ""]
    return "\n".join(lines)


def _commands(app: Any) -> Iterator[list[str]]:
    """Yield the words of each command after the program's name, the program itself first."""
    import typer

    def below(command: Any, words: list[str]) -> Iterator[list[str]]:
        yield words
        for name, sub in getattr(command, "commands", {}).items():
            yield from below(sub, [*words, name])

    yield from below(typer.main.get_command(app), [])


def _help(app: Any, words: list[str], name: str) -> str:
    from typer.testing import CliRunner

    asked = CliRunner().invoke(app, [*words, "--help"], prog_name=name, terminal_width=96)
    if asked.exit_code:
        raise RuntimeError(f"{name} {' '.join(words)} --help: {asked.output}")
    return asked.output.strip()


def figures_of_the_models() -> str:
    """Return a table of the released models' error rates on test, from their files."""
    lines = ["| model | test clips | pooled EER | page-macro EER |", "|---|---|---|---|"]
    for path in sorted(ROOT.glob("models/*/test.json")):
        test = json.loads(path.read_text(encoding="utf-8"))
        name = path.parent.name
        rates = [_rate(test["figures"][key]) for key in ("pooled_eer", "page_macro_eer")]
        card = f"[`{name}`](../models/{name}/card.md)"
        lines.append(f"| {card} | {test['clips']['total']:,} | {' | '.join(rates)} |")
    return "\n".join(lines)


def _rate(figure: Mapping[str, float]) -> str:
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"
