"""Where tokens lie in seconds and pixels, and which of them show a single pixel frame."""

import torch

from ltx_core.shapes import AUDIO_RATE, AUDIO_STRIDE, MEL_HOP, SPACE_STRIDE, TIME_STRIDE, LatentShape


def video_positions(
    shape: LatentShape, frame_rate: float, batch: int = 1, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Bounds [start, end) of video tokens, [B, 3, T, 2]: seconds, pixel row, pixel column, in float32.

    The VAE is causal: latent frame 0 is pixel frame 0 alone, latent frame f > 0 is pixel frames 8f-7 to 8f.
    `frame_rate` is that of the frames the latent was made from, after resampling: the model is conditioned on it.
    """
    frames = _bounds(shape.frames, TIME_STRIDE, device)
    seconds = (frames + (1 - TIME_STRIDE)).clamp(min=0) / frame_rate
    rows, columns = (_bounds(count, SPACE_STRIDE, device) for count in (shape.height, shape.width))
    grid = (shape.frames, shape.height, shape.width, 2)
    axes = [
        seconds[:, None, None].expand(grid),
        rows[None, :, None].expand(grid),
        columns[None, None, :].expand(grid),
    ]
    return torch.stack(axes).reshape(1, 3, shape.tokens, 2).repeat(batch, 1, 1, 1)


def audio_positions(num_tokens: int, batch: int = 1, device: torch.device | str = "cpu") -> torch.Tensor:
    """Bounds [start, end) of audio tokens in seconds, [B, 1, A, 2], in float32; token 0 covers one mel frame."""
    mel_frames = (_bounds(num_tokens, AUDIO_STRIDE, device) + (1 - AUDIO_STRIDE)).clamp(min=0)
    return (mel_frames * MEL_HOP / AUDIO_RATE)[None, None].repeat(batch, 1, 1, 1)


def first_frame_keyframes(shape: LatentShape, batch: int = 1, device: torch.device | str = "cpu") -> torch.Tensor:
    """Mark the tokens of the first latent frame, the only one that is a single pixel frame: [B, T, 1], 1 or 0.

    Lightricks' inference passes this for every LTX-2.5 video. Reference tokens appended later stay unmarked.
    """
    marks = torch.zeros(batch, shape.tokens, 1, device=device)
    marks[:, : shape.height * shape.width] = 1
    return marks


def _bounds(count: int, stride: int, device: torch.device | str) -> torch.Tensor:
    """[count, 2]: start and end of each of `count` steps of `stride`."""
    start = torch.arange(count, dtype=torch.float32, device=device) * stride
    return torch.stack([start, start + stride], dim=-1)
