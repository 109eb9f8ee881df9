"""The experiments, as data: a claim in words, and what has to be seen for it to hold. One more is one more entry.

A figure's name is that under which `benchmarks.truth.work` keeps it, such as "concept colour": the fraction of renders
of the concept's captions in which the colour is right.
"""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "same", "not higher", "not lower"]


@dataclass(frozen=True)
class Compared:
    """An arm against its control, at the same seeds.

    Attributes:
        arm: A name in `arms.ARMS`.
        control: Another; or the same, with another figure.
        figure: What is compared.
        direction: Where the arm's figure should lie, seen from the control's.
        margin: A difference that does not count: with "same" in both directions, with "not ..." in that one.
        control_figure: The control's figure, if it is another.
    """

    arm: str
    control: str
    figure: str
    direction: Direction
    margin: float = 0.0
    control_figure: str = ""


@dataclass(frozen=True)
class Ranked:
    """Checkpoints of all these arms: their eval losses and a figure of their renders should rank them alike.

    Attributes:
        is_good_high: A high figure is good, so that it should fall as the eval loss rises.
    """

    arms: tuple[str, ...]
    figure: str
    is_good_high: bool


@dataclass(frozen=True)
class Chosen:
    """Of these arms, the one with the lowest eval loss should have the best figure, at each seed."""

    arms: tuple[str, ...]
    figure: str
    is_good_high: bool


Test = Compared | Ranked | Chosen


