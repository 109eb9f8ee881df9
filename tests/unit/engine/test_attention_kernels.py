"""Which attention is asked first on which card; none of them is here, so what PyTorch would say of them is given."""

import pytest
import torch

from ltx_core.engine.attention_kernels import CUDNN_FIRST, SOUND_CUDNN, fastest_attention, preferred

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("capability", "cudnn", "first"),
    [
        ((9, 0), SOUND_CUDNN, True),
        ((9, 0), SOUND_CUDNN - 1, False),
        ((9, 0), None, False),
        ((8, 0), SOUND_CUDNN, False),
        ((10, 0), SOUND_CUDNN, False),
        ((12, 0), SOUND_CUDNN, False),
    ],
)
def test_cudnn_is_first_where_it_is_faster_and_sound(
    capability: tuple[int, int], cudnn: int | None, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
    assert preferred(CUDA) == (CUDNN_FIRST if first else None)


def test_amd_keeps_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert preferred(CUDA) is None


def test_on_the_cpu_nothing_changes() -> None:
    before = torch._C._get_sdp_priority_order()
    with fastest_attention("cpu"):
        assert torch._C._get_sdp_priority_order() == before


def test_the_order_is_asked_for_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: SOUND_CUDNN)
    before = torch._C._get_sdp_priority_order()
    with fastest_attention(CUDA):
        assert torch._C._get_sdp_priority_order()[: len(CUDNN_FIRST)] == list(map(int, CUDNN_FIRST))
        assert torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.cudnn_sdp_enabled()
    assert torch._C._get_sdp_priority_order() == before
