"""An annotated configuration from a few answers: footage, GPU memory, goal."""

import json
from dataclasses import dataclass
from pathlib import Path

from flows.goals import GOALS, fit
from ltx_core.checkpoint.flavours import FLAVOURS
from ltx_core.errors import ConfigError
from ltx_core.files.atomic import write_bytes

GEMMA = "google/gemma-3-12b-it-qat-q4_0-unquantized"
"""LTX-2's text encoder; LTX-2.5 brings its own."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What was asked."""

    footage: Path
    gpu_gib: float
    goal: str
    flavour: str = "dev"
    checkpoint: str | None = None
    text_encoder: str | None = None


def annotated(answers: Answers) -> str:
    """The configuration as text; its paths are relative to its file, or absolute."""
    goal, fits = GOALS[answers.goal], fit(answers.gpu_gib)
    flavour = FLAVOURS[answers.flavour]
    encoder = answers.text_encoder or (None if flavour.generation == "2.5" else GEMMA)
    encoder_line = f"  text_encoder: {_text(encoder)}   # a folder, or a repository\n" if encoder else ""
    return f"""\
# Made by `ltx2-lora configure` for {answers.gpu_gib:g} GiB of GPU memory; goal: {answers.goal}, {goal.meaning}.
# docs/config.md lists every option. Next: ltx2-lora plan THIS_FILE, then ltx2-lora train THIS_FILE.
# Paths are relative to this file.

workspace: workspace   # results, caches and tracking

datasets:
  - id: footage
    instance_data_dir: {_text(str(answers.footage))}   # videos; beside each a caption of the same name, .txt
    caption_strategy: textfile   # or filename; or instanceprompt with instance_prompt
    resolution: {fits.resolution}   # edge of the square of equal area; lower it first if memory runs out
    video:
      num_frames: {goal.num_frames}   # 8k+1; fewer take less memory and time
      frame_rate: native   # each file's own, up to 30; a number resamples to it
    audio:
      auto_split: true   # train sound as well
    repeats: 1   # visits of each clip in an epoch

model:
  checkpoint: {_text(answers.checkpoint or flavour.repository)}   # a repository, a .safetensors file, or a folder
  flavour: {_text(answers.flavour)}
{encoder_line}
prompts:
  validation:   # rendered by the base model and by the LoRA; say what moves, and what is heard
    - {_text(goal.prompt)}

train_lora:
  steps: {goal.steps}
  rank: {goal.rank}
  learning_rate: 1.0e-4
  batch_size: 1
  optimizer: adamw_bf16   # the least memory; adamw keeps 32 bits
  # for {answers.gpu_gib:g} GiB: {fits.why}
  base_precision: {fits.base_precision}   # native or int8; fp8 from Hopper on
  streamed_blocks: auto   # as many of 48 wait on the host as the GPU needs; `plan` says how many
  recompute: auto   # the least share of the blocks computed again in the backward that fits

memory:
  gpu_gib: {answers.gpu_gib:g}   # planned for that, also where no GPU is; leave it out for what is free

render_validation:
  width: 768
  height: 512
  num_frames: {goal.num_frames}
  frame_rate: 25   # as most of the footage's
  num_steps: 30
  video_cfg: 3.0   # guidance; 2 to 6
  base_precision: {fits.base_precision}   # as trained; native is closer and, on a card that cannot hold it, slower
"""


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
