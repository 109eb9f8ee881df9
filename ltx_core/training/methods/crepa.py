"""CREPA: hidden states of the video beside a vision encoder's features of the clip's own frames and their neighbours.

Cross-frame representation alignment (Hwang et al. 2025, arXiv 2506.09229), after REPA (Yu et al. 2024, arXiv
2410.06940). A small projector, trained with the adapter and thrown away afterwards, maps the states to the features'
width. With s(f, g) the mean over the tokens of latent frame f of the cosine between a token's projected state and the
features at its place in frame g, a frame's score is

    s(f, f) + sum over d of exp(-d / tau) * (s(f, f - d) + s(f, f + d))

with neighbours beyond the clip's ends left out; a clip's score is the mean over its frames.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from ltx_core.denoiser.forward import HiddenStateHook
from ltx_core.errors import ConfigError, DataError, ShapeError
from ltx_core.rng import named_generator
from ltx_core.training.batch import TrainBatch
from ltx_core.training.config import TrainSettings
from ltx_core.training.learning_rate import fallen
from ltx_core.training.methods.method import BatchLosses, Forward, KeptValues, Setup, Step, TrainingMethod
from ltx_core.training.methods.settings import CrepaSettings
from ltx_core.training.order import SampleOccurrence

if TYPE_CHECKING:
    from ltx_core.training.objective import Objective

PREFIX = "crepa_projector."
"""Of the projector's parameters: no layer of a transformer is called so, and no LoRA file has them."""
FEATURES = "crepa.features"
"""[B, F, P, D]: a vision encoder's features of latent frame F at the place of token P."""
NORM_EPSILON = 1e-5
TINY = 1e-8


