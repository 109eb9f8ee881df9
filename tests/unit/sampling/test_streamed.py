"""Sampling with blocks that wait on the host: the same bits, with a LoRA and without."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.adapters.lora import add_lora, lora_parameters, target_modules
from ltx_core.engine.assemble import assemble, block_offload
from ltx_core.engine.options import EngineOptions
from ltx_core.progress import Silent
from ltx_core.sampling.decoding import SampledLatents
from ltx_core.sampling.guidance import Guidance, StreamGuidance
from ltx_core.sampling.request import RenderRequest
from ltx_core.sampling.sampler import Prompts, sample

pytestmark = pytest.mark.whole

Build = Callable[[], LTX2VideoTransformer3DModel]
GUIDED = Guidance(video=StreamGuidance(cfg=3, stg=1), audio=StreamGuidance(cfg=7), stg_blocks=(1,))


def rebuilt(plain: LTX2VideoTransformer3DModel, options: EngineOptions) -> LTX2VideoTransformer3DModel:
    """The same weights as the engine lays them."""
    stored = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    with torch.device("meta"):
        transformer = LTX2VideoTransformer3DModel.from_config(plain.config)
    assemble(transformer, lambda names: {n: stored[n] for n in names}, options, device=torch.device("cpu"))
    return transformer  # type: ignore[no-any-return]  # diffusers' from_config has no types


def adapted(transformer: LTX2VideoTransformer3DModel) -> LTX2VideoTransformer3DModel:
    add_lora(transformer, target_modules(transformer, "audio+video"), rank=2, alpha=2, seed=0)
    generator = torch.Generator().manual_seed(3)
    for parameter in lora_parameters(transformer).values():
        parameter.data.normal_(0, 0.05, generator=generator)
    return transformer


@pytest.mark.parametrize("with_lora", [pytest.param(False, marks=pytest.mark.extra), True])
@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(offloaded_blocks=2, forward_only=True),
        EngineOptions(offloaded_blocks=1, num_slots=3, forward_only=True),
        EngineOptions(offloaded_blocks=2, forward_only=True, offload_folder=Path("offload")),
    ],
    ids=["all", "some", "from files"],
)
def test_streamed_blocks_sample_the_same_bits(
    build: Build,
    request_of: Callable[..., RenderRequest],
    both_prompts: Prompts,
    options: EngineOptions,
    with_lora: bool,
    tmp_path: Path,
) -> None:
    if options.offload_folder is not None:
        options = options.replaced(offload_folder=tmp_path / options.offload_folder)
    models = [build(), rebuilt(build(), options)]
    made: list[SampledLatents] = []
    for transformer in map(adapted, models) if with_lora else models:
        made.append(sample(transformer, both_prompts, request_of(guidance=GUIDED, num_steps=3), Silent()))
    assert block_offload(models[1]) is not None
    assert torch.equal(made[0].video, made[1].video)
    assert torch.equal(made[0].audio, made[1].audio)


def test_8_bits_sample_nearly_the_same(
    build: Build, request_of: Callable[..., RenderRequest], prompts: Prompts
) -> None:
    plain, request = build(), request_of(num_steps=3)
    exact, found = (
        sample(transformer, prompts, request, Silent()).video
        for transformer in (plain, rebuilt(build(), EngineOptions(precision="int8", forward_only=True)))
    )
    assert not torch.equal(exact, found)
    assert (found - exact).norm() < 0.05 * exact.norm()
