"""The guidance formula against its closed form, and the passes that scales call for."""

import pytest
import torch

from ltx_core.errors import ConfigError
from ltx_core.sampling.guidance import Guidance, Pass, StreamGuidance, official
from ltx_core.sampling.sampler import combine


def predictions(batch: int = 1) -> dict[Pass, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    names: tuple[Pass, ...] = ("conditional", "unconditional", "perturbed", "isolated")
    return {name: torch.randn(batch, 6, 3, generator=generator) for name in names}


def test_all_terms_equal_closed_form() -> None:
    x0 = predictions()
    c, u, p, i = x0.values()
    expected = c + 2 * (c - u) + 0.5 * (c - p) + 1.5 * (c - i)
    expected = expected * (0.7 * c.std() / expected.std() + 0.3)
    got = combine(StreamGuidance(cfg=3, stg=0.5, modality=2.5, rescale=0.7), x0)
    assert torch.allclose(got, expected, atol=1e-6)


def test_cfg_alone_is_the_known_formula() -> None:
    x0 = predictions()
    expected = x0["unconditional"] + 4 * (x0["conditional"] - x0["unconditional"])
    assert torch.allclose(combine(StreamGuidance(cfg=4), x0), expected, atol=1e-6)


def test_full_rescale_restores_each_samples_spread() -> None:
    x0 = predictions(batch=2)
    x0["conditional"] = x0["conditional"] * torch.tensor([1.0, 5.0])[:, None, None]
    got = combine(StreamGuidance(cfg=6, rescale=1), x0)
    assert torch.allclose(got.std(dim=(1, 2)), x0["conditional"].std(dim=(1, 2)), rtol=1e-5)


def test_neutral_returns_the_conditional_prediction() -> None:
    x0 = predictions()
    assert combine(StreamGuidance(), {"conditional": x0["conditional"]}) is x0["conditional"]


def test_rescale_of_a_constant_prediction_is_finite() -> None:
    zeros = torch.zeros(1, 4, 2)
    assert combine(StreamGuidance(cfg=2, rescale=1), {"conditional": zeros, "unconditional": zeros}).isfinite().all()


@pytest.mark.parametrize(
    ("guidance", "extra"),
    [
        (Guidance(), ()),
        (Guidance(video=StreamGuidance(rescale=0.5)), ()),
        (Guidance(audio=StreamGuidance(cfg=7)), ("unconditional",)),
        (Guidance(video=StreamGuidance(modality=3)), ("isolated",)),
        (Guidance(video=StreamGuidance(stg=1), stg_blocks=(1,)), ("perturbed",)),
        (official("2.3", "").guidance, ("unconditional", "perturbed", "isolated")),
    ],
)
def test_only_needed_passes(guidance: Guidance, extra: tuple[str, ...]) -> None:
    assert guidance.passes() == ("conditional", *extra)


@pytest.mark.parametrize("wrong", [{"cfg": -1.0}, {"rescale": 1.5}, {"stg": float("nan")}, {"modality": float("inf")}])
def test_refuses_scales(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        StreamGuidance(**wrong)


def test_refuses_stg_without_blocks_and_blocks_without_stg() -> None:
    with pytest.raises(ConfigError, match="stg_blocks"):
        Guidance(video=StreamGuidance(stg=1))
    with pytest.raises(ConfigError, match="stg_blocks"):
        Guidance(stg_blocks=(1,))


@pytest.mark.parametrize(
    ("generation", "version", "steps", "block", "crf"),
    [
        ("2.0", "", 40, 29, 33),
        ("2.0", "2.0.0", 40, 29, 33),
        ("2.3", "", 30, 28, 33),
        ("2.3", "2.3.0", 30, 28, 33),
        ("2.3", "2.4", 30, 28, 18),  # the features alone would be those of 2.3
        ("2.3", "2.4-rc2", 30, 28, 18),
        ("2.3", "2.4.rc2", 30, 28, 18),
        ("2.5", "", 30, 28, 18),
        ("2.5", "2.10.1", 30, 28, 18),
        ("2.3", "no version", 30, 28, 33),
    ],
)
def test_official_settings_by_release(generation: str, version: str, steps: int, block: int, crf: int) -> None:
    found = official(generation, version)
    assert (found.num_steps, found.guidance.stg_blocks, found.image_crf) == (steps, (block,), crf)
    video, audio = found.guidance.video, found.guidance.audio
    assert (video.cfg, audio.cfg) == (3, 7)
    assert all((stream.stg, stream.modality, stream.rescale) == (1, 3, 0.7) for stream in (video, audio))


@pytest.mark.parametrize(("num_blocks", "block"), [(1, 0), (2, 1), (5, 2), (48, 28)])
def test_of_a_smaller_model_the_block_as_deep_is_perturbed(num_blocks: int, block: int) -> None:
    assert official("2.3", "", num_blocks).guidance.stg_blocks == (block,)
