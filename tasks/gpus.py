"""Which GPUs a stage's process has to itself: locks that the kernel frees when it ends, however it ends.

Prefect's slots order flow runs, but say nothing of which GPU, and nothing to runs of other terminals. No torch: what is
taken goes into `CUDA_VISIBLE_DEVICES` before CUDA wakes up, and ranks inherit it.
"""

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ltx_core.errors import ConfigError, Stopped
from ltx_core.progress import Progress

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 1.0
ALL = 0
"""As a wanted number: every GPU that is free, at least one."""


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them, else all of the machine; asked of the
    driver's tool, so that torch need not be loaded."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip())
    return tuple(str(number) for number in range(count_gpus()))


def count_gpus() -> int:
    """GPUs of this machine; 0 where there is no NVIDIA driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 0
    return listed.stdout.count("GPU ") if listed.returncode == 0 else 0


def lock_folder() -> Path:
    """Where the locks of this machine's GPUs lie, for all of its users; nothing is ever written into them."""
    folder = Path(tempfile.gettempdir()) / "ltx2-lora-gpus"
    folder.mkdir(exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(0o1777)
    return folder


class Held:
    """GPUs that belong to this process, by the names in `CUDA_VISIBLE_DEVICES`; empty where there are none."""

    def __init__(self, handles: dict[str, int], progress: Progress) -> None:
        self._handles, self._progress = handles, progress
        if handles:
            os.environ[VISIBLE] = ",".join(handles)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._handles)

    def keep(self, needed: int) -> None:
        """Give back all but the first `needed`: ranks share a step's batches evenly, so not every number is of use."""
        surplus = dict(list(self._handles.items())[needed:])
        if surplus:
            self._progress.note(
                f"{needed} of {len(self._handles)} GPUs train: they share the batches of a step, and "
                f"gradient_accumulation_steps is no multiple of a larger number of them"
            )
            self._handles = {name: handle for name, handle in self._handles.items() if name not in surplus}
            os.environ[VISIBLE] = ",".join(self._handles)
            _free(surplus)

    def free(self) -> None:
        _free(self._handles)


@contextmanager
def held_gpus(wanted: int, progress: Progress) -> Iterator[Held]:
    """Hold so many GPUs for this process alone, waiting for them; `ALL` are those that are free, at least one.

    Inside, `CUDA_VISIBLE_DEVICES` names them and no others. Where there are none, nothing is held or changed.

    Raises:
        ConfigError: more are wanted than this process may use.
        Stopped: asked to stop while waiting.
    """
    visible, before = visible_gpus(), os.environ.get(VISIBLE)
    if wanted > len(visible) > 0:
        raise ConfigError(
            f"{wanted} GPUs are wanted and {len(visible)} can be used ({', '.join(visible)}); lower memory.num_gpus or "
            f"set {VISIBLE}"
        )
    held = Held(_wait(visible, wanted, progress) if visible else {}, progress)
    if wanted == ALL and len(held.names) < len(visible):
        progress.note(f"taken are {len(held.names)} of {len(visible)} GPUs: others hold the rest")
    try:
        yield held
    finally:
        held.free()
        if before is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = before


def _wait(visible: Sequence[str], wanted: int, progress: Progress) -> dict[str, int]:
    told = False
    while True:
        handles = _free_ones(visible, wanted or len(visible))
        if len(handles) >= max(wanted, 1):
            return handles
        _free(handles)  # all at once or none: two that wait for each other's would wait for ever
        if not told:
            progress.note(f"waiting for {max(wanted, 1)} of GPUs {', '.join(visible)}: others hold them")
            told = True
        if progress.stopping:
            raise Stopped("stopped while waiting for a GPU")
        time.sleep(POLL_SECONDS)


def _free_ones(visible: Sequence[str], most: int) -> dict[str, int]:
    """Locks on up to `most` of these, by name."""
    handles: dict[str, int] = {}
    for name in visible:
        if len(handles) == most:
            break
        handle = _opened(lock_folder() / f"{name.replace('/', '_')}.lock")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            handles[name] = handle
        except BlockingIOError:
            os.close(handle)
    return handles


def _opened(file: Path) -> int:
    """Created only if it is not there: Linux refuses O_CREAT on another user's file in a folder that all may write."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(file, flags)
    except FileNotFoundError:
        return os.open(file, flags | os.O_CREAT, 0o644)


def _free(handles: dict[str, int]) -> None:
    for handle in handles.values():
        os.close(handle)  # closing frees the lock
