"""What is asked of the video VAE's memory is done; what is left to `auto` is the fastest exact way that fits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltx_core.autoencoder import device_memory
from ltx_core.autoencoder.device_memory import describe, free_bytes, plan_decoding, plan_encoding
from ltx_core.autoencoder.memory import VaeMemory, VaeOptions
from ltx_core.autoencoder.memory_plan import GIB, HEADROOM, MemoryPlan, predict_decode_bytes, predict_encode_bytes
from ltx_core.errors import OutOfMemory
from ltx_core.shapes import PixelShape
from tests.unit.autoencoder.video_vaes import released_vae

CLIP = PixelShape(121, 704, 1280)
Plan = Callable[..., MemoryPlan]
both = pytest.mark.parametrize(
    ("plan", "predict"), [(plan_encoding, predict_encode_bytes), (plan_decoding, predict_decode_bytes)]
)


@pytest.fixture(scope="module")
def vae() -> Any:
    return released_vae("2.0")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Pretend that a device has so much left: no device of these sizes is here."""

    def pretend(num_bytes: float) -> None:
        monkeypatch.setattr(device_memory, "free_bytes", lambda _device: int(num_bytes))

    return pretend


@both
def test_auto_takes_larger_chunks_while_they_fit(
    plan: Plan, predict: Callable[..., int], vae: Any, free: Callable[[float], None]
) -> None:
    for memory in (VaeMemory(), VaeMemory(4), VaeMemory(1)):
        free(predict(vae, CLIP, memory) * HEADROOM + 1)
        assert plan(vae, CLIP, VaeOptions(slicing=False)).memory == memory
    free(predict(vae, CLIP, VaeMemory(1)) * HEADROOM - 1)
    with pytest.raises(OutOfMemory, match="at the least"):
        plan(vae, CLIP, VaeOptions())


@both
def test_auto_slices_a_batch_before_it_cuts_clips(
    plan: Plan, predict: Callable[..., int], vae: Any, free: Callable[[float], None]
) -> None:
    one = predict(vae, CLIP, VaeMemory()) * HEADROOM
    free(3 * one + 1)
    assert plan(vae, CLIP, VaeOptions(), batch=3) == MemoryPlan(VaeMemory(), round(3 * one))
    free(3 * one - 1)
    assert plan(vae, CLIP, VaeOptions(), batch=3).memory == VaeMemory(slicing=True)
    free(one - 1)
    assert plan(vae, CLIP, VaeOptions(), batch=3).memory == VaeMemory(4, slicing=True)


@both
def test_what_is_asked_for_is_done_whether_or_not_it_seems_to_fit(
    plan: Plan, predict: Callable[..., int], vae: Any, free: Callable[[float], None]
) -> None:
    free(1)
    for wanted in (None, 1, 4, 7):
        assert plan(vae, CLIP, VaeOptions(wanted, slicing=False)).memory == VaeMemory(wanted)
    assert plan(vae, CLIP, VaeOptions(2, tile=512, overlap=96, slicing=True)).memory == VaeMemory(2, 512, 96, True)


@both
def test_tiles_are_never_chosen_and_kept_where_asked_for(
    plan: Plan, predict: Callable[..., int], vae: Any, free: Callable[[float], None]
) -> None:
    assert all(memory.exact for memory in VaeOptions().candidates(3))
    assert {memory.tile for memory in VaeOptions(tile=256).candidates(3)} == {256}
    free(predict(vae, CLIP, VaeMemory(1, tile=256)) * HEADROOM + 1)
    assert plan(vae, CLIP, VaeOptions(tile=256)).memory == VaeMemory(1, tile=256)


def test_the_log_says_what_and_why() -> None:
    plan = MemoryPlan(VaeMemory(4, 512, 64, True), 3 * GIB)
    assert describe(plan, CLIP, 8 * GIB) == (
        "video VAE, 121x704x1280: 4 latent frames at once, tiles of 512 pixels over 64, one clip of a batch at a time; "
        "takes 3.00 GiB, 8.0 GiB are free"
    )
    assert (
        describe(MemoryPlan(VaeMemory(), GIB), CLIP) == "video VAE, 121x704x1280: whole; takes 1.00 GiB, as asked for"
    )


def test_free_memory_of_the_host_is_some() -> None:
    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50
