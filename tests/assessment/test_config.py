"""Configurations that are not usable say which key is wrong."""

from __future__ import annotations

from pathlib import Path

import pypdf
import pytest
import reportlab
from typer.testing import CliRunner

from deepfake_audio.assessment import AssessmentConfig, assess
from deepfake_audio.cli.tools import app
from deepfake_audio.errors import ConfigError, DatasetError

from . import demo


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("x = 1", "x: unknown key"),
        ("[scope]\nowner = 'a'", "scope.owner: unknown key"),
        ("[[scores]]\ncommand = 'a'", "scores[0].file: is missing"),
        ("[model]\nthreshold = 'high'", "model.threshold: cannot be 'high': give number"),
        ("[model]\nthreshold = 2", "model.threshold: must lie in [0, 1]"),
        ("[targets]\nmiss = true", "targets.miss: cannot be True"),
        ("[targets]\nmiss = -0.1", "targets.miss: must not be negative"),
        ("[targets.cells]\n'mis/codec/x' = 0.1", "targets.cells.mis/codec/x: unknown: 'mis'"),
        ("[targets.cells]\nmiss = 0.1", "targets.cells.miss: needs measure/axis or more"),
        ("template = 'us'", "template: unknown: 'us': use cn2018, eu_ai_act_50, neutral"),
        ("languages = ['fr']", "languages: unknown: 'fr': use en, zh"),
        ("languages = []", "languages: names no language"),
        ("[findings.due_days]\nworst = 3", "findings.due_days: unknown: 'worst'"),
        ("[[findings.plan]]\ncell = 'a'\ndue = 'soon'", "findings.plan[0].due: cannot be 'soon'"),
        ("[reports]\ncurrent = ['a']", "reports: needs reference and current"),
        ("[run]\nconditions = ['clean']", "run.conditions: needs run.data"),
        ("scope = 3", "scope: must be a table"),
        ("template = [", "is no valid TOML"),
    ],
)
def test_errors_name_the_key(toml: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "assessment.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError) as raised:
        AssessmentConfig.load(path)
    assert message in str(raised.value)


def test_evidence_that_is_not_there_or_something_else(tmp_path: Path) -> None:
    config = demo.write(tmp_path)
    (tmp_path / "robustness.json").unlink()
    with pytest.raises(DatasetError, match=r"robustness\.json: cannot be read"):
        assess(config, tmp_path / "out")
    (tmp_path / "robustness.json").write_text((tmp_path / "metrics.json").read_text())
    with pytest.raises(DatasetError, match=r"is no deepfake_audio\.robustness file"):
        assess(config, tmp_path / "out")
    for name in ("pooled_eer", "evaluations"):
        demo.write_robustness(tmp_path / "robustness.json", weak=0.9)
        text = (tmp_path / "robustness.json").read_text().replace(f'"{name}"', '"other"')
        (tmp_path / "robustness.json").write_text(text)
        with pytest.raises(DatasetError, match=rf"is not what its command writes .*'{name}'"):
            assess(config, tmp_path / "out")
    (tmp_path / "robustness.json").write_text('{"schema": NaN}')
    with pytest.raises(DatasetError, match=r"is no JSON \(NaN is no number\)"):
        assess(config, tmp_path / "out")
    (tmp_path / "robustness.json").write_text("RIFF")
    with pytest.raises(DatasetError, match="is no JSON"):
        assess(config, tmp_path / "out")


def test_a_font_that_is_none(tmp_path: Path) -> None:
    config = demo.write(tmp_path, config='pdf_font = "metrics.json"\n' + demo.CONFIG)
    with pytest.raises(ConfigError, match="pdf_font: is no TrueType file"):
        assess(config, tmp_path / "out")


def test_a_font_that_lacks_characters(tmp_path: Path) -> None:
    """They are set in the typeface of the reader, as all are without a font."""
    font = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"
    toml = f'languages = ["en"]\npdf_font = "{font}"\n' + demo.CONFIG.replace(
        "A. Example", "李 Łuk"
    )
    assess(demo.write(tmp_path, config=toml), tmp_path / "out")
    pages = pypdf.PdfReader(tmp_path / "out" / "report.en.pdf").pages
    text = "".join(page.extract_text() for page in pages)
    assert "李" in text
    assert "Łuk" in text
    fonts = {str(font) for page in pages for font in _fonts(page)}
    assert any("Vera" in font for font in fonts)
    assert any("STSong" in font for font in fonts)


def _fonts(page: pypdf.PageObject) -> list[str]:
    return [str(font.get_object()["/BaseFont"]) for font in page["/Resources"]["/Font"].values()]


def test_a_clip_without_metadata(tmp_path: Path) -> None:
    config = demo.write(tmp_path)
    (tmp_path / "clips.csv").write_text("id,duration_s\nclip-000,2\n")
    with pytest.raises(DatasetError, match="says nothing of clip 'clip-001'"):
        assess(config, tmp_path / "out")


def test_the_command(tmp_path: Path) -> None:
    config, out = demo.write(tmp_path), tmp_path / "out"
    arguments = ["assess", "--config", str(config), "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert str(out / "report.zh.pdf") in done.stdout.splitlines()
    assert "1 open findings (1 high)" in done.stderr
    assert CliRunner().invoke(app, [*arguments, "--fail-on", "findings"]).exit_code == 1
    config.write_text("x = 1")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stderr.strip() == (
        "x: unknown key: known keys are " + done.stderr.strip().partition("known keys are ")[2]
    )


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "docs" / "assessment.toml"
    if not example.exists():
        pytest.skip("no documentation here")
    config = AssessmentConfig.load(example)
    assert config.evaluations
    assert config.findings.plan
