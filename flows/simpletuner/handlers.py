"""Options that do more than a row of the table can say. Each takes a value into the draft, or raises `Refused`."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from flows.simpletuner.draft import Draft, Refused, flag, is_off, number, text, whole

NUM_BLOCKS = 48
"""Transformer blocks of every LTX-2."""
MULTIPLE = 32
"""The VAE's pixels a latent place."""
BETAS = (0.9, 0.999)
TIMESTEPS = 1000
"""Timesteps of SimpleTuner between noise levels 0 and 1."""
UPSAMPLER = ("Lightricks/LTX-2.3", "ltx-2.3-spatial-upscaler-x2-1.1.safetensors")
"""The repository and file of the spatial upsampler, where none is named."""
CLIP_MODEL = "openai/clip-vit-large-patch14"
JUDGE = "pretrained_evaluation_model_name_or_path"
DISTILLED_STEPS = 8
FAST = {"schedule": "distilled", "num_steps": DISTILLED_STEPS, "video_cfg": 1, "audio_cfg": 1}
"""The settings that the distilled adapter is made for."""
AUDIO_OF = "audio_of"
"""Where a dataset's draft keeps the id of the dataset of audio files, until all entries are known."""
LIBRARY = (
    "A dog runs over wet sand from left to right while the camera pans right, waves and barking.",
    "A woman in a red coat turns to the camera and laughs, traffic hums behind her.",
    "Slow zoom in on a clock whose second hand moves, loud ticking in a quiet room.",
    "Rain runs down a window at night while lights of cars pass behind it, steady drumming of rain.",
    "A chef throws noodles in a wok, flames rise, the camera holds still, sizzling and a metal clang.",
    "Aerial shot that flies forward over a forest in fog, wind and distant birds.",
    "A child jumps into a puddle, water splashes towards the camera, a splash and giggling.",
    "A train enters a station and slows down, the camera tilts up, brakes squeal and doors hiss.",
)
"""Prompts to look at any LoRA with: each says what moves, how the camera moves, and what is heard."""


def recompute_one_in(draft: Draft, _key: str, blocks: int) -> None:
    """Activation checkpointing of one in so many blocks, unless checkpointing is switched off."""
    if blocks < 0:
        raise Refused(f"is {blocks}; 0 or more blocks are wanted")
    if blocks and not is_off(draft.flat.get("gradient_checkpointing", True)):
        draft.set("train_lora.activation_checkpointing", 1 / blocks)


def percent_of_blocks(draft: Draft, key: str, percent: float) -> None:
    """Percent of the transformer's linear layers, where `ramtorch` is on."""
    if not 0 <= percent <= 100:
        raise Refused(f"is {draft.flat[key]!r}; 0 to 100 percent is wanted")
    if is_off(draft.flat.get("ramtorch")):
        draft.warn(key, "has no effect without ramtorch")
    elif percent < 100:
        draft.set("train_lora.offloaded_blocks", round(NUM_BLOCKS * percent / 100))


def compile_blocks(draft: Draft, key: str, value: Any) -> None:
    """The name of a compiler's mode; empty leaves it to us."""
    if value in ("no", "disabled", "eager"):
        draft.set("train_lora.compile_blocks", "off")
    elif value:
        draft.set("train_lora.compile_blocks", "on")
        draft.warn(key, f"blocks are compiled by inductor; {value!r} itself has no meaning here")


def steps_or_epochs(draft: Draft, _key: str, steps: int) -> None:
    """Steps are taken; epochs beside them are refused, as SimpleTuner does."""
    if epochs := _other(draft, "num_train_epochs", 0):
        raise Refused(f"is {steps} and num_train_epochs {epochs:g}; set one of them to 0, there as here")


def warm_up(draft: Draft, key: str, _steps: int) -> None:
    """A warm-up changes the schedule where none is named."""
    if draft.flat.get("lr_scheduler") in (None, "constant"):
        draft.set("train_lora.scheduler", "constant_with_warmup")
        draft.warn(key, "the learning rate stays where it is after the warm-up; name an lr_scheduler to have it fall")


