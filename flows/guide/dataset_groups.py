"""SimpleTuner's dataset options that its quickstart for LTX-2 does not name."""

from typing import Any

from flows.guide.group import Group, rows
from flows.guide.option import Draft, Option, Refused
from flows.guide.take import flag

HELD = "tests/unit/guide/test_other_options.py::test_value_of_a_dataset"
SHAPE = "footage is not chosen by its shape: buckets follow it; move such files out of the folder"
ONE_CLIP_ONE_CAPTION = "a clip has one caption, the whole text of its file; write what is wanted into it"

GROUPS = (
    Group(
        names="write_batch_size read_batch_size image_processing_batch_size text_encoder_batch_size vae_batch_size "
        "metadata_update_interval max_workers aws_max_pool_connections",
        answer="no effect",
        why="how many files are read or written at once is chosen here, and changes no result",
    ),
    Group(
        names="vae_cache_clear_each_epoch vae_cache_ondemand vae_cache_disable preserve_data_backend_cache "
        "hash_filenames "
        "skip_file_discovery text_cache_ondemand text_cache_disable cache_file_suffix "
        "cache_dir_conditioning_image_embeds "
        "text_embeds image_embeds conditioning_image_embeds compress_cache",
        answer="no effect",
        why="caches are known by content: what did not change is reused, and what changed is made again",
        neutral=(False, True, None, ""),
    ),
    Group(
        names="maximum_image_size target_downsample_size",
        answer="no effect",
        why="footage of any size is scaled once, straight to its bucket, so a larger one need not be made smaller "
        "before",
    ),
    Group(
        names="max_upscale_threshold",
        answer="no effect",
        why="footage that would be more than doubled is quarantined; minimum_image_size asks for more",
    ),
    Group(names="minimum_aspect_ratio maximum_aspect_ratio", answer="refused", why=SHAPE),
    Group(
        names="crop_style",
        answer="no effect",
        why="the middle is kept where a bucket's shape differs from the footage's",
        neutral=("center", "centre", None),
    ),
    Group(
        names="crop_aspect crop_aspect_buckets",
        answer="no effect",
        why="a clip goes to the bucket nearest to its own shape, so next to nothing is cropped",
        neutral=("preserve", "closest", None),
    ),
    Group(
        names="metadata_backend",
        answer="refused",
        why="sizes, lengths and frame times are read from the files themselves (`discovery`)",
        neutral=("discovery", "json"),
    ),
    Group(
        names="caption_shuffle caption_filter_list prepend_instance_prompt parquet huggingface webshart csv",
        answer="refused",
        why=ONE_CLIP_ONE_CAPTION,
    ),
    Group(
        names="disable_multiline_split ignore_epochs delete_unwanted_images_dry_run",
        answer="always",
        why="the text file of a clip is one caption, all of its lines",
    ),
    Group(
        names="max_num_samples start_epoch start_step end_epoch end_step train_batch_size timestep_sampling_offset "
        "is_regularisation_data is_regularization_data slider_strength",
        answer="refused",
        why="every dataset is trained from the first step to the last, each clip by the dataset's repeats; leave it "
        "out",
        neutral=(1,),
    ),
    Group(
        names="conditioning conditioning_type source_dataset_id conditioning_image_embed_batch_size bbox",
        answer="refused",
        why="training on pairs of footage is not built yet",
    ),
    Group(
        names="delete_problematic_images delete_unwanted_images delete_nsfw_images",
        answer="refused",
        why="footage is never deleted; what cannot be used is quarantined with a reason",
    ),
    Group(
        names="aws_data_prefix aws_bucket_name aws_region_name aws_endpoint_url aws_access_key_id "
        "aws_secret_access_key "
        "dataset_name",
        answer="refused",
        why="only local folders are read; copy the footage to this machine and name it in instance_data_dir",
    ),
    Group(
        names="video.target_resolution",
        answer="refused",
        why="set resolution and resolution_type of the dataset, which say the size of its clips",
    ),
    Group(
        names="video.resample_filter",
        answer="no effect",
        why="frames are scaled with the same exact bicubic filter everywhere",
        neutral=("bicubic", None),
    ),
    Group(
        names="audio.truncation_mode audio.source_from_video audio.max_duration_seconds audio.min_duration_seconds "
        "audio.bucket_strategy audio.lyrics_filename_format truncation_mode",
        answer="no effect",
        why="a clip's sound is cut to exactly the seconds of its frames",
    ),
)


def _zero_audio(draft: Draft, key: str, value: Any) -> None:
    """There: zeros stand in for the sound of a video that has none, or such a video is left out."""
    if flag(value):
        draft.notice(key, "a video without sound trains its pictures alone; no made-up silence stands in for the sound")
    else:
        raise Refused(f"is {value!r}; videos without sound train their pictures alone, or move them out of the folder")


def _only_prompt(draft: Draft, _key: str, value: Any) -> None:
    if flag(value):
        draft.set("caption_strategy", "instanceprompt")


OPTIONS: tuple[Option, ...] = (
    Option(
        key="only_instance_prompt",
        take=_only_prompt,
        does="`datasets[].caption_strategy: instanceprompt`.",
        differs="nothing",
        test=HELD,
    ),
    Option(
        key="audio.allow_zero_audio",
        take=_zero_audio,
        does="True gets a notice: a video without sound trains its pictures alone.",
        differs="No zeros stand in for sound, which would train the model on a sound that nobody recorded.",
        test=HELD,
    ),
    *rows(GROUPS),
)