class Crepa(TrainingMethod):
    """Adds the negative score of the clips to the loss."""

    name = "crepa"
    example: ClassVar = {"block_index": 0, "schedule": "cosine", "warmup_steps": 1}
    adds_term = True
    clip_measures = ("alignment", "self_similarity")
    keeps: ClassVar = {"similarity": None}
    """The average self-similarity, as `smoothed` makes it; None before the first step that aligns."""

    def __init__(self, settings: TrainSettings, projector: dict[str, torch.nn.Parameter]) -> None:
        assert settings.crepa is not None  # or the method would be off
        self.settings, self.own = settings, settings.crepa
        self.projector = projector
        """As `make_projector` gives it."""

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """With the projector at its start, as wide as the features of the first clip.

        Raises:
            ConfigError: the clip has no features, or another is audio alone.
        """
        if mute := [clip.clip_id for clip in setup.samples if not clip.has_video]:
            raise ConfigError(f"crepa is set and {mute[0]} is audio alone, which has no frames; leave it out")
        first = setup.samples[0].clip_id
        features = setup.source.load(first).get("features")
        if features is None:
            raise ConfigError(f"crepa is set and clip {first} has no features of its frames; run `--from embed_frames`")
        width = int(setup.transformer.proj_in.weight.shape[0])
        seed = setup.settings.seed
        return cls(setup.settings, make_projector(width, features.shape[-1], seed=seed, device=setup.device))

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The projector's."""
        return self.projector

    def tensors(
        self, batch: TrainBatch, occurrences: Sequence[SampleOccurrence], loaded: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The features of the clips' frames, in the dtype they are stored in.

        Raises:
            DataError: a clip has none, or those of another shape.
        """
        return {FEATURES: torch.stack([_features(v, x, batch) for v, x in zip(occurrences, loaded, strict=True)])}

    @property
    def highest_strength(self) -> float:
        """The weight of the alignment."""
        return self.own.weight

    def strength(self, step: int, kept: KeptValues) -> float:
        """The weight by its schedule, until it has ended."""
        return crepa_weight(step, self.settings, kept["similarity"])

    def before_forward(self, batch: TrainBatch, step: Step, objective: "Objective") -> TrainBatch:
        """Without features in a step in which alignment counts nothing: it is not computed then."""
        if step.strength:
            return batch
        return replace(batch, extras={name: x for name, x in batch.extras.items() if name != FEATURES})

    def set_up(self, forward: Forward) -> None:
        """Keep the hidden states of the video."""
        if FEATURES in forward.extras:
            forward.hooks.append(HiddenStateHook(self.own.block_index))

    def losses(self, forward: Forward, found: BatchLosses) -> BatchLosses:
        """With the alignment of the hidden states."""
        block, features = self.own.block_index, forward.extras.get(FEATURES)
        if features is None:
            return found
        hidden = next(hook.video for hook in forward.hooks if hook.block == block)
        assert hidden is not None  # the transformer has run
        kept = next((route.kept for route in forward.routes if route.first <= block <= route.last), None)
        weight = forward.video.weight
        if extra := weight.shape[1] - features.shape[1] * features.shape[2]:  # a reference's, which come last
            weight, hidden = weight[:, :-extra], hidden[:, :-extra]
            kept = None if kept is None else kept[:, :-extra]  # a route keeps all of them
        aligned = batch_alignment(self.own, self.projector, hidden, features, weight, kept)
        measures = {"crepa/alignment": aligned.score, "crepa/self_similarity": aligned.self_similarity}
        return found._replace(
            terms={**found.terms, self.name: -aligned.score},
            measures={**found.measures, **{name: values.detach() for name, values in measures.items()}},
        )

    def figures(self, means: Mapping[str, float], strength: float) -> dict[str, float]:
        """The means, the weight, and the loss that it makes of the alignment."""
        return {**means, "weight": strength, "loss": -strength * means["alignment"]}

    def after_step(self, step: int, figures: Mapping[str, float], kept: KeptValues) -> None:
        """Go on with the average self-similarity."""
        kept["similarity"] = smoothed(kept["similarity"], figures.get("self_similarity"))


class Alignment(NamedTuple):
    """By sample, [B]."""

    score: Tensor
    """With neighbours: what the loss takes down."""
    self_similarity: Tensor
    """s(f, f) alone, mean over frames: a cosine from -1 to 1."""


def _features(occurrence: SampleOccurrence, loaded: Mapping[str, Tensor], batch: TrainBatch) -> Tensor:
    """Features [F, P, D] of a clip's frames, one at each token's place."""
    clip_id, shape = occurrence.sample.clip_id, batch.shape
    if "features" not in loaded:
        raise DataError(f"clip {clip_id} has no features of its frames; run `--from embed_frames`")
    features = loaded["features"]
    if tuple(features.shape[:3]) != tuple(shape):
        raise DataError(
            f"clip {clip_id} has frame features {list(features.shape)}; [{shape.frames}, {shape.height}, "
            f"{shape.width}, D] is wanted for bucket {occurrence.sample.bucket}. Run `--from embed_frames` with "
            f"--force."
        )
    return features.flatten(1, 2)


def make_projector(width: int, features: int, *, seed: int, device: str) -> dict[str, torch.nn.Parameter]:
    """A layer norm over hidden states of `width` and a linear layer to `features`, in float32, as PyTorch starts them;
    drawn from the seed alone."""
    bound = 1 / math.sqrt(width)

    def uniform(name: str, *shape: int) -> Tensor:
        return (torch.rand(*shape, generator=named_generator("crepa", seed, name)) * 2 - 1) * bound

    start = {
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
        "linear.weight": uniform("weight", features, width),
        "linear.bias": uniform("bias", features),
    }
    return {PREFIX + name: torch.nn.Parameter(tensor.to(device)) for name, tensor in start.items()}


def project(projector: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
    """[B, T, D] in any dtype to [B, T, features] in float32, whatever the optimizer keeps the weights in."""
    weights = {name.removeprefix(PREFIX): parameter.float() for name, parameter in projector.items()}
    norm = weights["norm.weight"], weights["norm.bias"]
    normed = functional.layer_norm(hidden.float(), hidden.shape[-1:], *norm, NORM_EPSILON)
    return functional.linear(normed, weights["linear.weight"], weights["linear.bias"])


def batch_alignment(
    settings: CrepaSettings,
    projector: Mapping[str, Tensor],
    hidden: Tensor,
    features: Tensor,
    weight: Tensor,
    kept: Tensor | None = None,
) -> Alignment:
    """Alignment of hidden states [B, T, D] with features [B, F, P, D'] where T = F * P.

    `weight`, [B, T], is the weight of each token in the loss. Tokens of the conditioning, such as a first frame or a
    prefix, have weight 0: their hidden states are not compared, and frames of such tokens are left out of the average.
    Their features do count where a neighbour is compared with them.
    Within a route, `kept`, [B, K], says which tokens `hidden`, [B, K, D], holds: those are compared, each with the
    features of its own place, and no others.

    Raises:
        ShapeError: the features are not as many as the tokens.
    """
    size, frames, places, _ = features.shape
    if weight.shape != (size, frames * places):
        raise ShapeError(
            f"features {list(features.shape)} do not fit {list(weight.shape)} video tokens; [B, F, P, D] is wanted "
            f"with F * P tokens. Embed the frames again."
        )
    states = project(projector, hidden)
    if kept is not None:
        index = kept[:, :, None].expand_as(states)
        states = states.new_zeros(size, frames * places, states.shape[-1]).scatter(1, index, states)
        weight = weight * torch.zeros_like(weight).scatter(1, kept, 1.0)
    cut = (frames, places)
    return alignment(states.unflatten(1, cut), features.float(), weight.float().unflatten(1, cut), settings)


def alignment(states: Tensor, features: Tensor, weight: Tensor, settings: CrepaSettings) -> Alignment:
    """Scores of states [B, F, P, D] and features of the same shape; `weight` [B, F, P] is 0 for tokens left out.

    A clip without any weighted token scores exactly 0, with zero gradient.
    """
    if not settings.spatial_align:
        states, features = _mean(states, weight[..., None]).unsqueeze(2), features.mean(dim=2, keepdim=True)
        weight = weight.amax(dim=2, keepdim=True)
    states, features = (functional.normalize(x, dim=-1, eps=TINY) for x in (states, features))
    own = _similarity(states, features, weight)
    frames = own
    for distance in (d for d in settings.distances if d < states.shape[1]):
        decay = math.exp(-distance / settings.adjacent_tau)
        near, far = slice(None, -distance), slice(distance, None)
        later = _similarity(states[:, near], features[:, far], weight[:, near])
        earlier = _similarity(states[:, far], features[:, near], weight[:, far])
        frames = frames + decay * (functional.pad(later, (0, distance)) + functional.pad(earlier, (distance, 0)))
    counted = (weight > 0).any(dim=2).float()
    num_counted = counted.sum(dim=1).clamp(min=1)
    score = (frames * counted).sum(dim=1)
    return Alignment(
        score / num_counted if settings.normalize_by_frames else score, (own * counted).sum(dim=1) / num_counted
    )


def _similarity(states: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """Cosines of unit vectors [B, F, P, D], their weighted means over places: [B, F]."""
    return _mean((states * features).sum(dim=-1), weight)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over dimension 2; 0 where nothing has a weight."""
    return (values * weight).sum(dim=2) / weight.sum(dim=2).clamp(min=TINY)


SIMILARITY_DECAY = 0.99
"""Of the average that `similarity_threshold` is held against."""


def smoothed(average: float | None, similarity: float | None) -> float | None:
    """The average self-similarity after another step; one in which none was computed leaves it as it was."""
    if average is None or similarity is None:
        return average if similarity is None else similarity
    return SIMILARITY_DECAY * average + (1 - SIMILARITY_DECAY) * similarity


def crepa_weight(step: int, settings: TrainSettings, similarity: float | None = None) -> float:
    """The weight of the alignment in optimizer step `step`, counted from 0; 0 where it is not computed at all.
    `similarity` is the average of the steps before. It is kept with checkpoints and is the same on every rank.

    The warmup rises linearly and reaches the full weight at its last step. A fall then begins at the full weight and
    has arrived after `decay_steps`.
    """
    crepa = settings.crepa
    if crepa is None or (crepa.cutoff_step is not None and step >= crepa.cutoff_step):
        return 0.0
    if crepa.similarity_threshold is not None and similarity is not None and similarity >= crepa.similarity_threshold:
        return 0.0
    if step < crepa.warmup_steps:
        return crepa.weight * (step + 1) / crepa.warmup_steps
    falling = crepa.decay_steps or max(settings.steps - crepa.warmup_steps, 1)
    done = min((step - crepa.warmup_steps) / falling, 1.0)
    return crepa.end_weight + (crepa.weight - crepa.end_weight) * fallen(crepa.schedule, done, crepa.polynomial_power)
