"""What has to be done for the experiments, in which order, and what it costs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.truth.arms import ARMS, Arm
from benchmarks.truth.experiments import Experiment
from benchmarks.truth.worlds import RENDERED, STILL, WORLDS

SECONDS = {"start": 15.0, "world": 30.0, "encoder": 30.0, "clip": 0.11, "eval": 0.09, "render": 1.6, "long": 5.0}
"""Of one core: a process, a world's stages, the encoder, a clip of a training step, a clip at one sigma of the eval
loss, a render, a long render. Measured on two cores that other work shared, so that they are rather too high."""


@dataclass(frozen=True)
class Unit:
    """The work of one process.

    Attributes:
        kind: "world", "encoder" or "arm".
        name: Of the world or the arm.
        seed: Of an arm; 0 for the others.
        after: Units that have to be done before.
    """

    kind: str
    name: str
    seed: int = 0
    after: tuple["Unit", ...] = ()

    @property
    def label(self) -> str:
        """As the terminal shows it."""
        return f"{self.kind} {self.name}" + (f", seed {self.seed}" if self.seed else "")

    @property
    def seconds(self) -> float:
        """Estimated seconds of one core."""
        if self.kind != "arm":
            return SECONDS["start"] + SECONDS[self.kind]
        return SECONDS["start"] + _arm_seconds(ARMS[self.name])


def units(experiments: Sequence[Experiment], num_seeds: int | None = None) -> list[Unit]:
    """Every unit once: what others wait for first, then all arms at the first seed, at the second, and so on.

    Args:
        num_seeds: Replaces the experiments' own numbers of seeds.
    """
    wanted = list(_wanted(experiments, num_seeds))
    worlds = {name: Unit("world", name) for name in dict.fromkeys(ARMS[arm].world for arm, _ in wanted)}
    encoder = Unit("encoder", "vision")
    found: dict[tuple[str, int], Unit] = {}
    for name, seed in wanted:
        arm = ARMS[name]
        after = [worlds[arm.world]]
        after += [encoder] if arm.has_features else []
        after += [found["base", seed]] if arm.compares_base else []
        found[name, seed] = Unit("arm", name, seed, tuple(after))
    encoders = [encoder] if any(encoder in unit.after for unit in found.values()) else []
    return [*worlds.values(), *encoders, *found.values()]


def _wanted(experiments: Sequence[Experiment], num_seeds: int | None) -> Iterator[tuple[str, int]]:
    """Arms and seeds: those of a seed before those of the next; in it the base first, which others wait for, and then
    the longest, so that the last ones to end are short."""
    for seed in range(1, max((num_seeds or one.num_seeds for one in experiments), default=0) + 1):
        chosen = [one for one in experiments if seed <= (num_seeds or one.num_seeds)]
        arms = {arm for experiment in chosen for arm in experiment.arms}
        if any(ARMS[arm].compares_base for arm in arms):
            arms.add("base")
        for arm in sorted(arms, key=lambda name: (name != "base", -_arm_seconds(ARMS[name]), name)):
            yield arm, seed


def _arm_seconds(arm: Arm) -> float:
    return _training_seconds(arm) + _render_seconds(arm)


def _training_seconds(arm: Arm) -> float:
    options = arm.settings
    evals = 2 + options["steps"] // options["eval_interval"]
    clips = min(options["max_eval_clips"], WORLDS[arm.world].num_held_out) * options["eval_sigmas"]
    each = SECONDS["clip"] * (1.5 if "rollout" in options else 1.0)
    return float(options["steps"] * options["batch_size"] * each + evals * clips * SECONDS["eval"])


def _render_seconds(arm: Arm) -> float:
    seconds, options = 0.0, arm.settings
    for kind in arm.renders:
        if kind == "captions":
            seconds += 2 * RENDERED * SECONDS["render"]
        elif kind == "long":
            seconds += STILL * SECONDS["long"]
        elif kind == "checkpoints":
            count = options["steps"] // options["checkpoint_interval"] - 1
            seconds += count * RENDERED * SECONDS["render"]
        else:
            seconds += WORLDS[arm.world].num_held_out * SECONDS["render"]
    return seconds


def core_minutes(wanted: Iterable[Unit]) -> float:
    """Estimated minutes of one core."""
    return sum(unit.seconds for unit in wanted) / 60
