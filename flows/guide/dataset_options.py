"""Options of one dataset in the guide's `multidatabackend.json`; those of `video` and `audio` lie beside."""

from typing import Any

from flows.guide import dataset_groups, media_options
from flows.guide.option import NOT_BUILT, Draft, Option, Refused
from flows.guide.take import accepted, choice, not_built, number, only, to, told, whole

CUT = "tests/unit/guide/test_datasets.py::test_the_printed_datasets"
REFUSED = "tests/unit/guide/test_datasets.py::test_refused"
TOLD = "tests/unit/guide/test_datasets.py::test_told"
SOUND_OF = "sound_of"
"""Where a draft keeps the id of the dataset of sounds, until all entries are known."""
CAPTIONS = {name: name for name in ("textfile", "filename", "instanceprompt")}
SIZES = {name: name for name in ("pixel", "pixel_area", "area")}


def _repeats(draft: Draft, key: str, value: Any) -> None:
    """There: visits beside the first."""
    times = whole(value) + 1
    draft.set("repeats", times)
    if times > 1:
        draft.notice(
            key, f"{value} beside the first visit, as the guide's program counts: {times} visits an epoch here"
        )


def _probability(_draft: Draft, _key: str, value: Any) -> None:
    if number(value) != 1:
        raise Refused(f"is {value!r}; every epoch visits all clips, so chance has no say; use repeats")


def _sound_elsewhere(draft: Draft, _key: str, value: Any) -> None:
    """`NAME_audio` is what the guide's program calls the sound that it takes from the videos of NAME."""
    names = [value] if isinstance(value, str) else list(value or [])
    others = [name for name in names if name != f"{draft.flat.get('id')}_audio"]
    if len(others) > 1:
        raise Refused(f"names {', '.join(map(repr, others))}; a video's sound is cut from one dataset, name one")
    if others:
        draft.set(SOUND_OF, others[0])


def _crop(draft: Draft, key: str, value: Any) -> None:
    if value not in ("center", "centre", True, False):
        draft.notice(key, f"{value!r} is not done: the middle is kept where a bucket's shape differs")


