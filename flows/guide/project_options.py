"""Options of the guide that say where things lie, what they are called, and who is told."""

from flows.guide.option import Draft, Option, Refused
from flows.guide.take import accepted, flag, number, text, to, told, whole

MAPPED = "tests/unit/guide/test_options.py::test_value_goes_where_the_table_says"
KEPT = "tests/stages/test_item_counts.py::test_added_edited_and_replaced_files_cost_what_is_new_of_them"


def _report(draft: Draft, key: str, value: object) -> None:
    names = {name.strip() for name in str(value).split(",")} - {""}
    if unknown := sorted(names - {"none", "mlflow", "wandb"}):
        raise Refused(f"is {value!r}, and {unknown[0]} is not written to; `none`, `mlflow` or `wandb` is wanted")
    if "wandb" in names:
        draft.set("tracking.wandb", True)
    if "mlflow" not in names:
        also = "W&B as well" if "wandb" in names else "nothing is sent anywhere"
        draft.notice(key, f"MLflow has the run in any case, in a file of the workspace; {also}")


def _push(draft: Draft, _key: str, value: object) -> None:
    if not flag(value):
        return
    if not draft.flat.get("hub_model_id"):
        raise Refused("is on, and hub_model_id does not say where to; name a repository")
    draft.set("publish.repository", text(draft.flat["hub_model_id"]))


def _repository(draft: Draft, key: str, _value: object) -> None:
    if draft.get("publish.repository") is None:
        draft.notice(key, "nothing is uploaded; without push_to_hub the guide's program uploads nothing either")


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
    Option(
        key="tracker_project_name",
        take=to("tracking.experiment"),
        does="`tracking.experiment`: the experiment in MLflow, and the project in W&B.",
        differs="nothing",
        test=MAPPED,
    ),
    Option(
        key="tracker_run_name",
        take=to("tracking.run_name"),
        does="`tracking.run_name`: the run in MLflow.",
        differs="nothing",
        test=MAPPED,
    ),
    Option(
        key="report_to",
        take=_report,
        does="`wandb` is `tracking.wandb`, with the extra of that name: settings, metrics and counts go to Weights & "
        "Biases as well. `none` and `mlflow`: MLflow has every run, in a file of the workspace or on `tracking.uri`.",
        differs="MLflow always has the run, which a notice says. TensorBoard and Comet are refused: MLflow draws the "
        "same curves without another service.",
        test="tests/unit/flows/test_wandb_mirror.py::test_metrics_and_counts_of_a_run",
    ),
    Option(
        key="push_to_hub",
        take=_push,
        does="`publish.repository`, from `hub_model_id`: the stage `publish` uploads the LoRA, its card and a few "
        "renders after everything else is done. `publish.dry_run: true` lists what would go where.",
        differs="Once, of the finished LoRA, not at each checkpoint; in a repository that is private if it is new. "
        "Renders that begin with pictures or sounds of the footage stay here. Where it fails the run is whole, and "
        "`--only publish` tries again.",
        test="tests/stages/test_publish.py::test_lora_card_and_renders_are_one_commit_and_not_sent_twice",
    ),
    Option(
        key="hub_model_id",
        take=_repository,
        does="`publish.repository`, with `push_to_hub`: `owner/name`, or `name` for the account's own.",
        differs="Without `push_to_hub` nothing is uploaded, there as here, which a notice says.",
        test="tests/stages/test_publish.py::test_a_dry_run_says_what_would_go_where_and_asks_no_one",
    ),
)


def _none(_value: object) -> None:
    """The value was read before the table is gone through."""
