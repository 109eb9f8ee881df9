"""One unit of work, in a process of its own: footage to latents, an encoder for CREPA, or an arm at one seed."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.truth import clips
from benchmarks.truth.arms import ARMS, Arm, Renders
from benchmarks.truth.encoder import IMAGE_SIZE, write_encoder
from benchmarks.truth.stages import Pipeline, StepClock, Values, memory
from benchmarks.truth.worlds import RENDERED, WORLDS, every_caption, model, rendered_specs, still_specs, write_world
from datasets_spec import Checkpoint, Render
from ltx_core.io.json_file import read_json, write_json
from ltx_core.tiny.world import FRAME_RATE, FRAMES, Spec, caption
from tasks.runtime.shared import PromptConfig, Shared
from tasks.runtime.workspace import Workspace
from tests import detectors

LONG_FRAMES = 49
FIRST_RENDER_SEED = 40
"""Plus the seed of the training; the base is rendered with the same."""
LIBRARIES = ("torch", "diffusers", "transformers", "peft", "lycoris-lora", "ltx2-lora")
OPTIONS: Mapping[Renders, str] = {
    "first frame": "image_to_video_clips",
    "audio": "audio_to_video_clips",
    "prefix": "extend_clips",
    "region": "inpaint_clips",
    "control": "reference_clips",
}
OFF = 1e-30
"""Strength of a LoRA that is to change nothing: added to a layer's output, it is lost in float32's rounding."""
CONCEPT_COLOUR = "pink"
Figures = dict[str, float]


class Shown(NamedTuple):
    """Decoded renders: pixels [B, 3, F, H, W], audio [B, 2, N], and their files."""

    pixels: torch.Tensor
    audio: torch.Tensor
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where everything lies, where it is computed, and at which size.

    Attributes:
        device: "cpu" or "cuda".
        steps: Of every training, in place of the arm's own; to try an experiment.
        captions: Of each kind, at most; so many are rendered.
    """

    out: Path
    device: str
    steps: int | None = None
    captions: int = RENDERED

    @property
    def encoder(self) -> Path:
        """Folder of CREPA's encoder."""
        return self.out / "encoder"

    @property
    def results(self) -> Path:
        """Folder of the results of arms."""
        return self.out / "results"

    def result(self, arm: str, seed: int) -> Path:
        """File of the result of an arm at one seed."""
        return self.results / f"{arm.replace(' ', '_')}-{seed}.json"

    def base_renders(self, seed: int) -> Path:
        """File that says where the base's renders at a seed are, by caption."""
        return self.out / "base" / f"{seed}.json"

    def footage(self, world: str, workspace: str = "workspace") -> Pipeline:
        """The stages before training, made or reused."""
        datasets = write_world(WORLDS[world], self.out / "footage" / world.replace(" ", "_"))
        prompts = PromptConfig(
            validation=every_caption([*chain.from_iterable(rendered_specs().values()), *still_specs()]),
            negative="",  # the model knows no words for bad videos
        )
        shared = Shared(datasets=datasets, model=model(), memory=memory(self.device), prompts=prompts)
        return Pipeline(shared, Workspace(self.out / workspace), {}).encoded()


def prepare_world(place: Place, world: str) -> None:
    """Make what all trainings on this footage share."""
    place.footage(world)
    write_json(place.out / "prepared" / f"{world.replace(' ', '_')}.json", {"world": world})


def prepare_encoder(place: Place) -> None:
    """Make the vision encoder that CREPA aligns with."""
    write_encoder(place.encoder)
    write_json(place.out / "prepared" / "encoder.json", {"encoder": place.encoder.name})