def first_beta(draft: Draft, _key: str, beta: float) -> None:
    """The first of AdamW's two decay rates; the other keeps its default unless it is given, too."""
    draft.set("train_lora.betas", [beta, (draft.get("train_lora.betas") or BETAS)[1]])


def second_beta(draft: Draft, _key: str, beta: float) -> None:
    """The second of them."""
    draft.set("train_lora.betas", [(draft.get("train_lora.betas") or BETAS)[0], beta])


def tread_routes(draft: Draft, _key: str, value: Any) -> None:
    """The routes in TREAD's configuration."""
    if not value:
        return
    routes = value.get("routes") if isinstance(value, dict) else None
    if not isinstance(routes, list) or not routes or set(value) != {"routes"}:
        raise Refused(f'is {value!r}; {{"routes": [...]}} is wanted, a route or more')
    draft.set("train_lora.tread_routes", routes)


def rollout(draft: Draft, key: str, offset: int) -> None:
    """Decides by other options whether there are rollouts, with the values that SimpleTuner would fill in."""
    prefix = key.removesuffix("max_step_offset")
    if offset < 0:
        raise Refused(f"is {draft.flat[key]!r}; 0 or more is wanted")
    if not offset:
        return
    ramps = bool(_other(draft, f"{prefix}ramp_steps", 0))
    name = f"{prefix}prob_end" if ramps else f"{prefix}probability"
    probability = _other(draft, name, 0.5 if ramps else 0, unreadable=1)
    if not (probability or (ramps and _other(draft, f"{prefix}prob_start", 0))):
        draft.warn(key, f"no sample is rolled out, because the probability is 0 ({name})")
        return
    draft.set("train_lora.rollout", {"max_sigma_offset": offset / TIMESTEPS, "probability": probability})
    draft.warn(
        key,
        f"up to {offset} steps of 1/{TIMESTEPS} are one forward of the model here; "
        f"train_lora.rollout.num_model_calls sets more",
    )
    if draft.flat.get(f"{prefix}reflexflow") in (None, ""):
        draft.set("train_lora.rollout.reflexflow", True)
        draft.warn(key, f"brings ReflexFlow with it, as there; {prefix}reflexflow: false leaves it out")


def _other(draft: Draft, key: str, default: float, unreadable: float = 0) -> float:
    """The number of another option; `unreadable` where it is none, which its own row then refuses."""
    try:
        return number(draft.flat.get(key, default))
    except Refused:
        return unreadable


def trackers(draft: Draft, key: str, value: Any) -> None:
    """Names of services, with commas between them."""
    names = {name.strip() for name in str(value).split(",")} - {""}
    if unknown := sorted(names - {"none", "mlflow", "wandb"}):
        raise Refused(f"is {value!r}, and {unknown[0]} is not written to; `none`, `mlflow` or `wandb` is wanted")
    if "wandb" in names:
        draft.set("tracking.wandb", True)
    if "mlflow" not in names:
        also = "W&B as well" if "wandb" in names else "nothing is sent anywhere"
        draft.warn(key, f"MLflow has the run in any case, in a file of the workspace; {also}")


def publish(draft: Draft, _key: str, on: bool) -> None:
    """The repository is an option of its own there."""
    if not on:
        return
    if not draft.flat.get("hub_model_id"):
        raise Refused("is on, and hub_model_id does not say where to; name a repository")
    draft.set("publish.repository", text(draft.flat["hub_model_id"]))