@dataclass(frozen=True)
class Experiment:
    """One claim.

    Attributes:
        claim: In words, as the documentation says it or a user would expect it.
        shown: Figures of the table, for every arm.
        tests: What has to be seen.
        page: The page of docs/ that gets a paragraph with the result, between markers that it has.
        num_seeds: How many seeds are trained, if there is time.
    """

    name: str
    claim: str
    shown: tuple[str, ...]
    tests: tuple[Test, ...]
    page: str = ""
    num_seeds: int = 3

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms, controls first."""
        controls = [test.control for test in self.tests if isinstance(test, Compared)]
        others = [arm for test in self.tests for arm in ([test.arm] if isinstance(test, Compared) else test.arms)]
        return tuple(dict.fromkeys([*controls, *others]))


def _of_controls(trained: str) -> tuple[Test, ...]:
    """Where objects are, and whether captions are followed: against a LoRA without controls, and controls without a
    LoRA."""
    return (
        Compared(trained, "no controls", "place error", "lower"),
        Compared(trained, "no controls", "caption all", "not lower", margin=0.15),
        Compared(trained, f"untrained {trained}", "place error", "lower"),
        Compared(trained, f"untrained {trained}", "caption all", "higher"),
    )


COLOUR, AUDIO, DISTANCE = "concept colour", "concept audio", "concept colour distance"
LEARNT = (COLOUR, AUDIO, DISTANCE, "eval loss")
EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        "lora",
        "A LoRA teaches the model a colour and a tone that it has never met; footage without them does not.",
        (COLOUR, AUDIO, DISTANCE, "known all", "eval loss"),
        (
            Compared("plain", "base", COLOUR, "higher"),
            Compared("plain", "base", AUDIO, "higher"),
            Compared("plain", "base", "known all", "not lower", margin=0.15),
            Compared("known footage", "base", COLOUR, "same", margin=0.1),
            Compared("known footage", "base", AUDIO, "same", margin=0.1),
        ),
    ),
    Experiment(
        "footage",
        "If the footage also shows each concept apart from the other, both are learnt and less is forgotten.",
        (COLOUR, AUDIO, DISTANCE, "known all", "known audio"),
        (
            Compared("apart", "base", COLOUR, "higher"),
            Compared("apart", "base", AUDIO, "higher"),
            Compared("apart", "plain", "known all", "higher"),
            Compared("apart", "base", "known all", "not lower", margin=0.15),
        ),
    ),
    Experiment(
        "conditioning",
        "Conditioning by a part of a clip keeps that part, and the rest follows it and the caption.",
        ("first frame dB", "first 9 frames dB", "outside dB", "place error", "caption all", "caption colour"),
        (
            Compared("first frame", "text", "first frame dB", "higher"),
            Compared("first frame", "text", "place error", "lower"),
            Compared("first frame", "text", "caption all", "not lower", margin=0.15),
            Compared("prefix", "text", "first 9 frames dB", "higher"),
            Compared("prefix", "text", "place error", "lower"),
            Compared("prefix", "text", "caption all", "not lower", margin=0.15),
            Compared("region", "text", "outside dB", "higher"),
            Compared("region", "text", "place error", "lower"),
            Compared("region", "text", "caption all", "not lower", margin=0.15),
            Compared("audio", "text", "place error", "lower"),
            Compared("audio", "text", "caption all", "not lower", margin=0.15),
        ),
        num_seeds=2,
    ),
    Experiment(
        "modalities",
        "Training the video alone leaves the audio as it was, training the audio alone leaves the video, and clips "
        "without audio leave the audio.",
        (COLOUR, AUDIO, "known audio", "audio change dB", "video change"),
        (
            Compared("video only", "base", COLOUR, "higher"),
            Compared("video only", "base", AUDIO, "same", margin=0.1),
            Compared("video only", "base", "known audio", "same", margin=0.1),
            Compared("video only", "plain", "audio change dB", "lower"),
            Compared("audio only", "base", AUDIO, "higher"),
            Compared("audio only", "base", COLOUR, "same", margin=0.1),
            Compared("audio only", "plain", "video change", "lower"),
            Compared("without audio", "base", COLOUR, "higher"),
            Compared("without audio", "base", AUDIO, "same", margin=0.1),
            Compared("without audio", "base", "known audio", "same", margin=0.1),
            Compared("without audio", "plain", "audio change dB", "lower"),
        ),
    ),
    Experiment(
        "images",
        "A LoRA of images alone teaches a colour to videos, and leaves how they move and what is heard.",
        (COLOUR, DISTANCE, "concept motion", "known motion", "known audio", "known all"),
        (
            Compared("images", "base", COLOUR, "higher"),
            Compared("images", "known images", DISTANCE, "lower"),
            Compared("images", "base", "concept motion", "not lower", margin=0.15),
            Compared("images", "base", "known motion", "not lower", margin=0.15),
            Compared("images", "base", "known audio", "same", margin=0.15),
            Compared("known images", "base", COLOUR, "same", margin=0.1),
        ),
    ),
    Experiment(
        "controls",
        "An IC-LoRA learns to follow its control: objects are where the control has them, which no caption says.",
        ("place error", "caption all", "caption colour", "first frame dB"),
        (
            *_of_controls("edge controls"),
            *_of_controls("gray controls"),
            *_of_controls("controls"),
        ),
        page="recipes/control.md",
        num_seeds=2,
    ),
    Experiment(
        "rank",
        "A larger rank fits the footage better.",
        LEARNT,
        (
            Compared("rank 1", "plain", "eval loss", "higher"),
            Compared("rank 32", "plain", "eval loss", "lower"),
            Compared("rank 1", "plain", DISTANCE, "higher"),
            Compared("rank 32", "plain", DISTANCE, "lower"),
        ),
    ),
    Experiment(
        "memory",
        "Block offload and activation checkpointing change nothing, and a base in int8 gives the same scores.",
        LEARNT,
        (
            Compared("offloaded", "plain", "eval loss", "same", margin=1e-6),
            Compared("checkpointed", "plain", "eval loss", "same", margin=1e-6),
            Compared("int8", "plain", "eval loss", "same", margin=0.01),
            Compared("int8", "plain", DISTANCE, "same", margin=0.1),
            Compared("int8", "plain", AUDIO, "same", margin=0.15),
        ),
        num_seeds=2,
    ),
    Experiment(
        "crepa",
        "CREPA makes renders flicker less, and teaches the concept no worse.",
        ("flicker", "colour wander", *LEARNT),
        (
            Compared("crepa", "plain", "flicker", "lower"),
            Compared("crepa", "plain", "colour wander", "lower"),
            Compared("crepa", "plain", DISTANCE, "not higher", margin=0.05),
        ),
        page="crepa.md",
    ),
    Experiment(
        "tread",
        "TREAD makes a training step faster, and teaches the concept no worse in the same number of steps.",
        ("seconds a step", *LEARNT),
        (
            Compared("tread", "plain", "seconds a step", "lower"),
            Compared("tread", "plain", "eval loss", "not higher", margin=0.005),
            Compared("tread", "plain", DISTANCE, "not higher", margin=0.05),
        ),
        page="engine.md",
    ),
    Experiment(
        "rollout",
        "Rollouts, and ReflexFlow with them, make long renders drift less, and teach the concept no worse.",
        ("drift", "seconds a step", *LEARNT),
        (
            Compared("rollout", "plain", "drift", "lower"),
            Compared("reflexflow", "plain", "drift", "lower"),
            Compared("rollout", "plain", DISTANCE, "not higher", margin=0.05),
            Compared("reflexflow", "plain", DISTANCE, "not higher", margin=0.05),
        ),
        page="rollout.md",
    ),
    Experiment(
        "lycoris",
        "Each kind of LyCORIS adapter learns the concept, no worse than a plain LoRA of the same rank.",
        LEARNT,
        (
            *(Compared(kind, "base", COLOUR, "higher") for kind in ("locon", "loha", "lokr", "lokr fast", "dora")),
            *(
                Compared(kind, "plain", DISTANCE, "not higher", margin=0.05)
                for kind in ("locon", "loha", "lokr", "lokr fast", "dora")
            ),
        ),
        page="lycoris.md",
    ),
    Experiment(
        "eval loss",
        "The eval loss ranks checkpoints as the renders do, and the learning rate with the lower eval loss is the "
        "better one.",
        (DISTANCE, COLOUR, AUDIO, "eval loss"),
        (
            Ranked(("plain", "slow", "fast"), DISTANCE, is_good_high=False),
            Ranked(("plain", "slow", "fast"), AUDIO, is_good_high=True),
            Chosen(("plain", "slow"), DISTANCE, is_good_high=False),
            Chosen(("plain", "fast"), DISTANCE, is_good_high=False),
            *(
                Compared(arm, arm, f"{DISTANCE}, best checkpoint", "not higher", 0.02, control_figure=DISTANCE)
                for arm in ("plain", "fast")
            ),
        ),
    ),
    Experiment(
        "over-training",
        "Too many steps on too few clips are seen by the eval loss of held-out captions, and stopping at its minimum "
        "is better.",
        ("eval loss", "eval loss, best checkpoint", "step, best checkpoint", "concept all", "known all", DISTANCE),
        (
            Compared("few clips", "few clips", "eval loss", "higher", control_figure="eval loss, best checkpoint"),
            Compared("few clips", "many clips", "eval loss", "higher"),
            Compared(
                "few clips", "few clips", "concept all, best checkpoint", "not lower", control_figure="concept all"
            ),
            Compared("few clips", "many clips", "known all", "lower"),
        ),
        num_seeds=2,
    ),
)


def experiment_named(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        KeyError: there is none.
    """
    return {experiment.name: experiment for experiment in EXPERIMENTS}[name]
