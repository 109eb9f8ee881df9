"""Each option of the guide: where its value goes, what is refused, what is told."""

from pathlib import Path
from typing import Any

import pytest

from flows.config import RunConfig, load_config
from flows.simpletuner.handlers import LIBRARY
from flows.simpletuner.table import GROUPS_TITLE, table
from ltx_core.errors import ConfigError
from ltx_core.text.motion import says_motion
from tests.unit.flows.simpletuner.cases import DISTILLED, GOES, REFUSED, SILENT, TOLD, Options
from tests.unit.flows.simpletuner.conftest import LEAST, Load, Notices


def reached(config: RunConfig, dotted: str) -> Any:
    """The value of an option by its dotted name."""
    here: Any = config
    for name in dotted.split("."):
        here = here[int(name)] if name.isdigit() else getattr(here, name)
    return here


@pytest.mark.parametrize(("options", "ours"), GOES)
def test_value_goes_where_the_table_says(load: Load, options: Options, ours: Options) -> None:
    config = load(**options)
    assert {name: reached(config, name) for name in ours} == ours


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_refused(load: Load, options: Options, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(**options)
    assert told in str(raised.value)
    by_ours = {"model_flavour", "tread_config", "train_batch_size", "scheduled_sampling_max_step_offset"}
    assert by_ours & options.keys() or len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(("options", "told"), TOLD)
def test_told(notices: Notices, options: Options, told: str) -> None:
    *_, key = options
    (line,) = [notice for notice in notices(**options) if notice.startswith(f"{key}: ")]
    assert told in line


@pytest.mark.parametrize("options", SILENT)
def test_nothing_is_told_of_what_is_done_anyway(notices: Notices, options: Options) -> None:
    assert notices(**options) == notices()


def test_validation_is_as_it_is_asked_for_while_training_too(load: Load) -> None:
    """At the interval, with the steps, guidance, seed and size that validation has there; the finished LoRA's renders
    have the same."""
    asked = {
        "validation_step_interval": 50,
        "validation_num_inference_steps": 40,
        "validation_guidance": 5,
        "validation_guidance_rescale": 0.2,
        "validation_resolution": "768x512",
        "validation_num_video_frames": 81,
        "validation_seed": 7,
        "framerate": "24",
    }
    config = load(**asked)
    samples, renders = config.train_lora.samples, config.render_validation
    names = ("num_steps", "video_cfg", "audio_cfg", "rescale", "width", "height", "num_frames", "seeds", "frame_rate")
    assert {name: getattr(samples, name) for name in names} == {name: getattr(renders, name) for name in names}
    assert (samples.every_steps, samples.num_steps, samples.num_frames, samples.seeds) == (50, 40, 81, (7,))


def test_every_option_has_a_case() -> None:
    tried = {key for options in [*(options for options, _ in (*GOES, *REFUSED, *TOLD)), *SILENT] for key in options}
    sections = {title: rows for title, rows in table("options").sections.items() if title != GROUPS_TITLE}
    rows = {option.key for options in sections.values() for option in options}
    beside = {"output_dir", "user_prompt_library"}  # in other files of this folder
    assert rows - tried - LEAST.keys() == beside


def test_all_faults_are_told_at_once(load: Load) -> None:
    with pytest.raises(ConfigError) as raised:
        load(model_type="full", sead=1, optimizer="came")
    assert len(str(raised.value).splitlines()) == 4


def test_numbers_may_be_text(load: Load) -> None:
    config = load(
        framerate="24", learning_rate="6e-5", train_batch_size="2", ramtorch="true", disable_benchmark="false"
    )
    assert (config.render_validation.frame_rate, config.train_lora.learning_rate) == (24.0, 6e-5)
    assert (config.train_lora.batch_size, config.train_lora.offloaded_blocks) == (2, "all")
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
