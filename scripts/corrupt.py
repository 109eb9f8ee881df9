"""Damage one file of a workspace as failing disks, careless copies and killed programs do, by a seed."""

import random
from collections.abc import Callable
from pathlib import Path

FOLDERS = ("pool", "runs", "stages")
"""What the pipeline itself writes; `cache` and MLflow's files belong to libraries."""

Change = Callable[[bytes, random.Random], bytes]


def corrupt(workspace: Path, seed: int) -> str:
    """Change one file in place and say which and how: the same seed on the same files does the same.

    Files that are held open or linked elsewhere are changed under every name, as a disk would. Locks are left alone.
    """
    chosen = random.Random(seed)
    files = sorted(path for name in FOLDERS for path in (workspace / name).rglob("*") if _is_target(path))
    path = chosen.choice(files)
    kind = chosen.choice([*CHANGES, "delete", "another file in its place"])
    name = path.relative_to(workspace).as_posix()
    if kind == "delete":
        path.unlink()
    elif kind == "another file in its place":
        others = [other for other in files if other.suffix == path.suffix and other != path]
        other = chosen.choice(others or files)
        _overwrite(path, other.read_bytes())
        return f"seed {seed}: {name}: {other.relative_to(workspace).as_posix()} in its place"
    else:
        _overwrite(path, CHANGES[kind](path.read_bytes(), chosen))
    return f"seed {seed}: {name}: {kind}"


def _is_target(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.name.startswith(".")


def _overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)
        file.truncate(len(data))


def _flip(data: bytes, chosen: random.Random) -> bytes:
    """One bit."""
    if not data:
        return b"\0"
    place = chosen.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << chosen.randrange(8))]) + data[place + 1 :]


def _flips(data: bytes, chosen: random.Random) -> bytes:
    for _ in range(16):
        data = _flip(data, chosen)
    return data


def _zeros(data: bytes, chosen: random.Random) -> bytes:
    """A block that was never written."""
    begin = chosen.randrange(len(data) or 1)
    end = min(len(data), begin + 512)
    return data[:begin] + bytes(end - begin) + data[end:]


def _noise(data: bytes, chosen: random.Random) -> bytes:
    begin = chosen.randrange(len(data) or 1)
    end = min(len(data), begin + 64)
    return data[:begin] + chosen.randbytes(end - begin) + data[end:]


CHANGES: dict[str, Change] = {
    "one bit": _flip,
    "sixteen bits": _flips,
    "zeros in a block": _zeros,
    "noise": _noise,
    "all zeros": lambda data, _: bytes(len(data)),
    "cut": lambda data, chosen: data[: chosen.randrange(len(data) or 1)],
    "empty": lambda _data, _chosen: b"",
    "grown": lambda data, chosen: data + chosen.randbytes(37),
}
