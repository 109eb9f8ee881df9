"""Each option of the guide: where its value goes, what is refused, what is told."""

from pathlib import Path
from typing import Any

import pytest

from flows.config import RunConfig, load_config
from flows.guide.other_groups import GROUPS
from flows.guide.prompts import LIBRARY
from flows.guide.table import OPTIONS
from ltx_core.errors import ConfigError
from tasks.motion import says_motion
from tests.unit.guide.conftest import LEAST, Load, Notices
from tests.unit.guide.other_cases import other_cases
from tests.unit.guide.test_rollout_options import rollout_cases

DISTILLED = "Lightricks/LTX-2-19b-distilled-lora-384:ltx-2-19b-distilled-lora-384.safetensors"
GOES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"model_family": "ltxvideo2", "model_type": "lora"}, {"model.flavour": None}),
    ({"model_flavour": "dev-fp8"}, {"model.flavour": "dev-fp8", "model.checkpoint": "Lightricks/LTX-2"}),
    ({"model_flavour": "2.3-dev"}, {"model.checkpoint": "Lightricks/LTX-2.3"}),
    ({"pretrained_model_name_or_path": "own/repo", "revision": "v1"}, {"model.checkpoint": "own/repo"}),
    ({"pretrained_gemma_model_name_or_path": "own/gemma"}, {"model.text_encoder": "own/gemma"}),
    ({"offload_during_startup": True}, {"train_lora.streamed_blocks": "auto"}),
    ({"enable_group_offload": True}, {"train_lora.streamed_blocks": "all"}),
    ({"enable_group_offload": False}, {"train_lora.streamed_blocks": "auto"}),
    ({"ramtorch": True}, {"train_lora.streamed_blocks": "all"}),
    ({"ramtorch_text_encoder": True}, {"memory.stream_text_encoder": True}),
    (
        {"musubi_blocks_to_swap": 6, "musubi_block_swap_device": "cpu"},
        {"train_lora.streamed_blocks": 6, "train_lora.stream_from": "memory"},
    ),
    ({"gradient_checkpointing": True}, {"train_lora.recompute": 1.0}),
    ({"gradient_checkpointing": False}, {"train_lora.recompute": 0.0}),
    ({"gradient_checkpointing": True, "gradient_checkpointing_interval": 4}, {"train_lora.recompute": 0.25}),
    ({"gradient_checkpointing_interval": 2}, {"train_lora.recompute": 0.5}),
    ({"gradient_checkpointing": False, "gradient_checkpointing_interval": 2}, {"train_lora.recompute": 0.0}),
    ({"enable_group_offload": True, "group_offload_to_disk_path": "/fast"}, {"train_lora.stream_from": "disk"}),
    ({"group_offload_to_disk_path": ""}, {"train_lora.stream_from": "memory"}),
    ({"vae_enable_patch_conv": True}, {"memory.vae_chunk_frames": 4}),
    ({"vae_enable_temporal_roll": True}, {"memory.vae_chunk_frames": 1}),
    ({"vae_enable_patch_conv": True, "vae_enable_temporal_roll": True}, {"memory.vae_chunk_frames": 1}),
    ({"vae_enable_patch_conv": False}, {"memory.vae_chunk_frames": "auto"}),
    ({"vae_enable_tiling": True}, {"encode_latents.tile_size": 512, "encode_latents.tile_overlap": 64}),
    ({"vae_enable_slicing": True}, {"memory.vae_slicing": True}),
    ({"seed": 7}, {"train_lora.seed": 7}),
    ({"max_train_steps": 300, "num_train_epochs": 0}, {"train_lora.steps": 300}),
    ({"max_train_steps": 0, "num_train_epochs": 3}, {"train_lora.epochs": 3}),
    ({"use_ema": True}, {"train_lora.ema_decay": 0.995}),
    ({"use_ema": True, "ema_decay": 0.9}, {"train_lora.ema_decay": 0.9}),
    ({"audio_loss_weight": 0.5}, {"train_lora.audio_loss_weight": 0.5}),
    ({"train_batch_size": 3}, {"train_lora.batch_size": 3}),
    ({"gradient_accumulation_steps": 4}, {"train_lora.gradient_accumulation_steps": 4}),
    ({"learning_rate": 0.002}, {"train_lora.learning_rate": 0.002}),
    (
        {"lr_scheduler": "cosine", "lr_warmup_steps": 5},
        {"train_lora.scheduler": "cosine", "train_lora.warmup_steps": 5},
    ),
    ({"lr_warmup_steps": 5}, {"train_lora.scheduler": "constant_with_warmup", "train_lora.warmup_steps": 5}),
    ({"lr_warmup_steps": 0}, {"train_lora.scheduler": "constant"}),
    ({"max_grad_norm": 0.1}, {"train_lora.max_grad_norm": 0.1}),
    ({"optimizer": "bnb-adamw8bit"}, {"train_lora.optimizer": "adamw8bit"}),
    ({"lora_rank": 64, "lora_alpha": 32}, {"train_lora.rank": 64, "train_lora.alpha": 32}),
    ({"lora_type": "standard"}, {"train_lora.rank": 16}),
    ({"lora_dropout": 0.1}, {"train_lora.dropout": 0.1}),
    (
        {"base_model_precision": "int8-torchao"},
        {"train_lora.base_precision": "int8", "train_lora.low_precision": "weights"},
    ),
    (
        {"base_model_precision": "int8-quanto"},
        {"train_lora.base_precision": "int8", "train_lora.low_precision": "weights"},
    ),
    (
        {"base_model_precision": "fp8-quanto"},
        {"train_lora.base_precision": "fp8", "train_lora.low_precision": "weights"},
    ),
    ({"base_model_precision": "fp8-torchao"}, {"train_lora.base_precision": "fp8", "train_lora.low_precision": "auto"}),
    (
        {"base_model_precision": "no_change"},
        {"train_lora.base_precision": "native", "train_lora.low_precision": "auto"},
    ),
    ({"dynamo_mode": ""}, {"train_lora.compile_blocks": "auto"}),
    ({"dynamo_mode": "no"}, {"train_lora.compile_blocks": "off"}),
    ({"caption_dropout_probability": 0.2}, {"train_lora.caption_dropout": 0.2}),
    (
        {"use_ema": False, "push_to_hub": False, "crepa_enabled": False, "tread_config": None},
        {"train_lora.steps": 2000},
    ),
    ({"crepa_enabled": True}, {"train_lora.crepa.weight": 0.5, "embed_frames.encoder": "facebook/dinov2-giant"}),
    (
        {
            "crepa_enabled": "true",
            "crepa_block_index": 5,
            "crepa_lambda": 0.25,
            "crepa_adjacent_distance": 2,
            "crepa_adjacent_tau": "0.5",
        },
        {
            "train_lora.crepa.block_index": 5,
            "train_lora.crepa.weight": 0.25,
            "train_lora.crepa.adjacent_distance": 2,
            "train_lora.crepa.adjacent_tau": 0.5,
        },
    ),
    (
        {"crepa_enabled": True, "crepa_encoder": "dinov2_vits14", "crepa_encoder_image_size": 224},
        {"embed_frames.encoder": "facebook/dinov2-small", "embed_frames.image_size": 224},
    ),
    ({"crepa_enabled": False, "crepa_encoder_image_size": 224}, {"train_lora.crepa": None}),
    ({"checkpoint_step_interval": 50}, {"train_lora.checkpoint_interval": 50}),
    ({"checkpoints_total_limit": 5}, {"train_lora.keep_checkpoints": 5}),
    ({"resolution": 480, "resolution_type": "pixel_area"}, {"datasets.0.resolution": 512}),
    ({"frame_rate": 24}, {"render_validation.frame_rate": 24, "datasets.0.video.frame_rate": 25}),
    ({"framerate": 30}, {"render_validation.frame_rate": 30}),
    ({"minimum_image_size": 0, "override_dataset_config": True}, {"datasets.0.repeats": 11}),
    ({"vae_batch_size": 2}, {"encode_latents.batch_size": 2}),
    ({"tracker_project_name": "p"}, {"tracking.experiment": "p"}),
    ({"tracker_run_name": "r"}, {"tracking.run_name": "r"}),
    ({"report_to": "mlflow"}, {"tracking.uri": None}),
    ({"validation_num_inference_steps": 40}, {"render_validation.num_steps": 40}),
    ({"validation_guidance": 4}, {"render_validation.video_cfg": 4, "render_validation.audio_cfg": 4}),
    ({"validation_resolution": "512x768"}, {"render_validation.width": 512, "render_validation.height": 768}),
    ({"validation_num_video_frames": 49}, {"render_validation.num_frames": 49}),
    ({"validation_seed": 3}, {"render_validation.seeds": (3,)}),
    ({"validation_prompt": "It moves."}, {"prompts.validation": ("It moves.",)}),
    (
        {"validation_prompt": "It moves.", "validation_prompt_library": True},
        {"prompts.validation": ("It moves.", *LIBRARY)},
    ),
    (
        {"validation_using_datasets": True},
        {"render_validation.image_to_video_clips": 4, "render_validation.sound_to_video_clips": 4},
    ),
    ({"validation_using_datasets": False}, {"render_validation.image_to_video_clips": 0}),
    ({"eval_dataset_id": "my-video-dataset"}, {"datasets.0.eval_fraction": 0.1}),
    ({"validation_disable": True, "validation_prompt": "It moves."}, {"prompts.validation": ()}),
    ({"validation_disable": False, "validation_prompt": "It moves."}, {"prompts.validation": ("It moves.",)}),
    ({"validation_adapter_path": DISTILLED}, {"render_validation.adapters.0.schedule": None}),
    (
        {"validation_adapter_path": "a/b:c.safetensors", "validation_adapter_mode": "adapter_only"},
        {"render_validation.render_without_adapters": False, "render_validation.adapters.0.name": "c"},
    ),
    (
        {"validation_adapter_path": "a/b:c.safetensors", "validation_adapter_mode": "none"},
        {"render_validation.adapters": ()},
    ),
    ({"push_to_hub": True, "hub_model_id": "me/mine"}, {"publish.repository": "me/mine", "publish.private": True}),
    ({"push_to_hub": False, "hub_model_id": "me/mine"}, {"publish.repository": None}),
    ({"report_to": "wandb"}, {"tracking.wandb": True}),
    ({"report_to": "mlflow"}, {"tracking.wandb": False}),
    ({"disable_benchmark": True}, {"render_validation.render_base": False}),
    ({"evaluation_type": "clip"}, {"render_validation.clip_model": "openai/clip-vit-large-patch14"}),
    (
        {"evaluation_type": "clip", "pretrained_evaluation_model_name_or_path": "a/b"},
        {"render_validation.clip_model": "a/b"},
    ),
    ({"disable_benchmark": False, "evaluation_type": "none"}, {"render_validation.render_base": True}),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model_family": "wan"}, "'model_family' is 'wan'; this program trains LTX-2 only"),
    ({"model_type": "full"}, "only LoRAs are trained"),
    ({"model_flavour": "dve"}, "option 'model.flavour' is 'dve'"),
    ({"musubi_block_swap_device": "cuda:1"}, "blocks wait in host memory"),
    ({"max_train_steps": 3, "num_train_epochs": 3}, "set one of them to 0"),
    ({"optimizer": "prodigy"}, "here there are adamw, adamw_bf16"),
    ({"lr_scheduler": "wavy"}, "here there are constant"),
    ({"base_model_precision": "int4-quanto"}, "here there are no_change"),
    ({"lora_type": "dora"}, "standard or lycoris is wanted"),
    ({"lora_type": "lycoris"}, "lycoris_config.json, which does not exist"),
    ({"tread_config": {"routes": []}}, "a route or more"),
    ({"tread_config": {"route": []}}, "a route or more"),
    (
        {"tread_config": {"routes": [{"selection_ratio": 0.5}]}},
        "'train_lora.tread_routes.0.start_layer_idx' is missing",
    ),
    ({"crepa_enabled": "maybe"}, "true or false is wanted"),
    ({"crepa_enabled": True, "crepa_encoder": "dinov3"}, "here there are dinov2_vitg14"),
    ({"crepa_enabled": True, "crepa_lambda": 0}, "option 'train_lora.crepa.weight' is 0"),
    ({"report_to": "wandb,tensorboard"}, "tensorboard is not written to"),
    ({"push_to_hub": True}, "hub_model_id does not say where to"),
    ({"evaluation_type": "fid"}, "`clip` or `none` is wanted"),
    ({"validation_resolution": "512x768,768x512"}, "one size is wanted"),
    ({"validation_adapter_mode": "both"}, "adapter_only, comparison or none"),
    ({"validation_adapter_config": [{"label": "x"}]}, "a run has a `label`"),
    ({"eval_dataset_id": "other"}, "'eval_dataset_id' is 'other'; there are my-video-dataset"),
    ({"train_batch_size": "many"}, "'train_batch_size' is 'many'; a number is wanted"),
    ({"train_batch_size": 1.5}, "a whole number is wanted"),
    ({"train_batch_size": 0}, "option 'train_lora.batch_size' is 0"),
    ({"enable_group_offload": "maybe"}, "true or false is wanted"),
    ({"validation_prompt": ""}, "text is wanted"),
    ({"enable_group_ofload": True}, "unknown option 'enable_group_ofload'; did you mean 'enable_group_offload'?"),
    ({"qqqqqq": 1}, "unknown option 'qqqqqq'; docs/guide.md lists those there are"),
]
TOLD: list[tuple[dict[str, Any], str]] = [
    ({"group_offload_type": "leaf_level"}, "blocks are streamed whole"),
    ({"group_offload_blocks_per_group": 2}, "one block is copied"),
    ({"group_offload_use_stream": False}, "copies always run beside"),
    ({"skip_file_discovery": "vae"}, "nothing is skipped"),
    ({"evaluation_type": "clip"}, "so openai/clip-vit-large-patch14 scores the renders"),
    ({"pretrained_evaluation_model_name_or_path": "a/b"}, "has no effect without evaluation_type: clip"),
    ({"ema_decay": 0.9}, "has no effect without use_ema"),
    ({"crepa_enabled": True, "crepa_drop_vae_encoder": True}, "training holds no VAE at all"),
    ({"hub_model_id": "me/mine"}, "nothing is uploaded"),
    ({"report_to": "none"}, "MLflow has the run in any case"),
    ({"validation_disable_unconditional": False}, "the empty prompt is never rendered"),
    ({"validation_step_interval": 50}, "renders are made once"),
    ({"resume_from_checkpoint": "checkpoint-5"}, "no other can be named"),
    ({"dynamo_mode": "max-autotune"}, "blocks are compiled by inductor"),
    ({"lycoris_config": "config/lycoris_config.json"}, "has no effect without lora_type: lycoris"),
    *(
        ({f"crepa_{name}": 1}, "has no effect without crepa_enabled")
        for name in (
            "block_index",
            "lambda",
            "adjacent_distance",
            "adjacent_tau",
            "encoder",
            "encoder_image_size",
            "drop_vae_encoder",
        )
    ),
]
SILENT: list[dict[str, Any]] = [
    {"group_offload_type": "block_level", "group_offload_blocks_per_group": 1, "group_offload_use_stream": True},
    {"skip_file_discovery": "", "validation_disable_unconditional": True, "resume_from_checkpoint": "latest"},
]


