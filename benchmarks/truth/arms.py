"""The trainings and renders that experiments compare, as data: one more is one more entry of `ARMS`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

STEPS = 120
TRAINING: Mapping[str, Any] = MappingProxyType(
    {
        "steps": STEPS,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "scheduler": "cosine",
        "warmup_steps": 10,
        "rank": 8,
        "dtype": "fp32",
        "activation_checkpointing": 0.0,
        "offloaded_blocks": 0,
        "compile_blocks": "off",
        "cuda_graphs": "off",
        "eval_interval": STEPS // 4,
        "eval_sigmas": 3,
        "max_eval_clips": 6,
        "checkpoint_interval": STEPS // 4,
        "keep_checkpoints": 20,
        "log_interval": 10,
        "samples": {"every_steps": 0},
    }
)
"""Options of every training, of which each arm replaces some."""
LONG: Mapping[str, Any] = MappingProxyType(
    {
        "steps": 3 * STEPS,
        "scheduler": "constant_with_warmup",
        "eval_interval": 3 * STEPS // 8,
        "checkpoint_interval": 3 * STEPS // 8,
    }
)
NO_TRAINING: Mapping[str, Any] = MappingProxyType({"steps": 1, "warmup_steps": 0, "eval_interval": 1})
"""The stage that renders wants a LoRA; where only the base counts, it is one of a single step."""
Renders = Literal["captions", "long", "checkpoints", "text", "first frame", "audio", "prefix", "region", "control"]
"""`captions`: of the concept and of what is known. `long`: of objects that stay still, three times as long.
`checkpoints`: of the concept, by every checkpoint. All others: captions of held-out clips, without and with a part of
the clip."""
CONCEPT = "pink bell"
CONTROLLED: Mapping[str, Any] = MappingProxyType(
    {"steps": 2 * STEPS, "rank": 32, "eval_interval": 2 * STEPS, "checkpoint_interval": 2 * STEPS}
)


@dataclass(frozen=True)
class Arm:
    """A training, and what is rendered of it.

    Attributes:
        says: What it is, for the page.
        world: A name in `worlds.WORLDS`: its footage.
        training: Options that differ from `TRAINING`; None leaves an option at its default.
        renders: What is rendered.
        is_base: Figures are of the base model.
        compares_base: Renders are compared with those of the base, so that the arm "base" has to be done before.
        is_apart: It has a workspace of its own. Its options are not part of a result's key, so that in the shared one
            it would be given the LoRA of its control.
    """

    says: str
    world: str = CONCEPT
    training: Mapping[str, Any] = field(default_factory=dict)
    renders: tuple[Renders, ...] = ("captions",)
    is_base: bool = False
    compares_base: bool = False
    is_apart: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The options of its training, without the seed."""
        return {name: value for name, value in {**TRAINING, **self.training}.items() if value is not None}

    def settings_of(self, steps: int | None) -> dict[str, Any]:
        """The same with another number of steps, evaluated on less, and kept halfway and at the end."""
        if steps is None:
            return self.settings
        steps, half = min(steps, self.settings["steps"]), (steps + 1) // 2
        shorter = {"steps": steps, "eval_interval": half, "checkpoint_interval": half, "max_eval_clips": 2}
        return {**self.settings, **shorter, "warmup_steps": min(1, self.settings["warmup_steps"]), "eval_sigmas": 1}

    @property
    def has_features(self) -> bool:
        """True if its training needs the features of a vision encoder."""
        return "crepa" in self.training


def _lycoris(**options: Any) -> dict[str, Any]:
    """Rank 8 at a scale of 1, as the plain LoRA has."""
    return {"rank": None, "lycoris": {"linear_dim": 8, "linear_alpha": 8, **options}}


def _conditioned(part: Renders, says: str) -> Arm:
    return Arm(says, "known", NO_TRAINING, (part,), is_base=True)


def _controlled(world: str, says: str) -> Arm:
    return Arm(says, world, CONTROLLED, ("control",))


def _untrained(world: str, says: str) -> Arm:
    return Arm(says, world, NO_TRAINING, ("control",), is_base=True)


