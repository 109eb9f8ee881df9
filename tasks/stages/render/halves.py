"""Latents of held-out clips at half their width and height, for the first halves of two-stage renders. Needs torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLLTX2Video
from torch import Tensor

from ltx_core.autoencoder.video import decode_pixels, encode_pixels
from ltx_core.checkpoint.load import load_video_vae
from ltx_core.checkpoint.model import Model
from ltx_core.memory.plan import free_bytes, plan
from ltx_core.memory.video_vae import VaeMemory, VaeOptions, VaeWork
from ltx_core.sampling.request import check_halves
from ltx_core.shapes import LatentShape
from ltx_core.training.samples import StoreSource
from tasks.stages.render.jobs import RenderJob

SHOWN = ("video", "reference")
"""Tensors of a sample that show frames; its audio has no size to halve."""


@dataclass(frozen=True)
class Halves:
    """Samples of the store, those of some clips at half their size."""

    source: StoreSource
    halved: Mapping[str, Mapping[str, Tensor]]

    def load(self, clip_id: str) -> Mapping[str, Tensor]:
        """The tensors of a clip's sample."""
        return {**self.source.load(clip_id), **self.halved.get(clip_id, {})}


def halved_clips(
    jobs: Sequence[RenderJob],
    source: StoreSource,
    checkpoint: Model,
    *,
    asked: VaeOptions,
    device: str,
    dtype: torch.dtype,
) -> Halves:
    """The clips that first halves are given frames of, decoded, shrunk and encoded again; the VAE is gone after.

    `jobs`: two-stage renders; others need nothing.

    Raises:
        ShapeError: a clip's half has no size that the VAE takes.
    """
    shown = {
        job.conditioning.clip.clip_id
        for job in (job.first for job in jobs if job.first)
        if job.conditioning is not None and job.conditioning.clip is not None and job.conditioning.mode != "s2v"
    }
    if not shown:
        return Halves(source, {})
    vae = load_video_vae(checkpoint, device=device, dtype=dtype)
    found = {}
    for clip_id in sorted(shown):
        tensors = source.load(clip_id)
        found[clip_id] = {name: halved(vae, tensors[name], asked) for name in SHOWN if name in tensors}
        if "keyframes" in tensors:  # each a latent of its own
            images = [halved(vae, one[:, None], asked) for one in tensors["keyframes"].unbind(1)]
            found[clip_id]["keyframes"] = torch.cat(images, dim=1)
    return Halves(source, found)


def halved(vae: AutoencoderKLLTX2Video, latent: Tensor, asked: VaeOptions) -> Tensor:
    """A normalised latent [C, F, H, W] of the same frames at half the size, each of its pixels the mean of four.

    Raises:
        ShapeError: half the size is none that the VAE takes.
    """
    shape = LatentShape(*latent.shape[1:]).pixels()
    check_halves(shape.width, shape.height)

    def memory(decodes: bool) -> VaeMemory:
        work = VaeWork.of(vae, shape, decodes=decodes, asked=asked)
        return plan(work, free_bytes(vae.device)).options

    pixels = decode_pixels(vae, latent[None].float(), memory=memory(True)).clamp_(-1, 1)
    small = torch.nn.functional.avg_pool3d(pixels, (1, 2, 2))
    return encode_pixels(vae, small, memory=memory(False))[0].cpu()
