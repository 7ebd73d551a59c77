"""Many runs from one file: a recipe, what is varied, and seeds; a table of dev figures comes out.

.. code-block:: toml

    base = "recipe.toml"            # beside this file
    seeds = [0, 1]

    [grid]                          # every combination
    "optim.sharpness" = [0.0, 0.05]
    "augment.share" = [0.4, 0.8]

    [variants.contrast]             # and single ones by name
    "optim.supcon_weight" = 0.1
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .._files import read_toml
from ..checkpoint import WEIGHTS_NAME, load_checkpoint
from ..errors import ConfigError
from .loop import LOG_NAME, Progress
from .material import Say, Sources
from .recipe import Recipe
from .run import train

TABLE_NAME, FIGURES_NAME = "sweep.md", "sweep.json"


@dataclass(frozen=True)
class Variant:
    """One set of changes to the base recipe.

    Attributes
    ----------
    name : str
        Also of its folder.
    settings : dict
        Values by dotted name, such as ``optim.sharpness``.
    """

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """What is run.

    Attributes
    ----------
    base : dict
        The recipe that is varied, as plain types.
    variants : tuple of Variant
        With other names each.
    seeds : tuple of int
        Each variant is trained once with each.
    """

    base: Mapping[str, Any]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]

    @classmethod
    def load(cls, path: str | Path) -> Sweep:
        """Read a TOML file; every recipe in it is checked before the first one runs.

        Raises
        ------
        ConfigError
            If the file or its base cannot be read, or one of the recipes is not valid.
        """
        path = Path(path)
        values = read_toml(path)
        if unknown := sorted(set(values) - {"base", "grid", "variants", "seeds"}):
            raise ConfigError(
                f"unknown setting {', '.join(unknown)}",
                name=str(path),
                hint="known settings are base, grid, variants, seeds",
            )
        if "base" not in values:
            raise ConfigError("names no base recipe", name=str(path), hint='add base = "…toml"')
        grid = values.get("grid", {})
        axes = [[(key, value) for value in _list(grid, key, path)] for key in grid]
        variants = [Variant(_name(pairs), dict(pairs)) for pairs in itertools.product(*axes)]
        variants += [Variant(name, table) for name, table in values.get("variants", {}).items()]
        sweep = cls(
            read_toml(path.parent / values["base"]),
            tuple(variants),
            tuple(_list({"seeds": [0], **values}, "seeds", path)),
        )
        names = [variant.name for variant in variants]
        for name in names:
            if names.count(name) > 1 or Path(name).name != name:
                raise ConfigError(f"{name!r} is no name for a folder of its own", name=str(path))
        for variant, seed in itertools.product(sweep.variants, sweep.seeds):
            sweep.recipe(variant, seed)
        return sweep

    def recipe(self, variant: Variant, seed: int) -> Recipe:
        """Return the recipe of one run."""
        values = json.loads(json.dumps(self.base))
        for dotted, value in {**variant.settings, "optim.seed": seed}.items():
            *tables, last = dotted.split(".")
            place = values
            for table in tables:
                place = place.setdefault(table, {})
            place[last] = value
        return Recipe.from_dict(values)


def sweep(
    plan: Sweep,
    sources: Sources,
    out: str | Path,
    *,
    device: torch.device | str = "cpu",
    say: Say = print,
    on_progress: Progress | None = None,
) -> Path:
    """Train what a sweep asks for; goes on where an earlier call with this ``out`` stopped.

    Parameters
    ----------
    plan : Sweep
        What to train.
    sources : Sources
        What to train on; with a split ``dev``, which the figures are of.
    out : path
        Folder for ``VARIANT/seed-N`` and the tables ``sweep.md`` and ``sweep.json``, which are
        written anew after each run.
    device, say, on_progress
        See :func:`deepfake_audio.training.train`.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    ConfigError
        If a folder holds the finished run of another recipe.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if sources.cache is None:
        sources = dataclasses.replace(sources, cache=out / "cache")
    found: dict[str, list[dict[str, float]]] = {variant.name: [] for variant in plan.variants}
    # Seed by seed: all variants can be compared as soon as each has run once.
    for seed, variant in itertools.product(plan.seeds, plan.variants):
        folder, recipe = out / variant.name / f"seed-{seed}", plan.recipe(variant, seed)
        if (folder / WEIGHTS_NAME).exists():
            _require_same(folder, recipe)
        else:
            say(f"{variant.name}, seed {seed}")
            train(recipe, sources, folder, device=device, say=say, on_progress=on_progress)
        found[variant.name].append({"seed": seed, **figures_of(folder)})
        rows = [_summary(variant, found[variant.name]) for variant in plan.variants]
        (out / FIGURES_NAME).write_text(json.dumps(rows, indent=2) + "\n")
        (out / TABLE_NAME).write_text(table(rows))
    return out / TABLE_NAME


def figures_of(folder: Path) -> dict[str, float]:
    """Return the dev figures of a finished run: those of the model, and of the last look."""
    with (folder / LOG_NAME).open(encoding="utf-8") as log:
        looks = [entry["dev"] for entry in map(json.loads, log) if "dev" in entry]
    held_out = {k: v for k, v in (looks[-1] if looks else {}).items() if k.endswith("_held_out")}
    released = load_checkpoint(folder / WEIGHTS_NAME).header.metrics.get("dev", {})
    numbers = {**released, **held_out}
    # What could not be measured, such as a mean over sources of which none is large enough, is NaN.
    return {
        name: float(value)
        for name, value in numbers.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the summaries as Markdown: error rates in percent, mean and deviation over seeds."""
    found = {name for row in rows for name in row["figures"] if "eer" in name}
    names = sorted(found, key=lambda name: ("held_out" in name, "page" in name, name))
    lines = [
        f"| variant | seeds | {' | '.join(name.replace('_', ' ') for name in names)} |",
        f"|---|---|{'---|' * len(names)}",
    ]
    for row in rows:
        cells = [_cell(row["figures"].get(name)) for name in names]
        lines.append(f"| {row['name']} | {len(row['runs'])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    mean, deviation = figure["mean"], figure["sd"]
    return f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _summary(variant: Variant, runs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    names = [name for name in (runs[0] if runs else {}) if name != "seed"]
    values = {n: [run[n] for run in runs] for n in names if all(n in run for run in runs)}
    figures = {
        name: {
            "mean": statistics.fmean(each),
            "sd": statistics.stdev(each) if len(each) > 1 else None,
        }
        for name, each in values.items()
    }
    return {
        "name": variant.name,
        "settings": dict(variant.settings),
        "figures": figures,
        "runs": list(runs),
    }


def _require_same(folder: Path, recipe: Recipe) -> None:
    """Refuse a finished run that was trained with something else."""
    recipes = load_checkpoint(folder / WEIGHTS_NAME).header.training.get("recipes", [])
    if [Recipe.from_dict(values) for values in recipes] != [recipe]:
        raise ConfigError(
            "holds the finished run of another recipe",
            name=str(folder),
            hint="give another --out, or rename the variant",
        )


def _name(pairs: Sequence[tuple[str, Any]]) -> str:
    """Name a point of the grid after what it changes; the base itself is called so."""
    if not pairs:
        return "base"
    return ",".join(
        f"{key}={str(value).replace('/', '_').replace(' ', '')}" for key, value in pairs
    )


def _list(values: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    if not isinstance(values[key], list) or not values[key]:
        raise ConfigError(f"{key} needs a list of values", name=str(path), hint=f"{key} = [ … ]")
    return list(values[key])
