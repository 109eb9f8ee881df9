import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_audio_vae, load_connectors, load_transformer, load_video_vae, load_vocoder
from ltx_core.errors import CheckpointError
from ltx_core.text.gemma import load_text_projection

pytestmark = pytest.mark.whole

Tensors = dict[str, torch.Tensor]
Changed = Callable[[Callable[[Tensors, dict[str, str]], None]], Path]
BF16 = {"device": "cpu", "dtype": torch.bfloat16}
PROJ = "model.diffusion_model.patchify_proj.weight"


@pytest.mark.parametrize(
    "load", [load_transformer, load_connectors, load_video_vae, load_audio_vae, load_vocoder], ids=lambda f: f.__name__
)
def test_modules_are_frozen_filled_and_of_one_dtype(whole: Path, load: Callable[..., Any]) -> None:
    module = load(open_combined(whole), **BF16)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    everything = [*module.parameters(), *module.buffers()]
    assert {(tensor.dtype, tensor.device.type) for tensor in everything} == {(torch.bfloat16, "cpu")}


def test_guidance_by_perturbed_attention_is_possible(whole: Path) -> None:
    assert load_transformer(open_combined(whole), **BF16).config.perturbed_attn


def test_unused_statistics_may_be_absent(changed: Changed) -> None:
    path = changed(lambda tensors, metadata: tensors.__delitem__("vae.per_channel_statistics.mean-of-stds"))
    assert load_video_vae(open_combined(path), **BF16).latents_std.numel() == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.__delitem__(PROJ), r"the transformer in .* lacks proj_in\.weight"),
        (lambda t: t.__setitem__("model.diffusion_model.more", torch.zeros(1)), "has unknown more"),
        (lambda t: t.__setitem__(PROJ, t[PROJ][:, 1:].contiguous()), r"proj_in\.weight \[32, 7\] for \[32, 8\]"),
    ],
    ids=["missing", "unknown", "misshapen"],
)
def test_tensors_that_do_not_fit_are_named(changed: Changed, change: Callable[[Tensors], None], message: str) -> None:
    path = changed(lambda tensors, metadata: change(tensors))
    with pytest.raises(CheckpointError, match=message):
        load_transformer(open_combined(path), **BF16)


def test_an_unknown_statistic_is_not_ignored(changed: Changed) -> None:
    path = changed(lambda tensors, metadata: tensors.update({"vae.per_channel_statistics.new": torch.zeros(8)}))
    with pytest.raises(CheckpointError, match=r"unknown per_channel_statistics\.new"):
        load_video_vae(open_combined(path), **BF16)


def edited(section: str, **values: Any) -> Callable[[Tensors, dict[str, str]], None]:
    """Change the header's config; a value of None removes the key."""

    def change(tensors: Tensors, metadata: dict[str, str]) -> None:
        config = json.loads(metadata["config"])
        kept = {**config[section], **values}
        config[section] = {key: value for key, value in kept.items() if value is not None}
        metadata["config"] = json.dumps(config)

    return change


@pytest.mark.parametrize("key", ["rope_type", "frequencies_precision", "av_ca_timestep_scale_multiplier"])
def test_what_no_shape_shows_must_be_in_the_header(changed: Changed, key: str) -> None:
    path = changed(edited("transformer", **{key: None}))
    with pytest.raises(CheckpointError, match=f"lacks '{key}'"):
        load_transformer(open_combined(path), **BF16)


def test_a_diffusion_decoder_is_refused(changed: Changed) -> None:
    path = changed(edited("vae", decoder_blocks=[["diffusion", {}]]))
    with pytest.raises(CheckpointError, match=r"blocks are \['diffusion'\]"):
        load_video_vae(open_combined(path), **BF16)


def test_another_compression_is_refused(changed: Changed) -> None:
    path = changed(edited("vae", patch_size=2))
    with pytest.raises(CheckpointError, match="compresses 16x in space and 8x in time"):
        load_video_vae(open_combined(path), **BF16)


def test_a_projection_of_another_generation_is_refused(changed: Changed) -> None:
    path = changed(edited("transformer", text_encoder_norm_type=None))
    with pytest.raises(CheckpointError, match=r"with norm of 2\.0"):
        load_text_projection(open_combined(path), **BF16)


def test_a_headers_widths_are_held_against_the_tensors(changed: Changed) -> None:
    path = changed(edited("transformer", num_layers=3))
    with pytest.raises(CheckpointError, match=r"lacks transformer_blocks\.2.* and \d+ more"):
        load_transformer(open_combined(path), **BF16)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_named(value: float, changed: Changed) -> None:
    def spoil(tensors: Tensors, _metadata: dict[str, str]) -> None:
        tensors[PROJ].reshape(-1)[3] = value

    path = changed(spoil)
    with pytest.raises(CheckpointError, match=rf"{PROJ} of .* hold NaN or infinity; finite weights are wanted"):
        load_transformer(open_combined(path), **BF16)
