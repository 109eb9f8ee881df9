"""How clips are encoded: each option does what it says, in the stage."""

import threading
from pathlib import Path

import pytest
import torch

from datasets_spec import Latent
from flows.plan import select
from flows.run import run_stages
from ltx_core.autoencoder import video
from ltx_core.store.tensor_items import ShardReader
from tests.stages.bench import SCENES, Bench, Results, set_aside

pytestmark = pytest.mark.whole


def encoded(finished: Bench, folder: Path, **options: object) -> tuple[Bench, Results]:
    """The latents of the shared footage with some options, in a workspace of their own."""
    bench = finished.but(workspace=folder).set(**options)
    return bench, bench.run()


def latents(bench: Bench, results: Results) -> dict[str, torch.Tensor]:
    reader, rows = ShardReader(bench.workspace), list(results["encode_latents"].manifest)
    return {row.clip_id: reader.read(row.shard, row.offset, row.size, row.sha256)["video"].float() for row in rows}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"memory__vae_chunk_frames": 1}, "1 latent frames at once"),
        pytest.param({"memory__vae_chunk_frames": None}, "whole", marks=pytest.mark.extra),
        ({"encode_latents__batch_size": 3, "memory__vae_slicing": True}, "one clip of a batch at a time"),
        pytest.param({"encode_latents__batch_size": 2}, "; 2 at once", marks=pytest.mark.extra),
        ({"encode_latents__decode_workers": 1, "encode_latents__decode_ahead_mib": 64}, "whole"),
    ],
    ids=lambda value: "-".join(f"{k.split('__')[1]}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_exact_options_leave_latents_and_keys_as_they_are(
    options: dict[str, object], told: str, finished: Bench, results: Results, tmp_path: Path
) -> None:
    bench, found = encoded(finished, tmp_path / "workspace", **options)
    assert [note for note in bench.progress.told if note.startswith("video VAE, 9x64x64: ") and told in note]
    assert found["encode_latents"].run.decided.key == results["encode_latents"].run.decided.key
    right = latents(finished, results)
    for clip, latent in latents(bench, found).items():
        torch.testing.assert_close(latent, right[clip], atol=2e-2, rtol=1e-2)


def test_tiles_change_latents_and_their_keys(finished: Bench, tmp_path: Path) -> None:
    wide = tmp_path / "footage"
    wide.mkdir()
    from tests.stages.bench import write_clip

    write_clip(wide, "wide.mp4", SCENES[0], width=128)
    bench = finished.but(footage=wide, workspace=tmp_path / "workspace").set(datasets__0__resolution=128)
    plain, tiled = bench.run(), bench.set(encode_latents__tile_size=64, encode_latents__tile_overlap=32).run()
    assert tiled["encode_latents"].summary.computed == 1
    (before,), (after,) = (list(found["encode_latents"].manifest) for found in (plain, tiled))
    assert isinstance(before, Latent)
    assert before.latent_key != after.latent_key
    assert before.sha256 != after.sha256
    assert bench.run()["encode_latents"].summary.computed == 1, "without tiles the first result is still there"


def test_compiled_is_what_runs(finished: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler itself is left out: it takes a minute on a CPU."""
    compiled: list[object] = []

    def instead(module: torch.nn.Module, **_options: object) -> torch.nn.Module:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", instead)
    bench, _ = encoded(finished, tmp_path / "workspace", encode_latents__compile=True)
    assert compiled
    assert any("9x64x64: compiled" in note for note in bench.progress.told)


def test_a_clip_that_cannot_be_decoded_is_set_aside_alone(own: Bench) -> None:
    """Its file was lost after `split` had looked at it."""
    chosen = own.set(limits__max_quarantined_fraction=1.0, encode_latents__dtype="bf16")
    chosen.run("split")
    path = own.footage / "rolling_ball.mp4"
    path.write_bytes(bytes(path.stat().st_size))
    (result,) = run_stages(chosen.config, select("encode_latents", None, False), chosen._perform)
    assert [row.source for row in set_aside(result)] == ["rolling_ball.mp4"]
    assert result.summary.num_out == len(SCENES) - 1
    assert result.summary.computed == len(SCENES) - 1


def test_the_stage_runs_the_loop_that_is_measured_and_leaves_no_thread(
    finished: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """benchmarks/encode_stage.py times `encode_clips` over `encode_pixels`; so must the stage use them."""
    shapes = []
    real = video.encode_pixels

    def spy(vae: object, pixels: torch.Tensor, **options: object) -> torch.Tensor:
        shapes.append(tuple(pixels.shape))
        return real(vae, pixels, **options)

    monkeypatch.setattr("tasks.stages.parts.clip_encoder.encode_pixels", spy)
    encoded(finished, tmp_path / "workspace")
    assert shapes == [(1, 3, 9, 64, 64)] * len(SCENES)
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("decode ahead", "store samples"))]
