"""An annotated configuration from a few answers: footage, GPU memory, goal."""

import json
from dataclasses import dataclass
from pathlib import Path

from ltx_core.checkpoint.flavours import FLAVOURS
from ltx_core.errors import ConfigError
from ltx_core.io.atomic import write_bytes


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The purpose of a LoRA, and the settings that suit it."""

    meaning: str
    num_frames: int
    steps: int
    rank: int
    prompt: str


GOALS = {
    "try": Goal(
        meaning="see all steps once, in little time",
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
    """Settings with which training fits a GPU that has at least this much memory."""

    gib: float
    base_precision: str
    resolution: int
    why: str


FITS = (
    Fit(gib=64, base_precision="native", resolution=768, why="the base fits in bfloat16"),
    Fit(gib=22, base_precision="int8", resolution=512, why="8 bits take half of the base's memory, 18 GiB"),
    Fit(gib=0, base_precision="int8", resolution=480, why="8 bits, with most blocks offloaded to the host"),
)


def fit(gpu_gib: float) -> Fit:
    """Return the settings with which training fits so much GPU memory."""
    return next(one for one in FITS if gpu_gib >= one.gib)


GEMMA = "google/gemma-3-12b-it-qat-q4_0-unquantized"
"""LTX-2's text encoder; LTX-2.5 brings its own."""


TEMPLATE = """\
# Made by `ltx2-lora configure` for {gpu_gib:g} GiB of GPU memory; goal: {goal}, {asked.meaning}.
# docs/config.md lists every option. Next: ltx2-lora plan THIS_FILE, then ltx2-lora run THIS_FILE.
# Paths are relative to this file.

workspace: workspace   # results, caches and tracking

datasets:
  - id: footage
    instance_data_dir: {footage}   # videos, each with a caption of the same name, .txt
    caption_strategy: textfile   # or filename; or instanceprompt with instance_prompt
    resolution: {fits.resolution}   # edge of a square of equal area; lower it first if memory runs out
    video:
      num_frames: {asked.num_frames}   # 8k+1; fewer take less memory and time
      frame_rate: native   # that of each file, up to 30; a number resamples to it
    audio:
      auto_split: true   # train audio as well
    repeats: 1   # samples of each clip in an epoch

model:
  checkpoint: {checkpoint}   # a repository, a .safetensors file, or a folder
  flavour: {flavour}
{encoder_line}
prompts:
  validation:   # rendered with the base model and with the LoRA; say what moves, and what can be heard
    - {prompt}

train_lora:
  steps: {asked.steps}
  rank: {asked.rank}
  learning_rate: 1.0e-4
  batch_size: 1
  optimizer: adamw_bf16   # needs the least memory; adamw keeps 32 bits
  # for {gpu_gib:g} GiB: {fits.why}
  base_precision: {fits.base_precision}   # native or int8; fp8 from Hopper on
  offloaded_blocks: auto   # block offload: as many of 48 blocks as necessary; `plan` says how many
  activation_checkpointing: auto   # activation checkpointing in as few blocks as possible

memory:
  gpu_gib: {gpu_gib:g}   # memory to plan for; without it, the free memory is used

render_validation:
  width: 768
  height: 512
  num_frames: {asked.num_frames}
  frame_rate: 25   # the rate of most footage
  num_steps: 30
  video_cfg: 3.0   # guidance; 2 to 6
  base_precision: {fits.base_precision}   # as in training; native is more exact, and slower if it does not fit
"""


def annotated(
    footage: Path,
    gpu_gib: float,
    goal: str,
    *,
    flavour: str = "dev",
    checkpoint: str | None = None,
    text_encoder: str | None = None,
) -> str:
    """The configuration as text; its paths are relative to its file, or absolute."""
    asked, fits, model = GOALS[goal], fit(gpu_gib), FLAVOURS[flavour]
    encoder = text_encoder or (None if model.generation == "2.5" else GEMMA)
    encoder_line = f"  text_encoder: {_text(encoder)}   # a folder, or a repository\n" if encoder else ""
    return TEMPLATE.format(
        asked=asked,
        fits=fits,
        goal=goal,
        gpu_gib=gpu_gib,
        footage=_text(str(footage)),
        checkpoint=_text(checkpoint or model.repository),
        flavour=_text(flavour),
        encoder_line=encoder_line,
        prompt=_text(asked.prompt),
    )


def write_new(path: Path, text: str) -> None:
    """Write a file that must not be there yet.

    Raises:
        ConfigError: it is.
    """
    if path.exists():
        raise ConfigError(f"{path} is there already and is left as it is; name another with --output")
    write_bytes(path, text.encode())


def _text(value: str) -> str:
    """As YAML reads it, whatever characters it has."""
    return json.dumps(value, ensure_ascii=False)
