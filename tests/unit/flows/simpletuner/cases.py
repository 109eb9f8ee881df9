"""Values of SimpleTuner's options, and what becomes of them: the data of test_options.py."""

from pathlib import Path
from typing import Any

from flows.simpletuner.handlers import LIBRARY, UPSAMPLER

Options = dict[str, Any]
DISTILLED = "Lightricks/LTX-2-19b-distilled-lora-384:ltx-2-19b-distilled-lora-384.safetensors"
CREPA = {"crepa_enabled": True}
MASTER = "scheduled_sampling_max_step_offset"
ON: Options = {"max_step_offset": 50, "probability": 0.4}
RAMP: Options = {"max_step_offset": 50, "ramp_steps": 100}


def full(options: Options) -> Options:
    """Options of scheduled sampling with their whole names."""
    return {f"scheduled_sampling_{name}": value for name, value in options.items()}


ROLLOUTS: list[tuple[Options, Options]] = [
    (ON, {"max_sigma_offset": 0.05, "probability": 0.4, "num_model_calls": 1, "reflexflow": True, "ramp_steps": 0}),
    (ON | {"reflexflow": False}, {"reflexflow": False}),
    (ON | {"reflexflow": "true"}, {"reflexflow": True}),
    (ON | {"strategy": "biased_late"}, {"strategy": "biased_late"}),
    (ON | {"sampler": "unipc"}, {"probability": 0.4}),
    (
        ON | {"reflexflow_alpha": 2, "reflexflow_beta1": 5, "reflexflow_beta2": "0.5"},
        {"reflexflow_alpha": 2.0, "reflexflow_beta1": 5.0, "reflexflow_beta2": 0.5},
    ),
    (RAMP, {"probability": 0.5, "start_probability": 0.0, "ramp_steps": 100, "ramp_start_step": 0}),
    (RAMP | {"prob_end": 0.8, "start_step": 20}, {"probability": 0.8, "ramp_start_step": 20}),
    (RAMP | {"prob_start": 0.1, "ramp_shape": "cosine"}, {"start_probability": 0.1, "ramp_shape": "cosine"}),
    (RAMP | {"prob_start": 0.1, "prob_end": 0}, {"start_probability": 0.1, "probability": 0.0}),
]
REFUSED_ROLLOUTS: list[tuple[Options, str]] = [
    ({"max_step_offset": -1}, f"{MASTER}' is -1; 0 or more is wanted"),
    ({"max_step_offset": 2000, "probability": 1}, "train_lora.rollout.max_sigma_offset"),
    (ON | {"ramp_steps": "many"}, "scheduled_sampling_ramp_steps' is 'many'; a number is wanted"),
    (ON | {"probability": "half"}, "scheduled_sampling_probability' is 'half'; a number is wanted"),
    (ON | {"strategy": "late"}, "here there are uniform, biased_early, biased_late"),
    (RAMP | {"ramp_shape": "sine"}, "here there are linear, cosine"),
]
GOES: list[tuple[Options, Options]] = [
    ({"model_family": "ltxvideo2", "model_type": "lora"}, {"model.flavour": None}),
    ({"model_flavour": "dev-fp8"}, {"model.flavour": "dev-fp8", "model.checkpoint": "Lightricks/LTX-2"}),
    ({"model_flavour": "2.3-dev"}, {"model.checkpoint": "Lightricks/LTX-2.3"}),
    ({"pretrained_model_name_or_path": "own/repo", "revision": "v1"}, {"model.checkpoint": "own/repo"}),
    ({"pretrained_gemma_model_name_or_path": "own/gemma"}, {"model.text_encoder": "own/gemma"}),
    ({"offload_during_startup": True}, {"train_lora.offloaded_blocks": "auto"}),
    ({"enable_group_offload": True}, {"train_lora.offloaded_blocks": "all"}),
    ({"enable_group_offload": False}, {"train_lora.offloaded_blocks": "auto"}),
    ({"ramtorch": True}, {"train_lora.offloaded_blocks": "all"}),
    ({"ramtorch_text_encoder": True}, {"memory.offload_text_encoder": True}),
    (
        {"musubi_blocks_to_swap": 6, "musubi_block_swap_device": "cpu"},
        {"train_lora.offloaded_blocks": 6, "train_lora.offload_to": "memory"},
    ),
    ({"gradient_checkpointing": True}, {"train_lora.activation_checkpointing": 1.0}),
    ({"gradient_checkpointing": False}, {"train_lora.activation_checkpointing": 0.0}),
    (
        {"gradient_checkpointing": True, "gradient_checkpointing_interval": 4},
        {"train_lora.activation_checkpointing": 0.25},
    ),
    ({"gradient_checkpointing_interval": 2}, {"train_lora.activation_checkpointing": 0.5}),
    (
        {"gradient_checkpointing": False, "gradient_checkpointing_interval": 2},
        {"train_lora.activation_checkpointing": 0.0},
    ),
    ({"enable_group_offload": True, "group_offload_to_disk_path": "/fast"}, {"train_lora.offload_to": "disk"}),
    ({"group_offload_to_disk_path": ""}, {"train_lora.offload_to": "memory"}),
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
    ({"validation_step_interval": 50}, {"train_lora.samples.every_steps": 50}),
    ({"validation_step_interval": 0}, {"train_lora.samples.every_steps": 0}),
    ({"validation_steps": "70"}, {"train_lora.samples.every_steps": 70}),
    ({"validation_prompt": "It moves."}, {"prompts.validation": ("It moves.",)}),
    (
        {"validation_prompt": "It moves.", "validation_prompt_library": True},
        {"prompts.validation": ("It moves.", *LIBRARY)},
    ),
    (
        {"validation_using_datasets": True},
        {"render_validation.image_to_video_clips": 4, "render_validation.audio_to_video_clips": 4},
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
    ({"ltx2_validation_pipeline_mode": "trained-stage"}, {"render_validation.upscaling": None}),
    (
        {"ltx2_validation_pipeline_mode": "spatial-upscale", "validation_resolution": "768x512"},
        {
            "render_validation.upscaling.upsampler.hub": ":".join(UPSAMPLER),
            "render_validation.upscaling.adapters": (),
        },
    ),
    (
        {
            "ltx2_validation_pipeline_mode": "spatial-upscale",
            "ltx2_validation_spatial_upsampler_model": "/models/ltx",
            "ltx2_validation_spatial_upsampler_filename": "x2.safetensors",
        },
        {"render_validation.upscaling.upsampler.path": Path("/models/ltx/x2.safetensors")},
    ),
    ({"disable_benchmark": False, "evaluation_type": "none"}, {"render_validation.render_base": True}),
    ({"mixed_precision": "bf16"}, {"train_lora.dtype": "bf16"}),
    ({"mixed_precision": "no"}, {"train_lora.dtype": "fp32"}),
    ({"num_processes": 2, "num_machines": 1}, {"memory.num_gpus": 2, "memory.num_nodes": 1}),
    ({"fsdp_enable": True}, {"memory.sharding": "full"}),
    ({"ramtorch": True, "ramtorch_transformer_percent": 50}, {"train_lora.offloaded_blocks": 24}),
    ({"ramtorch": True, "ramtorch_transformer_percent": 100}, {"train_lora.offloaded_blocks": "all"}),
    ({"ltx2_first_frame_conditioning_probability": 0.4}, {"train_lora.first_frame_probability": 0.4}),
    (
        {"ltx2_prefix_conditioning_probability": 0.2, "ltx2_prefix_conditioning_frames": 3},
        {"train_lora.prefix_probability": 0.2, "train_lora.prefix_latent_frames": 3},
    ),
    (
        {"ltx2_suffix_conditioning_probability": 0.2, "ltx2_suffix_conditioning_frames": 3},
        {"train_lora.suffix_probability": 0.2, "train_lora.suffix_latent_frames": 3},
    ),
    ({"adam_beta1": 0.8, "adam_beta2": 0.99}, {"train_lora.betas": (0.8, 0.99)}),
    ({"optimizer_beta1": "0.8"}, {"train_lora.betas": (0.8, 0.999)}),
    ({"optimizer_beta2": 0.9}, {"train_lora.betas": (0.9, 0.9)}),
    (
        {"adam_epsilon": 1e-6, "adam_weight_decay": 0.1},
        {"train_lora.epsilon": 1e-6, "train_lora.weight_decay": 0.1},
    ),
    ({"lr_scheduler": "cosine", "lr_end": "1e-7"}, {"train_lora.final_learning_rate": 1e-7}),
    ({"lr_scheduler": "polynomial", "lr_power": 2}, {"train_lora.polynomial_power": 2.0}),
    ({"lr_scheduler": "cosine_with_restarts", "lr_num_cycles": 3}, {"train_lora.scheduler_cycles": 3}),
    ({"peft_lora_target_modules": ["to_q", "to_k"]}, {"train_lora.targets": ("to_q", "to_k")}),
    ({"peft_lora_target_modules": "to_q, to_v"}, {"train_lora.targets": ("to_q", "to_v")}),
    ({"use_dora": False, "lora_format": "comfyui"}, {"train_lora.lycoris": None}),
    (
        {"eval_steps_interval": 50, "eval_timesteps": 8, "num_eval_images": 4},
        {"train_lora.eval_interval": 50, "train_lora.eval_sigmas": 8, "train_lora.max_eval_clips": 4},
    ),
    ({"validation_negative_prompt": "blurry, cropped"}, {"prompts.negative": "blurry, cropped"}),
    ({"validation_guidance_rescale": 0.5}, {"render_validation.rescale": 0.5}),
    (
        {"validation_guidance": 4, "ltx2_validation_audio_guidance": 3},
        {"render_validation.video_cfg": 4, "render_validation.audio_cfg": 3},
    ),
    ({"validation_guidance": 4, "ltx2_validation_audio_guidance": None}, {"render_validation.audio_cfg": 4}),
    ({"validation_lycoris_strength": 1.0, "prepend_instance_prompt": False}, {"train_lora.steps": 2000}),
    (
        {"push_to_hub": True, "hub_model_id": "me/mine", "model_card_private": "false"},
        {"publish.private": False},
    ),
    ({"only_instance_prompt": True, "instance_prompt": "It moves."}, {"datasets.0.caption_strategy": "textfile"}),
    ({"caption_strategy": "filename"}, {"datasets.0.caption_strategy": "textfile"}),
    (
        {
            "validation_adapter_path": "a/b:c.safetensors",
            "validation_adapter_name": "mine",
            "validation_adapter_strength": "0.5",
        },
        {
            "render_validation.adapters.0.name": "mine",
            "render_validation.adapters.0.adapters.0.strength": 0.5,
        },
    ),
    (
        CREPA
        | {
            "crepa_scheduler": "polynomial",
            "crepa_power": 3,
            "crepa_warmup_steps": 5,
            "crepa_decay_steps": 50,
            "crepa_lambda_end": 0.1,
            "crepa_cutoff_step": 90,
            "crepa_similarity_threshold": 0.9,
        },
        {
            "train_lora.crepa.schedule": "polynomial",
            "train_lora.crepa.polynomial_power": 3.0,
            "train_lora.crepa.warmup_steps": 5,
            "train_lora.crepa.decay_steps": 50,
            "train_lora.crepa.end_weight": 0.1,
            "train_lora.crepa.cutoff_step": 90,
            "train_lora.crepa.similarity_threshold": 0.9,
        },
    ),
    (
        CREPA
        | {
            "crepa_spatial_align": False,
            "crepa_normalize_by_frames": "false",
            "crepa_adjacent_distance": 2,
            "crepa_cumulative_neighbors": True,
            "crepa_decay_steps": 0,
            "crepa_cutoff_step": 0,
            "crepa_encoder_frames_batch_size": 4,
            "crepa_feature_source": "encoder",
            "crepa_use_backbone_features": False,
            "crepa_normalize_neighbour_sum": False,
            "crepa_threshold_mode": "permanent",
            "crepa_similarity_ema_decay": 0.99,
        },
        {
            "train_lora.crepa.spatial_align": False,
            "train_lora.crepa.normalize_by_frames": False,
            "train_lora.crepa.cumulative_neighbors": True,
            "embed_frames.frames_at_once": 4,
        },
    ),
    *(
        (full(options), {f"train_lora.rollout.{name}": value for name, value in ours.items()})
        for options, ours in ROLLOUTS
    ),
]
REFUSED: list[tuple[Options, str]] = [
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
    ({"mixed_precision": "fp16"}, "'mixed_precision' is 'fp16'; here there are bf16"),
    ({"use_dora": True}, "`lora_type: lycoris` and `dora_wd: true`"),
    ({"lora_format": "kohya"}, "`diffusers` or `comfyui` is wanted"),
    ({"prepend_instance_prompt": True}, "set captions.trigger of a dataset"),
    ({"validation_lycoris_strength": 0.8}, "at strength 1"),
    ({"context_parallel_size": 8}, "one clip is not split among GPUs"),
    ({"ramtorch": True, "ramtorch_transformer_percent": 120}, "0 to 100 percent"),
    ({"peft_lora_target_modules": {"a": 1}}, "a list of the ends of layers' names"),
    (CREPA | {"crepa_feature_source": "self_flow"}, "features are those of the encoder"),
    *((full(options), told) for options, told in REFUSED_ROLLOUTS),
]
TOLD: list[tuple[Options, str]] = [
    ({"group_offload_type": "leaf_level"}, "blocks are offloaded whole"),
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
    ({"attention_mechanism": "sageattention"}, "PyTorch chooses the fastest exact attention"),
    ({"eval_loss_disable": True}, "the eval loss stays"),
    ({"fsdp_enable": True}, "unless it fits no single one"),
    ({"ramtorch_transformer_percent": 50}, "has no effect without ramtorch"),
    ({"ltx2_prefix_conditioning_frames": 3}, "has no effect without ltx2_prefix_conditioning_probability"),
    ({"ltx2_suffix_conditioning_frames": 3}, "has no effect without ltx2_suffix_conditioning_probability"),
    ({"lr_end": 1e-7}, "has no effect without lr_scheduler: linear, cosine, cosine_with_restarts, polynomial or sine"),
    ({"lr_power": 2}, "has no effect without lr_scheduler: polynomial"),
    ({"lr_num_cycles": 2}, "has no effect without lr_scheduler: cosine_with_restarts or sine"),
    ({"validation_adapter_name": "mine"}, "has no effect without validation_adapter_path"),
    ({"crepa_warmup_steps": 5}, "has no effect without crepa_enabled"),
    (CREPA | {"crepa_power": 3}, "has no effect without crepa_scheduler: polynomial"),
]
SILENT: list[Options] = [
    {"group_offload_type": "block_level", "group_offload_blocks_per_group": 1, "group_offload_use_stream": True},
    {"skip_file_discovery": "", "validation_disable_unconditional": True, "resume_from_checkpoint": "latest"},
]
