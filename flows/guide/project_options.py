"""Options of the guide that say where things lie and how footage is read."""

from flows.guide.option import Option
from flows.guide.take import accepted, number, text, to, told, whole

KEPT = "tests/stages/test_item_counts.py::test_added_edited_and_replaced_files_cost_what_is_new_of_them"


OPTIONS = (
    Option(
        key="data_backend_config",
        take=lambda _draft, _key, value: _none(text(value)),
        does="The file of datasets is read with this one; see the table of datasets.",
        differs="Looked for from the configuration's folder upwards; where it is found is the project's folder, which "
        "all paths of both files are relative to.",
        test="tests/unit/guide/test_files.py::test_paths_are_relative_to_the_project",
    ),
    Option(
        key="output_dir",
        take=to("workspace"),
        does="`workspace`: results, caches and tracking lie there. The LoRA is `lora.safetensors` of the stage "
        "`train_lora`, and in the registry.",
        differs="Results are kept by what made them, so runs with other settings do not overwrite each other.",
        test="tests/stages/test_contract.py::test_only_options_that_change_the_result_change_the_key",
    ),
    Option(
        key="resolution",
        take=to("defaults.resolution", parse=number),
        does="`datasets[].resolution` of each dataset that names none.",
        differs="nothing",
        test="tests/unit/guide/test_datasets.py::test_defaults_reach_datasets_that_say_nothing",
    ),
    Option(
        key="resolution_type",
        take=to("defaults.resolution_type"),
        does="`datasets[].resolution_type` of each dataset that names none; left out: `pixel_area`, as there.",
        differs="nothing",
        test="tests/unit/guide/test_datasets.py::test_defaults_reach_datasets_that_say_nothing",
    ),
    Option(
        key="frame_rate",
        take=to("defaults.video.frame_rate", "render_validation.frame_rate", parse=number),
        does="`render_validation.frame_rate`, and `video.frame_rate` of each dataset that names none.",
        differs="It is read, and clips are resampled to it by presentation time; the guide's program reads `framerate` "
        "only and resamples nothing. Datasets that differ from the renders get a notice.",
        test="tests/numerics/expectations/test_defects.py::"
        "test_d08_d21_frame_rate_is_a_number_that_frames_and_positions_follow",
    ),
    Option(
        key="framerate",
        take=to("defaults.video.frame_rate", "render_validation.frame_rate", parse=number),
        does="As `frame_rate`.",
        differs="A number, also if written as text.",
        test="tests/unit/guide/test_options.py::test_numbers_may_be_text",
    ),
    Option(
        key="minimum_image_size",
        take=to("defaults.minimum_image_size", parse=number),
        does="`datasets[].minimum_image_size` of each dataset that names none.",
        differs="nothing",
        test="tests/unit/guide/test_datasets.py::test_defaults_reach_datasets_that_say_nothing",
    ),
    Option(
        key="override_dataset_config",
        take=accepted,
        does="Always so: a changed dataset option is obeyed, and redoes exactly what it changes.",
        differs="Caches are known by content and settings, so none can be stale or in the way.",
        test=KEPT,
    ),
    Option(
        key="skip_file_discovery",
        take=told("nothing is skipped; what did not change is known without being computed again", unless=("", None)),
        does="Nothing is skipped; files that did not change cost a look at their time and size.",
        differs="A value that is not empty gets a notice.",
        test="tests/stages/test_item_counts.py::test_touched_files_are_not_even_read_as_changed",
    ),
    Option(
        key="vae_batch_size",
        take=to("encode_latents.batch_size", parse=whole),
        does="`encode_latents.batch_size`: clips of equal shape encoded at once.",
        differs="Latents are the same to rounding whatever the batch; left out: `auto`.",
        test="tests/stages/test_encoding_options.py::test_exact_options_leave_latents_and_keys_as_they_are",
    ),
)


def _none(_value: object) -> None:
    """The value was read before the table is gone through."""
