from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from peft import LoraConfig

from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream
from ltx_core.errors import ConfigError, ShapeError

Streams = Callable[..., tuple[Stream, Stream]]
Transformer = LTX2VideoTransformer3DModel

pytestmark = pytest.mark.whole


def both(transformer: Transformer, video: Stream, audio: Stream, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    found = denoise(transformer, video, audio, **options)
    assert found[0] is not None
    assert found[1] is not None
    return found[0], found[1]


def hooks_of(transformer: Transformer) -> int:
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in transformer.modules())


def test_shared_sigma_is_bit_equal_to_diffusers(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    plain = transformer(
        hidden_states=video.tokens,
        audio_hidden_states=audio.tokens,
        encoder_hidden_states=video.context,
        audio_encoder_hidden_states=audio.context,
        timestep=video.sigma * 1000,
        sigma=video.sigma * 1000,
        num_frames=2,
        height=2,
        width=3,
        fps=24.0,
        audio_num_frames=9,
        video_keyframes_mask=video.keyframes,
        return_dict=False,
    )
    for found, expected in zip(both(transformer, video, audio), plain, strict=True):
        assert found.equal(expected)


def test_each_gate_is_given_the_other_streams_sigma(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    audio = replace(audio, sigma=torch.tensor([0.875, 0.125]))
    given = {}
    for name in ("av_cross_attn_video_a2v_gate", "av_cross_attn_audio_v2a_gate", "av_cross_attn_video_scale_shift"):
        embedding = getattr(transformer, name).emb
        embedding.register_forward_pre_hook(lambda _, inputs, name=name: given.update({name: inputs[0] / 1000}))
    both(transformer, video, audio)
    assert given["av_cross_attn_video_a2v_gate"].equal(audio.sigma)
    assert given["av_cross_attn_audio_v2a_gate"].equal(video.sigma)
    assert given["av_cross_attn_video_scale_shift"].equal(video.timesteps)


def test_isolated_streams_do_not_hear_each_other(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    other = replace(audio, sigma=torch.tensor([0.9, 0.1]), tokens=audio.tokens * 2)
    assert not both(transformer, video, audio)[0].allclose(both(transformer, video, other)[0], atol=1e-5)
    alone = both(transformer, video, audio, isolate=True)[0]
    assert alone.equal(both(transformer, video, other, isolate=True)[0])


def test_no_hook_is_left(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    before = hooks_of(transformer)
    both(transformer, video, audio)
    assert hooks_of(transformer) == before
    with pytest.raises(RuntimeError):
        denoise(transformer, replace(video, context=video.context[..., 1:]), audio)
    assert hooks_of(transformer) == before


def test_one_timestep_a_sample_equals_one_a_token(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    expanded = replace(video, timesteps=video.sigma[:, None].expand(-1, video.tokens.shape[1]))
    widths = []
    handle = transformer.time_embed.register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].numel()))
    torch.testing.assert_close(
        both(transformer, expanded, audio), both(transformer, video, audio), atol=1e-5, rtol=1e-5
    )
    handle.remove()
    assert widths == [expanded.timesteps.numel(), len(video.sigma)]


def test_an_absent_stream_leaves_the_other_isolated(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    alone = both(transformer, video, audio, isolate=True)
    found, nothing = denoise(transformer, video, None)
    assert nothing is None
    assert found is not None
    torch.testing.assert_close(found, alone[0])
    nothing, found = denoise(transformer, None, audio)
    assert nothing is None
    assert found is not None
    torch.testing.assert_close(found, alone[1])


def test_a_sample_does_not_depend_on_its_batch(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    parts = [
        Stream(**{name: None if value is None else value[1:] for name, value in vars(stream).items()})
        for stream in (video, audio)
    ]
    for whole, single in zip(both(transformer, video, audio), both(transformer, *parts), strict=True):
        torch.testing.assert_close(single, whole[1:], atol=1e-5, rtol=1e-5)


def test_velocities_have_the_tokens_dtype_whatever_the_weights(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    expected = both(transformer, video, audio)[0]
    found = both(transformer.to(torch.bfloat16), video, audio)[0]
    assert found.dtype == torch.float32
    assert (found - expected).norm() / expected.norm() < 3e-2


def test_perturbed_blocks_change_the_result(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    plain, perturbed = both(transformer, video, audio), both(transformer, video, audio, stg_blocks=[1])
    assert not plain[0].allclose(perturbed[0], atol=1e-5)
    assert not plain[1].allclose(perturbed[1], atol=1e-5)


def gradients(transformer: Transformer, video: Stream, audio: Stream) -> dict[str, torch.Tensor]:
    transformer.zero_grad()
    video_velocity, audio_velocity = both(transformer, video, audio)
    (video_velocity.square().mean() + audio_velocity.square().mean()).backward()
    return {name: p.grad.clone() for name, p in transformer.named_parameters() if p.grad is not None}


def test_a_fresh_lora_changes_nothing_and_gets_gradients_outside_the_blocks_too(
    transformer: Transformer, streams: Streams
) -> None:
    video, audio = streams(transformer)
    before = both(transformer, video, audio)
    targets = ["to_q", "to_v", "to_out.0", "av_cross_attn_video_a2v_gate.linear"]
    transformer.add_adapter(LoraConfig(r=2, target_modules=targets, init_lora_weights=True))
    for found, expected in zip(both(transformer, video, audio), before, strict=True):
        assert found.equal(expected)
    for name, parameter in transformer.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    plain = gradients(transformer.train(), video, audio)
    assert all("lora_" in name for name in plain)
    assert any(gradient.any() for name, gradient in plain.items() if "a2v_gate" in name)


def test_a_model_with_markers_wants_keyframes(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    unmarked = replace(video, keyframes=None)
    if not transformer.config.use_keyframes_abs_pos_embedding:
        assert both(transformer, unmarked, audio)[0].equal(both(transformer, video, audio)[0])
        return
    with pytest.raises(ShapeError, match="first_frame_keyframes"):
        denoise(transformer, unmarked, audio)
    zeros = replace(video, keyframes=torch.zeros_like(video.tokens[..., :1]))
    assert not both(transformer, zeros, audio)[0].allclose(both(transformer, video, audio)[0], atol=1e-5)


def test_wrong_calls_are_refused(transformer: Transformer, streams: Streams) -> None:
    video, audio = streams(transformer)
    with pytest.raises(ShapeError, match="at least one stream"):
        denoise(transformer, None, None)
    with pytest.raises(ConfigError, match=r"stg_blocks \[2\] do not exist"):
        denoise(transformer, video, audio, stg_blocks=[2])
    transformer.register_to_config(perturbed_attn=False)
    with pytest.raises(ConfigError, match="would do nothing"):
        denoise(transformer, video, audio, stg_blocks=[1])
    one = Stream(audio.tokens[:1], audio.timesteps[:1], audio.sigma[:1], audio.context[:1], audio.positions[:1])
    with pytest.raises(ShapeError, match="2 video samples and 1 audio samples"):
        denoise(transformer, video, one)
