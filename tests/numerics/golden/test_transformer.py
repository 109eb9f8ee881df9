"""Velocities of the transformer, in every case that Lightricks' code computed."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_transformer
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream, audio_positions, first_frame_keyframes, video_positions
from ltx_core.shapes import LatentShape

pytestmark = pytest.mark.numerics


@cache
def transformer_of(folder: Path, dtype: torch.dtype = torch.float32) -> LTX2VideoTransformer3DModel:
    checkpoint = open_combined(folder / "checkpoint.safetensors", components=("transformer",))
    return load_transformer(checkpoint, device="cpu", dtype=dtype)


class Case:
    """A golden file as the arguments and results of `denoise`."""

    def __init__(self, golden: Any) -> None:
        self.tensors = golden.tensors
        self.grid = golden.about["grid"]
        self.video, self.audio = self.stream("video"), self.stream("audio")
        self.options = {
            "isolate": golden.about["case"] == "modality_isolated",
            "stg_blocks": self.grid.get("perturbed_blocks", ()),
        }

    def stream(self, name: str) -> Stream | None:
        parts = {key.removeprefix(f"{name}_"): value for key, value in self.tensors.items()}
        if f"{name}_latent" not in self.tensors:
            return None
        unmarked = torch.zeros(*parts["latent"].shape[:2], 1)
        return Stream(
            tokens=parts["latent"],
            timesteps=parts["timesteps"],
            sigma=parts["sigma"],
            context=parts["context"],
            positions=parts["positions"],
            keyframes=parts.get("keyframes_mask", unmarked),
        )

    def velocities(self, transformer: LTX2VideoTransformer3DModel) -> dict[str, torch.Tensor]:
        found = zip(("video", "audio"), denoise(transformer, self.video, self.audio, **self.options), strict=True)
        return {name: velocity for name, velocity in found if velocity is not None}


@pytest.fixture
def case(transformer_golden: Any) -> Case:
    return Case(transformer_golden)


def test_velocities_equal_lightricks(transformer_golden: Any, case: Case, compare: Any) -> None:
    found = case.velocities(transformer_of(transformer_golden.folder))
    assert {f"{name}_velocity" for name in found} == {name for name in case.tensors if name.endswith("_velocity")}
    for name, velocity in found.items():
        compare(velocity, case.tensors[f"{name}_velocity"])


def test_bfloat16_stays_near(transformer_golden: Any, case: Case, compare: Any) -> None:
    transformer = transformer_of(transformer_golden.folder, torch.bfloat16)
    for name, velocity in case.velocities(transformer).items():
        assert velocity.dtype == torch.float32
        compare(velocity, case.tensors[f"{name}_velocity"], most=float("inf"), relative=3e-2)


def test_positions_equal_lightricks(case: Case) -> None:
    grid = case.grid
    if case.video is not None:
        shape = LatentShape(grid["latent_frames"], grid["latent_height"], grid["latent_width"])
        rates = grid["fps"] if isinstance(grid["fps"], list) else [grid["fps"]]
        positions = torch.cat([video_positions(shape, rate) for rate in rates])
        torch.testing.assert_close(case.video.positions[:, :, : shape.tokens], positions, rtol=0, atol=1e-6)
        if "video_keyframes_mask" in case.tensors:
            marks = case.tensors["video_keyframes_mask"]
            assert marks[:, : shape.tokens].equal(first_frame_keyframes(shape, len(marks)))
            assert not marks[:, shape.tokens :].any()
    if case.audio is not None:
        positions = audio_positions(grid["audio_tokens"], len(case.audio.tokens))
        torch.testing.assert_close(case.audio.positions, positions, rtol=0, atol=1e-6)


def test_plain_diffusers_is_another_function(first_frame_golden: Any, compare: Any) -> None:
    """The gates are what this package adds: without them the comparison fails, so it sees them."""
    case = Case(first_frame_golden)
    assert case.video is not None
    assert case.audio is not None
    with torch.no_grad():
        plain = transformer_of(first_frame_golden.folder)(
            hidden_states=case.video.tokens,
            audio_hidden_states=case.audio.tokens,
            encoder_hidden_states=case.video.context,
            audio_encoder_hidden_states=case.audio.context,
            timestep=case.video.timesteps * 1000,
            audio_timestep=case.audio.timesteps * 1000,
            sigma=case.video.sigma * 1000,
            audio_sigma=case.audio.sigma * 1000,
            video_coords=case.video.positions,
            audio_coords=case.audio.positions,
            video_keyframes_mask=case.video.keyframes,
            return_dict=False,
        )
    with pytest.raises(AssertionError):
        compare(plain[0], case.tensors["video_velocity"])


@pytest.mark.parametrize(
    "index", [pytest.param(index, marks=pytest.mark.extra if index % 3 else ()) for index in range(0, 200, 17)]
)
def test_one_changed_tensor_is_seen(first_frame_golden: Any, compare: Any, index: int) -> None:
    case = Case(first_frame_golden)
    transformer = load_transformer(first_frame_golden.checkpoint("transformer"), device="cpu", dtype=torch.float32)
    parameter = list(transformer.parameters())[index]
    parameter.zero_()
    with torch.no_grad():
        found = case.velocities(transformer)

    def compare_both() -> None:
        for name, velocity in found.items():
            compare(velocity, case.tensors[f"{name}_velocity"])

    with pytest.raises(AssertionError):
        compare_both()
