"""A sweep runs what its file asks for, once, and sums it up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_training import TINY, silent, toml_of
from typer.testing import CliRunner

from deepfake_audio.cli.tools import app
from deepfake_audio.errors import ConfigError
from deepfake_audio.training import Sources
from deepfake_audio.training import sweep as sweep_module
from deepfake_audio.training.sweep import Sweep, sweep, table

PLAN = """
base = "recipe.toml"
seeds = [3, 4]
[grid]
"optim.sharpness" = [0.0, 0.1]
"augment.snr_db" = [[1.0, 2.0], [3.0, 4.0]]
[variants.contrast]
"optim.supcon_weight" = 0.5
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(toml_of(TINY))
    path = tmp_path / "sweep.toml"
    path.write_text(PLAN)
    return path


def test_the_plan_is_every_combination_and_every_variant(plan: Path) -> None:
    loaded = Sweep.load(plan)
    assert len(loaded.variants) == 5
    assert len({variant.name for variant in loaded.variants}) == 5
    first, *_, last = loaded.variants
    assert first.name == "optim.sharpness=0.0,augment.snr_db=[1.0,2.0]"
    recipe = loaded.recipe(loaded.variants[3], 4)
    assert (recipe.optim.sharpness, recipe.augment.snr_db, recipe.optim.seed) == (0.1, (3, 4), 4)
    assert loaded.recipe(last, 3).optim.supcon_weight == 0.5
    assert loaded.recipe(last, 3).optim.replace(supcon_weight=0.0, seed=0) == TINY.optim


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("optim.sharpness", "optim.sharpnes", "sharpnes"),
        ("[0.0, 0.1]", "0.1", "needs a list"),
        ("seeds = [3, 4]", "seed = 3", "unknown setting seed"),
        ('base = "recipe.toml"', 'base = "absent.toml"', "absent"),
        ('base = "recipe.toml"', "", "names no base"),
        ("variants.contrast", 'variants."../x"', "no name for a folder"),
    ],
)
def test_wrong_plans_are_named_before_anything_runs(
    plan: Path, old: str, new: str, message: str
) -> None:
    plan.write_text(PLAN.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        Sweep.load(plan)


def test_figures_are_summed_up_over_seeds() -> None:
    eer = {"pooled_eer": {"mean": 0.25, "sd": 0.0125}, "clips": {"mean": 6.0, "sd": 0.0}}
    alone = {"pooled_eer": {"mean": 0.5, "sd": None}}
    rows: list[dict[str, Any]] = [
        {"name": "a", "figures": eer, "runs": [{}, {}]},
        {"name": "b", "figures": alone, "runs": [{}]},
        {"name": "c", "figures": {}, "runs": []},
    ]
    assert table(rows).splitlines()[2:] == [
        "| a | 2 | 25.0 ± 1.2 |",
        "| b | 1 | 50.0 |",
        "| c | 0 |  |",
    ]


@pytest.mark.long
def test_the_command_runs_goes_on_and_does_nothing_twice(
    plan: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.write_text('base = "recipe.toml"\nseeds = [3]\n')
    out = tmp_path / "out"
    arguments = ["sweep", str(plan), "--data", str(data), "--out", str(out), "-q"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("| variant | seeds | pooled eer |")
    [row] = json.loads((out / "sweep.json").read_text())
    [run] = row["runs"]
    assert run["seed"] == 3
    assert row["figures"]["pooled_eer"] == {"mean": run["pooled_eer"], "sd": None}

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("ran again")

    monkeypatch.setattr(sweep_module, "train", never)
    before = (out / "sweep.md").read_text()
    sweep(Sweep.load(plan), Sources([data]), out, say=silent)
    assert (out / "sweep.md").read_text() == before
    plan.with_name("recipe.toml").write_text(toml_of(TINY).replace("0.1'", "0.2'"))
    with pytest.raises(ConfigError, match="another recipe"):
        sweep(Sweep.load(plan), Sources([data]), out, say=silent)
