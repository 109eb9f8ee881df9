from typing import Any

import pytest
import torch

from ltx_core.autoencoder.video import decode_pixels, decode_video, encode_pixels, encode_video
from ltx_core.errors import ShapeError


def footage(frames: int, height: int = 32, width: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("frames", [1, 9])
def test_shapes_there_and_back(video_vae: Any, frames: int) -> None:
    latent = encode_video(video_vae, footage(frames))
    assert latent.shape == (8, (frames - 1) // 8 + 1, 1, 2)
    assert latent.dtype == torch.float32
    decoded = decode_video(video_vae, latent)
    assert (decoded.shape, decoded.dtype) == ((frames, 32, 64, 3), torch.uint8)


def test_bytes_span_minus_one_to_one(video_vae: Any) -> None:
    pixels = torch.stack([torch.full((3, 1, 32, 32), value) for value in (-1.0, 1.0)])
    black, white = (torch.full((1, 32, 32, 3), byte, dtype=torch.uint8) for byte in (0, 255))
    expected = encode_pixels(video_vae, pixels)
    torch.testing.assert_close(encode_video(video_vae, black), expected[0])
    torch.testing.assert_close(encode_video(video_vae, white), expected[1])


def test_decoded_pixels_are_clamped_and_rounded(video_vae: Any) -> None:
    latent = torch.randn(8, 1, 1, 1, generator=torch.Generator().manual_seed(1)) * 4
    pixels = decode_pixels(video_vae, latent[None])[0].permute(1, 2, 3, 0)
    expected = ((pixels.clamp(-1, 1) + 1) / 2 * 255).round()
    assert (decode_video(video_vae, latent).float() - expected).abs().max() <= 1


def test_the_same_clip_gives_the_same_bytes(video_vae: Any) -> None:
    assert encode_video(video_vae, footage(9)).equal(encode_video(video_vae, footage(9)))


@pytest.mark.parametrize("frames", [footage(8), footage(9, 48), footage(9).float(), footage(9)[..., :1]])
def test_clips_the_vae_cannot_take_are_refused(video_vae: Any, frames: torch.Tensor) -> None:
    with pytest.raises(ShapeError):
        encode_video(video_vae, frames)