def run_arm(place: Place, name: str, seed: int) -> dict[str, Any]:
    """Train an arm, render, measure, and write the result."""
    arm, began = ARMS[name], time.process_time()
    pipeline = place.footage(arm.world, f"workspace of {name} {seed}" if arm.is_apart else "workspace")
    if arm.has_features:
        pipeline = pipeline.with_features(place.encoder, IMAGE_SIZE)
    clock, settings = StepClock(place.device), arm.settings_of(place.steps)
    pipeline = pipeline.trained({**settings, "seed": seed}, clock)
    figures, checkpoints = _figures(Rendering(place, arm, pipeline, seed))
    if seconds := _step_seconds(place.out / "steps" / place.result(name, seed).name, clock):
        figures["seconds a step"] = seconds
    result = {
        "arm": name,
        "seed": seed,
        "training": settings,
        "captions": place.captions,
        "figures": {label: round(value, 6) for label, value in figures.items()},
        "checkpoints": checkpoints,
        "cpu_seconds": round(time.process_time() - began, 1),
        "device": _device(place.device),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"python": platform.python_version(), **{library: _version(library) for library in LIBRARIES}},
    }
    write_json(place.result(name, seed), result, indent=1)
    return result


def _step_seconds(kept: Path, clock: StepClock) -> float | None:
    """Of the training, or, if a call before this one finished it, as kept then."""
    if clock.median is not None:
        write_json(kept, {"seconds": clock.median})
    return float(read_json(kept)["seconds"]) if kept.exists() else None


@dataclass(frozen=True)
class Rendering:
    """What is rendered of an arm at one seed, by the weights that it is about."""

    place: Place
    arm: Arm
    pipeline: Pipeline
    seed: int

    def shown(self, captions: Sequence[str], options: Values | None = None, lora: Checkpoint | None = None) -> Shown:
        """Renders of these captions, in their order, by the final LoRA, by another checkpoint, or by the base.

        The stage always renders a LoRA. Of an arm that is about the base it has a strength that changes no bit.
        """
        asked: dict[str, Any] = {"seeds": [FIRST_RENDER_SEED + self.seed], "render_base": False, **(options or {})}
        if lora is None and self.arm.is_base:
            lora = self.pipeline.checkpoints()[0]
        if lora is not None:
            strength = OFF if self.arm.is_base else 1.0
            adapter = {"path": str(self.pipeline.workspace.root / lora.file), "strength": strength}
            asked["adapters"] = [{"name": lora.name, "adapters": [adapter], "lora": False}]
            asked["render_without_adapters"] = False
        given = any(option in asked for option in OPTIONS.values())
        rows = {row.prompt: row for row in self.pipeline.rendered(() if given else captions, asked)}
        return _read([self.pipeline.workspace.root / rows[caption].file for caption in captions], rows[captions[0]])


def _read(files: Sequence[Path], like: Render) -> Shown:
    return Shown(*clips.read_clips(files, like.num_frames, like.frame_rate), files=tuple(files))


def _figures(rendering: Rendering) -> tuple[Figures, list[Figures]]:
    arm, final = rendering.arm, rendering.pipeline.checkpoints()[0]
    loss = final.base_eval_loss if arm.is_base else final.eval_loss
    figures: Figures = {} if loss is None else {"eval loss": loss}
    checkpoints: list[Figures] = []
    if "captions" in arm.renders:
        figures |= _of_captions(rendering)
    if "long" in arm.renders:
        figures |= _of_long(rendering)
    if "checkpoints" in arm.renders:
        checkpoints = _of_checkpoints(rendering, figures)
        best = min(checkpoints, key=lambda found: found["eval loss"])
        figures |= {f"{name}, best checkpoint": value for name, value in best.items()}
    for part in arm.renders:
        if part == "text" or part in OPTIONS:
            figures |= _of_given(rendering, part)
    return figures, checkpoints


def _of_captions(rendering: Rendering) -> Figures:
    place, arm, seed = rendering.place, rendering.arm, rendering.seed
    kinds = {kind: specs[: place.captions] for kind, specs in rendered_specs().items()}
    every = every_caption(chain.from_iterable(kinds.values()))
    shown = rendering.shown(every)
    figures: Figures = {}
    for number, (kind, specs) in enumerate(kinds.items()):
        part = slice(number * place.captions, (number + 1) * place.captions)
        figures |= _scores(kind, specs, Shown(shown.pixels[part], shown.audio[part]))
    found = detectors.find_objects(shown.pixels)
    figures["flicker"] = clips.mean(clips.flicker(shown.pixels, found))
    figures["colour wander"] = clips.mean(clips.colour_wander(shown.pixels, found))
    if arm.is_base:
        files = {text: str(path) for text, path in zip(every, shown.files, strict=True)}
        write_json(place.base_renders(seed), {"files": files})
    if arm.compares_base:
        if not place.base_renders(seed).exists():  # the base's result was kept, and made elsewhere
            _of_captions(replace(rendering, arm=ARMS["base"]))
        files = read_json(place.base_renders(seed))["files"]
        base = clips.read_clips([Path(files[text]) for text in every], FRAMES, FRAME_RATE)
        figures["audio change dB"] = clips.mean(clips.audio_distance(shown.audio, base.audio))
        figures["video change"] = clips.mean((shown.pixels - base.pixels).abs() * 127.5)
    return figures


