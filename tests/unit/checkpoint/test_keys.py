from collections.abc import Callable
from pathlib import Path

import pytest

from ltx_core.checkpoint.keys import COMPONENTS, FRAGMENTS, belongs_to, diffusers_name, to_original_keys
from ltx_core.errors import CheckpointError
from ltx_core.io.safetensors import read_header

GENERATIONS = sorted(path.parent for path in (Path(__file__).parents[2] / "golden").glob("*/checkpoint.safetensors"))


@pytest.mark.parametrize("folder", GENERATIONS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("component", COMPONENTS)
def test_renaming_there_and_back_changes_nothing(folder: Path, component: str) -> None:
    tensors = {
        name: entry
        for name, entry in read_header(folder / "checkpoint.safetensors").tensors.items()
        if belongs_to(component, name)
    }
    renamed = {diffusers_name(component, name): entry for name, entry in tensors.items()}
    assert len(renamed) == len(tensors)
    assert to_original_keys(component, renamed) == tensors


@pytest.mark.parametrize("component", COMPONENTS)
def test_no_two_fragments_share_a_side(component: str) -> None:
    for side in zip(*FRAGMENTS[component], strict=True):
        assert len(set(side)) == len(side)


def test_every_tensor_has_one_component_or_is_an_unused_statistic(whole: Path) -> None:
    owners = {name: [c for c in COMPONENTS if belongs_to(c, name)] for name in read_header(whole).tensors}
    assert {name for name, found in owners.items() if not found} == {
        "vae.per_channel_statistics.channel",
        "vae.per_channel_statistics.mean-of-stds",
        "vae.per_channel_statistics.mean-of-stds_over_std-of-means",
    }
    assert max(map(len, owners.values())) == 1


def test_fragments_match_whole_segments() -> None:
    name = diffusers_name("transformer", "model.diffusion_model.audio_adaln_single.linear.weight")
    assert name == "audio_time_embed.linear.weight"
    assert to_original_keys("video_vae", {"decoder.up_blocks.1.upsamplers.0.conv.bias": 1}) == {
        "vae.decoder.up_blocks.3.conv.bias": 1
    }


def test_text_projections_are_no_connectors() -> None:
    with pytest.raises(CheckpointError, match=r"text_proj_in\.weight is of the component text_projection"):
        to_original_keys("connectors", {"text_proj_in.weight": 1})


@pytest.mark.parametrize("ask", [belongs_to, lambda component, name: to_original_keys(component, {name: 1})])
def test_an_unknown_component_is_named(ask: Callable[[str, str], object]) -> None:
    with pytest.raises(CheckpointError, match="'upscaler' is no component"):
        ask("upscaler", "a")
