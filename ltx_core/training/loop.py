"""The order of things in a run, and nothing else."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import torch

from ltx_core.adapters.trained import TrainedAdapter
from ltx_core.distributed.ranks import ALONE, Ranks
from ltx_core.errors import Stopped
from ltx_core.memory.training import copied_bytes
from ltx_core.progress import Progress
from ltx_core.rng import kept_generators
from ltx_core.training.checkpoint_writer import CheckpointWriter
from ltx_core.training.evaluation import eval_loss
from ltx_core.training.metrics import History, audio_weight, averaged
from ltx_core.training.objective import Objective
from ltx_core.training.optimizer import Optimizer
from ltx_core.training.order import EpochPlan, SampleOccurrence
from ltx_core.training.out_of_memory import dry_run, out_of_memory_errors, peak_mebibytes
from ltx_core.training.prefetch import Feed, prefetched
from ltx_core.training.samples import ClipInfo
from ltx_core.training.state import TrainState, lora_metadata, prune
from ltx_core.training.step import Backward, OptimizerStep, step_batches, take_step


class SampleMaker(Protocol):
    """Renders samples from the weights as they are when it is asked, and keeps them; it draws no random number that
    training would miss and leaves modes and gradients as they were."""

    def make(self, step: int, objective: Objective, ranks: Ranks, progress: Progress) -> None:
        """Render those samples of `step` that are not there yet. All ranks call it together.

        Raises:
            Stopped: asked to stop; whole samples are kept.
            DataError: the base renders nothing of use, or a sample is not finite.
            TransientError: another rank is gone.
        """


class Stopwatch:
    """Sums up steps since the last report; a step is a `with` block."""

    def __init__(self) -> None:
        self._began = 0.0
        self._waited = 0.0
        self._seconds = 0.0
        self._steps = 0
        self._tokens = 0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._seconds += time.monotonic() - self._began
        self._steps += 1

    def add(self, num_tokens: int) -> None:
        """Count the tokens of a step."""
        self._tokens += num_tokens

    def report(self, waited: float) -> dict[str, float]:
        """Means since the last report; `waited` are all seconds so far that steps waited for data."""
        seconds, wait = max(self._seconds, 1e-9), waited - self._waited
        values = {
            "step_seconds": seconds / self._steps,
            "tokens_per_second": self._tokens / seconds,
            "data/wait_seconds": wait / self._steps,
            "data/wait_share": wait / seconds,
        }
        self._waited, self._seconds, self._steps, self._tokens = waited, 0.0, 0, 0
        return values


@dataclass(frozen=True)
class Run:
    """Everything a run works with."""

    objective: Objective
    backward: Backward
    plan: EpochPlan
    held_out: tuple[ClipInfo, ...]
    adapter: TrainedAdapter
    parameters: dict[str, torch.nn.Parameter]
    """All that is trained: the adapter, and what only training needs."""
    optimizer: Optimizer
    history: History
    checkpoints: Path
    config_digest: str
    provenance: dict[str, str]
    progress: Progress
    ranks: Ranks = ALONE
    memory_advice: str = ""
    """Advice on what to change if the device is full, and how much it helps."""
    samples: SampleMaker | None = None
    """None where none are rendered."""

    @contextmanager
    def exported(self) -> Iterator[None]:
        """While inside, the adapter has the weights that are measured and exported; afterwards those that train."""
        with ExitStack() as stack:
            for method in self.objective.methods:
                stack.enter_context(method.exported())
            yield


def train(run: Run, start: int) -> None:
    """Take the steps from `start` to the last, each from data to checkpoint; all ranks go through it together.

    Raises:
        Stopped: asked to stop; a checkpoint of the last finished step is there.
        DataError: a loss or gradient is not finite; names the clips. Or the base renders nothing of use.
        OutOfMemory: a batch does not fit.
        CheckpointError: ranks began with unlike weights or came apart, or a LoRA is not finite or does nothing.
        StorageError: the disk is full or read-only.
        TransientError: another rank is gone.
    """
    settings = run.objective.settings
    run.ranks.check_equal("start", str(start), run.config_digest, run.parameters, run.optimizer.state())
    with CheckpointWriter(run.checkpoints, settings, pinned=run.objective.device.startswith("cuda")) as writer:
        if start < settings.steps:
            dry_run(run.objective, run.plan, run.parameters, run.backward, advice=run.memory_advice)
            _reserve(run, writer)
            _render(run, writer, 0)
        run.progress.advance(start, settings.steps, "steps")
        saved = _steps(run, writer, start)
        _pause(run, writer, settings.steps, saved)
    if run.ranks.is_first:
        prune(run.checkpoints, settings.steps, run.history, settings)


def _reserve(run: Run, writer: CheckpointWriter) -> None:
    """Page-lock the memory for a GPU's checkpoints where no step waits for it; the first rank writes them."""
    settings = run.objective.settings
    if run.ranks.is_first and run.objective.device.startswith("cuda"):
        num_trained = sum(parameter.numel() for parameter in run.parameters.values())
        writer.reserve(copied_bytes(num_trained, settings.optimizer, averaged=settings.averaged))


