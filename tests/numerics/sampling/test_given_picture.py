"""Image to video: the first rendered frame is the given picture, to the VAE's own accuracy.

Random weights decode to nothing like a picture, so a tiny VAE's decoder is first taught three pictures, each followed
by whatever: what it then makes of a picture's latent is its own accuracy, and what sampling makes must be no worse.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ltx_core.autoencoder.video import decode_video, encode_video
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_transformer, load_video_vae
from ltx_core.conditioning.kinds import FirstFrame, Text
from ltx_core.media.frames import decode_frames
from ltx_core.media.image import read_image
from ltx_core.media.mp4 import write_mp4
from ltx_core.progress import Silent
from ltx_core.sampling.request import RenderRequest
from ltx_core.sampling.sampler import Prompts, sample

pytestmark = [pytest.mark.numerics, pytest.mark.extra]

CHECKPOINT = Path(__file__).parents[2] / "golden" / "2.3" / "checkpoint.safetensors"
EDGE, CHANNELS, NUM_STEPS = 64, 8, 200
SIZE = (EDGE, EDGE)


def psnr(one: Tensor, other: Tensor) -> float:
    """dB between pictures of bytes; a random pair of these is at about 12."""
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean()))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three files of smooth colours, larger than the render and of another shape."""
    corners = torch.rand(3, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    smooth = interpolate(corners, (96, 150), mode="bilinear", align_corners=True).mul(255).byte().permute(0, 2, 3, 1)
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(smooth):
        Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def vae(pictures: list[Path]) -> Any:
    """The tiny VAE of the golden data, its decoder taught these pictures as first frames."""
    checkpoint = open_combined(CHECKPOINT, components=("video_vae",))
    vae = load_video_vae(checkpoint, device="cpu", dtype=torch.float32)
    shown = torch.stack([seen(path) for path in pictures])
    latents = torch.stack([encode_video(vae, frame[None]) for frame in shown])
    wanted = shown.permute(0, 3, 1, 2).float() / 127.5 - 1
    mean, std = (tensor.view(1, -1, 1, 1, 1) for tensor in (vae.latents_mean, vae.latents_std))
    vae.decoder.requires_grad_(True)
    optimizer = torch.optim.Adam(vae.decoder.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    for step in range(NUM_STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / NUM_STEPS)
        future = torch.randn(len(latents), CHANNELS, 1, 2, 2, generator=generator)
        start = latents if step % 4 == 0 else torch.cat([latents, future], dim=2)
        optimizer.zero_grad()
        (vae.decoder(start * std + mean)[:, :, 0] - wanted).square().mean().backward()
        optimizer.step()
    return vae.requires_grad_(False)


def seen(path: Path) -> Tensor:
    """The picture as a render of `SIZE` starts from it."""
    return torch.from_numpy(read_image(path, SIZE))


def rendered(vae: Any, latent: Tensor) -> Tensor:
    """Frames [F, H, W, 3] of an image to video render."""
    checkpoint = open_combined(CHECKPOINT, components=("transformer",))
    transformer = load_transformer(checkpoint, device="cpu", dtype=torch.float32)
    generator = torch.Generator().manual_seed(2)
    text = Text(torch.randn(1, 5, 32, generator=generator), torch.randn(1, 5, 16, generator=generator))
    request = RenderRequest(
        prompt="a",
        width=EDGE,
        height=EDGE,
        num_frames=9,
        frame_rate=24.0,
        num_steps=3,
        mode="i2v",
        conditioning_key="a",
    )
    made = sample(transformer, Prompts(text), request, Silent(), conditionings=[FirstFrame(latent)])
    assert torch.equal(made.video[:, :1], latent)
    return decode_video(vae, made.video)


def test_first_frame_is_the_picture(vae: Any, pictures: list[Path], tmp_path: Path) -> None:
    for number, path in enumerate(pictures):
        picture, other = seen(path), seen(pictures[number - 1])
        latent = encode_video(vae, picture[None])
        own = decode_video(vae, latent)[0]
        frames = rendered(vae, latent)
        assert psnr(own, picture) > 17, "the VAE was taught"
        assert psnr(frames[0], own) > 20
        assert psnr(frames[0], picture) > psnr(own, picture) - 1.5
        assert psnr(frames[0], other) < psnr(frames[0], picture) - 4, "not some picture, but this one"
        write_mp4(tmp_path / "render.mp4", frames.numpy(), 24.0, np.zeros((2, 18_000), np.float32), 48_000)
        shown = torch.from_numpy(np.stack(list(decode_frames(tmp_path / "render.mp4", [0.01]))))[0]
        assert psnr(shown, picture) > psnr(own, picture) - 1.5, "in the mp4 as well"
