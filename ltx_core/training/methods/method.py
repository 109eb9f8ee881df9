"""The contract of a training method: what a run may do beyond the plain flow-matching loss.

The loop, the step and the objective hold a list of methods and know none of them by name. A method is one class in one
file, and its option, one field of `settings.MethodOptions` that names the class. Every hook below does nothing unless a
method overrides it. In the order of a step they are:

    tensors         beside each batch, by the threads that make batches ahead
    strength        its strength in this step: the weight of its term in the loss, or the fraction of samples it changes
    before_forward  the batch that the step trains on
    set_up          the forward: routes over blocks, hooks at hidden states
    losses          terms beside the loss of the velocities, or other losses in its place, and figures about them
    figures         what is logged of the step
    after_step      once the weights have changed

Eval losses and sampling know no method. Tensors are named `<method>.<what>`, figures `<method>/<what>`, and parameters
`<method>_<what>`; so nobody has to ask whose they are.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from ltx_core.denoiser.blocks import TokenRoute
from ltx_core.denoiser.forward import HiddenStateHook
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.config import TrainSettings
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.samples import ClipInfo, SampleSource

if TYPE_CHECKING:
    from ltx_core.training.objective import Objective

KeptValues = MutableMapping[str, float | None]
"""Values that methods keep from step to step, by name; saved with a checkpoint and equal on every rank."""


class Setup(NamedTuple):
    """Everything that a method may be made from."""

    settings: TrainSettings
    transformer: Any
    source: SampleSource
    samples: Sequence[ClipInfo]
    """The clips that are trained on."""
    adapter: Mapping[str, torch.nn.Parameter]
    """The trained weights of the adapter."""
    device: str


class Step(NamedTuple):
    """The optimizer step that a batch belongs to."""

    strength: float
    """The method's own strength in it."""
    batches: Sequence[Sequence[SampleOccurrence]]
    """All of its batches, whichever rank has them."""


class BatchLosses(NamedTuple):
    """Losses by sample, [B] float32; 0 where a sample carries none."""

    video: Tensor
    audio: Tensor | None
    """None of a batch without audio."""
    terms: Mapping[str, Tensor] = {}
    """By method: a loss that is added, times the method's strength."""
    measures: Mapping[str, Tensor] = {}
    """Figures, detached: `<method>/<name>` of clips, `<method>/<modality>/<name>` of streams. NaN where a sample has
    none."""

    def detach(self) -> "BatchLosses":
        """The values alone, without the graph and what it holds."""
        audio = None if self.audio is None else self.audio.detach()
        return BatchLosses(self.video.detach(), audio, _detached(self.terms), _detached(self.measures))


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items()}


@dataclass
class Forward:
    """One forward on the device: what methods read of it, and how they steer it."""

    transformer: Any
    video: NoisyStream
    audio: NoisyStream | None
    extras: Mapping[str, Tensor]
    """Tensors that methods brought with the batch, [B, ...]."""
    routes: list[TokenRoute] = field(default_factory=list)
    """Runs of blocks that compute a part of the video tokens, in order."""
    hooks: list[HiddenStateHook] = field(default_factory=list)
    velocities: dict[str, Tensor] = field(default_factory=dict)
    """By modality [B, T, C], once the transformer has run."""

    def streams(self) -> Iterator[tuple[str, NoisyStream]]:
        """The streams of the batch by modality, video first."""
        yield "video", self.video
        if self.audio is not None:
            yield "audio", self.audio


class TrainingMethod:
    """A method of a run; this class itself does nothing."""

    name: ClassVar[str]
    option: ClassVar[str]
    """The field of `MethodOptions` that turns it on, set by the registry; at the field's default the method is off."""
    example: ClassVar[Any]
    """A value of the option that fits a model of two blocks; every method is tested with it."""
    adds_term: ClassVar[bool] = False
    """True if `losses` adds a term of its own."""
    steers: ClassVar[bool] = False
    """True if its tensors change what the model computes of a sample, with gradients or without."""
    changes_blocks: ClassVar[bool] = False
    """True if blocks compute something else in training than they do without it."""
    clip_measures: ClassVar[tuple[str, ...]] = ()
    """Figures of clips that are averaged over a step, `<method>/<name>`; `figures` gets their means."""
    stream_measures: ClassVar[tuple[str, ...]] = ()
    """Figures of single streams, logged as means over those that have them. One without the first has none."""
    keeps: ClassVar[Mapping[str, float | None]] = {}
    """Names and first values of its `KeptValues`."""
    state_file: ClassVar[str] = ""
    """The file of a checkpoint that `state` goes to."""

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """The method at the start of a run whose settings turn it on.

        Raises:
            ConfigError: the model or the data do not fit the settings.
        """
        raise NotImplementedError

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Weights that are trained with the adapter and clipped by their own norm; no LoRA file has them."""
        return {}

    def start(self) -> None:
        """Called once before the first step, when the optimizer has given the weights their dtype."""

    def tensors(
        self, batch: TrainBatch, occurrences: Sequence[SampleOccurrence], loaded: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Tensors [B, ...] on the CPU that go with a batch: a function of settings and data. `loaded` are the clips'
        stored tensors.

        Raises:
            DataError: a clip lacks something; names it.
        """
        return {}

    @property
    def highest_strength(self) -> float:
        """The highest strength of a run."""
        return 1.0

    def strength(self, step: int, kept: KeptValues) -> float:
        """Its strength in optimizer step `step`, counted from 0; at 0 it does nothing."""
        return self.highest_strength

    def before_forward(self, batch: TrainBatch, step: Step, objective: "Objective") -> TrainBatch:
        """The batch as the step trains on it. Batches of one shape must come out with tensors of one form, which a CUDA
        graph reads."""
        return batch

    def set_up(self, forward: Forward) -> None:
        """Change how the transformer runs; does nothing where `forward.extras` has none of the method's tensors."""

    def losses(self, forward: Forward, found: BatchLosses) -> BatchLosses:
        """Losses after a forward: those found so far, changed or with a term more. Runs inside CUDA graphs."""
        return found

    def figures(self, means: Mapping[str, float], strength: float) -> dict[str, float]:
        """Return the step's logged figures, `<method>/<name>`, from the means of `clip_measures` over its clips."""
        return dict(means)

    def after_step(self, step: int, figures: Mapping[str, float], kept: KeptValues) -> None:
        """Called once optimizer step `step`, counted from 0, has changed the weights. `figures` are the step's."""

    def state(self) -> dict[str, Tensor]:
        """Everything that later steps depend on, beside the parameters and `KeptValues`."""
        return {}

    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""

    def exported(self) -> AbstractContextManager[None]:
        """While inside, the adapter has the weights that are measured and exported."""
        return nullcontext()
