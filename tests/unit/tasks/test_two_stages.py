"""Two-stage renders: sizes, the warning where clips have no halves, and the plan's memory."""

from typing import Any

import pytest
from pydantic import ValidationError

from ltx_core.shapes import PixelShape
from tasks.stages.render import memory
from tasks.stages.render.config import RenderValidationConfig

UPSCALING: dict[str, Any] = {"upscaling": {"upsampler": "x2.safetensors"}}


def test_sizes_and_sigmas_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValidationError, match="multiples of 64, such as 768x512"):
        RenderValidationConfig.model_validate({"width": 800, **UPSCALING})
    with pytest.raises(ValidationError, match="two or more that fall"):
        RenderValidationConfig.model_validate({"upscaling": UPSCALING["upscaling"] | {"sigmas": (0.5, 0.9, 0)}})
    with pytest.raises(ValidationError, match="a path or a hub"):
        RenderValidationConfig.model_validate({"upscaling": {"upsampler": {}}})


def test_no_other_key_changes() -> None:
    assert "upscaling" not in RenderValidationConfig().model_dump(mode="json")
    hub = RenderValidationConfig.model_validate({"upscaling": {"upsampler": "a/b:x2.safetensors"}}).upscaling
    assert hub is not None
    assert hub.upsampler.hub == "a/b:x2.safetensors"


def test_clips_without_halves_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [(PixelShape(9, height, width), 25.0) for height, width in ((512, 768), (480, 832))]
    monkeypatch.setattr(memory, "expected_shapes", lambda *_: shapes)
    shared: Any = None
    config = RenderValidationConfig.model_validate(UPSCALING)
    (warning,) = memory.one_stage_clips(config, shared, {})
    assert "clips of 832x480 are rendered in one stage" in warning
    assert not list(memory.one_stage_clips(RenderValidationConfig(), shared, {}))
