"""LTX-2.5's VAE with a diffusion decoder, against diffusers' own pipeline and attention."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoDiffusionDecoderModel
from diffusers.models.autoencoders.ltx2_diffusion_decoder import LTX2VideoVaeNeighborhoodAttention
from diffusers.pipelines.ltx2 import LTX2VideoDiffusionDecodePipeline

from ltx_core.autoencoder.neighbourhood import NeighbourhoodProcessor
from ltx_core.autoencoder.video import decode_pixels, decode_video, encode_pixels
from ltx_core.checkpoint.complete import check_model
from ltx_core.checkpoint.expected.tree import flat
from ltx_core.checkpoint.expected.video_vae import diffusion_decoder
from ltx_core.checkpoint.load import load_video_vae
from ltx_core.checkpoint.source import open_model
from ltx_core.errors import CheckpointError
from ltx_core.memory.video_vae import VaeWork, least_diffused
from ltx_core.shapes import PixelShape
from ltx_core.tiny.model import VIDEO_VAE, write_pack
from tests.diffusion_vae import write_diffusion_vae

pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("ignore:flex_attention called without")]
FULL = {"device": "cpu", "dtype": torch.float32}


@pytest.mark.parametrize(
    ("grid", "kernel"), [((5, 9, 21), (3, 5, 5)), ((4, 8, 8), (2, 3, 4)), ((3, 7, 17), (3, 7, 11))], ids=str
)
def test_attention_to_a_neighbourhood(grid: tuple[int, int, int], kernel: tuple[int, int, int]) -> None:
    """As FlexAttention computes it with diffusers' mask, at every border, for odd and even kernels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attention = LTX2VideoVaeNeighborhoodAttention(16, kernel, head_dim=8)
        places = torch.randn(2, *grid, 16)
    with torch.no_grad():
        wanted = attention(places)
        attention.set_processor(NeighbourhoodProcessor())
        assert torch.allclose(attention(places), wanted, atol=1e-6)


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """LTX-2.5 with the VAE of either kind, and the decoder of the one that diffuses."""
    folder = tmp_path_factory.mktemp("packs")
    write_pack(folder / "conv", 0)
    shutil.copytree(folder / "conv", folder / "pack")
    file = folder / "pack" / VIDEO_VAE
    module = write_diffusion_vae(folder / "conv" / VIDEO_VAE, file.with_name("ltx-2.5-video-vae-bf16.safetensors"))
    file.unlink()
    return {"conv": folder / "conv", "pack": folder / "pack", "decoder": module}


def test_its_encoder_is_the_other_ones_and_its_decoder_diffuses(packs: dict[str, Any]) -> None:
    model = open_model(packs["pack"])
    check_model(model)
    vae, other = load_video_vae(model, **FULL), load_video_vae(open_model(packs["conv"]), **FULL)
    pixels = torch.rand(1, 3, 17, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = encode_pixels(vae, pixels)
    assert torch.equal(latents, encode_pixels(other, pixels))
    packs["decoder"].set_attn_processor(NeighbourhoodProcessor())  # which is that of FlexAttention, see above
    pipeline = LTX2VideoDiffusionDecodePipeline(packs["decoder"].float(), scheduler=None, vae=vae)
    generator = torch.Generator().manual_seed(5)
    wanted = pipeline(latents, generator=generator, output_type="pt", return_dict=False)[0]  # [B, F, C, H, W], 0 to 1
    frames = decode_video(vae, latents[0], seed=5).permute(0, 3, 1, 2)
    assert float((frames.float() / 255 - wanted[0]).abs().max()) <= 1 / 255
    assert float(wanted.std()) > 0.05
    assert not frames.equal(decode_video(vae, latents[0], seed=6).permute(0, 3, 1, 2))


def test_what_is_smaller_than_a_neighbourhood_is_padded(packs: dict[str, Any]) -> None:
    """By its edges, and the frames are cut: as if the padding had been there."""
    vae = load_video_vae(open_model(packs["pack"]), **FULL)
    latents = torch.randn(1, 8, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    found = decode_pixels(vae, latents)
    assert found.shape == (1, 3, 1, 32, 96)
    padded = latents.expand(1, 8, 3, 1, 3).repeat_interleave(2, dim=3)
    assert torch.equal(found, decode_pixels(vae, padded)[:, :, :1, :32])


def test_gates_are_folded_into_what_they_multiply(packs: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(packs["pack"], tmp_path / "pack")
    (file,) = (tmp_path / "pack").rglob("*video-vae*")
    write_diffusion_vae(packs["conv"] / VIDEO_VAE, file, gate=0.5)
    found, wanted = (
        load_video_vae(open_model(path), **FULL).state_dict() for path in (tmp_path / "pack", packs["pack"])
    )
    assert found.keys() == wanted.keys()
    assert all(found[name].equal(wanted[name]) for name in wanted)


def test_two_video_vaes_are_named(packs: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(packs["pack"], tmp_path / "pack")
    shutil.copy(packs["conv"] / VIDEO_VAE, tmp_path / "pack" / VIDEO_VAE)
    with pytest.raises(CheckpointError, match=r"several files with a video_vae: .*leave one file for each component"):
        open_model(tmp_path / "pack")


def test_the_memory_of_decoding_has_a_largest_tile(packs: dict[str, Any]) -> None:
    arguments = open_model(packs["pack"]).arguments("video_vae")
    small, large, longer = (
        VaeWork(arguments, 2, PixelShape(*shape), decodes=True)
        for shape in ((73, 512, 768), (121, 1024, 1536), (241, 1024, 1536))
    )
    sizes = [work.clip_bytes(next(iter(work.ways()))) for work in (small, large, longer)]
    assert sizes[0] < sizes[1] < sizes[2]
    grown = 120 * 1024 * 1536 * 3 * 10 + 120 * 1024 * 1536 // 128 * 16 * 2
    assert sizes[2] - sizes[1] == grown, "only the pixels that are done, and the features of the whole clip"
    assert "by diffusion, in tiles of 80 x 768 x 768" in small.why(next(iter(small.ways())), 2**40)


def test_tensors_of_the_published_decoder_by_arithmetic() -> None:
    """The class's defaults are the published sizes."""
    with torch.device("meta"):
        module = LTX2VideoDiffusionDecoderModel()
    del module.latents_mean, module.latents_std
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert flat(diffusion_decoder(module.config)) == wanted
    assert least_diffused(module.config) == (3, 7, 7)
