"""The GPUs that a stage's process has to itself, and the device, threads and precision that it computes with.

GPUs are held by locks that the kernel frees when the process ends, however it ends. Prefect knows nothing of them, so
runs of other terminals, users and servers wait too, and no dead one holds a GPU. Torch is not needed for that: what is
taken goes into `CUDA_VISIBLE_DEVICES` before CUDA wakes up, and ranks inherit it.

Why so: docs/decisions/gpu_locks.md.
"""

import gc
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ltx_core.errors import ConfigError
from ltx_core.io.lock import UNKNOWN, named_holder, read_holder, taken, wait_for
from ltx_core.memory.plan import card_gib
from ltx_core.progress import Progress
from tasks.runtime.shared import MemoryConfig

if TYPE_CHECKING:
    import torch


VISIBLE = "CUDA_VISIBLE_DEVICES"
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
    """Where the locks of this machine's GPUs lie, for all of its users."""
    folder = Path(tempfile.gettempdir()) / "ltx2-lora-gpus"
    folder.mkdir(exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(0o1777)
    return folder


class Held:
    """GPUs that belong to this process, by the names in `CUDA_VISIBLE_DEVICES`; empty where there are none."""

    def __init__(self, handles: dict[str, int], doing: str, progress: Progress) -> None:
        self._locks, self._progress = {name: _lock(handle, doing) for name, handle in handles.items()}, progress
        if handles:
            os.environ[VISIBLE] = ",".join(handles)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._locks)

    def keep(self, needed: int) -> None:
        """Give back all but the first `needed`: ranks share a step's batches evenly, so not every number is of use."""
        surplus = dict(list(self._locks.items())[needed:])
        if surplus:
            self._progress.note(
                f"{needed} of {len(self._locks)} GPUs train: they share the batches of a step, and "
                f"gradient_accumulation_steps is no multiple of a larger number of them"
            )
            self._locks = {name: lock for name, lock in self._locks.items() if name not in surplus}
            os.environ[VISIBLE] = ",".join(self._locks)
            for lock in surplus.values():
                lock.close()

    def free(self) -> None:
        for lock in self._locks.values():
            lock.close()


def _lock(handle: int, doing: str) -> ExitStack:
    """An open file whose lock is taken, with the word who holds it, to be closed."""
    with ExitStack() as stack:
        stack.callback(os.close, handle)  # closing frees the lock
        stack.enter_context(named_holder(handle, doing))
        return stack.pop_all()


@contextmanager
def held_gpus(wanted: int, doing: str, progress: Progress) -> Iterator[Held]:
    """Hold so many GPUs for this process alone, waiting for them; `ALL` are those that are free, at least one.

    Inside, `CUDA_VISIBLE_DEVICES` names them and no others. Where there are none, nothing is held or changed.
    `doing` is what others read who wait for them.

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
    held = Held(_wait(visible, wanted, progress) if visible else {}, doing, progress)
    if wanted == ALL and len(held.names) < len(visible):
        rest = [name for name in visible if name not in held.names]
        progress.note(f"taken are {len(held.names)} of {len(visible)} GPUs: {_holders(rest)}")
    try:
        yield held
    finally:
        held.free()
        if before is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = before


def _wait(visible: Sequence[str], wanted: int, progress: Progress) -> dict[str, int]:
    least = max(wanted, 1)

    def attempt() -> dict[str, int] | None:
        handles = _free_ones(visible, wanted or len(visible))
        if len(handles) >= least:
            return handles
        for handle in handles.values():  # all at once or none: two that wait for each other's would wait for ever
            os.close(handle)
        return None

    number = f"{least} GPUs" if least > 1 else "a GPU"
    return wait_for(attempt, lambda: f"waiting for {number}: {_holders(visible)}", progress)


def _holders(names: Sequence[str]) -> str:
    """Who holds those of these GPUs that are not free."""
    held = []
    for name in names:
        handle = _opened(_lock_file(name))
        if not taken(handle):
            held.append(f"GPU {name} is held by {read_holder(handle) or UNKNOWN}")
        os.close(handle)
    return "; ".join(held) or "all are free by now"


def _free_ones(visible: Sequence[str], most: int) -> dict[str, int]:
    """Locks on up to `most` of these, by name."""
    handles: dict[str, int] = {}
    for name in visible:
        if len(handles) == most:
            break
        handle = _opened(_lock_file(name))
        if taken(handle):
            handles[name] = handle
        else:
            os.close(handle)
    return handles


def _lock_file(name: str) -> Path:
    return lock_folder() / f"{name.replace('/', '_')}.lock"


def _opened(file: Path) -> int:
    """For all users to lock, and to write their word into. Created only if it is not there: Linux refuses O_CREAT on
    another user's file in a folder that all may write."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(file, flags | os.O_RDWR)
    except FileNotFoundError:
        handle = os.open(file, flags | os.O_RDWR | os.O_CREAT, 0o666)
        os.fchmod(handle, 0o666)  # whatever the umask
        return handle
    except PermissionError:  # made by another user of a version that wrote nothing
        return os.open(file, flags | os.O_RDONLY)


@contextmanager
def loading() -> Iterator[None]:
    """Import torch, diffusers, transformers inside.

    They make a million objects that stay. Python's collector, which runs after every 700 new ones, goes through them
    again and again and finds nothing. It is as it was afterwards, whatever an import raised.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def prepare_device(memory: MemoryConfig) -> str:
    """Set PyTorch up for this process; gives `cuda` or `cpu`.

    Raises:
        ConfigError: `cuda` was asked for and there is none.
    """
    import torch

    if memory.cpu_threads is not None:
        torch.set_num_threads(memory.cpu_threads)
    available = torch.cuda.is_available()
    if memory.device == "cuda" and not available:
        raise ConfigError(
            "memory.device is cuda, but PyTorch finds no GPU; check the driver, or set memory.device: auto"
        )
    return "cuda" if memory.device != "cpu" and available else "cpu"


def planned_card(memory: MemoryConfig) -> float | None:
    """GiB of the GPU to plan for: `memory.gpu_gib`, else this machine's; None where stages run on the CPU."""
    return None if memory.device == "cpu" else memory.gpu_gib or card_gib()


def num_devices(memory: MemoryConfig) -> int:
    """GPUs that this process sees; 1 where it works on the CPU.

    Raises:
        ConfigError: `cuda` was asked for and there is none.
    """
    import torch

    return torch.cuda.device_count() if prepare_device(memory) == "cuda" else 1


def torch_dtype(name: str) -> "torch.dtype":
    """The precision that a `dtype` option names: `bf16` or `fp32`."""
    import torch

    return {"bf16": torch.bfloat16, "fp32": torch.float32}[name]
