"""What no file may do: swallow errors, load weights in part, unpickle, or name one person's machine."""

import ast
import re
from pathlib import Path

import pytest

from tests.repo.source import ROOT, SOURCES, called, nodes, top_packages, tracked_files

PROCESS_BOUNDARIES = [
    "ltx_core/media/worker_process.py",
    "tasks/runtime/child.py",
    "tasks/runtime/fork_server.py",
    "tasks/runtime/spare.py",
]
"""Files whose process ends there or answers: of a worker that reads files from anywhere, of a stage, of a run's fork
server, and of what compiles beside a stage."""
LISTS_FOLDERS = "ltx_core/io/atomic.py"
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
MACHINE_PATHS = re.compile(r"/(?:root|work|home/[a-z][\w-]*|Users/[A-Z]?[a-z]\w*|tmp/w|mnt/[a-z]+)/[\w.]")
INDEX_URLS = re.compile(r"https?://([\w.-]+)[^\s\"']*/(?:simple|whl|pypi)\b")
PUBLIC_INDEXES = {"pypi.org", "files.pythonhosted.org", "download.pytorch.org"}
SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|\bhf_[A-Za-z]{30,}|\bgh[pousr]_\w{30,}|\bgithub_pat_\w{30,}|\bxox[abpr]-\w{10,}"
    r"|\bsk-[A-Za-z0-9_-]{24,}|-----BEGIN [A-Z ]*PRIVATE KEY|https?://[^/\s:@\"'{}]+:[^/\s@\"'{}]+@"
)
TEXT_SUFFIXES = {"", ".py", ".md", ".toml", ".yaml", ".yml", ".json", ".txt", ".sh", ".cfg", ".ini", ".html"}


def test_only_process_boundaries_catch_everything() -> None:
    """Others may clean up and raise the same error again."""
    catching = [f"{s}:{h.lineno}" for s in SOURCES for h in _handlers(s) if _catches_all(h) and not _passes_on(h)]
    assert sorted({place.partition(":")[0] for place in catching}) == PROCESS_BOUNDARIES


def test_weights_load_whole() -> None:
    partly = [
        f"{s}:{call.lineno}"
        for s in SOURCES
        for call in _calls(s)
        if "load" in called(call) and any(_leaves_out(keyword) for keyword in call.keywords)
    ]
    assert not partly, "every tensor must find its place"


def test_nothing_is_unpickled() -> None:
    unpicklers = [(str(s), name) for s in SOURCES for name in top_packages(s) & UNPICKLERS]
    calls = [(f"{s}:{call.lineno}", call) for s in SOURCES for call in _calls(s)]
    torch_files = [place for place, call in calls if ast.unparse(call.func) in ("torch.load", "torch.save")]
    numpy_files = [place for place, call in calls if any(k.arg == "allow_pickle" for k in call.keywords)]
    assert not [*unpicklers, *torch_files, *numpy_files], "use safetensors, Parquet or JSON"


def test_folders_are_listed_without_partial_files() -> None:
    """`Path.glob` takes a killed writer's `.partial-1-x.parquet` for a Parquet file; `find_whole` does not."""
    listing = {f"{s}" for s in SOURCES for call in _calls(s) if called(call) in ("glob", "rglob", "iglob")}
    assert listing == {LISTS_FOLDERS}


def test_no_machine_and_no_secret_is_named() -> None:
    texts = {str(path): (ROOT / path).read_text(encoding="utf-8") for path in tracked_files() if _is_text(path)}
    assert len(texts) > len(SOURCES)
    named = {path: found.group() for path, text in texts.items() if (found := _named(text))}
    assert not named
    strangers = {
        path: found for path, text in texts.items() if (found := set(INDEX_URLS.findall(text)) - PUBLIC_INDEXES)
    }
    assert not strangers, "package indexes are for each machine to say"


@pytest.mark.parametrize(
    "text",
    [
        "/".join(["", "root", "x"]),
        "/".join(["", "home", "ann", "videos"]),
        "hf_" + "a" * 34,
        "https" + "://ann:secret@example.org",
        "AKIA" + "A" * 16,
    ],
)
def test_the_patterns_find_what_they_should(text: str) -> None:
    assert _named(text)


def _named(text: str) -> re.Match[str] | None:
    return MACHINE_PATHS.search(text) or SECRETS.search(text)


def _is_text(path: Path) -> bool:
    return path.suffix in TEXT_SUFFIXES


def _handlers(source: Path) -> list[ast.ExceptHandler]:
    return [node for node in nodes(source) if isinstance(node, ast.ExceptHandler)]


def _calls(source: Path) -> list[ast.Call]:
    return [node for node in nodes(source) if isinstance(node, ast.Call)]


def _leaves_out(keyword: ast.keyword) -> bool:
    """`strict=False` and `ignore_mismatched_sizes=True`."""
    leaving = {"strict": False, "ignore_mismatched_sizes": True}
    return isinstance(keyword.value, ast.Constant) and leaving.get(keyword.arg or "", ...) is keyword.value.value


def _catches_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)


def _passes_on(handler: ast.ExceptHandler) -> bool:
    """Cleans up and raises the same error again."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None
