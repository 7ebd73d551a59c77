"""The notebooks run from top to bottom, show what they promise, and are kept without outputs."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

import deepfake_audio

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))

PROMISES = {
    "01_quickstart": ("text/html", "image/png", "broken.wav", "unsupported_format"),
    "02_train_your_own": ("image/png", "lesson 0.1", "+finetuned (", "equal error rate on"),
    "03_calibration_and_policies": ("image/png", "text/html", "Cllr on the other half", "recall"),
    "04_robustness": ("image/png", "| opus:8000 |", "| fgsm:40 |", "s synthetic of"),
    "05_gpu_batch": ("image/png", "x real time", "verdicts are others", "broken.wav"),
    "06_assessment": ("text/html", "F1 open", "F1 closed", "| F1 |"),
}
"""What each is to show: kinds of output, and words."""


def test_there_is_a_promise_for_each() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(PROMISES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert path.stat().st_size < 30_000


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel is a process of its own: it must find this very package, and nothing of its user's.
    monkeypatch.setenv("PYTHONPATH", str(Path(deepfake_audio.__file__).parent.parent))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    shown = {kind for output in outputs for kind in output.get("data", {})}
    shown.add("".join(output.get("text", "") for output in outputs))
    for promised in PROMISES[path.stem]:
        assert any(promised in each for each in shown), promised
