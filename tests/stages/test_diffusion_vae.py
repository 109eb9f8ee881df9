"""A pack of LTX-2.5 with the diffusion decoder, from footage to renders."""

from pathlib import Path

import numpy as np
import pytest

from ltx_core.media.frames import decode_frames
from ltx_core.tiny.model import VIDEO_VAE, write_pack
from tests.diffusion_vae import write_diffusion_vae
from tests.stages.bench import Bench

pytestmark = [pytest.mark.whole, pytest.mark.extra]


def test_its_encoder_trains_and_its_decoder_decodes(footage: Path, tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", 0)
    convolutional = tmp_path / "pack" / VIDEO_VAE
    write_diffusion_vae(convolutional, convolutional.with_name("ltx-2.5-video-vae-bf16.safetensors"))
    convolutional.unlink()
    bench = Bench(footage, str(tmp_path / "pack"), None, tmp_path / "workspace")
    done = bench.run("render_validation")
    assert done["train_lora"].built
    assert any("by diffusion" in line for line in bench.progress.told)
    for row in done["render_validation"].manifest:
        times = [(number + 0.25) / row.frame_rate for number in range(row.num_frames)]
        frames = np.stack(list(decode_frames(bench.workspace / row.file, times)))
        assert frames.shape == (9, 64, 128, 3)
        assert frames.std() > 5
