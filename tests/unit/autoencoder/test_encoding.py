"""The loop of `encode_latents`: batches of equal shapes, always full, one ahead of what is taken."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ltx_core.autoencoder.encoding import ClipEncoder, Decoded, encode_clips
from ltx_core.autoencoder.video import MOST_COMPILED, compiled_encoder, encode_pixels, encode_video, shapes_to_compile
from ltx_core.memory.video_vae import MOST_BATCHED, auto_batch_size
from ltx_core.shapes import PixelShape

SMALL, TALL = PixelShape(9, 64, 64), PixelShape(1, 96, 64)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def clip(key: str, shape: PixelShape, *, sound: bool = False) -> Decoded:
    generator = torch.Generator().manual_seed(sum(key.encode()))
    frames = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator)
    return Decoded(key, frames, torch.randn(2, 100, generator=generator) if sound else None)


class Spy:
    """An encoder that notes its batches."""

    def __init__(self, vae: Any, size: int) -> None:
        self.vae, self.size = vae, size
        self.shapes: list[tuple[int, ...]] = []

    def encoder(self) -> ClipEncoder:
        return ClipEncoder(CPU, self.video, lambda sound: sound[:, :5].T, lambda _: self.size)

    def video(self, pixels: Tensor) -> Tensor:
        self.shapes.append(tuple(pixels.shape))
        return encode_pixels(self.vae, pixels)


CLIPS = [clip("a", SMALL), clip("b", SMALL, sound=True), clip("c", SMALL), clip("d", TALL), clip("e", TALL)]


def test_batches_are_of_one_shape_and_full(each_vae: Any) -> None:
    spy = Spy(each_vae, 2)
    found = list(encode_clips(CLIPS, spy.encoder()))
    assert [clip.key for clip, _ in found] == list("abcde")
    assert spy.shapes == [(2, 3, *SMALL), (2, 3, *SMALL), (2, 3, *TALL)]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_latents_are_those_of_each_clip_alone(size: int, each_vae: Any) -> None:
    for clip_, tensors in encode_clips(CLIPS, Spy(each_vae, size).encoder()):
        alone = encode_video(each_vae, clip_.frames)
        assert tensors["video"].dtype == torch.bfloat16
        torch.testing.assert_close(tensors["video"].float(), alone, atol=2e-2, rtol=1e-2)
        assert ("audio" in tensors) == (clip_.audio is not None)
        if clip_.audio is not None:
            assert tensors["audio"].equal(clip_.audio[:, :5].T)


def test_latents_are_the_same_bits_in_any_company(each_vae: Any) -> None:
    together = {clip_.key: made["video"] for clip_, made in encode_clips(CLIPS, Spy(each_vae, 2).encoder())}
    for key, order in (("c", "ca"), ("a", "a"), ("b", "cb"), ("e", "de")):
        chosen = [clip_ for name in order for clip_ in CLIPS if clip_.key == name]
        among = {clip_.key: made["video"] for clip_, made in encode_clips(chosen, Spy(each_vae, 2).encoder())}
        assert among[key].equal(together[key]), (key, order)


def test_one_batch_is_launched_ahead(each_vae: Any) -> None:
    spy, fetched = Spy(each_vae, 1), []

    def source() -> Iterator[Decoded]:
        for each in CLIPS[:3]:
            fetched.append(each.key)
            yield each

    results = encode_clips(source(), spy.encoder())
    next(results)
    assert (len(spy.shapes), fetched) == (2, ["a", "b", "c"])  # the third showed that the second's batch is whole


def test_small_clips_are_batched_on_a_gpu() -> None:
    assert auto_batch_size(PixelShape(121, 512, 768), on_gpu=True) == 1
    assert auto_batch_size(PixelShape(9, 512, 768), on_gpu=True) == 2
    assert auto_batch_size(PixelShape(1, 512, 768), on_gpu=True) == MOST_BATCHED
    assert auto_batch_size(PixelShape(1, 512, 768), on_gpu=False) == 1


def test_shapes_with_many_clips_are_compiled() -> None:
    full = PixelShape(121, 512, 768)
    many = [full] * 700 + [SMALL] * 700
    assert shapes_to_compile(many, "auto", CUDA) == {full}
    assert shapes_to_compile(many[:100], "auto", CUDA) == frozenset()
    assert shapes_to_compile(many, "auto", CPU) == frozenset()
    assert shapes_to_compile([SMALL, TALL], True, CPU) == {SMALL, TALL}
    assert shapes_to_compile(many, False, CUDA) == frozenset()
    widths = [PixelShape(9, 64, 32 * width) for width in range(1, 20)]
    assert shapes_to_compile(widths, True, CPU) == set(widths[-MOST_COMPILED:])


def test_another_encoder_takes_the_place_of_the_vaes(each_vae: Any) -> None:
    """Whatever runs in its place, such as that one compiled, is what is run."""
    pixels = torch.rand(1, 3, *SMALL) * 2 - 1
    asked = []

    def encoder(signal: Tensor) -> Tensor:
        asked.append(tuple(signal.shape))
        return each_vae.encoder(signal)

    assert encode_pixels(each_vae, pixels, encoder=encoder).equal(encode_pixels(each_vae, pixels))
    assert asked == [(1, 3, *SMALL)]
    assert callable(compiled_encoder(each_vae))