def render_size(draft: Draft, key: str, value: Any) -> None:
    """`WIDTHxHEIGHT`, or one number for a square."""
    parts = str(value).lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise Refused(f"is {value!r}; one size is wanted, WIDTHxHEIGHT such as 768x512")
    asked = [int(parts[0]), int(parts[-1])]
    width, height = (max(pixels // MULTIPLE, 2) * MULTIPLE for pixels in asked)
    for renders in ("render_validation", "train_lora.samples"):
        draft.set(f"{renders}.width", width)
        draft.set(f"{renders}.height", height)
    if [width, height] != asked:
        draft.warn(key, f"{asked[0]}x{asked[1]} becomes {width}x{height}: the VAE takes multiples of {MULTIPLE}")


def prompt(draft: Draft, _key: str, value: str) -> None:
    """One prompt."""
    _add_prompts(draft, [value])


def prompt_library(draft: Draft, _key: str, value: Any) -> None:
    """SimpleTuner has a library of its own, and this program too; a path stands for one's own."""
    if isinstance(value, str) and value.endswith(".json"):
        draft.set("prompts.library", value)
    elif flag(value):
        _add_prompts(draft, list(LIBRARY))


def _add_prompts(draft: Draft, prompts: list[str]) -> None:
    known = draft.get("prompts.validation") or []
    draft.set("prompts.validation", [*known, *(prompt for prompt in prompts if prompt not in known)])


def no_prompts(draft: Draft, key: str, on: bool) -> None:
    """Takes back all that the options before asked to render."""
    if not on:
        return
    draft.set("prompts.validation", [])
    draft.values.get("prompts", {}).pop("library", None)
    for kind in ("image", "audio"):
        draft.set(f"render_validation.{kind}_to_video_clips", 0)
    draft.warn(key, "prompts are left out and nothing is rendered; the eval loss on held-out clips is measured still")


def evaluation(draft: Draft, key: str, value: str) -> None:
    """Renders are scored with CLIP; another model may follow."""
    if value == "clip":
        draft.set("render_validation.clip_model", CLIP_MODEL)
        if not draft.flat.get(JUDGE):
            draft.warn(key, f"{JUDGE} is left out, so {CLIP_MODEL} scores the renders")


def adapter(draft: Draft, _key: str, path: str) -> None:
    """An adapter with its name and strength, which are options of their own there."""
    own = {
        "label": draft.flat.get("validation_adapter_name"),
        "strength": draft.flat.get("validation_adapter_strength"),
    }
    given = {name: one for name, one in own.items() if one not in (None, "")}
    _add_runs(draft, [_run({"path": path, **given}) if given else path])


def adapter_runs(draft: Draft, _key: str, value: Any) -> None:
    """One run with adapters, or several."""
    runs = value if isinstance(value, list) else [value]
    _add_runs(draft, [_run(run) for run in runs])


def adapter_mode(draft: Draft, _key: str, mode: str) -> None:
    """The runs that are made."""
    if mode == "none":
        draft.values.get("render_validation", {}).pop("adapters", None)
    elif mode == "adapter_only":
        draft.set("render_validation.render_without_adapters", False)


def render_stages(draft: Draft, _key: str, mode: str) -> None:
    """The upsampler of two-stage renders, whose repository or folder and file are options of their own there."""
    if mode != "spatial-upscale":
        return
    names = ("ltx2_validation_spatial_upsampler_model", "ltx2_validation_spatial_upsampler_filename")
    place, file = (draft.flat.get(name) or usual for name, usual in zip(names, UPSAMPLER, strict=True))
    if PurePath(place).suffix == ".safetensors":
        found = {"path": place}
    elif PurePath(place).is_absolute() or place.startswith("."):
        found = {"path": str(PurePath(place) / file)}
    else:
        found = {"hub": f"{place}:{file}"}
    draft.set("render_validation.upscaling", {"upsampler": found})


def _run(run: Any) -> Any:
    """Their names of a run's parts, in ours."""
    if isinstance(run, str):
        return run
    if not isinstance(run, dict):
        raise Refused(f"has {run!r}; a run is wanted: its `label`, and `path` or `adapters`")
    parts = dict(run)
    name = parts.pop("label", None) or parts.pop("name", None) or parts.pop("adapter_name", None)
    strength = number(parts.pop("strength", 1.0))
    found = next((parts.pop(part) for part in ("adapters", "paths", "path") if part in parts), None)
    if parts or not found:
        raise Refused(f"has {run!r}; a run has a `label`, `path`, `paths` or `adapters`, and a `strength`")
    files = [_file(file, strength) for file in (found if isinstance(found, list) else [found])]
    return {"name": name or _stem(files[0].get("hub") or files[0]["path"]), "adapters": files}


def _file(file: Any, strength: float) -> dict[str, Any]:
    where = file if isinstance(file, str) else file.get("path", "") if isinstance(file, dict) else ""
    if not where:
        raise Refused(f"names {file!r}; a path or `owner/name:weights.safetensors` is wanted")
    own = strength if isinstance(file, str) else number(file.get("strength", strength))
    return {"hub" if ":" in where else "path": where, "strength": own}


def _stem(where: str) -> str:
    return PurePath(where.rpartition(":")[2]).stem


def _add_runs(draft: Draft, runs: list[Any]) -> None:
    """The guide's fast recipe is recognised by its steps, guidance and file, and gets the schedule it is made for."""
    fast = draft.get("render_validation.num_steps") == DISTILLED_STEPS and draft.get("render_validation.video_cfg") == 1
    for run in runs:
        known = draft.get("render_validation.adapters") or []
        if fast and "distilled" in str(run):
            named = run if isinstance(run, dict) else {"name": _stem(run), "adapters": [run]}
            draft.set("render_validation.adapters", [*known, named | FAST])
        else:
            draft.set("render_validation.adapters", [*known, run])


def repeats(draft: Draft, key: str, more: int) -> None:
    """SimpleTuner counts the repetitions after the first use of a clip."""
    times = more + 1
    draft.set("repeats", times)
    if times > 1:
        draft.warn(
            key,
            f"{draft.flat[key]} beside the first use, as SimpleTuner counts: {times} uses of each clip an epoch",
        )


def audio_elsewhere(draft: Draft, _key: str, value: Any) -> None:
    """`NAME_audio` is SimpleTuner's name for the audio that it takes from the videos of NAME."""
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused(f"is {value!r}; the id of a dataset of audio is wanted")
    others = [name for name in names if name != f"{draft.flat.get('id')}_audio"]
    if len(others) > 1:
        raise Refused(f"names {', '.join(map(repr, others))}; a video's audio is cut from one dataset, name one")
    if others:
        draft.set(AUDIO_OF, others[0])


SHUFFLE = frozenset({"enable", "count", "seed", "split_on", "position_start", "include_original"})
"""Options of shuffled tags."""
MOST_SHUFFLES = 64


def caption_shuffle(draft: Draft, key: str, value: Any) -> None:
    """Random orders of the tags of a caption, in a section of their own."""
    if not isinstance(value, dict) or not value.keys() <= SHUFFLE:
        raise Refused(f"is {value!r}; a section with {', '.join(sorted(SHUFFLE))} is wanted")
    if not flag(value.get("enable")):
        return
    if (separator := value.get("split_on", "comma")) != "comma":
        raise Refused(f"has split_on {separator!r}; tags are separated by commas here")
    if not flag(value.get("include_original", True)):
        raise Refused("has include_original off; the written order is always a variant, which the eval loss uses")
    count, first = whole(value.get("count", 1)), whole(value.get("position_start", 0))
    if not 1 <= count <= MOST_SHUFFLES or not 0 <= first <= MOST_SHUFFLES:
        raise Refused(f"has count {count} and position_start {first}; 1 to {MOST_SHUFFLES}, and 0 or more, are wanted")
    draft.set("captions.tag_shuffles", count)
    if first:
        draft.set("captions.tags_in_place", first)
    if "seed" in value:
        draft.warn(key, "its seed has no effect: the orders follow from the caption alone")


HANDLERS: dict[str, Callable[[Draft, str, Any], None]] = {
    handler.__name__: handler
    for handler in (
        adapter,
        adapter_mode,
        adapter_runs,
        caption_shuffle,
        compile_blocks,
        evaluation,
        first_beta,
        no_prompts,
        percent_of_blocks,
        prompt,
        prompt_library,
        publish,
        recompute_one_in,
        render_size,
        render_stages,
        repeats,
        rollout,
        second_beta,
        audio_elsewhere,
        steps_or_epochs,
        trackers,
        tread_routes,
        warm_up,
    )
}
"""By the names that the tables have for them."""
