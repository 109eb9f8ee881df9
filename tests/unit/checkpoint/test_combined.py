import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ltx_core.checkpoint.layouts import generation, open_combined
from ltx_core.errors import CheckpointError

Changed = Callable[[Callable[[dict[str, torch.Tensor], dict[str, str]], None]], Path]


def test_generation_follows_the_config_not_the_name(changed: Changed) -> None:
    checkpoint = open_combined(changed(lambda tensors, metadata: None))
    assert checkpoint.path.name == "renamed-2.5.safetensors"
    assert (checkpoint.generation, checkpoint.model_version) == ("2.3", "2.3.0")


@pytest.mark.parametrize(
    ("features", "expected"),
    [({}, "2.0"), ({"cross_attention_adaln": True}, "2.3"), ({"use_keyframes_abs_pos_embedding": True}, "2.5")],
)
def test_generation_by_features(features: dict[str, Any], expected: str) -> None:
    assert generation({"transformer": features}) == expected


@pytest.mark.parametrize(
    ("name", "clause"),
    [
        ("diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight", "seems to be a LoRA"),
        ("language_model.model.embed_tokens.weight", "seems to be a text encoder"),
        ("proj_in.weight", "seems to be a part of a diffusers folder"),
        ("model.diffusion_model.patchify_proj.weight", "seems to be a transformer alone"),
        ("other.weight", "has no config in its header;"),
    ],
)
def test_a_wrong_file_is_told_by_what_it_is(tmp_path: Path, name: str, clause: str) -> None:
    path = tmp_path / "file.safetensors"
    save_file({name: torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=clause):
        open_combined(path)


def test_a_missing_component_is_named(changed: Changed) -> None:
    def drop(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        for name in [name for name in tensors if name.startswith(("vocoder.", "text_embedding_projection."))]:
            del tensors[name]

    path = changed(drop)
    with pytest.raises(CheckpointError, match="lacks text_projection, vocoder"):
        open_combined(path)
    assert open_combined(path, components=("transformer",)).shapes("vocoder") == {}


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.uint8])
def test_weights_that_no_scheme_explains_are_refused(changed: Changed, dtype: torch.dtype) -> None:
    name = "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight"

    def quantise(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        tensors[name] = tensors[name].to(dtype)

    path = changed(quantise)
    with pytest.raises(CheckpointError, match=rf"{name} as (U8|F8_E5M2), which no supported.*Give the bf16 file"):
        open_combined(path)


@pytest.mark.parametrize("config", ["{", "[1]", json.dumps({"vae": {}})])
def test_an_unusable_config_is_refused(changed: Changed, config: str) -> None:
    path = changed(lambda tensors, metadata: metadata.update(config=config))
    with pytest.raises(CheckpointError, match="config"):
        open_combined(path)
