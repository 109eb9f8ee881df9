"""The whole pipeline on a miniature of each generation, in the layout that it is published in."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from datasets_spec import Latent
from ltx_core.tiny.header import Generation
from tests.stages.bench import EVERY_STAGE, Bench

pytestmark = [pytest.mark.whole, pytest.mark.extra]

WriteOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.mark.parametrize("generation", get_args(Generation))
def test_footage_to_a_registered_lora(generation: Generation, own: Bench, written_once: WriteOnce) -> None:
    def write(folder: Path) -> None:
        from ltx_core.tiny.model import write_model

        write_model(folder, generation)

    folder = written_once(f"generation-{generation}", write)
    single = next(folder.glob("*.safetensors"), None)
    bench = own.but(checkpoint=single or folder, text_encoder=folder / "gemma" if single else None).set(
        model__flavour=generation,
        render_validation__video_cfg=1,
        render_validation__audio_cfg=1,
        render_validation__image_to_video_clips=1,
        render_validation__sound_to_video_clips=1,
    )
    made = bench.run(EVERY_STAGE[-1])
    assert [name for name, result in made.items() if result.built] == list(EVERY_STAGE)
    latents: list[Latent] = list(made["encode_latents"].manifest)
    assert all(row.audio_tokens > 0 and row.video_shape[0] == 8 for row in latents)
    assert made["train_lora"].summary.figures["steps"] == 2
    renders = list(made["render_validation"].manifest)
    assert {(row.mode, row.variant) for row in renders} == {
        (mode, variant) for mode in ("t2v", "i2v", "s2v") for variant in ("base", "candidate")
    }
    assert all((bench.workspace / row.file).stat().st_size > 0 for row in renders)
    assert made["register"].summary.num_out == 1
