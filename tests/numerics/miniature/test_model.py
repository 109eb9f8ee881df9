"""The checkpoint and the text encoder are whole, load strictly, and give what a person can see and hear."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ltx_core.autoencoder.audio import decode_audio, encode_audio, mel_config
from ltx_core.autoencoder.video import decode_video, encode_video
from ltx_core.checkpoint.complete import check_fit
from ltx_core.checkpoint.flavours import FLAVOURS
from ltx_core.checkpoint.load import load_audio_vae, load_connectors, load_transformer, load_video_vae, load_vocoder
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.source import open_model
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream, audio_positions, first_frame_keyframes, pack_video, video_positions
from ltx_core.io.safetensors import read_header
from ltx_core.io.tensors import write_tensors
from ltx_core.shapes import LatentShape
from ltx_core.text.contexts import text_contexts
from ltx_core.text.gemma import embed_text, load_gemma, load_text_projection
from ltx_core.tiny.corpus import DECLARED
from ltx_core.tiny.gemma import write_gemma
from ltx_core.tiny.header import Generation, config
from ltx_core.tiny.model import TRANSFORMER, Miniature, write_checkpoint, write_model
from ltx_core.tiny.scenes import draw
from ltx_core.tiny.sounds import play

CPU: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}


class Written(NamedTuple):
    generation: Generation
    path: Path
    text_encoder: Path

    @property
    def checkpoint(self) -> Model:
        return open_model(self.path)


@pytest.fixture(
    scope="module",
    params=["2.0", pytest.param("2.3", marks=pytest.mark.extra), "2.5"],  # 2.3 is that of the golden data
)
def written(request: pytest.FixtureRequest, miniature: Miniature, tmp_path_factory: pytest.TempPathFactory) -> Written:
    generation: Generation = request.param
    if generation == "2.0":
        return Written(generation, miniature.checkpoint, miniature.text_encoder)
    return Written(generation, *write_model(tmp_path_factory.mktemp("model"), generation))


@pytest.fixture(scope="module")
def gemma(miniature: Miniature) -> Path:
    return miniature.text_encoder


def test_headers_say_what_it_is(written: Written) -> None:
    files = [written.path] if written.path.is_file() else sorted(written.path.rglob("*.safetensors"))
    headers = [read_header(file) for file in files if "text_encoders" not in file.parts]
    described: dict[str, Any] = {}
    for header in headers:
        described |= json.loads(header.metadata["config"])
        assert header.metadata["model_version"].startswith(written.generation)
        assert "Random weights" in header.metadata["license"]
        assert {entry.dtype for entry in header.tensors.values()} == {"BF16"}
    whole = config(written.generation)
    assert described == (whole if len(headers) == 1 else {n: s for n, s in whole.items() if n != "scheduler"})
    assert written.checkpoint.generation == written.generation


@pytest.mark.parametrize("written", ["2.5"], indirect=True)
def test_2_5_is_a_pack_of_four_files(written: Written) -> None:
    pack = written.path
    names = {path.relative_to(pack).as_posix() for path in pack.rglob("*.safetensors")}
    released = FLAVOURS["2.5-dev"].files
    assert sorted(Path(name).parts[0] for name in names) == sorted(Path(name).parts[0] for name in released)
    checkpoint = open_model(pack, "2.5-dev")
    assert checkpoint.text_encoder == written.text_encoder
    assert {stored.path for stored in checkpoint.stored["text_projection"].values()} == {written.text_encoder}
    assert checkpoint.stored["transformer"]["model.diffusion_model.keyframes_abs_pos_embedding"].shape
    marker = load_file(pack / TRANSFORMER)["model.diffusion_model.keyframes_abs_pos_embedding"]
    assert float(marker.abs().max()) > 0, "a marker of zeros would hide that nobody sets it"


def test_whole_way_from_clip_to_picture_and_sound(written: Written) -> None:
    checkpoint = written.checkpoint
    check_fit(checkpoint, open_text_encoder(written.text_encoder))
    video_vae, audio_vae = load_video_vae(checkpoint, **CPU), load_audio_vae(checkpoint, **CPU)
    frames = torch.from_numpy(np.stack([draw("talking_face", k / 25, 1.0, (96, 64)) for k in range(17)]))
    latent = encode_video(video_vae, frames)
    tokens = encode_audio(audio_vae, torch.from_numpy(play("voice", 0.68, 16_000)), mel_config(checkpoint.config))
    features = embed_text(
        load_gemma(open_text_encoder(written.text_encoder), **CPU),
        load_text_projection(checkpoint, **CPU),
        DECLARED[0].caption,
    )
    contexts = text_contexts(load_connectors(checkpoint, **CPU), [features], length=128)
    sigma = torch.tensor([0.7])
    shape = LatentShape(*latent.shape[1:])
    keyframes = first_frame_keyframes(shape, 1) if written.generation == "2.5" else None
    with torch.no_grad():
        velocities = denoise(
            load_transformer(checkpoint, **CPU),
            Stream(pack_video(latent[None]), sigma, sigma, contexts[0], video_positions(shape, 25.0), keyframes),
            Stream(tokens[None], sigma, sigma, contexts[1], audio_positions(len(tokens))),
        )
    for velocity in velocities:
        assert velocity is not None
        assert 0.1 < velocity.std() < 5
    pictures = decode_video(video_vae, latent)
    sound, rate = decode_audio(audio_vae, load_vocoder(checkpoint, **CPU), tokens)
    assert pictures.shape == frames.shape
    assert rate == (24_000 if written.generation == "2.0" else 48_000)
    assert torch.isfinite(sound).all()


def test_latents_of_footage_are_normalised(written: Written) -> None:
    vae = load_video_vae(written.checkpoint, **CPU)
    clips = [np.stack([draw(s, k / 25, 1.0, (64, 64)) for k in range(9)]) for s in ("rolling_ball", "passing_hills")]
    latents = torch.stack([encode_video(vae, torch.from_numpy(clip)) for clip in clips])
    assert abs(float(latents.mean())) < 0.5
    assert 0.5 < float(latents.std()) < 2
    assert (vae.latents_std - 1).abs().max() > 0.01
    assert float((latents[0] - latents[1]).abs().mean()) > 0.3  # different footage, different latents


def test_random_latents_are_seen_and_heard(written: Written) -> None:
    checkpoint = written.checkpoint
    generator = torch.Generator().manual_seed(0)
    video_vae, audio_vae = load_video_vae(checkpoint, **CPU), load_audio_vae(checkpoint, **CPU)
    channels = video_vae.config.latent_channels
    pictures = decode_video(video_vae, torch.randn(channels, 2, 2, 2, generator=generator)).float() / 255
    assert 0.2 < float(pictures.mean()) < 0.8
    assert 0.05 < float(pictures.std()) < 0.4
    sound, _ = decode_audio(audio_vae, load_vocoder(checkpoint, **CPU), torch.randn(25, 32, generator=generator))
    assert -30 < float(10 * sound.pow(2).mean().log10()) < -10
    assert abs(float(sound.mean())) < 0.01
    assert float(sound.abs().max()) < 0.99


@pytest.mark.extra
@pytest.mark.parametrize("written", ["2.5"], indirect=True)
def test_the_same_pack_every_time(written: Written, tmp_path: Path) -> None:
    again, _ = write_model(tmp_path / "again", "2.5")
    names = [path.relative_to(written.path) for path in written.path.rglob("*.safetensors")]
    assert names
    assert all((again / name).read_bytes() == (written.path / name).read_bytes() for name in names)


@pytest.mark.extra
def test_same_seed_same_bytes_other_seed_other_weights(miniature: Miniature, tmp_path: Path) -> None:
    first = miniature.checkpoint.read_bytes()
    assert write_checkpoint(tmp_path / "again.safetensors", "2.0", 0).read_bytes() == first
    assert write_checkpoint(tmp_path / "other.safetensors", "2.0", 6).read_bytes() != first
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    again, other = (write_gemma(tmp_path / f"gemma-{seed}", seed) for seed in (0, 6))
    assert torch.equal(torch.rand(1), wanted), "the caller's random state is untouched"
    names = sorted(path.name for path in again.iterdir())
    assert names == sorted(path.name for path in miniature.text_encoder.iterdir())
    assert all((again / name).read_bytes() == (miniature.text_encoder / name).read_bytes() for name in names)
    assert (again / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_text_encoder_folder_is_as_released(gemma: Path) -> None:
    header = read_header(gemma / "model.safetensors")
    assert "language_model.model.embed_tokens.weight" in header.tensors
    assert "vision_tower.vision_model.post_layernorm.weight" in header.tensors
    assert "lm_head.weight" not in header.tensors
    assert json.loads((gemma / "config.json").read_text())["architectures"] == ["Gemma3ForConditionalGeneration"]
    assert json.loads((gemma / "tokenizer_config.json").read_text())["padding_side"] == "left"


def test_tokenizer_spells_what_it_does_not_know(gemma: Path) -> None:
    tokenizer = load_gemma(open_text_encoder(gemma), **CPU).tokenizer
    text = "A red ball, 窓 ñ \U0001f3b5"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_different_captions_have_different_contexts(written: Written) -> None:
    checkpoint = written.checkpoint
    encoder, projection = (
        load_gemma(open_text_encoder(written.text_encoder), **CPU),
        load_text_projection(checkpoint, **CPU),
    )
    features = [embed_text(encoder, projection, DECLARED[i].caption) for i in (0, 2)]
    contexts = text_contexts(load_connectors(checkpoint, **CPU), features, length=128)
    for context in contexts:
        assert context.isfinite().all()
        assert float((context[0] - context[1]).abs().mean()) > 0.05


def test_saved_tensors_read_back(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6, dtype=torch.float32).view(2, 3), "a": torch.ones(3, dtype=torch.bfloat16)}
    write_tensors(tmp_path / "x.safetensors", tensors, {"z": "1", "a": "2"})
    back = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
