"""Options of the guide that say what runs are called, who is told of them, and where the LoRA is sent."""

from flows.guide.option import Draft, Option, Refused
from flows.guide.take import flag, text, to

MAPPED = "tests/unit/guide/test_options.py::test_value_goes_where_the_table_says"


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
        test="tests/unit/publish/test_hub_card.py::test_what_begins_with_pictures_or_sounds_of_the_footage_stays_here",
    ),
    Option(
        key="hub_model_id",
        take=_repository,
        does="`publish.repository`, with `push_to_hub`: `owner/name`, or `name` for the account's own.",
        differs="Without `push_to_hub` nothing is uploaded, there as here, which a notice says.",
        test="tests/stages/test_publish.py::test_a_dry_run_says_what_would_go_where_and_asks_no_one",
    ),
)
