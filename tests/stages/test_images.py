"""Images beside videos in one folder, from the file to the LoRA."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_spec import QuarantineReason
from tests.stages.bench import SCENES, Bench, computed, set_aside

pytestmark = pytest.mark.whole


def write_image(path: Path, seed: int, size: tuple[int, int] = (96, 64)) -> Path:
    """Noise of low frequency, and a caption."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(path)
    path.with_suffix(".txt").write_text(f"Painting number {seed}.")
    return path


def test_images_train_with_videos(own: Bench) -> None:
    """Each is a clip of one frame without audio in a bucket of its own; the clips of the videos stay what they were."""
    before = {row.clip_id: row for row in own.run()["encode_latents"].manifest}
    for seed, name in enumerate(("a.jpg", "b.png", "c.webp", "d.png")):
        write_image(own.footage / name, seed)
    write_image(own.footage / "tiny.png", 7, size=(1, 1))
    write_image(own.footage / f"{SCENES[0]}.png", 8)  # has the name and the caption of a video
    write_image(own.footage / "torn.jpg", 9).write_bytes(b"\xff\xd8\xff torn")
    bench = own.set(
        train_lora__steps=8,
        train_lora__first_frame_probability=1.0,
        limits__max_quarantined_fraction=0.5,
    )
    results = bench.run("train_lora")
    rows = {row.clip_id: row for row in results["encode_latents"].manifest}
    images = {name: row for name, row in rows.items() if ".mp4" not in name}
    assert len(images) == 5
    assert {row.bucket for row in images.values()} == {"64x64@1"}
    assert {(tuple(row.video_shape[1:]), row.frame_rate, row.has_sound) for row in images.values()} == {
        ((1, 2, 2), 1.0, False)
    }
    assert {name: rows[name].sha256 for name in before} == {name: row.sha256 for name, row in before.items()}
    assert "eval" in {row.split for row in rows.values()}
    reasons = {row.source: row.reason for row in [*set_aside(results["probe"]), *set_aside(results["split"])]}
    assert reasons == {"tiny.png": QuarantineReason.TOO_SMALL, "torn.jpg": QuarantineReason.NOT_MEDIA}
    assert set(computed(bench.but().run("train_lora")).values()) == {0}
    silent = bench.set(datasets__0__audio={"audio_dir": str(own.footage)}, limits__max_quarantined_fraction=1.0)
    without = {row.source for row in set_aside(silent.run("probe")["probe"])}
    assert without == {"torn.jpg", *(f"{scene}.mp4" for scene in SCENES)}, "images want no audio"
