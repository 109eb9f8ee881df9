"""The script that times a whole run: stand-ins at the released sizes, and rows that add up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE

from benchmarks import released
from benchmarks.end_to_end import GIB, Sample, rows
from benchmarks.stand_ins import FULL, write_config
from flows.config import load_config
from ltx_core.checkpoint.architecture import audio_vae_arguments, vocoder_arguments
from ltx_core.tiny.header import Generation
from tasks import STAGES
from tests.numerics.benchmarks.one_process import ROOT


@pytest.mark.parametrize(
    ("generation", "vocoder", "parameters"),
    [("2.0", LTX2Vocoder, 55_592_802), ("2.3", LTX2VocoderWithBWE, 128_537_448)],
)
def test_audio_parts_have_the_released_numbers_of_parameters(
    generation: Generation, vocoder: type[torch.nn.Module], parameters: int
) -> None:
    """As counted in the published files."""
    config = released.config(generation)
    with torch.device("meta"):
        vae = AutoencoderKLLTX2Audio(**audio_vae_arguments(config))
        made = vocoder(**vocoder_arguments(config))
    assert sum(one.numel() for one in vae.parameters()) == 53_248_146
    assert sum(one.numel() for one in made.parameters()) == parameters


def test_the_configuration_at_full_size_is_one_that_a_run_takes(tmp_path: Path) -> None:
    (tmp_path / "footage").mkdir()
    config = load_config(write_config(tmp_path, FULL), {})
    assert config.datasets[0].video.num_frames == FULL["video"]["num_frames"]


def test_each_part_has_what_was_seen_in_it() -> None:
    samples = [Sample(1.0, 0.0, GIB, 0), Sample(11.0, 0.5, 3 * GIB, GIB), Sample(12.0, 1.0, 2 * GIB, 2 * GIB)]
    start, work, everything = rows([("start", 0.0), ("work", 10.0), ("", 14.0)], samples)
    assert start == {"stage": "start", "seconds": 10.0, "gpu_busy": 0.0, "gpu_peak_gib": 1.0, "host_peak_gib": 0.0}
    assert work == {"stage": "work", "seconds": 4.0, "gpu_busy": 0.75, "gpu_peak_gib": 3.0, "host_peak_gib": 2.0}
    assert (everything["stage"], everything["seconds"], everything["gpu_busy"]) == ("all", 14.0, 0.5)


def test_a_run_of_the_miniature_has_a_row_for_each_stage(tmp_path: Path) -> None:
    words = ["--folder", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--tiny", "--only", "cold"]
    done = subprocess.run(
        [sys.executable, "benchmarks/end_to_end.py", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    made = [stage.name for stage in STAGES if stage.name not in ("caption", "embed_frames", "publish")]
    names = ["stand-ins", *(f"cold: {name}" for name in ["start", *made, "report", "all"])]
    assert [row["row"] for row in found] == names
    assert sum(row["seconds"] for row in found[1:-1]) == pytest.approx(found[-1]["seconds"])
    assert found[-1]["host_peak_gib"] > 0.1
