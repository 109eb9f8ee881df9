"""Video latents to tokens and back; the released models patch by 1, so a token is one latent pixel."""

import torch

from ltx_core.errors import ShapeError
from ltx_core.shapes import LatentShape


def pack_video(latents: torch.Tensor) -> torch.Tensor:
    """[B, C, F, H, W] to tokens [B, F*H*W, C], width fastest.

    Raises:
        ShapeError: latents are not five-dimensional.
    """
    if latents.ndim != 5:
        raise ShapeError(f"video latents are {list(latents.shape)}; [B, C, F, H, W] is wanted")
    return latents.flatten(2).transpose(1, 2)


def unpack_video(tokens: torch.Tensor, shape: LatentShape) -> torch.Tensor:
    """Tokens [B, F*H*W, C] to [B, C, F, H, W]; the inverse of `pack_video`.

    Raises:
        ShapeError: the tokens are not as many as the shape has.
    """
    if tokens.ndim != 3 or tokens.shape[1] != shape.tokens:
        raise ShapeError(f"tokens are {list(tokens.shape)}; [B, {shape.tokens}, C] is wanted for {shape}")
    return tokens.transpose(1, 2).unflatten(2, tuple(shape))
