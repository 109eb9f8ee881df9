"""Defects that another LTX-2 trainer had or documents wrongly: this package has none of those that can apply to it.

Numbers are those of the list that this was checked against; absent ones concern features that are not here.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from datasets_spec import Clip, DatasetSpec
from datasets_spec.spec import AudioSpec, VideoSpec
from ltx_core.adapters.lora_files import export_tensors
from ltx_core.autoencoder.audio import encode_audio, mel_config
from ltx_core.autoencoder.video import encode_pixels, encode_video
from ltx_core.checkpoint.keys import diffusers_name
from ltx_core.checkpoint.load import load_audio_vae, load_connectors, load_transformer, load_video_vae
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.conditioning.kinds import Prefix, Text, WholeAudio
from ltx_core.errors import ShapeError
from ltx_core.flow_matching import SigmaDraws, carries_loss, sample_losses, shift, shifted_logit_normal
from ltx_core.media.audio import to_channels
from ltx_core.media.clip import frame_times
from ltx_core.memory.video_vae import PATCH_CONV, TEMPORAL_ROLL, VaeMemory
from ltx_core.sampling.guidance import Guidance
from ltx_core.sampling.sampler import Prompts, Walk, initial_state
from ltx_core.shapes import LatentShape, PixelShape
from ltx_core.text.contexts import text_contexts
from ltx_core.text.gemma import embed_text, load_gemma, load_text_projection
from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.method import BatchLosses
from ltx_core.training.objective import Objective, loss_weights, total_loss
from ltx_core.training.order import SampleOccurrence

pytestmark = pytest.mark.numerics

CPU: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}
GOLDEN = Path(__file__).parents[2] / "golden"
Checkpoints = Callable[..., Any]
Objectives = Callable[..., Objective]
SeenBy = Callable[[Any, Callable[[], Any]], list[dict[str, Any]]]
SHAPE = LatentShape(2, 1, 2)


def prompts() -> Prompts:
    generator = torch.Generator().manual_seed(1)
    return Prompts(Text(torch.randn(1, 5, 32, generator=generator), torch.randn(1, 5, 16, generator=generator)))


def walk_of(transformer: Any) -> Walk:
    return Walk(transformer, prompts(), Guidance(), 24.0)


def first_occurrence(objective: Objective) -> list[SampleOccurrence]:
    return [SampleOccurrence(objective.source.samples[0], 0)]


def test_d01_frames_are_8k_plus_1() -> None:
    assert PixelShape(57, 64, 64).latent().frames == 8
    for frames in (2, 8, 10, 16, 61):
        with pytest.raises(ShapeError, match="8k\\+1"):
            PixelShape(frames, 64, 64).latent()


def test_d02_pixels_are_encoded_in_minus_one_to_one(checkpoint: Checkpoints) -> None:
    vae = load_video_vae(checkpoint("2.3", "video_vae"), **CPU)
    frames = torch.randint(0, 256, (9, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = frames.permute(3, 0, 1, 2)[None].float()
    found = encode_video(vae, frames)
    torch.testing.assert_close(found, encode_pixels(vae, pixels / 127.5 - 1)[0], rtol=0, atol=1e-5)
    assert (found - encode_pixels(vae, pixels / 255)[0]).abs().max() > 1e-2


def test_d03_the_two_ways_of_chunking_are_two_and_every_latent_frame_survives(checkpoint: Checkpoints) -> None:
    """See expectation 5 for the values."""
    assert PATCH_CONV > TEMPORAL_ROLL, "the more aggressive of the two has the smaller chunks"
    vae = load_video_vae(checkpoint("2.3", "video_vae"), **CPU)
    for frames in (1, 9, 17, 41):
        latents = {
            size: encode_pixels(vae, torch.zeros(1, 3, frames, 32, 32), memory=VaeMemory(chunk_frames=size)).shape[2]
            for size in (TEMPORAL_ROLL, PATCH_CONV)
        }
        assert set(latents.values()) == {(frames - 1) // 8 + 1}


@pytest.mark.parametrize("given", [False, True], ids=["one time", "time by token"])
def test_d04_routed_tokens_take_their_modulation_along(given: bool, objective_of: Objectives) -> None:
    """A first frame makes one timestep a token, so that blocks are given one modulation a token, or one of none."""
    route = {"selection_ratio": 0.5, "start_layer_idx": 0, "end_layer_idx": 0}
    objective = objective_of("a", first_frame_probability=float(given), tread_routes=[route])
    batch = objective.train_batch(first_occurrence(objective))
    seen: list[dict[str, Any]] = []
    block = objective.transformer.transformer_blocks[0]
    hook = block.register_forward_pre_hook(
        lambda _, inputs, arguments: seen.append({"tokens": inputs[0], **arguments}), with_kwargs=True
    )
    objective.predict(batch)
    objective.predict(replace(batch, extras={}))
    hook.remove()
    routed, whole = seen
    (kept,) = batch.extras["tread.000"]
    assert len(kept) < whole["tokens"].shape[1]
    assert routed["tokens"].equal(whole["tokens"][:, kept])
    for name in ("temb", "temb_ca_scale_shift"):
        assert routed[name].equal(whole[name][:, kept] if given else whole[name])
    for name in ("video_rotary_emb", "ca_video_rotary_emb"):
        assert all(one.equal(of_all[..., kept, :]) for one, of_all in zip(routed[name], whole[name], strict=True))
    for name in ("temb_ca_gate", "temb_audio", "audio_rotary_emb"):
        torch.testing.assert_close(routed[name], whole[name], rtol=0, atol=0)


def test_d06_mono_audio_becomes_the_two_channels_that_the_vae_takes(checkpoint: Checkpoints) -> None:
    opened = checkpoint("2.3", "audio_vae")
    sound = np.random.default_rng(0).normal(size=(2, 8000)).astype(np.float32) * 0.1
    mono = to_channels(sound, AudioSpec(channels=1).channels)
    assert mono.shape == (2, 8000)
    assert np.array_equal(mono[0], mono[1])
    tokens = encode_audio(load_audio_vae(opened, **CPU), torch.from_numpy(mono), mel_config(opened.config))
    assert tokens.isfinite().all()


def test_d07_audio_is_on_unless_switched_off() -> None:
    assert AudioSpec().auto_split
    assert TrainSettings().modalities == "audio+video"


def test_d08_d21_frame_rate_is_a_number_that_frames_and_positions_follow(
    objective_of: Objectives, seen_by: SeenBy
) -> None:
    rate = VideoSpec.model_validate({"frame_rate": "24"}).frame_rate
    assert rate == 24
    assert VideoSpec().frame_rate == "native"
    with pytest.raises(ValidationError):
        VideoSpec.model_validate({"frame_rate": "fast"})
    taken = Clip.model_construct(start_seconds=1.0, num_frames=3, frame_rate=rate, phase_seconds=0.0)
    assert frame_times(taken) == pytest.approx([1.0, 1 + 1 / 24, 1 + 2 / 24])
    objective = objective_of("a")  # its clip has 24 frames a second
    (seen,) = seen_by(
        objective.transformer, lambda: objective.predict(objective.train_batch(first_occurrence(objective)))
    )
    assert seen["video_coords"][0, 0, -1].tolist() == pytest.approx([1 / 24, 9 / 24])
    assert seen["audio_coords"][0, 0, -1, 1] == pytest.approx(0.33)


@pytest.mark.parametrize("given", [False, True])
def test_d10_prompt_is_modulated_by_sigma_not_by_the_first_token(
    given: bool, objective_of: Objectives, seen_by: SeenBy, transformer: Any
) -> None:
    """In training and in sampling alike; see also expectation 12."""
    objective = objective_of("a", first_frame_probability=float(given))
    batch = objective.train_batch(first_occurrence(objective))
    (seen,) = seen_by(transformer, lambda: objective.predict(batch))
    assert seen["sigma"].tolist() == pytest.approx([batch.video.sigma.item() * 1000])
    state = initial_state(0, SHAPE, 8, 9, 32)
    if given:
        state = Prefix(torch.zeros(8, 1, 1, 2)).apply(state)
    (seen,) = seen_by(transformer, lambda: walk_of(transformer).step(state, 0.75, 0.5))
    assert seen["sigma"].tolist() == [750]
    assert seen["timestep"].flatten()[0] == (0 if given else 750)


def test_d11_timesteps_keep_float32_in_a_bfloat16_model(objective_of: Objectives, seen_by: SeenBy) -> None:
    objective = objective_of("a", adapted=("attn1.to_q",), first_frame_probability=1.0)
    model = objective.transformer.to(torch.bfloat16)
    batch = objective.train_batch(first_occurrence(objective))
    (trained,) = seen_by(model, lambda: objective.predict(batch))
    (sampled,) = seen_by(model, lambda: walk_of(model).step(initial_state(0, SHAPE, 8, 9, 32), 0.7512, 0.5))
    for seen in (trained, sampled):
        for name in ("timestep", "audio_timestep", "sigma", "audio_sigma", "video_coords", "audio_coords"):
            assert seen[name].dtype == torch.float32, name
        assert seen["hidden_states"].dtype == torch.bfloat16
    assert sampled["sigma"].item() == pytest.approx(751.2, abs=1e-3)


def test_d12_audio_is_the_conditioning_in_training_and_sampling(
    objective_of: Objectives, seen_by: SeenBy, transformer: Any
) -> None:
    objective = objective_of("a", audio_conditioning_probability=1.0)
    (trained,) = seen_by(transformer, lambda: objective.predict(objective.train_batch(first_occurrence(objective))))
    sound = objective.source.load("a")["audio"]
    state = WholeAudio(sound).apply(initial_state(0, SHAPE, 8, len(sound), 32))
    (sampled,) = seen_by(transformer, lambda: walk_of(transformer).step(state, 0.75, 0.5))
    for seen in (trained, sampled):
        assert torch.equal(seen["audio_hidden_states"][0], sound)
        assert not seen["audio_sigma"].any()
        assert not seen["audio_timestep"].any()
        assert seen["sigma"].all()


def test_d13_a_component_name_is_stripped_once() -> None:
    assert diffusers_name("vocoder", "vocoder.vocoder.conv_pre.weight") == "vocoder.conv_in.weight"
    assert diffusers_name("vocoder", "vocoder.conv_pre.weight") == "conv_in.weight"


def test_d15_exported_names_are_the_originals_also_outside_the_blocks(objective_of: Objectives) -> None:
    objective = objective_of("a", adapted=("audio_proj_in", "proj_in", "time_embed.linear", "attn1.to_q"))
    stems = {name.split(".lora_")[0].removeprefix("diffusion_model.") for name in export_tensors(objective.transformer)}
    assert {"audio_patchify_proj", "patchify_proj", "adaln_single.linear"} < stems
    assert "transformer_blocks.0.attn1.to_q" in stems


def test_d16_training_shifts_by_the_token_count() -> None:
    draws = SigmaDraws.draw(torch.Generator().manual_seed(0), 20_000)
    few, many = (shifted_logit_normal(draws, tokens).mean().item() for tokens in (1024, 4096))
    assert (shift(1024), shift(4096)) == (0.95, 2.05)
    assert many - few > 0.1


def test_d17_features_reach_the_connectors_as_they_are_stored(checkpoint: Checkpoints) -> None:
    connectors = load_connectors(checkpoint("2.3", "connectors"), **CPU)
    features = {"video_features": torch.randn(5, 32) * 3 + 1, "audio_features": torch.randn(5, 16)}
    seen: list[torch.Tensor] = []
    connectors["video_connector"].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    text_contexts(connectors, [features], length=128)
    assert torch.equal(seen[0][0, :5], features["video_features"])


def test_d18_only_valid_tokens_are_stored(checkpoint: Checkpoints) -> None:
    encoder = load_gemma(open_text_encoder(GOLDEN / "2.3" / "text_encoder"), **CPU)
    projection = load_text_projection(checkpoint("2.3", "text_projection"), **CPU)
    prompt = "a robot dancing"
    features = embed_text(encoder, projection, prompt)
    count = len(encoder.token_ids(prompt))
    assert count < 32
    assert {name: tuple(value.shape) for name, value in features.items()} == {
        "video_features": (count, 32),
        "audio_features": (count, 16),
    }
    assert {value.dtype for value in features.values()} == {torch.bfloat16}


def test_d19_a_mask_of_half_the_samples_gives_the_other_half_whole() -> None:
    target, weight = torch.zeros(2, 3, 4), torch.ones(2, 3)
    prediction = torch.ones(2, 3, 4)

    def mean() -> float:
        losses = BatchLosses(sample_losses(prediction, target, weight), None)
        return total_loss(losses, loss_weights(int(carries_loss(weight).sum()), 0)).item()

    both = mean()
    weight[1] = 0
    assert mean() == both == 1.0


def test_d22_the_middle_is_kept_and_nothing_else_can_be_asked_for() -> None:
    spec = {"id": "x", "instance_data_dir": Path()}
    assert DatasetSpec.model_validate(spec).crop == "center"
    with pytest.raises(ValidationError, match="crop"):
        DatasetSpec.model_validate({**spec, "crop": "random"})


def test_d23_connectors_are_no_part_of_the_transformer(transformer: Any, checkpoint: Checkpoints) -> None:
    assert not any("connector" in name for name, _ in transformer.named_modules())
    assert set(dict(load_connectors(checkpoint("2.3", "connectors"), **CPU).named_children())) == {
        "video_connector",
        "audio_connector",
    }


def test_first_frame_marker_is_set_in_training_and_sampling(
    objective_of: Objectives, seen_by: SeenBy, checkpoint: Checkpoints
) -> None:
    """LTX-2.5: the same tokens are marked in both, with a given first frame or without."""
    model = load_transformer(checkpoint("2.5", "transformer"), **CPU)
    wanted = torch.tensor([1.0, 1, 0, 0]).reshape(1, 4, 1)
    for probability in (0.0, 1.0):
        objective = replace(objective_of("a", first_frame_probability=probability), transformer=model)
        (trained,) = seen_by(model, lambda o=objective: o.predict(o.train_batch(first_occurrence(o))))
        state = initial_state(0, SHAPE, 8, 9, 32)
        if probability:
            state = Prefix(torch.zeros(8, 1, 1, 2)).apply(state)
        (sampled,) = seen_by(model, lambda s=state: walk_of(model).step(s, 0.75, 0.5))
        assert torch.equal(trained["video_keyframes_mask"], wanted)
        assert torch.equal(sampled["video_keyframes_mask"], wanted)
