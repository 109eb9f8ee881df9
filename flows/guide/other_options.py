"""SimpleTuner's options that its quickstart for LTX-2 does not name, and that have a meaning here."""

from collections.abc import Mapping
from typing import Any

from flows.guide.crepa_options import with_crepa
from flows.guide.group import is_off
from flows.guide.option import Draft, Option, Refused, Take
from flows.guide.take import Parse, choice, flag, number, switch, text, to, told, whole

HELD = "tests/unit/guide/test_other_options.py::test_value_goes_where_the_table_says"
NUM_BLOCKS = 48
"""Transformer blocks of every LTX-2."""
FRAMES_A_LATENT = 8
ARITHMETIC = {"bf16": "bf16", "no": "fp32", "fp32": "fp32", "no_change": "bf16"}
SCHEDULES = {name: name for name in ("constant", "linear", "cosine", "polynomial")}


def _betas(position: int) -> Take:
    """One of AdamW's two decay rates; the other keeps its default unless it is given, too."""

    def take(draft: Draft, _key: str, value: Any) -> None:
        betas = list(draft.get("train_lora.betas") or (0.9, 0.999))
        betas[position] = number(value)
        draft.set("train_lora.betas", betas)

    return take


def _share_of_blocks(draft: Draft, key: str, value: Any) -> None:
    """Percent of the transformer's linear layers, where `ramtorch` is on."""
    percent = number(value)
    if not 0 <= percent <= 100:
        raise Refused(f"is {value!r}; 0 to 100 percent is wanted")
    if not flag(draft.flat.get("ramtorch")):
        draft.notice(key, "has no effect without ramtorch")
    elif percent < 100:
        draft.set("train_lora.streamed_blocks", round(NUM_BLOCKS * percent / 100))


def _prefix_frames(draft: Draft, key: str, value: Any) -> None:
    if number(draft.flat.get("ltx2_prefix_conditioning_probability") or 0):
        draft.set("train_lora.prefix_latent_frames", whole(value))
    elif whole(value) != 1:
        draft.notice(key, "has no effect without ltx2_prefix_conditioning_probability")


def _targets(draft: Draft, _key: str, value: Any) -> None:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise Refused(f"is {value!r}; a list of the ends of layers' names is wanted, such as to_q, to_k, to_v")
    draft.set("train_lora.targets", [name.strip() for name in names])


def _shard(draft: Draft, key: str, value: Any) -> None:
    if flag(value):
        draft.set("memory.sharding", "full")
        draft.notice(key, "the frozen base is cut among the GPUs; unless it fits no single one, leave it out: slower")


def _scheduled(name: str, parse: Parse, *, of: Mapping[str, tuple[str, ...]]) -> Take:
    """Goes to `name` where the scheduler is one that has it, and is told to have no effect elsewhere."""

    def take(draft: Draft, key: str, value: Any) -> None:
        scheduler = draft.get("train_lora.scheduler") or "constant"
        if scheduler in of[key]:
            draft.set(name, parse(value))
        else:
            draft.notice(key, f"has no effect with lr_scheduler {scheduler}")

    return take


def _only_prompt(draft: Draft, _key: str, value: Any) -> None:
    if flag(value):
        draft.set("defaults.caption_strategy", "instanceprompt")


def _unless_off(take: Take) -> Take:
    """0 and null are the guide's program's words for `not set`."""

    def taken(draft: Draft, key: str, value: Any) -> None:
        if not is_off(value):
            take(draft, key, value)

    return taken


def _crepa_power(draft: Draft, key: str, value: Any) -> None:
    if draft.get("train_lora.crepa.schedule") == "polynomial":
        draft.set("train_lora.crepa.polynomial_power", number(value))
    else:
        draft.notice(key, "has no effect without crepa_scheduler: polynomial")


def _only_value(*taken: Any, instead: str) -> Take:
    """These values are what is done; another is refused."""

    def take(_draft: Draft, _key: str, value: Any) -> None:
        if value not in taken and str(value).lower() not in {str(one).lower() for one in taken}:
            raise Refused(f"is {value!r}; {instead}")

    return take


