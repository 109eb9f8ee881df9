"""A whole render with a reference and an IC-LoRA is that of Lightricks' pipeline.

`tests/golden/reference_render.json` has the latents that the `euler_denoising_loop` of Lightricks/LTX-2 at commit
400fd31 made with the tiny 2.3 transformer, `lora.safetensors` fused at strength 1: a clean first frame, a reference of
half the size and half the frames at strength 0.9, and an audio reference, from noise and contexts that are sine waves.
It was called outside this repository; values are rounded to five digits.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltx_core.adapters.lora_files import load_lora
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_transformer
from ltx_core.conditioning.kinds import FirstFrame, Text
from ltx_core.conditioning.reference import AudioReference, Reference
from ltx_core.conditioning.state import SampleState, StreamState
from ltx_core.denoiser.tokens import pack_video
from ltx_core.progress import Silent
from ltx_core.sampling.guidance import Guidance
from ltx_core.sampling.sampler import Prompts, Walk
from ltx_core.shapes import LatentShape

pytestmark = pytest.mark.numerics

GOLDEN = Path(__file__).parents[2] / "golden"
GRID, RATE, NUM_AUDIO = LatentShape(3, 2, 4), 24.0, 18
SIGMAS = (1.0, 0.909375, 0.725, 0.421875, 0.0)


def wave(seed: int, *shape: int) -> Tensor:
    place = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(place * (0.37 + 0.11 * seed) + seed).float().reshape(shape) * 1.3


def initial() -> SampleState:
    """Waves in the place of noise, going on over what is appended."""
    noise = {"video": wave(4, 1, GRID.tokens + 4, 8), "audio": wave(5, 1, NUM_AUDIO + 5, 32)}

    def beside(place: str, shape: Any) -> Tensor:
        stream, _, start = place.partition("/")
        return noise[stream][:, int(start) : int(start) + shape[1]]

    streams = (StreamState.noise(noise["video"][:, : GRID.tokens]), StreamState.noise(noise["audio"][:, :NUM_AUDIO]))
    return SampleState(*streams, GRID, beside)


def rendered(transformer: Any, state: SampleState) -> tuple[Tensor, Tensor]:
    text = Text(wave(6, 1, 128, 32), wave(7, 1, 128, 16))
    made = Walk(transformer, Prompts(text), Guidance(), RATE).along(state, SIGMAS, Silent())
    return pack_video(made.video[None]), made.audio


def test_a_render_is_that_of_lightricks_pipeline(compare: Any) -> None:
    expected = json.loads((GOLDEN / "reference_render.json").read_text())
    checkpoint = open_combined(GOLDEN / "2.3" / "checkpoint.safetensors", components=("transformer",))
    transformer = load_transformer(checkpoint, device="cpu", dtype=torch.float32)
    load_lora(GOLDEN / "lora.safetensors", transformer)
    first = FirstFrame(wave(1, 8, 1, GRID.height, GRID.width))
    reference = Reference(wave(2, 8, 2, 1, 2), RATE, 0.9)
    state = AudioReference(wave(3, 5, 32)).apply(reference.apply(first.apply(initial())))
    video, audio = rendered(transformer, state)
    compare(video.flatten(), torch.tensor(expected["video"]), most=5e-4, relative=5e-5)
    compare(audio.flatten(), torch.tensor(expected["audio"]), most=5e-4, relative=5e-5)
    other = replace(reference, strength=1.0)
    video, _ = rendered(transformer, AudioReference(wave(3, 5, 32)).apply(other.apply(first.apply(initial()))))
    with pytest.raises(AssertionError):
        compare(video.flatten(), torch.tensor(expected["video"]), most=5e-4, relative=5e-5)
