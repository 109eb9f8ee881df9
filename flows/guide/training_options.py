"""Options of the guide that decide how the LoRA trains."""

from typing import Any

from flows.guide.option import Draft, Option, Refused
from flows.guide.take import choice, number, to, told, whole

OPTIMIZERS = {
    "adamw": "adamw",
    "adamw_bf16": "adamw_bf16",
    "optimi-adamw": "adamw",
    "bnb-adamw": "adamw",
    "bnb-adamw8bit": "adamw8bit",
    "ao-adamw8bit": "adamw8bit",
}
SCHEDULERS = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "sine")
MAPPED = "tests/unit/guide/test_options.py::test_value_goes_where_the_table_says"


def _steps(draft: Draft, key: str, value: Any) -> None:
    steps, epochs = whole(value), whole(draft.flat.get("num_train_epochs") or 0)
    if steps and epochs:
        raise Refused(f"is {steps} and num_train_epochs {epochs}; set one of them to 0, there as here")
    if steps:
        draft.set("train_lora.steps", steps)


def _epochs(draft: Draft, _key: str, value: Any) -> None:
    if whole(value):
        draft.set("train_lora.epochs", whole(value))


def _warmup(draft: Draft, key: str, value: Any) -> None:
    steps = whole(value)
    if not steps:
        return
    draft.set("train_lora.warmup_steps", steps)
    if draft.flat.get("lr_scheduler") in (None, "constant"):
        draft.set("train_lora.scheduler", "constant_with_warmup")
        draft.notice(key, "the learning rate stays where it is after the warm-up; name an lr_scheduler to have it fall")


OPTIONS = (
    Option(
        key="seed",
        take=to("train_lora.seed", parse=whole),
        does="`train_lora.seed`: order, noise, noise levels, dropout and the LoRA's start.",
        differs="The same seed gives the same file to the byte, whatever stopped the run in between.",
        test="tests/numerics/training/test_run.py::test_other_seed_or_data_is_another_lora",
    ),
    Option(
        key="max_train_steps",
        take=_steps,
        does="`train_lora.steps`; 0 leaves it to `num_train_epochs`.",
        differs="nothing",
        test=MAPPED,
    ),
    Option(
        key="num_train_epochs",
        take=_epochs,
        does="`train_lora.epochs`; 0 leaves it to `max_train_steps`.",
        differs="An epoch visits every clip by its repeats and drops none; it is counted once the clips are known.",
        test="tests/unit/training/test_epochs.py::test_epochs_are_steps",
    ),
    Option(
        key="train_batch_size",
        take=to("train_lora.batch_size", parse=whole),
        does="`train_lora.batch_size`; above 1 on a small card `plan` warns.",
        differs="A short last batch of a bucket is trained, not dropped, and counts by its clips.",
        test="tests/unit/training/test_order.py::test_several_buckets_keep_the_batch_size",
    ),
    Option(
        key="gradient_accumulation_steps",
        take=to("train_lora.gradient_accumulation_steps", parse=whole),
        does="`train_lora.gradient_accumulation_steps`.",
        differs="How a step is cut into batches does not change its gradient.",
        test="tests/numerics/training/test_step.py::test_gradients_do_not_depend_on_how_a_step_is_cut",
    ),
    Option(
        key="learning_rate",
        take=to("train_lora.learning_rate", parse=number),
        does="`train_lora.learning_rate`.",
        differs="nothing",
        test="tests/unit/training/test_schedule.py::test_constant_schedules",
    ),
    Option(
        key="lr_scheduler",
        take=choice("train_lora.scheduler", {name: name for name in SCHEDULERS}),
        does="`train_lora.scheduler`; left out: `constant`, with `lr_warmup_steps` `constant_with_warmup`.",
        differs="The schedule is a function of the step alone, so a resumed run follows it exactly.",
        test="tests/unit/training/test_schedule.py::test_falling_schedules",
    ),
    Option(
        key="lr_warmup_steps",
        take=_warmup,
        does="`train_lora.warmup_steps`, and `scheduler: constant_with_warmup` where no other is named.",
        differs="nothing",
        test="tests/unit/training/test_schedule.py::test_warmup_of_the_whole_run",
    ),
    Option(
        key="max_grad_norm",
        take=to("train_lora.max_grad_norm", parse=number),
        does="`train_lora.max_grad_norm`: gradients are scaled down to this joint norm.",
        differs="nothing",
        test="tests/numerics/training/test_step.py::test_gradients_are_clipped_to_their_joint_norm_and_reported_whole",
    ),
    Option(
        key="optimizer",
        take=choice("train_lora.optimizer", OPTIMIZERS),
        does="`train_lora.optimizer`: " + ", ".join(f"`{name}`" for name in OPTIMIZERS) + ".",
        differs="`adamw_bf16` rounds by chance and corrects both moments for their start; epsilon is 1e-8. "
        "Others are refused.",
        test="tests/unit/training/test_optimizers.py::test_low_precision_converges_as_float32_does",
    ),
    Option(
        key="caption_dropout_probability",
        take=to("train_lora.caption_dropout", parse=number),
        does="`train_lora.caption_dropout`; left out: 0.1, the default of the guide's program.",
        differs="nothing",
        test="tests/unit/training/test_batch.py::test_first_frame_and_caption_dropout_happen_about_as_often_as_asked",
    ),
    Option(
        key="audio_loss_weight",
        take=to("train_lora.audio_loss_weight", parse=number),
        does="`train_lora.audio_loss_weight`: what a sound's loss counts beside a picture's.",
        differs="0 is 0; the guide's program makes it 1.",
        test="tests/numerics/training/test_step.py::test_audio_loss_weight_scales_the_gradient_of_sound_alone",
    ),
    Option(
        key="checkpoint_step_interval",
        take=to("train_lora.checkpoint_interval", parse=whole),
        does="`train_lora.checkpoint_interval`.",
        differs="A run goes on from the newest by itself, to the same bytes; on a GPU with `deterministic: true`.",
        test="tests/numerics/training/test_resume.py::test_killed_after_a_step",
    ),
    Option(
        key="checkpoints_total_limit",
        take=to("train_lora.keep_checkpoints", parse=whole),
        does="`train_lora.keep_checkpoints`.",
        differs="The one of lowest eval loss is kept beside them (`keep_best`).",
        test="tests/unit/training/test_prune.py::test_newest_and_best_stay",
    ),
    Option(
        key="resume_from_checkpoint",
        take=told("a run always goes on from its newest whole checkpoint; no other can be named", unless=("latest",)),
        does="`latest` is what always happens; another gets a notice.",
        differs="Settings that change the LoRA make another run instead of a mixed one.",
        test="tests/numerics/training/test_run.py::test_checkpoint_of_other_settings_is_refused",
    ),
)
