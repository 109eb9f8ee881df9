"""Writing checkpoints while training goes on.

Between two steps the state is copied to host memory, and a thread writes the copy. One checkpoint is written at a time,
so the copies take the memory of one, and checkpoints reach the disk in order. What is not on disk when the process is
killed was never there: the next run goes on from the checkpoint before.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from ltx_core.engine.contiguous import HostArena, aligned
from ltx_core.training.config import TrainSettings
from ltx_core.training.state import TrainState, prune, save_state

THREAD = "checkpoint"
"""The name that the thread of a write begins with."""


class CheckpointWriter(AbstractContextManager["CheckpointWriter"]):
    """Writes the checkpoints of a run, and after each removes those that are not to be kept.

    Work that fails raises its error in the next call of any method, at the latest when the block ends. The block ends
    when everything is on disk.
    """

    def __init__(self, root: Path, settings: TrainSettings, *, pinned: bool) -> None:
        """`pinned`: the tensors come from a GPU."""
        self._root, self._settings = root, settings
        self._memory = HostCopies(pinned=pinned)
        self._work: tuple[ThreadPoolExecutor, Future[None]] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait()

    def reserve(self, num_bytes: int) -> None:
        """Page-lock so much memory now rather than at the first checkpoint.

        Raises:
            OutOfMemory: the system refuses it.
        """
        self._memory.reserve(num_bytes)

    def write(
        self,
        state: TrainState,
        lora: Mapping[str, Tensor],
        metadata: Mapping[str, str],
        check: Callable[[Mapping[str, Tensor]], None],
    ) -> None:
        """Copy a state and begin to write it. Nothing is written if `check` refuses the LoRA, whose tensors must not
        change any more; those of the state may.

        Raises:
            CheckpointError, StorageError, OutOfMemory: of this call or of earlier work.
        """
        self.wait()
        copy = self._copied(state)

        def work() -> None:
            check(lora)
            save_state(self._root, copy, lora, metadata)
            prune(self._root, copy.step, copy.history, self._settings)

        thread = ThreadPoolExecutor(1, thread_name_prefix=THREAD)
        self._work = thread, thread.submit(work)
        thread.shutdown(wait=False)  # it ends after its work

    def check(self) -> None:
        """Raise the error of work that has failed; do not wait for work that is under way."""
        if self._work is not None and self._work[1].done():
            self.wait()

    def wait(self) -> None:
        """Return once everything is on disk and its thread has ended."""
        begun, self._work = self._work, None
        if begun is not None:
            thread, work = begun
            thread.shutdown()
            work.result()

    def _copied(self, state: TrainState) -> TrainState:
        adapter, moments, *methods = self._memory.copies([state.adapter, state.moments, *state.methods.values()])
        return replace(
            state,
            history=state.history.copy(),
            adapter=adapter,
            moments=moments,
            methods=dict(zip(state.methods, methods, strict=True)),
        )


class HostCopies:
    """Copies of tensors in one piece of host memory, which the next copies take over."""

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._memory = torch.empty(0, dtype=torch.uint8)

    def reserve(self, num_bytes: int) -> None:
        """Hold so much memory instead of what was held before.

        Raises:
            OutOfMemory: the system refuses to page-lock it.
        """
        self._arena = HostArena(pinned=self._pinned)  # unlocks what the one before had locked
        self._memory = self._arena.allocate(num_bytes)

    def copies(self, groups: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """The tensors of each group, copied after what their stream has to do before.

        Raises:
            OutOfMemory: they need more memory than is held, and the system refuses it.
        """
        tensors = [tensor for group in groups for tensor in group.values()]
        needed = sum(aligned(tensor.nbytes) for tensor in tensors)
        if needed > self._memory.numel():
            self.reserve(needed)
        places, end = [], 0
        for tensor in tensors:
            place = self._memory[end : end + tensor.nbytes]
            places.append(place.view(tensor.dtype).view(tensor.shape))
            end += aligned(tensor.nbytes)
        torch._foreach_copy_(places, [tensor.detach() for tensor in tensors], non_blocking=True)
        if self._pinned:
            torch.cuda.current_stream().synchronize()
        copied = iter(places)
        return [{name: next(copied) for name in group} for group in groups]
