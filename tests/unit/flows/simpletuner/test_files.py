"""The configurations that the guide prints, unchanged, and where its paths lead."""

import json
from pathlib import Path

import pytest

from flows.config import guide_warnings, load_config
from ltx_core.errors import ConfigError
from tests.unit.flows.simpletuner.conftest import LEAST, Load, printed


def test_the_printed_config_is_read_unchanged(project: Path) -> None:
    config = load_config(project / "config" / "config.json", {})
    train, render = config.train_lora, config.render_validation
    assert (train.steps, train.learning_rate, train.warmup_steps) == (200, 6e-5, 50)
    assert (train.scheduler, train.optimizer, train.max_grad_norm) == ("constant_with_warmup", "adamw_bf16", 0.1)
    assert (train.base_precision, train.offloaded_blocks, train.batch_size) == ("int8", "all", 2)
    assert (train.checkpoint_interval, train.seed, train.rank, train.caption_dropout) == (100, 42, 16, 0.1)
    assert (config.memory.vae_chunk_frames, config.memory.vae_slicing) == (1, True)
    assert (config.memory.offload_text_encoder, config.encode_latents.batch_size) == (True, 1)
    assert (render.width, render.height, render.num_frames, render.num_steps) == (768, 512, 81, 40)
    assert (render.video_cfg, render.audio_cfg, render.seeds, render.render_base) == (5, 5, (42,), False)
    assert config.prompts.validation == (), "validation_disable"
    assert (config.model.checkpoint, config.model.flavour) == ("Lightricks/LTX-2", "dev")
    assert (config.tracking.experiment, config.tracking.run_name) == ("lora-training", "example-training-run")


def test_what_the_printed_config_makes_differently_is_told(project: Path) -> None:
    told = {notice.partition(": ")[0] for notice in guide_warnings(project / "config" / "config.json")}
    assert told == {
        "lora_rank",
        "caption_dropout_probability",
        "vae_enable_tiling",
        "lr_warmup_steps",
        "lycoris_config",
        "report_to",
        "hub_model_id",
        "validation_disable",
        "dataset my-video-dataset, repeats",
        "dataset my-video-dataset, audio.duration_interval",
        "dataset text-embeds, cache_dir",
    }


def test_the_printed_group_offload_is_added_to_a_config(load: Load) -> None:
    assert load(**printed("group_offload")).train_lora.offloaded_blocks == "all"
    assert load().train_lora.offloaded_blocks == "auto"


def test_the_printed_tread_is_added_to_a_config(load: Load) -> None:
    (route,) = load(**printed("tread")).train_lora.tread_routes
    assert (route.selection_ratio, route.start_layer_idx, route.end_layer_idx) == (0.5, 2, -2)


def test_paths_are_relative_to_the_project(project: Path) -> None:
    """The folder where the datasets are found as the file says, at or above the file's own."""
    config = load_config(project / "config" / "config.json", {})
    assert config.datasets[0].instance_data_dir == project / "datasets" / "videos"
    assert config.workspace == project / "output" / "examples" / "ltxvideo2-19b-t2v.peft-lora"


def test_datasets_that_are_nowhere_are_told(project: Path) -> None:
    (project / "config" / "ltx2" / "multidatabackend.json").unlink()
    with pytest.raises(
        ConfigError, match=r"'data_backend_config' is 'config/ltx2/multidatabackend.json', which is not"
    ):
        load_config(project / "config" / "config.json", {})


def test_a_fragment_alone_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(printed("group_offload")))
    with pytest.raises(ConfigError, match="'data_backend_config' is missing"):
        load_config(tmp_path / "config.json", {})


def test_dashes_before_names_mean_nothing(project: Path) -> None:
    plain = load_config(project / "config" / "config.json", {})
    dashed = {f"--{key}": value for key, value in printed("config").items()}
    path = project / "config" / "dashed.json"
    path.write_text(json.dumps(dashed))
    assert load_config(path, {}) == plain
    path.write_text(json.dumps(dashed | {"seed": 1}))
    with pytest.raises(ConfigError, match="'seed' is given with and without `--`"):
        load_config(path, {})


def test_our_options_are_set_over_it(project: Path) -> None:
    config = load_config(project / "config" / "config.json", {"train_lora.steps": 70, "workspace": "elsewhere"})
    assert (config.train_lora.steps, config.workspace) == (70, project / "elsewhere")


def test_a_file_of_ours_has_no_notices(tmp_path: Path) -> None:
    path = tmp_path / "ours.json"
    path.write_text(json.dumps({"datasets": [{"id": "a", "instance_data_dir": "f"}], "model": {"checkpoint": "m"}}))
    assert guide_warnings(path) == ()


def test_a_mixture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "both.json"
    path.write_text(json.dumps(LEAST | {"model": {"checkpoint": "m"}}))
    with pytest.raises(ConfigError, match="unknown option 'data_backend_config'"):
        load_config(path, {})