OWN_OPTIONS = (
    Option(
        key="id",
        take=to("id"),
        does="`datasets[].id`.",
        differs="nothing",
        test=CUT,
    ),
    Option(
        key="type",
        take=only("local", refusal="only local folders are read; copy the footage to this machine"),
        does="`local` is taken.",
        differs=f"Remote storage is {NOT_BUILT}: refused.",
        test=REFUSED,
    ),
    Option(
        key="dataset_type",
        take=only("video", "eval", "audio", refusal=f"`video`, `eval` or `audio` is wanted; images are {NOT_BUILT}"),
        does="`video` is footage; `eval` is footage that is all held out; `audio` is sound for videos that name it in "
        "`s2v_datasets`; an entry `text_embeds` is accepted, since captions are embedded into the workspace.",
        differs=f"Datasets of images alone are {NOT_BUILT}, and sound without videos is not trained: refused.",
        test="tests/unit/guide/test_datasets.py::test_sound_of_another_dataset",
    ),
    Option(
        key="instance_data_dir",
        take=to("instance_data_dir"),
        does="`datasets[].instance_data_dir`: searched recursively.",
        differs="Relative to the project's folder, not to where the command is started.",
        test="tests/unit/guide/test_files.py::test_paths_are_relative_to_the_project",
    ),
    Option(
        key="caption_strategy",
        take=choice("caption_strategy", CAPTIONS),
        does="`datasets[].caption_strategy`: `textfile` (NAME.txt beside NAME.mp4), `filename`, `instanceprompt`.",
        differs="A text file is one caption, all of its lines. Tables are refused.",
        test=CUT,
    ),
    Option(
        key="instance_prompt",
        take=to("instance_prompt"),
        does="`datasets[].instance_prompt`.",
        differs="nothing",
        test="tests/unit/guide/test_datasets.py::test_values_go_where_the_table_says",
    ),
    Option(
        key="resolution",
        take=to("resolution", parse=number),
        does="`datasets[].resolution`.",
        differs="Buckets are multiples of 32 in both directions, as near to the footage's shape as the area allows.",
        test=CUT,
    ),
    Option(
        key="resolution_type",
        take=choice("resolution_type", SIZES),
        does="`datasets[].resolution_type`.",
        differs="nothing",
        test="tests/unit/guide/test_datasets.py::test_values_go_where_the_table_says",
    ),
    Option(
        key="crop",
        take=_crop,
        does="The middle is kept where a bucket's shape differs from the footage's.",
        differs="The guide's program crops at random, even with `crop: false`.",
        test="tests/numerics/expectations/test_defects.py::"
        "test_d22_the_middle_is_kept_and_nothing_else_can_be_asked_for",
    ),
    Option(
        key="repeats",
        take=_repeats,
        does="`datasets[].repeats`, one more: the guide's program counts the visits beside the first.",
        differs="Told by a notice, because the numbers differ.",
        test="tests/unit/training/test_order.py::test_an_epoch_is_every_clip_by_its_repeats_in_pure_batches",
    ),
    Option(
        key="disabled",
        take=accepted,
        does="A disabled entry is left out.",
        differs="nothing",
        test="tests/unit/guide/test_datasets.py::test_a_disabled_entry_is_left_out",
    ),
    Option(
        key="default",
        take=accepted,
        does="Of `text_embeds`: accepted, since there is one store of captions.",
        differs="nothing",
        test=CUT,
    ),
    Option(
        key="cache_dir",
        take=told("caches lie in the workspace and are known by content; this folder is not used"),
        does="A notice: caches lie in the workspace.",
        differs="Features of a caption are stored without padding, 1.5 MB instead of hundreds, and shared by all runs.",
        test="tests/numerics/expectations/test_defects.py::test_d18_only_valid_tokens_are_stored",
    ),
    Option(
        key="cache_dir_vae",
        take=told("caches lie in the workspace and are known by content; this folder is not used"),
        does="A notice: caches lie in the workspace.",
        differs="Latents of the picture and of the sound are one sample, so neither can be stale alone.",
        test=TOLD,
    ),
    Option(
        key="minimum_image_size",
        take=to("minimum_image_size", parse=number),
        does="`datasets[].minimum_image_size`: smaller footage is set aside; pixels of the shorter edge, megapixels "
        "with `resolution_type: area`.",
        differs="With a reason. Whatever it says, footage that would be more than doubled is set aside.",
        test="tests/unit/media/test_split.py::test_a_least_size_sets_smaller_footage_aside",
    ),
    Option(
        key="s2v_datasets",
        take=_sound_elsewhere,
        does="`datasets[].audio.sound_dir`: the folder of the `audio` dataset that is named. A video's sound is cut "
        "from the file of its name there, from the video's first frame on. `ID_audio` is the videos' own sound.",
        differs="A video without such a file is set aside with a reason (`audio.missing_sound`). Another sound file "
        "encodes that clip's sound again, and not its picture.",
        test="tests/stages/test_sound_dir.py::test_another_sound_redoes_that_sound_alone",
    ),
    Option(
        key="probability",
        take=_probability,
        does="1 is taken; `repeats` says how often an epoch visits the clips.",
        differs="Another is refused: an epoch visits every clip by its `repeats`, so that a run stopped and resumed, "
        "or shared among GPUs, sees the same clips. A dataset that is to be seen less often has fewer `repeats`.",
        test=REFUSED,
    ),
    Option(
        key="conditioning_data",
        take=not_built("leave it out"),
        does="Nothing is taken.",
        differs=f"Training on pairs of footage (IC-LoRA) is {NOT_BUILT}: refused.",
        test=REFUSED,
    ),
)
OPTIONS_LIST: tuple[Option, ...] = (*OWN_OPTIONS, *media_options.OPTIONS, *dataset_groups.OPTIONS)
DATASET_OPTIONS = {option.key: option for option in OPTIONS_LIST}
