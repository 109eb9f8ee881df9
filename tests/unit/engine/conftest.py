"""A tiny transformer under any policy, a LoRA on it, and a batch."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.adapters.lora import add_lora, lora_parameters, target_modules
from ltx_core.denoiser.blocks import TokenRoute
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream, audio_positions, video_positions
from ltx_core.engine.assemble import assemble, block_offload, set_policies
from ltx_core.engine.options import EngineOptions
from ltx_core.shapes import LatentShape
from tests.tiny_transformer import arguments

NUM_BLOCKS = 5
SHAPE = LatentShape(frames=2, height=3, width=4)
ARGUMENTS = arguments(
    "2.0", channels=8, audio_channels=16, width=64, audio_width=32, captions=24, num_layers=NUM_BLOCKS
)
Gradients = dict[str, torch.Tensor]


def weights() -> dict[str, torch.Tensor]:
    """The same every time, to change."""
    return {name: tensor.clone() for name, tensor in _weights().items()}


@cache
def _weights() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dict(LTX2VideoTransformer3DModel(**ARGUMENTS).state_dict())


def empty() -> LTX2VideoTransformer3DModel:
    """On the meta device."""
    return deepcopy(_empty())


def empty_block(index: int) -> torch.nn.Module:
    """One block of it."""
    return deepcopy(_empty().transformer_blocks[index])


@cache
def _empty() -> LTX2VideoTransformer3DModel:
    """A copy takes a tenth of the time."""
    with torch.device("meta"):
        return LTX2VideoTransformer3DModel(**ARGUMENTS)


def build(options: EngineOptions, *, with_lora: bool = True) -> LTX2VideoTransformer3DModel:
    stored, transformer = weights(), empty()
    assemble(transformer, lambda names: {n: stored[n].clone() for n in names}, options, device=torch.device("cpu"))
    if with_lora:
        add_lora(transformer, target_modules(transformer, "audio+video"), rank=2, alpha=2, seed=0)
        generator = torch.Generator().manual_seed(3)
        for name, parameter in lora_parameters(transformer).items():
            if name.endswith("lora_B.weight"):
                parameter.data.normal_(0, 0.05, generator=generator)
    set_policies(transformer, options, block_offload(transformer))
    return transformer


def streams(*, by_token: bool = False) -> tuple[Stream, Stream]:
    """`by_token`: the first frame is clean, and every other token is told a time of its own."""
    torch.manual_seed(1)
    sigma = torch.tensor([0.25, 0.75])
    tokens, context = torch.randn(2, SHAPE.tokens, 8), torch.randn(2, 9, 24)
    times = sigma
    if by_token:
        times = sigma[:, None] * torch.linspace(0.5, 1, SHAPE.tokens)
        times[:, : SHAPE.tokens // 2] = 0
    video = Stream(tokens, times, sigma, context, video_positions(SHAPE, 24.0, 2))
    audio = Stream(torch.randn(2, 20, 16), sigma, sigma, torch.randn(2, 9, 24), audio_positions(20, 2))
    return video, audio


def loss_and_gradients(
    transformer: LTX2VideoTransformer3DModel, routes: Sequence[TokenRoute] = (), *, by_token: bool = False
) -> tuple[torch.Tensor, Gradients]:
    video, audio = denoise(transformer, *streams(by_token=by_token), routes=routes)
    assert video is not None
    assert audio is not None
    parameters = lora_parameters(transformer)
    for parameter in parameters.values():
        parameter.grad = None
    loss = video.square().mean() + audio.square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}


@pytest.fixture(scope="session")
def plain() -> tuple[torch.Tensor, Gradients]:
    """Loss and gradients without any policy."""
    return loss_and_gradients(build(EngineOptions()))


@pytest.fixture
def train_once() -> Callable[..., tuple[torch.Tensor, Gradients]]:
    """`train_once(options, routes=(), by_token=False)`"""
    return lambda options, *routes, **how: loss_and_gradients(build(options), *routes, **how)


@pytest.fixture
def streams_of() -> Callable[..., tuple[Stream, Stream]]:
    """`streams_of(by_token=False)`: two clips of 24 video tokens, and their sound."""
    return streams


@pytest.fixture(scope="session")
def transformer() -> LTX2VideoTransformer3DModel:
    """Five blocks with a LoRA; shared by tests that change nothing."""
    return build(EngineOptions())


@pytest.fixture
def built() -> Callable[..., LTX2VideoTransformer3DModel]:
    """`built(options, with_lora=True)`: the tiny transformer."""
    return build


@pytest.fixture
def trained() -> Callable[[LTX2VideoTransformer3DModel], tuple[torch.Tensor, Gradients]]:
    """Loss and gradients of one forward and backward."""
    return loss_and_gradients
