"""SimpleTuner's options that its quickstart for LTX-2 does not name, and that set nothing here."""

from flows.guide.group import Group

OWN_ENGINE = (
    "memory and speed are the engine's, chosen by the memory plan (`ltx2-lora plan`); see train_lora and memory"
)
BLOCKS_WHOLE = "whole blocks are streamed from host memory, ahead of their turn"
LATENTS_KNOWN = "caches are known by content: what did not change is reused, and what changed is made again"
OWN_SCHEDULE = (
    "noise levels are drawn as Lightricks trains LTX-2: a shifted logit-normal whose shift follows the number of tokens"
)
OTHER_FAMILY = "it is an option of another model family, and this program trains LTX-2 only"
PROCESSES = "this program starts one process for each GPU itself; memory.num_gpus says how many"
ONCE = "renders are made once, of the finished LoRA, by the stage render_validation"

GROUPS = (
    Group(
        names="compress_disk_cache cache_dir cache_dir_vae cache_dir_text preserve_data_backend_cache "
        "vae_cache_scan_behaviour vae_cache_ondemand vae_cache_disable text_cache_ondemand text_cache_disable "
        "text_embed_full_cache metadata_update_interval aspect_bucket_disable_rebuild hash_filenames",
        answer="no effect",
        why=LATENTS_KNOWN,
        neutral=(False, True, None, "", 3600),
    ),
    Group(
        names="read_batch_size write_batch_size image_processing_batch_size text_encoder_batch_size max_workers "
        "aspect_bucket_worker_count enable_multiprocessing dataloader_prefetch dataloader_prefetch_qlen "
        "aws_max_pool_connections torch_num_threads",
        answer="no effect",
        why="how many files are read or written at once is chosen here, and changes no result",
    ),
    Group(
        names="ramtorch_target_modules ramtorch_text_encoder_percent ramtorch_disable_sync_hooks "
        "ramtorch_disable_extensions group_offload_text_encoder musubi_block_swap_pin_memory",
        answer="no effect",
        why=BLOCKS_WHOLE,
        neutral=(False, True, 100),
    ),
    Group(
        names="ramtorch_vae group_offload_vae keep_vae_loaded delete_model_after_load fully_unload_text_encoder "
        "offload_during_save ema_device ema_cpu_only ema_foreach_disable accelerator_cache_clear_interval "
        "set_grads_to_none disable_tf32 enable_chunked_feed_forward feed_forward_chunk_size unet_attention_slice "
        "offload_param_path optimizer_cpu_offload_method optimizer_offload_gradients optimizer_release_gradients "
        "fuse_optimizer fuse_qkv_projections gradient_checkpointing_backend gradient_checkpointing_segment_stride "
        "gradient_checkpointing_offload_attention gradient_checkpointing_offload_pin_memory_max_buckets "
        "gradient_checkpointing_offload_prefetch dynamo_backend dynamo_dynamic dynamo_fullgraph "
        "dynamo_use_regional_compilation quantize_via quantize_activations quantization_config gradient_precision "
        "base_model_default_dtype sdnq_compile_mode sdnq_group_size sdnq_quantized_matmul_dtype "
        "sdnq_hadamard_group_size "
        "sdnq_use_quantized_matmul sdnq_use_hadamard sdnq_weights_dtype sageattention_usage vae_dtype",
        answer="no effect",
        why=OWN_ENGINE,
        neutral=(False, None, "", "cpu", "torch", "inference"),
    ),
    Group(
        names="context_parallel_size",
        answer="refused",
        why="one clip is not split among GPUs; several GPUs train several clips at once (memory.num_gpus), and a clip "
        "that is too large waits in part on the host (train_lora.activation_offload)",
        neutral=(1,),
    ),
    Group(
        names="context_parallel_comm_strategy local_rank main_process_ip main_process_port machine_rank "
        "accelerate_config "
        "accelerate_extra_args find_unused_parameters fsdp_version fsdp_auto_wrap_policy fsdp_reshard_after_forward "
        "fsdp_state_dict_type fsdp_transformer_layer_cls_to_wrap fsdp_limit_all_gathers "
        "fsdp_cpu_ram_efficient_loading fsdp_activation_checkpointing validation_multigpu seed_for_each_device",
        answer="no effect",
        why=PROCESSES,
        neutral=(False, None, "", -1),
    ),
    Group(
        names="deepspeed_config fsdp_cpu_offload",
        answer="refused",
        why="set memory.sharding to shard the weights, or train_lora.streamed_blocks to keep them on the host",
    ),
    Group(
        names="aspect_bucket_alignment aspect_bucket_rounding",
        answer="no effect",
        why="buckets are multiples of 32 pixels, as near to the footage's shape as the area allows",
        neutral=(32, None),
    ),
    Group(
        names="allow_dataset_oversubscription disable_bucket_pruning strict_epoch_limit ignore_missing_files "
        "i_know_what_i_am_doing delete_invalid_checkpoints trust_remote_code disable_segmented_timestep_sampling "
        "checkpointing_use_tempdir vae_cache_clear_each_epoch ignore_epochs",
        answer="always",
        why="nothing has to be allowed: short batches train, checkpoints are whole or not there, no remote code runs",
    ),
    Group(
        names="data_backend_sampling eval_dataset_pooling conditioning_multidataset_sampling",
        answer="no effect",
        why="every epoch visits each clip of every dataset by its repeats",
        neutral=("uniform", None),
    ),
    Group(
        names="flow_schedule_shift flow_sigmoid_scale flow_schedule_auto_shift flow_timesteps_mode "
        "audio_flow_schedule_shift training_scheduler_timestep_spacing inference_scheduler_timestep_spacing "
        "validation_noise_scheduler scheduled_sampling_order",
        answer="no effect",
        why=OWN_SCHEDULE,
        neutral=(3, 3.0, 1, 1.0, True, "trailing"),
    ),
    Group(
        names="flow_use_uniform_schedule flow_use_beta_schedule flow_beta_schedule_alpha flow_beta_schedule_beta "
        "flow_custom_timesteps flow_cubic_schedule_weights timestep_bias_strategy timestep_bias_begin "
        "timestep_bias_end timestep_bias_multiplier timestep_bias_portion refiner_training "
        "refiner_training_invert_schedule refiner_training_strength",
        answer="refused",
        why=OWN_SCHEDULE + "; leave it out",
        neutral=("none", 2.0, 1.0, 1000, 0.25, 0.2),
    ),
    Group(
        names="snr_gamma snr_weight use_soft_min_snr soft_min_snr_sigma_data rescale_betas_zero_snr prediction_type "
        "noise_offset noise_offset_probability offset_noise",
        answer="no effect",
        why="it is for models that predict noise; LTX-2 predicts a velocity, whose loss is the plain squared error",
        neutral=(None, False, "flow_matching", 0, 0.0, 1.0, 0.1, 0.25),
    ),
    Group(
        names="loss_type huber_schedule huber_c input_perturbation input_perturbation_steps masked_loss_probability "
        "diff2flow_enabled diff2flow_loss mixflow_enabled mixflow_gamma twinflow_enabled twinflow_target_step_count "
        "distillation_method distillation_config internal_guidance_enabled internal_guidance_loss_weight "
        "internal_guidance_block_index validation_internal_guidance_scale irepa_enabled irepa_spatial_norm_alpha "
        "irepa_projector_kernel_size urepa_enabled layersync_enabled layersync_lambda layersync_student_block "
        "layersync_teacher_block nextlat_enabled nextlat_block_index nextlat_weight nextlat_state_loss "
        "nextlat_kl_weight xm_enabled xm_candidate_count xm_training_target xm_selection_scope xm_block_size "
        "crepa_self_flow crepa_self_flow_mask_ratio crepa_teacher_block_index crepa_use_tae sla_config "
        "diffusion_blocks_config",
        answer="refused",
        why="this method is not built; the loss is the squared error of the velocity, with the methods of "
        "docs/config.md "
        "(crepa, rollout, tread_routes) beside it",
        neutral=("l2", "snr", "snr_scale", "constant", 1.0, 0.1, 0.3, 1, "candidate"),
    ),
    Group(
        names="urepa_lambda urepa_lambda_end urepa_manifold_weight urepa_model urepa_encoder_image_size urepa_use_tae "
        "urepa_scheduler urepa_warmup_steps urepa_decay_steps urepa_power urepa_cutoff_step "
        "urepa_similarity_threshold urepa_similarity_ema_decay urepa_threshold_mode",
        answer="no effect",
        why="it belongs to U-REPA, which aligns U-Nets; for LTX-2 there is CREPA (crepa_enabled)",
    ),
    Group(
        names="lora_init_type peft_lora_mode init_lora init_lora_step init_lora_ema init_lokr_norm "
        "singlora_ramp_up_steps "
        "slider_lora_target slider_strength assistant_lora_path layer_freeze_strategy freeze_encoder_strategy "
        "freeze_encoder_before freeze_encoder_after train_text_encoder save_text_encoder controlnet control "
        "controlnet_model_name_or_path controlnet_custom_config same_network",
        answer="refused",
        why="a LoRA starts at zero, from noise of its seed, on the frozen transformer alone; leave it out",
        neutral=("default", "standard", True, 12, 17, "before"),
    ),
    Group(
        names="assistant_lora_strength assistant_lora_inference_strength disable_assistant_lora ramtorch_controlnet "
        "text_encoder_lr text_encoder_limit custom_text_encoder_intermediary_layers tokenizer_max_length t5_padding",
        answer="no effect",
        why="there is no second adapter, and the text encoder is never trained",
    ),
    Group(
        names="lr_scale lr_scale_sqrt",
        answer="refused",
        why="the learning rate is taken as it is written; multiply it yourself",
    ),
    Group(
        names="grad_clip_method",
        answer="refused",
        why="gradients are scaled down to a joint norm (max_grad_norm)",
        neutral=("norm", "value_norm"),
    ),
    Group(
        names="optimizer_config prodigy_steps",
        answer="refused",
        why="say adam_beta1, adam_beta2, adam_epsilon and adam_weight_decay one by one",
    ),
    Group(
        names="ema_update_interval ema_warmup_steps ema_validation",
        answer="no effect",
        why="the average is updated at every step, warms up by itself, and is what is measured and rendered",
    ),
    Group(
        names="checkpoint_epoch_interval checkpointing_rolling_steps checkpoints_rolling_total_limit "
        "eval_epoch_interval",
        answer="no effect",
        why="checkpoints and eval losses come by steps; set checkpoint_step_interval and eval_steps_interval",
    ),
    Group(
        names="validation_epoch_interval validate_after_epoch validate_after_step validation_on_startup "
        "validation_preview validation_preview_steps validation_randomize validation_seed_source num_validation_images "
        "validation_steps validation_image_format validation_image_quality validation_stitch_input_location "
        "validation_method tracker_image_layout",
        answer="no effect",
        why=ONCE,
        neutral=(0, 1, "", None, False),
    ),
    Group(
        names="validation_external_script validation_external_background post_upload_script post_checkpoint_script "
        "webhook_config webhook_reporting_interval custom_tracker publishing_config disk_low_script",
        answer="refused",
        why="no scripts are called; Prefect's automations react to a run's end or failure",
    ),
    Group(
        names="disk_low_threshold disk_low_action",
        answer="no effect",
        why="a full disk ends the stage with a message, keeps what is finished, and the next run goes on",
    ),
    Group(
        names="validation_guidance_skip_layers validation_guidance_skip_layers_start "
        "validation_guidance_skip_layers_stop "
        "validation_guidance_skip_scale validation_guidance_real validation_no_cfg_until_timestep",
        answer="refused",
        why="set render_validation.stg and stg_blocks, which skip the attention of blocks as Lightricks' pipeline does",
        neutral=(1.0, 2.8, 0.01, 2),
    ),
    Group(
        names="validation_audio_only validation_audio_duration validation_lyrics validation_input "
        "validation_ltx2_video_conditioning ltx2_intrinsic_conditioning ltx2_reference_spatial_scale_factor "
        "ltx2_reference_temporal_scale_factor ltx2_suffix_conditioning_probability "
        "ltx2_mask_conditioning_probability ltx2_suffix_conditioning_frames",
        answer="refused",
        why="of conditions there are first frames (train_lora.first_frame_probability), beginnings "
        "(train_lora.prefix_probability) and given sound (train_lora.audio_given_probability); references, suffixes "
        "and "
        "masks of given regions are not built yet",
        neutral=(1, 1.0, 30, 30.0),
    ),
    Group(
        names="ltx2_validation_pipeline_mode",
        answer="refused",
        why="renders are made in one stage at the size they are asked for; two-stage renders with the spatial upscaler "
        "are not built yet",
        neutral=("trained-stage",),
    ),
    Group(
        names="ltx2_validation_spatial_upsampler_model ltx2_validation_spatial_upsampler_filename",
        answer="no effect",
        why="renders are made in one stage, without the spatial upscaler",
    ),
    Group(
        names="ltx_train_mode ltx_i2v_prob ltx_partial_noise_fraction ltx_protect_first_frame",
        answer="no effect",
        why="it is of LTX-Video; for LTX-2 there is ltx2_first_frame_conditioning_probability",
    ),
    Group(
        names="enable_nsfw_check nsfw_check_models nsfw_check_min_votes nsfw_check_backend_types "
        "nsfw_check_sample_types "
        "nsfw_check_video_frame_count nsfw_check_video_frame_selection nsfw_check_video_min_flagged_frames "
        "delete_nsfw_images enable_watermark data_aesthetic_score",
        answer="refused",
        why="footage is not judged by its content; leave it out, and sort the footage beforehand",
        neutral=(2, "random", 1, 3, 7.0, 5),
    ),
    Group(
        names="delete_unwanted_images delete_problematic_images",
        answer="refused",
        why="footage is never deleted; what cannot be used is quarantined with a reason",
    ),
    Group(
        names="push_checkpoints_to_hub push_to_hub_background",
        answer="no effect",
        why="the finished LoRA is uploaded once, by the stage publish",
    ),
    Group(
        names="model_card_note model_card_safe_for_work modelspec_comment logging_dir print_filenames "
        "print_sampler_statistics debug_aspect_buckets debug_dataset_loader report_to_comment",
        answer="no effect",
        why="the model card and the logs say what the run was made of by themselves",
    ),
    Group(
        names="pretrained_transformer_model_name_or_path pretrained_transformer_subfolder "
        "pretrained_vae_model_name_or_path "
        "pretrained_audio_vae_model_name_or_path",
        answer="refused",
        why="a model is read whole from one place, so that its parts fit each other; name that with "
        "pretrained_model_name_or_path",
        neutral=("transformer",),
    ),
    Group(
        names="variant",
        answer="no effect",
        why="files are read in the precision they are stored in; model_flavour says which file",
    ),
    Group(
        names="target_downsample_size maximum_image_size",
        answer="no effect",
        why="footage of any size is scaled once, straight to its bucket, so a larger one need not be made smaller "
        "before",
    ),
    Group(
        names="max_upscale_threshold",
        answer="no effect",
        why="footage that would be more than doubled is quarantined; minimum_image_size asks for more",
    ),
    Group(
        names="parquet_caption_column parquet_filename_column audio_max_duration_seconds audio_min_duration_seconds "
        "audio_truncation_mode audio_channels audio_duration_interval",
        answer="no effect",
        why="captions lie beside their files, and a sound has exactly the seconds of its clip's frames",
    ),
    Group(
        names="pretrained_t5_model_name_or_path pretrained_unet_model_name_or_path pretrained_unet_subfolder "
        "qwen_text_encoder_model_name_or_path pretrained_grounding_model_name_or_path max_grounding_entities "
        "acestep_lora_target cosmos3_generator_component cosmos3_reasoner_component deepfloyd_validation_pipeline_mode "
        "deepfloyd_validation_stage1_model deepfloyd_validation_stage2_model deepfloyd_validation_stage3_mode "
        "deepfloyd_validation_stage3_model deepfloyd_validation_stage3_noise_level flux_attention_masked_training "
        "flux_fast_schedule flux_guidance_max flux_guidance_min flux_guidance_mode flux_guidance_value "
        "flux_lora_target "
        "hidream_load_balancing_loss_weight hidream_use_load_balancing_loss ideogram_auto_json "
        "ideogram_fp8_base_upcast ideogram_load_unconditional_transformer ideogram_prompt_enhancer_head_id "
        "ideogram_prompt_upsample ideogram_schedule_mu ideogram_schedule_std ideogram_uncond_ramtorch "
        "ideogram_validation krea2_reference_latents lyrics_embedder_lr lyrics_embedder_lr_scheduler "
        "lyrics_embedder_optimizer lyrics_embedder_train minimax_h3_reference_mode minimax_h3_sparse_attention "
        "minimax_h3_sparse_block_shape minimax_h3_sparse_share_heads minimax_h3_sparse_start_layer "
        "minimax_h3_sparse_video_kv_fraction minimax_h3_target_mode minimax_music_lm_adapter "
        "minimax_music_lm_adapter_strength minimax_music_lm_max_frames minimax_music_lm_precache_mode "
        "minimax_music_train_component pixart_validation_pipeline_mode pixart_validation_stage1_model "
        "pixart_validation_stage2_model sana_complex_human_instruction sd3_clip_uncond_behaviour "
        "sd3_t5_uncond_behaviour sdxl_refiner_uses_full_range sdxl_validation_pipeline_mode "
        "sdxl_validation_stage1_model sdxl_validation_stage2_model wan_force_2_1_time_embedding "
        "wan_validation_load_other_stage",
        answer="no effect",
        why=OTHER_FAMILY,
    ),
)
