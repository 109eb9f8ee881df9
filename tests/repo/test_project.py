"""Dependencies, and the one command that runs every test."""

import re
import tomllib

import pytest

from tests.repo.source import ROOT

PYPROJECT = ROOT / "pyproject.toml"
TEXT = PYPROJECT.read_text()
PROJECT = tomllib.loads(TEXT)["project"]
PACKAGES = tomllib.loads(TEXT)["tool"]["setuptools"]["packages"]["find"]["include"]
DEPENDENCIES = [*PROJECT["dependencies"], *(d for group in PROJECT["optional-dependencies"].values() for d in group)]
WANTED_BOUNDS = {
    "prefect": "<3.9",
    "fastapi": "<0.151",
    "sqlalchemy": "<2.1",
    "mlflow": "<3.18",
    "webdataset": "==1.0.2",
    "diffusers": "<0.43",
}
"""Newer ones were seen to break something, or our code relies on internals of this release."""


def test_every_dependency_says_why_it_is_there() -> None:
    lines = {d: line for d in DEPENDENCIES for line in TEXT.splitlines() if line.strip().startswith(f'"{d}",')}
    assert set(lines) == set(DEPENDENCIES)
    assert not [d for d, line in lines.items() if not line.partition("#")[2].strip()]


@pytest.mark.parametrize(("name", "bound"), WANTED_BOUNDS.items())
def test_known_breakage_is_kept_out(name: str, bound: str) -> None:
    (found,) = [d for d in PROJECT["dependencies"] if re.match(rf"{name}\b", d)]
    assert bound in found


def test_constraints_pin_every_dependency() -> None:
    """Within what pyproject.toml allows; `make lock` writes them."""
    from packaging.requirements import Requirement

    pins = _pins()
    for requirement in map(Requirement, DEPENDENCIES):
        if _normal(requirement.name) == "nvidia-ml-py":
            continue  # only where there is a GPU
        assert _normal(requirement.name) in pins, f"{requirement.name} is not pinned; run `make lock`"
        assert pins[_normal(requirement.name)] in requirement.specifier


def test_uv_installs_the_same_versions() -> None:
    """`make lock` writes both; uv.lock has besides what only other machines need, such as CUDA's libraries."""
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    versions = {_normal(package["name"]): package["version"] for package in locked}
    for name, version in _pins().items():
        assert versions.get(name, version) == version, f"{name}; run `make lock`"
    (own,) = (package for package in locked if package["name"] == PROJECT["name"])
    wanted = {_normal(re.split(r"[<>=]", dependency)[0]) for dependency in DEPENDENCIES}
    assert {_normal(one["name"]) for one in own["metadata"]["requires-dist"]} == wanted


def test_packages_say_that_they_have_types() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/py.typed")}
    assert folders == {name.rstrip("*") for name in PACKAGES}


def test_readme_and_ci_run_the_same_command() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    (command,) = [line for line in ci.splitlines() if line.startswith("make ")]
    assert command == "make test"
    assert re.search(rf"^{command}$", readme, re.M), "README does not name the command that CI runs"


@pytest.mark.parametrize(("target", "chosen"), [("test", "not extra"), ("test-all", "")])
def test_make_runs_the_tiers_that_readme_says(target: str, chosen: str) -> None:
    """Its marker expression takes the place of the one in pyproject.toml; an empty one leaves nothing out."""
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert recipe is not None
    assert re.findall(r'pytest -m "(.*?)"', recipe.group(1)) == [chosen]
    assert re.search(rf"`make\s{target}`", (ROOT / "README.md").read_text())


def test_ruff_and_mypy_make_no_exceptions_for_single_files() -> None:
    ruff = tomllib.loads(TEXT)["tool"]["ruff"]["lint"]
    assert set(ruff.get("per-file-ignores", {})) <= {"tests/**"}
    assert "exclude" not in tomllib.loads(TEXT)["tool"]["mypy"]


def _pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {_normal(line.split("==")[0]): line.split("==")[1] for line in lines}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_has_a_lower_bound() -> None:
    """Without one an installer may take a release that never worked."""
    assert not [d for d in DEPENDENCIES if not re.search(r">=|==", d)]