def _steps(run: Run, writer: CheckpointWriter, start: int) -> int:
    """Take the steps from `start`, each with its checkpoint if one is due; return the step of the last checkpoint."""
    settings = run.objective.settings
    saved, watch = start, Stopwatch()
    with prefetched(run.objective.train_batch, own_batches(run, start), run.objective.device) as feed:
        for step in range(start, settings.steps):
            _pause(run, writer, step, saved)
            _step(run, step, feed, watch)
            if (step + 1) % settings.checkpoint_interval == 0 or step + 1 == settings.steps:
                save(run, writer, step + 1)
                saved = step + 1
    return saved


def own_batches(run: Run, start: int) -> Iterator[tuple[SampleOccurrence, ...]]:
    """The batches that this rank will train on, in order."""
    settings = run.objective.settings
    for step in range(start, settings.steps):
        yield from run.ranks.part(step_batches(run.plan, step, settings.gradient_accumulation_steps))


def save(run: Run, writer: CheckpointWriter, step: int) -> None:
    """Copy the state after `step` finished steps, and begin to write its checkpoint; the first rank does.

    Raises:
        CheckpointError: ranks have come apart.
        CheckpointError, StorageError: of the checkpoint before.
        TransientError: another rank is gone.
    """
    run.ranks.check_equal("LoRA", str(step), run.parameters)
    if not run.ranks.is_first:
        return
    settings = run.objective.settings
    with run.exported():
        lora = run.adapter.exported()
    state = TrainState(
        step=step,
        position=run.plan.position(step * settings.gradient_accumulation_steps),
        config_digest=run.config_digest,
        history=run.history,
        adapter=run.parameters,
        moments=run.optimizer.state(),
        methods={method.state_file: method.state() for method in run.objective.methods if method.state_file},
    )
    metadata = lora_metadata(settings, step, run.config_digest, run.provenance)
    writer.write(state, lora, metadata, run.adapter.check)


def _pause(run: Run, writer: CheckpointWriter, step: int, saved: int) -> None:
    """Between steps: end if a checkpoint could not be written, measure if due, and leave if asked, with a checkpoint of
    everything finished so far.

    The eval loss of a step is measured after its checkpoint, so a run resumed there measures it again and alike.
    """
    settings = run.objective.settings
    writer.check()
    try:
        if step % settings.eval_interval == 0 or step == settings.steps:
            _measure(run, step)
        if step:
            _render(run, writer, step)
        run.ranks.stop_if_asked(run.progress, f"training, at step {step} of {settings.steps}")
    except Stopped:
        if step > saved:
            save(run, writer, step)
        raise


def _measure(run: Run, step: int) -> None:
    """The eval loss at `step`; at step 0 that of the base, which the LoRA equals because its B is zero."""
    if run.history.at(step, "eval/loss") is not None:
        return
    if step == 0:
        with run.adapter.switched_off():
            found = eval_loss(run.objective, run.held_out, run.progress, run.ranks, adapter_is_on=False)
    else:
        with run.exported():
            found = eval_loss(run.objective, run.held_out, run.progress, run.ranks)
    if found is not None:
        values = found.values()
        run.history.add(step, values)
        run.progress.metrics(step, values)


def _render(run: Run, writer: CheckpointWriter, step: int) -> None:
    """Samples that are due at `step`, from what would be exported; those of step 0 are the base's, whenever they are
    made. They are kept, so the checkpoint of their weights comes to the disk first."""
    settings = run.objective.settings
    if run.samples is None or not settings.samples.are_due_at(step, settings.steps):
        return
    writer.wait()
    weights = run.exported() if step else run.adapter.switched_off()
    with kept_generators(), out_of_memory_errors(f"rendering samples of step {step}", run.memory_advice), weights:
        run.samples.make(step, run.objective, run.ranks, run.progress)


def _step(run: Run, step: int, feed: Feed, watch: Stopwatch) -> None:
    """One optimizer step and what is reported of it."""
    settings = run.objective.settings
    batches = step_batches(run.plan, step, settings.gradient_accumulation_steps)
    strengths = {method.name: method.strength(step, run.history.kept_values) for method in run.objective.methods}
    with out_of_memory_errors(f"training, at step {step + 1}", run.memory_advice), watch:
        record, num_tokens = take_step(
            run.objective,
            batches,
            run.optimizer,
            run.parameters,
            OptimizerStep(step, strengths, audio_weight(settings, run.history.kept_values)),
            ranks=run.ranks,
            load=feed,
            backward=run.backward,
        )
    watch.add(num_tokens)
    run.history.pending.append(record)
    if settings.audio_loss_ratio is not None:
        run.history.kept_values |= averaged(run.history.kept_values, record.losses)
    for method in run.objective.methods:
        method.after_step(step, record.methods.get(method.name, {}), run.history.kept_values)
    done = step + 1
    if done % settings.log_interval == 0 or done == settings.steps:
        peak = peak_mebibytes()
        memory = {} if peak is None else {"memory/peak_mebibytes": peak}
        run.progress.metrics(done, {**run.history.report(done), **watch.report(feed.wait_seconds), **memory})
    run.progress.advance(done, settings.steps, "steps")
