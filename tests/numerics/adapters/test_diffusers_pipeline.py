"""A LoRA trained here, loaded by diffusers' own pipeline: the same change to the same model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2Pipeline
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open

from ltx_core.adapters.lora_files import load_lora, read_lora
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream, audio_positions, first_frame_keyframes, video_positions
from ltx_core.progress import Silent
from ltx_core.shapes import LatentShape
from ltx_core.training.run import TrainJob, train_lora
from tests.fused_lora import fuse_lora

pytestmark = pytest.mark.numerics

SHAPE, NUM_AUDIO = LatentShape(2, 1, 2), 9
OUTSIDE = ("proj_in", "audio_proj_out", "time_embed.linear", "audio_prompt_adaln.linear", "audio_time_embed.linear")
CROSS = ("av_cross_attn_video_a2v_gate.linear", "av_cross_attn_audio_scale_shift.linear")


def velocities(transformer: Any) -> torch.Tensor:
    """Both streams' velocities for one fixed input with a clean first frame and unequal sigmas."""
    generator = torch.Generator().manual_seed(5)
    sigma = torch.tensor([0.7])
    video = Stream(
        torch.randn(1, SHAPE.tokens, 16, generator=generator),
        torch.tensor([[0.0, 0.0, 0.7, 0.7]]),
        sigma,
        torch.randn(1, 5, 32, generator=generator),
        video_positions(SHAPE, 24.0),
        first_frame_keyframes(SHAPE),
    )
    audio = Stream(
        torch.randn(1, NUM_AUDIO, 16, generator=generator),
        torch.tensor([0.3]),
        torch.tensor([0.3]),
        torch.randn(1, 5, 16, generator=generator),
        audio_positions(NUM_AUDIO),
    )
    with torch.no_grad():
        parts = denoise(transformer, video, audio)
    return torch.cat([part.flatten() for part in parts if part is not None])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        *(
            pytest.param(kind, marks=pytest.mark.extra)
            for kind in ({"targets": "video", "modalities": "video"}, {"targets": "audio"})
        ),
        {"alpha": 7.0, "targets": ("attn1.to_q", "ff.net.2", *OUTSIDE, *CROSS)},
    ],
    ids=["audio+video", "video", "audio", "layers outside the blocks, alpha 7"],
)
def test_diffusers_loads_what_was_trained(
    changes: dict[str, Any],
    job_of: Callable[..., TrainJob],
    pipeline: LTX2Pipeline,
    transformer: Any,
    tmp_path: Path,
) -> None:
    path = train_lora(job_of(tmp_path, **changes), Silent()).lora_path
    base = velocities(transformer)
    assert torch.equal(velocities(pipeline.transformer), base)
    pipeline.load_lora_weights(path.parent, weight_name=path.name)
    load_lora(path, transformer)
    theirs, ours = velocities(pipeline.transformer), velocities(transformer)
    assert torch.equal(theirs, ours)
    assert (ours - base).abs().max() > 1e-4


def test_fused_is_what_the_adapter_is(job_of: Callable[..., TrainJob], transformer: Any, tmp_path: Path) -> None:
    job = job_of(tmp_path, targets=("to_q", "to_v", *OUTSIDE, *CROSS))
    path = train_lora(job, Silent()).lora_path
    fused = job.load_transformer()
    fused.load_state_dict(fuse_lora(fused.state_dict(), read_lora(path)))
    load_lora(path, transformer)
    torch.testing.assert_close(velocities(fused), velocities(transformer), rtol=0, atol=1e-5)


def test_pipeline_gives_it_back(
    job_of: Callable[..., TrainJob], pipeline: LTX2Pipeline, transformer: Any, tmp_path: Path
) -> None:
    """What diffusers saves of it, in its own layout, loads here and does the same."""
    path = train_lora(job_of(tmp_path / "ours", alpha=2.0), Silent()).lora_path
    pipeline.load_lora_weights(path.parent, weight_name=path.name)
    (name,) = pipeline.transformer.peft_config
    state = get_peft_model_state_dict(pipeline.transformer, adapter_name=name)
    LTX2Pipeline.save_lora_weights(
        tmp_path / "theirs",
        transformer_lora_layers=state,
        transformer_lora_adapter_metadata=pipeline.transformer.peft_config[name].to_dict(),
        weight_name="theirs.safetensors",
    )
    load_lora(tmp_path / "theirs" / "theirs.safetensors", transformer)
    assert torch.equal(velocities(transformer), velocities(pipeline.transformer))


def test_header_says_where_it_comes_from(job_of: Callable[..., TrainJob], tmp_path: Path) -> None:
    path = train_lora(job_of(tmp_path, steps=1, alpha=8.0), Silent()).lora_path
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    assert header["base"] == "tiny 2.3"
    assert header["format"] == "pt"
    assert header["ltx2.alpha"] == "8, folded into lora_B"
    assert "lora_adapter_metadata" not in header  # diffusers would scale a second time