ROLLOUT: Mapping[str, Any] = MappingProxyType(
    {"probability": 0.5, "max_sigma_offset": 0.3, "num_model_calls": 2, "ramp_steps": 0}
)
ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        "base": Arm("no LoRA", training=NO_TRAINING, renders=("captions", "long"), is_base=True),
        "plain": Arm("LoRA of rank 8", renders=("captions", "long", "checkpoints"), compares_base=True),
        "known footage": Arm("the same on footage of what the model knows", "known"),
        "apart": Arm("the concepts also by themselves, beside known audio and colours", "apart"),
        "rank 1": Arm("rank 1", training={"rank": 1}),
        "rank 32": Arm("rank 32", training={"rank": 32}),
        "crepa": Arm("CREPA, block 3, weight 0.5", training={"crepa": {"block_index": 3}}),
        "tread": Arm(
            "TREAD, half of the video tokens skip blocks 1 to 3",
            training={"tread_routes": [{"selection_ratio": 0.5, "start_layer_idx": 1, "end_layer_idx": -2}]},
        ),
        "rollout": Arm("rollouts", training={"rollout": {**ROLLOUT}}, renders=("captions", "long")),
        "reflexflow": Arm(
            "rollouts with ReflexFlow",
            training={"rollout": {**ROLLOUT, "reflexflow": True}},
            renders=("captions", "long"),
        ),
        "locon": Arm("LyCORIS LoCon", training=_lycoris(algo="locon")),
        "loha": Arm("LyCORIS LoHa", training=_lycoris(algo="loha")),
        "lokr": Arm("LyCORIS LoKr", training=_lycoris(algo="lokr")),
        "lokr fast": Arm("LyCORIS LoKr, learning rate 0.02", training=_lycoris(algo="lokr") | {"learning_rate": 2e-2}),
        "dora": Arm("LyCORIS LoCon with DoRA", training=_lycoris(algo="locon", dora_wd=True)),
        "video only": Arm("`modalities: video`", training={"modalities": "video"}, compares_base=True),
        "audio only": Arm("`targets: audio`", training={"targets": "audio"}, compares_base=True),
        "without audio": Arm("the same clips as files without audio", "without audio", compares_base=True),
        "images": Arm("20 images of pink objects, no video, three times the steps", "images", training=LONG),
        "known images": Arm("20 images of what the model knows, three times the steps", "known images", training=LONG),
        "slow": Arm("learning rate 0.0002", training={"learning_rate": 2e-4}, renders=("captions", "checkpoints")),
        "fast": Arm("learning rate 0.02", training={"learning_rate": 2e-2}, renders=("captions", "checkpoints")),
        "int8": Arm("base in int8", training={"base_precision": "int8", "low_precision": "weights"}),
        "offloaded": Arm("all blocks offloaded", training={"offloaded_blocks": "all"}, is_apart=True),
        "checkpointed": Arm(
            "activation checkpointing in all blocks", training={"activation_checkpointing": 1.0}, is_apart=True
        ),
        "few clips": Arm(
            "3 clips, three times the steps", "few clips", training=LONG, renders=("captions", "checkpoints")
        ),
        "many clips": Arm("20 clips, three times the steps", training=LONG, renders=("captions", "checkpoints")),
        "text": _conditioned("text", "caption alone"),
        "first frame": _conditioned("first frame", "caption and first frame"),
        "audio": _conditioned("audio", "caption and audio"),
        "prefix": _conditioned("prefix", "caption and the first 9 frames"),
        "no controls": Arm("rank 32, twice the steps, without controls", "known", CONTROLLED, ("text",)),
        "controls": _controlled("controls", "the same with an eighth of the pixels along each edge as a control"),
        "untrained controls": _untrained("controls", "no LoRA, rendered by those"),
        "edge controls": _controlled("edge controls", "the same with edges as controls"),
        "untrained edge controls": _untrained("edge controls", "no LoRA, rendered by edges"),
        "gray controls": _controlled("gray controls", "the same with frames in gray as controls"),
        "untrained gray controls": _untrained("gray controls", "no LoRA, rendered by gray frames"),
        "region": _conditioned("region", "caption and all but the middle of the frames"),
    }
)
"""By name. Arms of several experiments are trained once for each seed."""