def reached(config: RunConfig, dotted: str) -> Any:
    """The value of an option by its dotted name."""
    here: Any = config
    for name in dotted.split("."):
        here = here[int(name)] if name.isdigit() else getattr(here, name)
    return here


@pytest.mark.parametrize(("options", "ours"), GOES)
def test_value_goes_where_the_table_says(load: Load, options: dict[str, Any], ours: dict[str, Any]) -> None:
    config = load(**options)
    assert {name: reached(config, name) for name in ours} == ours


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_refused(load: Load, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(**options)
    assert told in str(raised.value)


@pytest.mark.parametrize(("options", "told"), TOLD)
def test_told(notices: Notices, options: dict[str, Any], told: str) -> None:
    *_, key = options
    (line,) = [notice for notice in notices(**options) if notice.startswith(f"{key}: ")]
    assert told in line


@pytest.mark.parametrize("options", SILENT)
def test_nothing_is_told_of_what_is_done_anyway(notices: Notices, options: dict[str, Any]) -> None:
    assert notices(**options) == notices()


def test_every_option_has_a_case_here_or_in_a_file_beside() -> None:
    cases = [options for options, _ in (*GOES, *REFUSED, *TOLD)] + SILENT + rollout_cases() + other_cases()
    grouped = {name for group in GROUPS for name in group.names.split()}
    assert OPTIONS.keys() - {key for options in cases for key in options} - LEAST.keys() - grouped == {
        "user_prompt_library",
        "output_dir",
    }


def test_all_faults_are_told_at_once(load: Load) -> None:
    with pytest.raises(ConfigError) as raised:
        load(model_type="full", sead=1, optimizer="prodigy")
    assert len(str(raised.value).splitlines()) == 4


def test_numbers_may_be_text(load: Load) -> None:
    config = load(
        framerate="24", learning_rate="6e-5", train_batch_size="2", ramtorch="true", disable_benchmark="false"
    )
    assert (config.render_validation.frame_rate, config.train_lora.learning_rate) == (24.0, 6e-5)
    assert (config.train_lora.batch_size, config.train_lora.streamed_blocks) == (2, "all")
    assert config.render_validation.render_base


@pytest.mark.parametrize(("asked", "size"), [("720x1280", (704, 1280)), ("480x854", (480, 832)), ("512", (512, 512))])
def test_sizes_are_floored_and_told(load: Load, notices: Notices, asked: str, size: tuple[int, int]) -> None:
    render = load(validation_resolution=asked).render_validation
    assert (render.width, render.height) == size
    told = [line for line in notices(validation_resolution=asked) if line.startswith("validation_resolution")]
    assert len(told) == (asked != "512")


def test_the_fast_recipe_gets_its_schedule(load: Load) -> None:
    """The guide's: distilled adapter, guidance 1, 8 steps."""
    fast = {"validation_guidance": 1, "validation_num_inference_steps": 8}
    (run,) = load(validation_adapter_path=DISTILLED, **fast).render_validation.adapters
    assert (run.name, run.schedule, run.num_steps) == ("ltx-2-19b-distilled-lora-384", "distilled", 8)
    (other,) = load(validation_adapter_path="a/b:pose.safetensors", **fast).render_validation.adapters
    assert other.schedule is None


def test_runs_of_adapters(load: Load) -> None:
    runs = [
        DISTILLED,
        {"label": "pose", "path": "Lightricks/pose:p.safetensors", "strength": 0.8},
        {"label": "both", "adapters": [{"path": "a/b:c.safetensors", "strength": 0.5}, "d/e:f.safetensors"]},
    ]
    found = load(validation_adapter_config=runs).render_validation.adapters
    assert [run.name for run in found] == ["ltx-2-19b-distilled-lora-384", "pose", "both"]
    assert [[adapter.strength for adapter in run.adapters] for run in found] == [[1.0], [0.8], [0.5, 1.0]]


def test_prompts_of_the_library_say_what_moves() -> None:
    assert len(set(LIBRARY)) == 8
    assert all(map(says_motion, LIBRARY))


def test_a_flat_file_may_be_yaml(project: Path) -> None:
    path = project / "config" / "own.yaml"
    path.write_text("data_backend_config: config/ltx2/multidatabackend.json\nseed: 5\n")
    assert load_config(path, {}).train_lora.seed == 5
