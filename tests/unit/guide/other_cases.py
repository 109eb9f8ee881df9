"""Values of options beyond the quickstart, and what becomes of them."""

from typing import Any

CREPA = {"crepa_enabled": True}
GOES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"mixed_precision": "bf16"}, {"train_lora.dtype": "bf16"}),
    ({"mixed_precision": "no"}, {"train_lora.dtype": "fp32"}),
    ({"num_processes": 2, "num_machines": 1}, {"memory.num_gpus": 2, "memory.num_nodes": 1}),
    ({"fsdp_enable": True}, {"memory.sharding": "full"}),
    ({"ramtorch": True, "ramtorch_transformer_percent": 50}, {"train_lora.streamed_blocks": 24}),
    ({"ramtorch": True, "ramtorch_transformer_percent": 100}, {"train_lora.streamed_blocks": "all"}),
    ({"ltx2_first_frame_conditioning_probability": 0.4}, {"train_lora.first_frame_probability": 0.4}),
    (
        {"ltx2_prefix_conditioning_probability": 0.2, "ltx2_prefix_conditioning_frames": 3},
        {"train_lora.prefix_probability": 0.2, "train_lora.prefix_latent_frames": 3},
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
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"mixed_precision": "fp16"}, "'mixed_precision' is 'fp16'; here there are bf16"),
    ({"use_dora": True}, "`lora_type: lycoris` and `dora_wd: true`"),
    ({"lora_format": "kohya"}, "`diffusers` or `comfyui` is wanted"),
    ({"prepend_instance_prompt": True}, "write it into the captions"),
    ({"validation_lycoris_strength": 0.8}, "at strength 1"),
    ({"context_parallel_size": 8}, "one clip is not split among GPUs"),
    ({"ramtorch": True, "ramtorch_transformer_percent": 120}, "0 to 100 percent"),
    ({"peft_lora_target_modules": {"a": 1}}, "a list of the ends of layers' names"),
    (CREPA | {"crepa_feature_source": "self_flow"}, "features are those of the encoder"),
]
TOLD: list[tuple[dict[str, Any], str]] = [
    ({"attention_mechanism": "sageattention"}, "PyTorch chooses the fastest exact attention"),
    ({"eval_loss_disable": True}, "the eval loss stays"),
    ({"fsdp_enable": True}, "unless it fits no single one"),
    ({"ramtorch_transformer_percent": 50}, "has no effect without ramtorch"),
    ({"ltx2_prefix_conditioning_frames": 3}, "has no effect without ltx2_prefix_conditioning_probability"),
    ({"lr_end": 1e-7}, "has no effect with lr_scheduler constant"),
    ({"lr_power": 2}, "has no effect with lr_scheduler constant"),
    ({"lr_num_cycles": 2}, "has no effect with lr_scheduler constant"),
    ({"validation_adapter_name": "mine"}, "has no effect without validation_adapter_path"),
    ({"crepa_warmup_steps": 5}, "has no effect without crepa_enabled"),
    (CREPA | {"crepa_power": 3}, "has no effect without crepa_scheduler: polynomial"),
]


def other_cases() -> list[dict[str, Any]]:
    """The options of every case."""
    return [options for options, _ in (*GOES, *REFUSED, *TOLD)]
