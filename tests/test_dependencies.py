"""What is declared in pyproject.toml: how old it may be, and under which licence it comes."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
SHIPPED = sorted(
    {*PROJECT["dependencies"], *(r for name in EXTRAS if name != "dev" for r in EXTRAS[name])}
)
OURS = PROJECT["name"]

ALLOWED = re.compile(
    r"0BSD|BSD(-[23]-Clause| License)?|BSL-1\.0|CC0-1\.0|ISC|ISC License \(ISCL\)|Zlib"
    r"|Apache[- ](License[- ]?)?2\.0|Apache Software License|LLVM-exception|MIT( License)?"
    r"|LGPL-(2\.1-or-later|3\.0-only)|Python Software Foundation License"
)
"""Libraries under the LGPL are loaded, and nothing of them is copied."""

SAYS_NOTHING = {"pyworld": "MIT, by the licence file of its repository"}


def licences(name: str) -> list[str]:
    """Return what a distribution says of its licence, the most exact statement that there is."""
    about = importlib.metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return re.split(r" (?:AND|OR|WITH) ", expression.replace("(", "").replace(")", ""))
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    return classifiers or re.split(r" (?:AND|OR) ", about.get("License") or "")


@pytest.mark.parametrize("requirement", [*map(Requirement, SHIPPED)], ids=str)
def test_licences_are_known_and_permissive(requirement: Requirement) -> None:
    try:
        found = licences(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{requirement.name} is not installed: pip install '{requirement}'")
    if found == [""]:
        assert requirement.name in SAYS_NOTHING
        return
    assert [name for name in found if not ALLOWED.fullmatch(name)] == []


@pytest.mark.parametrize("requirement", [*map(Requirement, [*SHIPPED, *EXTRAS["dev"]])], ids=str)
def test_every_dependency_says_how_old_it_may_be(requirement: Requirement) -> None:
    if requirement.name == OURS:
        return
    # `<` alone is for what is only wanted in its old form.
    assert {clause.operator for clause in requirement.specifier} & {">=", "<"}