OF_SCHEDULERS = {
    "lr_end": ("linear", "cosine", "cosine_with_restarts", "polynomial", "sine"),
    "lr_power": ("polynomial",),
    "lr_num_cycles": ("cosine_with_restarts", "sine"),
}


def _row(key: str, take: Take, does: str, differs: str = "nothing") -> Option:
    return Option(key=key, take=take, does=does, differs=differs, test=HELD)


def _goes(key: str, *ours: str, parse: Parse, differs: str = "nothing") -> Option:
    return _row(key, to(*ours, parse=parse), " and ".join(f"`{name}`" for name in ours) + ".", differs)


OPTIONS = (
    _row(
        "mixed_precision",
        choice("train_lora.dtype", ARITHMETIC),
        "`train_lora.dtype`: `bf16`, or `fp32` for `no`.",
        "LTX-2 overflows in float16: refused.",
    ),
    _row(
        "attention_mechanism",
        told("PyTorch chooses the fastest exact attention of the GPU", unless=("diffusers", "sdpa", "xformers")),
        "A notice: PyTorch chooses the fastest exact attention of the GPU.",
        "No attention in 8 bits or from the hub: results would differ, and nothing is downloaded that runs.",
    ),
    _row(
        "num_processes",
        to("memory.num_gpus", parse=whole),
        "`memory.num_gpus`: so many GPUs train.",
        "Left out it is `auto`: every GPU that is free.",
    ),
    _goes("num_machines", "memory.num_nodes", parse=whole, differs="Above 1 it is started with torchrun."),
    _row("fsdp_enable", _shard, "`memory.sharding: full`.", "The other options of FSDP have no effect."),
    _row(
        "ramtorch_transformer_percent",
        _share_of_blocks,
        f"`train_lora.streamed_blocks`: that share of {NUM_BLOCKS} blocks, with `ramtorch`.",
        "Whole blocks, and not single layers.",
    ),
    _goes("ltx2_first_frame_conditioning_probability", "train_lora.first_frame_probability", parse=number),
    _goes("ltx2_prefix_conditioning_probability", "train_lora.prefix_probability", parse=number),
    _row(
        "ltx2_prefix_conditioning_frames",
        _prefix_frames,
        "`train_lora.prefix_latent_frames`, with `ltx2_prefix_conditioning_probability`.",
    ),
    _row("adam_beta1", _betas(0), "`train_lora.betas`, the first."),
    _row("adam_beta2", _betas(1), "`train_lora.betas`, the second."),
    _row("optimizer_beta1", _betas(0), "`train_lora.betas`, the first."),
    _row("optimizer_beta2", _betas(1), "`train_lora.betas`, the second."),
    _goes("adam_epsilon", "train_lora.epsilon", parse=number),
    _goes("adam_weight_decay", "train_lora.weight_decay", parse=number),
    _row(
        "lr_end",
        _scheduled("train_lora.final_learning_rate", number, of=OF_SCHEDULERS),
        "`train_lora.final_learning_rate`, where the scheduler falls.",
    ),
    _row(
        "lr_power",
        _scheduled("train_lora.polynomial_power", number, of=OF_SCHEDULERS),
        "`train_lora.polynomial_power`, with `lr_scheduler: polynomial`.",
    ),
    _row(
        "lr_num_cycles",
        _scheduled("train_lora.scheduler_cycles", whole, of=OF_SCHEDULERS),
        "`train_lora.scheduler_cycles`, with a scheduler that has cycles.",
    ),
    _row("peft_lora_target_modules", _targets, "`train_lora.targets`: ends of layers' names."),
    _row(
        "use_dora",
        _only_value(None, False, "", 0, "0", instead="DoRA is trained with `lora_type: lycoris` and `dora_wd: true`"),
        "Taken where it is off.",
        "DoRA is trained with `lora_type: lycoris`, `algo: lora`, `dora_wd: true`: refused, so that no plain LoRA is "
        "trained in its place.",
    ),
    _row(
        "lora_format",
        _only_value("diffusers", "comfyui", None, "", instead="`diffusers` or `comfyui` is wanted"),
        "Both are taken: one file, which diffusers and ComfyUI load.",
    ),
    _goes("eval_steps_interval", "train_lora.eval_interval", parse=whole),
    _goes("eval_timesteps", "train_lora.eval_sigmas", parse=whole),
    _goes("num_eval_images", "train_lora.max_eval_clips", parse=whole),
    _row(
        "eval_loss_disable",
        told("the eval loss stays: it is cheap, and chooses the best checkpoint", unless=(False, "false", None)),
        "A notice: the eval loss stays, because it chooses the best checkpoint.",
    ),
    _goes("validation_negative_prompt", "prompts.negative", parse=str),
    _goes("validation_guidance_rescale", "render_validation.rescale", parse=number),
    _row(
        "ltx2_validation_audio_guidance",
        lambda draft, _key, value: None if value is None else draft.set("render_validation.audio_cfg", number(value)),
        "`render_validation.audio_cfg`; left out: as `validation_guidance`.",
    ),
    _row(
        "validation_lycoris_strength",
        _only_value(1, 1.0, None, instead="the LoRA is rendered as it was trained, at strength 1"),
        "1 is taken.",
        "Another strength is refused.",
    ),
    _row("model_card_private", switch("publish.private", on=True, off=False), "`publish.private`."),
    _goes("caption_strategy", "defaults.caption_strategy", parse=text, differs="Of datasets that name none."),
    _goes("instance_prompt", "defaults.instance_prompt", parse=text, differs="Of datasets that name none."),
    _row("only_instance_prompt", _only_prompt, "`caption_strategy: instanceprompt` of datasets that name none."),
    _row(
        "prepend_instance_prompt",
        _only_value(None, False, "", 0, "0", instead="a trigger word is not put in front; write it into the captions"),
        "Taken where it is off.",
        "A trigger word in front of captions is not built yet: refused.",
    ),
    *(
        _row(f"crepa_{key}", with_crepa(take), f"`train_lora.crepa.{ours}`, with `crepa_enabled`.")
        for key, ours, take in (
            ("scheduler", "schedule", choice("train_lora.crepa.schedule", SCHEDULES)),
            ("warmup_steps", "warmup_steps", to("train_lora.crepa.warmup_steps", parse=whole)),
            ("decay_steps", "decay_steps", _unless_off(to("train_lora.crepa.decay_steps", parse=whole))),
            ("lambda_end", "end_weight", to("train_lora.crepa.end_weight", parse=number)),
            ("power", "polynomial_power", _crepa_power),
            ("cutoff_step", "cutoff_step", _unless_off(to("train_lora.crepa.cutoff_step", parse=whole))),
            (
                "similarity_threshold",
                "similarity_threshold",
                _unless_off(to("train_lora.crepa.similarity_threshold", parse=number)),
            ),
            ("spatial_align", "spatial_align", to("train_lora.crepa.spatial_align", parse=flag)),
            ("normalize_by_frames", "normalize_by_frames", to("train_lora.crepa.normalize_by_frames", parse=flag)),
            ("cumulative_neighbors", "cumulative_neighbors", to("train_lora.crepa.cumulative_neighbors", parse=flag)),
        )
    ),
    *(
        _row(key, with_crepa(_only_value(*taken, instead=instead)), f"{taken[0]} is what is done.", "Others: refused.")
        for key, taken, instead in (
            ("crepa_feature_source", ("encoder", None, ""), "features are those of the encoder (`encoder`)"),
            ("crepa_use_backbone_features", (False, None), "features are those of the encoder (`false`)"),
            ("crepa_normalize_neighbour_sum", (False, None), "the sum over neighbours is not divided (`false`)"),
            ("crepa_threshold_mode", ("permanent", None, ""), "once under the threshold it stays off (`permanent`)"),
            ("crepa_similarity_ema_decay", (0.99, None), "the similarity is averaged with 0.99"),
        )
    ),
    _row(
        "crepa_encoder_frames_batch_size",
        with_crepa(
            lambda draft, key, value: (
                to("embed_frames.frames_at_once", parse=whole)(draft, key, value) if number(value) > 0 else None
            )
        ),
        "`embed_frames.frames_at_once`; -1 leaves our default.",
    ),
)
