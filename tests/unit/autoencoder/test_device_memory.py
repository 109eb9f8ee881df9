"""What is asked of the video VAE's memory is done; what is left to `auto` is the fastest exact way that fits."""

from functools import partial
from typing import Any

import pytest
import torch

from ltx_core.errors import OutOfMemory
from ltx_core.memory.plan import GIB, free_bytes, plan
from ltx_core.memory.video_vae import HEADROOM, VaeMemory, VaeOptions, VaeWork
from ltx_core.shapes import PixelShape
from tests.unit.autoencoder.video_vaes import released_vae

CLIP = PixelShape(121, 704, 1280)
both = pytest.mark.parametrize("decodes", [False, True], ids=["encoding", "decoding"])


@pytest.fixture(scope="module")
def vae() -> Any:
    return released_vae("2.0")


@both
def test_auto_takes_larger_chunks_while_they_fit(decodes: bool, vae: Any) -> None:
    work = VaeWork.of(vae, CLIP, decodes=decodes, asked=VaeOptions(slicing=False))
    for memory in (VaeMemory(), VaeMemory(4), VaeMemory(1)):
        assert plan(work, int(work.clip_bytes(memory) * HEADROOM + 1)).options == memory
    alone = VaeWork.of(vae, CLIP, decodes=decodes)
    with pytest.raises(OutOfMemory, match="at the least"):
        plan(alone, int(work.clip_bytes(VaeMemory(1)) * HEADROOM - 1))


@both
def test_auto_slices_a_batch_before_it_cuts_clips(decodes: bool, vae: Any) -> None:
    work = VaeWork.of(vae, CLIP, decodes=decodes, batch=3)
    one = work.clip_bytes(VaeMemory()) * HEADROOM
    together = plan(work, int(3 * one + 1))
    assert (together.options, together.estimate.needed_bytes) == (VaeMemory(), round(3 * one))
    assert plan(work, int(3 * one - 1)).options == VaeMemory(slicing=True)
    assert plan(work, int(one - 1)).options == VaeMemory(4, slicing=True)


@both
def test_what_is_asked_for_is_done_whether_or_not_it_seems_to_fit(decodes: bool, vae: Any) -> None:
    work = partial(VaeWork.of, vae, CLIP, decodes=decodes)
    for wanted in (None, 1, 4, 7):
        assert plan(work(asked=VaeOptions(wanted, slicing=False)), 1).options == VaeMemory(wanted)
    all_of_it = VaeOptions(2, tile=512, overlap=96, slicing=True)
    assert plan(work(asked=all_of_it), 1).options == VaeMemory(2, 512, 96, True)


@both
def test_tiles_are_never_chosen_and_kept_where_asked_for(decodes: bool, vae: Any) -> None:
    assert all(memory.exact for memory in VaeOptions().candidates(3))
    assert {memory.tile for memory in VaeOptions(tile=256).candidates(3)} == {256}
    work = VaeWork.of(vae, CLIP, decodes=decodes, asked=VaeOptions(tile=256))
    fits = int(work.clip_bytes(VaeMemory(1, tile=256)) * HEADROOM + 1)
    assert plan(work, fits).options == VaeMemory(1, tile=256)


def test_the_log_says_what_and_why(vae: Any) -> None:
    work = VaeWork.of(vae, CLIP, decodes=False, batch=2)
    cut = VaeMemory(4, 512, 64, True)
    taken = work.estimate(cut).needed_bytes / GIB
    assert work.why(cut, 8 * GIB) == (
        "video VAE, 121x704x1280: 4 latent frames at once, tiles of 512 pixels over 64, one clip of a batch at a time; "
        f"takes {taken:.2f} GiB, 8.0 GiB are free"
    )
    assert work.why(VaeMemory(), GIB).startswith("video VAE, 121x704x1280: whole; takes ")


def test_free_memory_of_the_host_is_some() -> None:
    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50
