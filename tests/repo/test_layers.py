"""flows -> tasks -> ltx_core -> datasets_spec, and never back; each outside library stays where it belongs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.source import CORE_LAYERS, LAYERS, ROOT, SOURCES, imports, nodes, top_packages

HEAVY = ("torch", "diffusers", "transformers", "peft", "mlflow")
LIGHT_MODULES = ("datasets_spec", "tasks", "flows.config", "flows.cli.run", "flows.flows")
"""What `--help`, `plan`, forms and deployments import; in the order in which they are imported here."""
PREFECT_ALLOWED = ("flows/", "flows/prefect_run.py")
NOT_IN_CORE = {"yaml", "argparse", "typer", "mlflow"}
TESTING = ("tests", "pytest", "unittest", "prefect.testing")


def test_there_is_something_to_look_at() -> None:
    assert {source.parts[0] for source in SOURCES} == set(LAYERS)


def test_imports_point_down() -> None:
    upward = [(str(s), found) for s in SOURCES if (found := top_packages(s) & set(LAYERS[_level(s) + 1 :]))]
    assert not upward, "a layer may import itself and those before it in LAYERS"


def test_every_part_of_the_core_has_its_row() -> None:
    parts = {_part(source.with_suffix("").as_posix().replace("/", ".")) for source in SOURCES}
    assert parts - {""} == {part for row in CORE_LAYERS for part in row}


def test_the_core_points_down_too() -> None:
    row_of = {part: index for index, row in enumerate(CORE_LAYERS) for part in row}
    upward = [
        f"{source} imports {name}"
        for source in SOURCES
        if (own := _part(source.with_suffix("").as_posix().replace("/", ".")))
        for name in imports(source)
        if (other := _part(name)) and other != own and row_of[other] >= row_of[own]
    ]
    assert not upward, "a row of CORE_LAYERS may import those before it"


def test_imports_are_absolute() -> None:
    from_imports = [(s, node) for s in SOURCES for node in nodes(s) if isinstance(node, ast.ImportFrom)]
    relative = [f"{s}:{node.lineno}" for s, node in from_imports if node.level]
    assert not relative


def test_prefect_stays_at_the_edge() -> None:
    users = [s.as_posix() for s in SOURCES if "prefect" in top_packages(s)]
    assert users
    assert not [s for s in users if not s.startswith(PREFECT_ALLOWED)]


def test_core_knows_no_tracking_and_no_command_line() -> None:
    core = [s for s in SOURCES if s.parts[0] in ("ltx_core", "datasets_spec")]
    assert not [(str(s), found) for s in core if (found := top_packages(s) & NOT_IN_CORE)]


def test_the_product_does_not_import_its_tests() -> None:
    found = [(str(s), name) for s in SOURCES for name in imports(s) if name.startswith(TESTING)]
    assert not found


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """For each light module, the heavy libraries that are loaded once it and those before it are imported."""
    code = f"import sys, importlib\nfor name in {LIGHT_MODULES}:\n importlib.import_module(name)\n"
    code += f" print(name, *[heavy for heavy in {HEAVY} if heavy in sys.modules])\n"
    command = [sys.executable, "-W", "ignore", "-c", code]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {line.split()[0]: line.split()[1:] for line in out.stdout.splitlines()}


@pytest.mark.whole
@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_import_is_light(module: str, loaded: dict[str, list[str]]) -> None:
    assert loaded[module] == [], f"importing {module} (or what comes before it in this test) loads {loaded[module]}"


def _level(source: Path) -> int:
    return LAYERS.index(source.parts[0])


def _part(module: str) -> str:
    """The package or module of the core that a dotted name lies in; nothing for the core itself and for others."""
    names = module.split(".")
    return names[1] if names[0] == "ltx_core" and len(names) > 1 and names[1] != "__init__" else ""
