"""Options of the guide that say what is rendered, and how. Later rows may read what earlier ones set."""

from typing import Any

from flows.guide.option import Draft, Option, Refused
from flows.guide.prompts import LIBRARY
from flows.guide.take import flag, number, switch, text, to, told, whole

MULTIPLE = 32
"""The VAE's pixels a latent place."""
CLIP_MODEL = "openai/clip-vit-large-patch14"
JUDGE = "pretrained_evaluation_model_name_or_path"
NUM_CLIPS = 4
"""Held-out clips rendered from, of each kind."""
MAPPED = "tests/unit/guide/test_options.py::test_value_goes_where_the_table_says"
CONDITIONED = "tests/stages/test_renders.py::test_pictures_and_sounds_of_ones_own"


def _size(draft: Draft, key: str, value: Any) -> None:
    """`WIDTHxHEIGHT`, or one number for a square."""
    parts = str(value).lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise Refused(f"is {value!r}; one size is wanted, WIDTHxHEIGHT such as 768x512")
    asked = [int(parts[0]), int(parts[-1])]
    width, height = (max(pixels // MULTIPLE, 2) * MULTIPLE for pixels in asked)
    draft.set("render_validation.width", width)
    draft.set("render_validation.height", height)
    if [width, height] != asked:
        draft.notice(key, f"{asked[0]}x{asked[1]} becomes {width}x{height}: the VAE takes multiples of {MULTIPLE}")


def _prompt(draft: Draft, _key: str, value: Any) -> None:
    _add_prompts(draft, [text(value)])


def _library(draft: Draft, _key: str, value: Any) -> None:
    """The guide's program has a library of its own; a path stands for one's own."""
    if isinstance(value, str) and value.endswith(".json"):
        draft.set("prompts.library", value)
    elif flag(value):
        _add_prompts(draft, list(LIBRARY))


def _add_prompts(draft: Draft, prompts: list[str]) -> None:
    known = draft.get("prompts.validation") or []
    draft.set("prompts.validation", [*known, *(prompt for prompt in prompts if prompt not in known)])


def _disable(draft: Draft, key: str, value: Any) -> None:
    if not flag(value):
        return
    draft.set("prompts.validation", [])
    draft.values.get("prompts", {}).pop("library", None)
    for kind in ("image", "sound"):
        draft.set(f"render_validation.{kind}_to_video_clips", 0)
    draft.notice(key, "prompts are left out and nothing is rendered; the eval loss on held-out clips is measured still")


def _from_datasets(draft: Draft, key: str, value: Any) -> None:
    if not flag(value):
        return
    draft.set("render_validation.image_to_video_clips", NUM_CLIPS)
    draft.set("render_validation.sound_to_video_clips", NUM_CLIPS)
    draft.notice(
        key,
        f"up to {NUM_CLIPS} held-out clips give their first frame to a render, and up to {NUM_CLIPS} their sound to "
        f"another; validation_prompt is rendered from text beside them",
    )


def _evaluation(draft: Draft, key: str, value: Any) -> None:
    if value in ("none", None, ""):
        return
    if value != "clip":
        raise Refused(f"is {value!r}; `clip` or `none` is wanted")
    if not draft.flat.get(JUDGE):
        draft.set("render_validation.clip_model", CLIP_MODEL)
        draft.notice(key, f"{JUDGE} is left out, so {CLIP_MODEL} scores the renders")


def _judge(draft: Draft, key: str, value: Any) -> None:
    if draft.flat.get("evaluation_type") == "clip":
        draft.set("render_validation.clip_model", text(value))
    else:
        draft.notice(key, "has no effect without evaluation_type: clip")


OPTIONS = (
    Option(
        key="validation_num_inference_steps",
        take=to("render_validation.num_steps", parse=whole),
        does="`render_validation.num_steps`.",
        differs="Lightricks' own sigma schedule, which goes by the number of tokens.",
        test="tests/unit/flows/test_render_options.py::test_runs_of_several_adapters",
    ),
    Option(
        key="validation_guidance",
        take=to("render_validation.video_cfg", "render_validation.audio_cfg", parse=number),
        does="`render_validation.video_cfg` and `audio_cfg`. Outside 2 to 6 `plan` warns of black or noisy renders.",
        differs="Picture and sound can be guided differently, and `rescale` keeps the deviation (0.7).",
        test="tests/unit/flows/test_render_options.py::test_guidance_out_of_the_usual_range_gets_a_notice",
    ),
    Option(
        key="validation_resolution",
        take=_size,
        does="`render_validation.width` and `height`, from `WIDTHxHEIGHT`.",
        differs="Floored to multiples of 32 with a notice (720 becomes 704), which the VAE takes. One size alone.",
        test="tests/unit/guide/test_options.py::test_sizes_are_floored_and_told",
    ),
    Option(
        key="validation_num_video_frames",
        take=to("render_validation.num_frames", parse=whole),
        does="`render_validation.num_frames`.",
        differs="The VAE takes 8k+1 frames, not 4k+1 as the guide says: 61 becomes 57 with a notice; 49, 81 stay.",
        test="tests/numerics/expectations/test_defects.py::test_d01_frames_are_8k_plus_1",
    ),
    Option(
        key="validation_seed",
        take=lambda draft, _key, value: draft.set("render_validation.seeds", [whole(value)]),
        does="`render_validation.seeds`, a list of one.",
        differs="Base model and LoRA get the same noise.",
        test="tests/stages/test_renders.py::test_the_same_render_twice_is_refused",
    ),
    Option(
        key="validation_prompt",
        take=_prompt,
        does="`prompts.validation`: rendered by the base model and by the LoRA.",
        differs="Embedded with the captions, before training.",
        test="tests/stages/test_item_counts.py::test_another_prompt_embeds_one_text_and_renders_it",
    ),
    Option(
        key="validation_prompt_library",
        take=_library,
        does="`true` adds eight prompts to `prompts.validation`; a path is taken as `user_prompt_library`.",
        differs="Other prompts than the guide's program has: each says what moves and what is heard.",
        test="tests/unit/guide/test_options.py::test_prompts_of_the_library_say_what_moves",
    ),
    Option(
        key="user_prompt_library",
        take=to("prompts.library"),
        does="`prompts.library`: a JSON file of name and prompt; the prompts are rendered after `prompts.validation`.",
        differs="nothing",
        test="tests/unit/guide/test_prompt_library.py::test_prompts_of_the_file_follow_those_of_the_configuration",
    ),
    Option(
        key="validation_using_datasets",
        take=_from_datasets,
        does=f"`render_validation.image_to_video_clips` and `sound_to_video_clips`: {NUM_CLIPS} held-out clips each.",
        differs="Image and sound to video are both rendered, and text to video still. A given sound is kept clean; "
        "the guide's program makes it anew.",
        test="tests/numerics/expectations/test_defects.py::"
        "test_d12_given_sound_is_the_condition_in_training_and_sampling",
    ),
    Option(
        key="eval_dataset_id",
        take=to("defaults.eval_dataset_id"),
        does="Clips are held out of this dataset alone (`datasets[].eval_fraction` 0 of the others), so that "
        "renders that start from clips start from its.",
        differs="A dataset whose `dataset_type` is `eval` is held out whole and not trained on.",
        test="tests/unit/guide/test_datasets.py::test_clips_are_held_out_of_the_eval_dataset_alone",
    ),
    Option(
        key="validation_disable",
        take=_disable,
        does="True leaves all prompts out and renders nothing.",
        differs="The eval loss on held-out clips stays, because it is cheap and chooses the best checkpoint.",
        test="tests/unit/guide/test_files.py::test_the_printed_config_is_read_unchanged",
    ),
    Option(
        key="validation_disable_unconditional",
        take=told("the empty prompt is never rendered; add what you want to see to the prompts", unless=(True, "true")),
        does="Always so: the empty prompt is never rendered.",
        differs="`false` gets a notice.",
        test="tests/unit/guide/test_options.py::test_told",
    ),
    Option(
        key="validation_step_interval",
        take=told(
            "renders are made once, of the finished LoRA; eval losses are measured every train_lora.eval_interval"
        ),
        does="A notice: renders are made once, of the finished LoRA.",
        differs="Rendering is a stage after training, in a process of its own, so that both never share memory.",
        test="tests/unit/guide/test_options.py::test_told",
    ),
    Option(
        key="disable_benchmark",
        take=switch("render_validation.render_base", on=False, off=True),
        does="`render_validation.render_base: false`: the base model renders nothing.",
        differs="Base renders are made with the LoRA's, not at step 0, and once for all runs that share them.",
        test="tests/stages/test_renders.py::test_runs_with_adapters",
    ),
    Option(
        key="evaluation_type",
        take=_evaluation,
        does=f"`clip`: `render_validation.clip_model` from `pretrained_evaluation_model_name_or_path`; left out: "
        f"`{CLIP_MODEL}`. The score is in the gallery, the model card and MLflow.",
        differs="Every render is scored against its prompt once, mean over 8 frames, on the scale of the guide's "
        "program: 100 max(cos, 0). `none` is the default; sharpness, motion and loudness are measured all the same.",
        test="tests/stages/test_clip_scores.py::test_renders_are_scored_once_and_the_score_is_shown",
    ),
    Option(
        key="pretrained_evaluation_model_name_or_path",
        take=_judge,
        does="`render_validation.clip_model`, with `evaluation_type: clip`: a folder of transformers or a repository.",
        differs="Weights as `.safetensors` only, never pickled.",
        test=MAPPED,
    ),
)
