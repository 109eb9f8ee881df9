"""What suits a purpose, and what suits a GPU: the presets of `ltx2-lora configure`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a LoRA is for, and what suits that."""

    meaning: str
    num_frames: int
    steps: int
    rank: int
    prompt: str


GOALS = {
    "try": Goal(
        meaning="see the whole way once, in little time",
        num_frames=17,
        steps=200,
        rank=16,
        prompt="A dog runs over wet sand from left to right, waves and barking.",
    ),
    "subject": Goal(
        meaning="a person, an animal or a thing",
        num_frames=49,
        steps=2000,
        rank=32,
        prompt="The subject walks towards the camera and turns round, footsteps on gravel.",
    ),
    "style": Goal(
        meaning="a look",
        num_frames=49,
        steps=2000,
        rank=16,
        prompt="A train enters a station and slows down, brakes squeal.",
    ),
    "motion": Goal(
        meaning="a movement, of the camera or of what it sees",
        num_frames=121,
        steps=3000,
        rank=32,
        prompt="The camera pans right over a harbour while boats rock, ropes creak.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What makes training fit a GPU, from this much memory on."""

    gib: float
    base_precision: str
    resolution: int
    why: str


FITS = (
    Fit(gib=64, base_precision="native", resolution=768, why="the base fits in bfloat16"),
    Fit(gib=22, base_precision="int8", resolution=512, why="8 bits are half of the base, 18 GiB"),
    Fit(gib=0, base_precision="int8", resolution=480, why="8 bits, and most blocks wait on the host"),
)


def fit(gpu_gib: float) -> Fit:
    """What makes training fit so much GPU memory."""
    return next(one for one in FITS if gpu_gib >= one.gib)
