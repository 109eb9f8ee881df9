"""The product's source files, for the tests that read them."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYERS = ("datasets_spec", "ltx_core", "tasks", "flows")
"""From the bottom up: a layer may import itself and those before it."""
CORE_LAYERS = (
    ("errors",),
    ("shapes", "progress", "process"),
    ("io",),
    ("rng", "transfer"),
    ("hub", "store", "media", "flow_matching"),
    ("checkpoint", "denoiser"),
    ("engine", "conditioning"),
    ("adapters", "distributed"),
    ("memory",),
    ("autoencoder", "text"),
    ("vision", "sampling", "training", "tiny", "report"),
)
"""Inside `ltx_core`, from the bottom up: what is in one row knows the rows before it, and nothing beside it."""
SOURCES = sorted(path.relative_to(ROOT) for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


@cache
def tree(source: Path) -> ast.Module:
    return ast.parse((ROOT / source).read_text(), filename=str(source))


@cache
def nodes(source: Path) -> tuple[ast.AST, ...]:
    """Every node of its tree, walked once for all tests."""
    return tuple(ast.walk(tree(source)))


@cache
def imports(source: Path) -> frozenset[str]:
    """Every module that a file imports by absolute name, nested ones too: `a.b` for `from a.b import c`."""
    found: set[str] = set()
    for node in nodes(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return frozenset(found)


def top_packages(source: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(source)}


def called(call: ast.Call) -> str:
    """The name that is called: `f` of `f(...)` and of `a.b.f(...)`."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def tracked_files() -> Iterator[Path]:
    """Every file that git knows, relative to the root, and is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return (Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())
