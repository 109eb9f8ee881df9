"""Two-stage renders: the upsampler against diffusers' pipeline, and the steps after it against their formula."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplePipeline
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from safetensors.torch import load_file

from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_video_vae
from ltx_core.checkpoint.upsampler import open_upsampler, upsampler_arguments
from ltx_core.conditioning.kinds import FirstFrame
from ltx_core.denoiser.tokens import pack_video
from ltx_core.errors import CheckpointError, ConfigError, ShapeError
from ltx_core.progress import Silent
from ltx_core.sampling.decoding import SampledLatents
from ltx_core.sampling.request import RenderRequest, Upscaling
from ltx_core.sampling.sampler import Prompts, initial_state, refine, sample
from ltx_core.sampling.upscaling import load_upsampler
from ltx_core.shapes import LatentShape
from tests.forwards import watched
from tests.layouts import GOLDEN
from tests.upsampler import write_upsampler

Make = Callable[..., RenderRequest]


@pytest.fixture
def checkpoint() -> Path:
    return GOLDEN / "2.3" / "checkpoint.safetensors"


@pytest.mark.parametrize("rational", [True, False], ids=["of 2.0", "of 2.3"])
def test_a_latent_is_upscaled_as_by_diffusers(checkpoint: Path, tmp_path: Path, rational: bool) -> None:
    """diffusers' pipeline brings latents back from their normalisation and leaves it to the next one to put it on."""
    model = open_combined(checkpoint)
    vae = load_video_vae(model, device="cpu", dtype=torch.float32)
    assert float(vae.latents_std.std()) > 0, "the statistics say something"
    path = write_upsampler(tmp_path / "upsampler.safetensors", vae.config.latent_channels, rational=rational)
    weights = open_upsampler(path)
    module = LTX2LatentUpsamplerModel(**upsampler_arguments(path, weights))
    module.load_state_dict(load_file(path))
    latent = torch.randn(vae.config.latent_channels, 2, 2, 3, generator=torch.Generator().manual_seed(3))
    pipeline = LTX2LatentUpsamplePipeline(vae=vae, latent_upsampler=module)
    (raw,) = pipeline(
        latents=latent[None], latents_normalized=True, height=64, width=96, output_type="latent", return_dict=False
    )
    wanted = (raw[0] - vae.latents_mean.view(-1, 1, 1, 1)) / vae.latents_std.view(-1, 1, 1, 1)
    found = load_upsampler(path, model, device="cpu", dtype=torch.float32)(latent)
    assert found.shape == (vae.config.latent_channels, 2, 4, 6)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"scale": 1.5}, "double width and height"), ({"time": True}, "double width and height"), ({}, "of 6 channels")],
)
def test_another_upsampler_is_refused(
    checkpoint: Path, tmp_path: Path, changes: dict[str, float], message: str
) -> None:
    path = write_upsampler(tmp_path / "other.safetensors", 6, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_upsampler(path, open_combined(checkpoint), device="cpu", dtype=torch.float32)
    with pytest.raises(CheckpointError, match="no upsampler of latents"):
        open_upsampler(checkpoint)


def upscaled(request: RenderRequest, seed: int) -> SampledLatents:
    generator = torch.Generator().manual_seed(seed)
    return SampledLatents(
        torch.randn(4, *request.grid, generator=generator), torch.randn(request.audio_tokens, 8, generator=generator)
    )


def test_the_steps_after_upscaling(
    transformer: LTX2VideoTransformer3DModel, both_prompts: Prompts, request_of: Make
) -> None:
    """Both streams begin as (1 - sigma) latent + sigma noise, a given frame is given again, there is one forward a step
    without guidance, and the audio is that of the first half."""
    request = request_of(width=64, height=64, upscaling=Upscaling(upsampler="x", sigmas=(0.9, 0.4, 0.0)))
    start, frame = upscaled(request, 1), torch.randn(4, 1, 2, 2)
    with watched(transformer) as seen:
        made = refine(transformer, both_prompts.positive, request, start, Silent(), conditionings=[FirstFrame(frame)])
    assert [round(float(call["sigma"].flatten()[0]) / 1000, 4) for call in seen] == [0.9, 0.4]
    noise = initial_state(request.seed, request.grid, 4, request.audio_tokens, 8, purpose="upscaling ")
    video = 0.1 * pack_video(start.video[None]) + 0.9 * noise.video.tokens
    assert torch.allclose(seen[0]["hidden_states"][:, 4:], video[:, 4:], atol=1e-6)
    audio = 0.1 * start.audio[None] + 0.9 * noise.audio.tokens
    assert torch.allclose(seen[0]["audio_hidden_states"], audio, atol=1e-6)
    assert torch.equal(made.video[:, :1], frame)
    assert torch.equal(made.audio, start.audio)
    other = refine(transformer, both_prompts.positive, request, upscaled(request, 2), Silent())
    assert not torch.allclose(made.video, other.video, atol=1e-3)
    first = sample(transformer, Prompts(both_prompts.positive), request.halved(), Silent())
    assert first.video.shape == (4, *LatentShape(2, 1, 1))


def test_what_cannot_be_upscaled_is_refused(request_of: Make) -> None:
    with pytest.raises(ShapeError, match="multiples of 64, such as 64x64"):
        request_of(width=64, height=32, upscaling=Upscaling(upsampler="x"))
    for sigmas in ((0.5,), (0.5, 0.7, 0.0), (1.2, 0.0), (0.5, 0.1)):
        with pytest.raises(ConfigError, match="two or more that fall"):
            Upscaling(upsampler="x", sigmas=sigmas)


def test_the_key_knows_the_upscaling(request_of: Make) -> None:
    plain = request_of(height=64)
    with_one = request_of(height=64, upscaling=Upscaling(upsampler="x"))
    others = [Upscaling(upsampler="y"), Upscaling(upsampler="x", adapters=(("z", 1.0),))]
    keys = {request.key({}) for request in (plain, with_one, *(request_of(height=64, upscaling=one) for one in others))}
    assert len(keys) == 4
    assert with_one.halved().upscaling is None