def _of_long(rendering: Rendering) -> Figures:
    captions = every_caption(still_specs()[: rendering.place.captions])
    pixels = rendering.shown(captions, {"num_frames": LONG_FRAMES}).pixels
    last = detectors.find_objects(pixels[:, :, -FRAMES:])
    return {
        "drift": clips.mean(clips.drift(pixels)),
        "flicker, long": clips.mean(clips.flicker(pixels, detectors.find_objects(pixels))),
        "colour distance, end of long": clips.mean(clips.colour_distance(last, CONCEPT_COLOUR)),
    }


def _of_checkpoints(rendering: Rendering, of_final: Figures) -> list[Figures]:
    """Eval loss and scores of every kept checkpoint, the final one among them, by step."""
    final, *saved = rendering.pipeline.checkpoints()
    specs = rendered_specs()["concept"][: rendering.place.captions]
    own = {name: value for name, value in of_final.items() if name.startswith("concept ")}
    found = [{"step": float(final.step), "eval loss": _loss(final)} | own]
    for row in saved:
        if row.step != final.step:
            scores = _scores("concept", specs, rendering.shown(every_caption(specs), lora=row))
            found.append({"step": float(row.step), "eval loss": _loss(row)} | scores)
    rounded = [{name: round(value, 6) for name, value in one.items()} for one in found]
    return sorted(rounded, key=lambda one: one["step"])


def _of_given(rendering: Rendering, part: Renders) -> Figures:
    """What is kept of the clip, and whether the caption is followed; `text`: renders of captions alone, compared with
    clips that they were not given."""
    inputs, count = rendering.pipeline.inputs, rendering.place.captions
    latents = sorted((row for row in inputs["encode_latents"] if row.split == "eval"), key=lambda row: row.clip_key)
    captions = [row.caption for row in latents][:count]  # the first ones by key, as the stage takes them
    specs = {caption(spec): spec for spec in WORLDS[rendering.arm.world].held_out}
    paths = {clip.caption: Path(clip.path) for clip in inputs["split"]}
    shown = rendering.shown(captions, None if part == "text" else {OPTIONS[part]: count})
    clip = clips.read_clips([paths[text] for text in captions], FRAMES, FRAME_RATE)
    height, width = shown.pixels.shape[-2:]
    outside = torch.ones(height, width)
    outside[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 0
    kept = {
        "first frame dB": clips.psnr(shown.pixels[:, :, :1], clip.pixels[:, :, :1]),
        "first 9 frames dB": clips.psnr(shown.pixels[:, :, :9], clip.pixels[:, :, :9]),
        "outside dB": clips.psnr(shown.pixels, clip.pixels, outside),
        "place error": clips.place_error(shown.pixels, clip.pixels),
    }
    scores = _scores("caption", [specs[text] for text in captions], shown)
    return scores | {name: clips.mean(values) for name, values in kept.items()}


def _scores(kind: str, specs: Sequence[Spec], shown: Shown) -> Figures:
    right = detectors.right(specs, shown.pixels, shown.audio)
    figures = {f"{kind} {name}": sum(values) / len(values) for name, values in right.items()}
    if kind == "concept":
        found = detectors.find_objects(shown.pixels)
        figures["concept colour distance"] = clips.mean(clips.colour_distance(found, CONCEPT_COLOUR))
    return figures


def _loss(row: Checkpoint) -> float:
    assert row.eval_loss is not None  # evaluated whenever a checkpoint is kept
    return row.eval_loss


def _device(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # the machine has the repository, and no installed package
        return "not installed"
