"""Validation renders with adapters, from pictures and sounds of one's own, and from held-out clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from datasets_spec import Render
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.errors import CheckpointError, ConfigError, DataError
from ltx_core.media.audio import decode_audio
from ltx_core.media.clip import clip_frames
from ltx_core.media.frames import decode_frames
from ltx_core.media.image import recompressed
from ltx_core.media.reference import read_reference
from ltx_core.sampling.decoding import load_latents
from ltx_core.sampling.guidance import NEGATIVE_PROMPT, official
from tests.stages.bench import Bench, Results
from tests.upsampler import write_upsampler

pytestmark = pytest.mark.whole

FAST = {"num_steps": 8, "schedule": "distilled", "video_cfg": 1, "audio_cfg": 1}


def write_adapter(path: Path, checkpoint: Path, *, seed: int = 0, into: int | None = None) -> Path:
    """A published adapter for the miniature: one layer, rank 2, in Lightricks' layout."""
    name = "transformer_blocks.0.attn1.to_q"
    out, columns = open_combined(checkpoint, components=("transformer",)).shapes("transformer")[f"{name}.weight"]
    generator = torch.Generator().manual_seed(seed)
    halves = {
        "lora_A": torch.randn(2, into or columns, generator=generator),
        "lora_B": torch.randn(out, 2, generator=generator),
    }
    save_file({f"diffusion_model.{name}.{half}.weight": tensor for half, tensor in halves.items()}, path)
    return path


def rendered(results: Results) -> list[Render]:
    return list(results["render_validation"].manifest)


def latents_of(bench: Bench, row: Render) -> torch.Tensor:
    return load_latents((bench.workspace / row.file).with_suffix(".safetensors")).video


def run_of(path: Path, **more: Any) -> dict[str, Any]:
    return {"name": "fast", "adapters": [{"path": str(path), "strength": 0.5}], **FAST, **more}


def test_runs_with_adapters(bench: Bench, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "adapter.safetensors", bench.checkpoint)
    asked = bench.set(render_validation__adapters=[run_of(path)])
    results = asked.run("render_validation")
    rows = {(row.adapters, row.variant): row for row in rendered(results)}
    assert set(rows) == {("", "base"), ("", "candidate"), ("fast", "base"), ("fast", "candidate")}
    assert results["render_validation"].summary.computed == 2
    base, candidate = (latents_of(bench, rows["fast", variant]) for variant in ("base", "candidate"))
    assert not torch.equal(base, candidate), "the trained LoRA is added to the adapter"
    without = bench.set(render_validation__adapters=[], **{f"render_validation__{k}": v for k, v in FAST.items()})
    plain = {row.variant: latents_of(bench, row) for row in rendered(without.run("render_validation"))}
    assert not torch.equal(base, plain["base"]), "the adapter does something"
    page = (results["render_validation"].run.out / "gallery.html").read_text()
    assert "candidate with fast" in page
    assert "8 steps, guidance 1 video, 1 audio" in page


@pytest.mark.extra
def test_two_phases_make_the_same_files(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the decoders do not fit beside the transformer; what is told says so."""
    asked = bench.set(render_validation__seeds=[7])
    beside = {row.render_key: row.sha256 for row in rendered(asked.run("render_validation"))}
    assert any("decoded as soon as it is sampled" in line for line in asked.progress.told)
    monkeypatch.setattr("tasks.stages.render.memory.free_bytes", lambda _: 0)
    again = asked.but()
    done = again.run("render_validation", force="render_validation")
    assert done["render_validation"].summary.computed == len(beside) == 2
    assert {row.render_key: row.sha256 for row in rendered(done)} == beside
    assert any("decoded after all are sampled" in line for line in again.progress.told)


def test_adapters_are_known_by_content(bench: Bench, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "adapter.safetensors", bench.checkpoint)
    bench.set(render_validation__adapters=[run_of(path)]).run("render_validation")
    moved = path.rename(tmp_path / "renamed.safetensors")
    assert (
        not bench.set(render_validation__adapters=[run_of(moved)]).run("render_validation")["render_validation"].built
    )
    write_adapter(moved, bench.checkpoint, seed=1)
    changed = bench.set(render_validation__adapters=[run_of(moved)]).run("render_validation")["render_validation"]
    assert changed.summary.computed == 2
    stronger = run_of(moved, adapters=[str(moved)])
    assert (
        bench.set(render_validation__adapters=[stronger]).run("render_validation")["render_validation"].summary.computed
        == 2
    )


@pytest.mark.parametrize("into", [None, 3], ids=["absent", "of other sizes"])
def test_adapters_that_cannot_work_are_told_before_anything_runs(own: Bench, tmp_path: Path, into: int | None) -> None:
    path, message = tmp_path / "adapter.safetensors", "does not exist"
    if into is not None:
        write_adapter(path, own.checkpoint, into=into)
        message = "as a .* layer, which is of shape"
    with pytest.raises(CheckpointError, match=message):
        own.set(render_validation__adapters=[run_of(path)]).run("render_validation")
    assert not (own.workspace / "stages").exists()


def test_the_same_render_twice_is_refused(bench: Bench, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "adapter.safetensors", bench.checkpoint)
    runs = [run_of(path), run_of(path, name="again")]
    with pytest.raises(ConfigError, match="'fast' and 'again' ask for the same render twice"):
        bench.set(render_validation__adapters=runs).run("render_validation")


def test_notices_are_told_when_the_stage_starts(bench: Bench) -> None:
    loud = bench.set(render_validation__video_cfg=9)
    loud.run("render_validation")
    assert any("video_cfg is 9; outside 2 to 6" in line for line in loud.progress.told)


def photo(path: Path, size: tuple[int, int] = (200, 150)) -> Path:
    """Smooth colours with a corner of their own, so that turning and cropping show."""
    rows, columns = np.mgrid[0 : 1 : size[1] * 1j, 0 : 1 : size[0] * 1j]
    picture = np.stack([rows, columns, (rows < 0.3) & (columns < 0.3)], axis=-1)
    Image.fromarray((picture * 220 + 16).astype(np.uint8)).save(path)
    return path


def frames_of(bench: Bench, row: Render) -> np.ndarray:
    times = [(i + 0.25) / row.frame_rate for i in range(row.num_frames)]
    return np.stack(list(decode_frames(bench.workspace / row.file, times)))


def test_images_and_audio_of_ones_own(bench: Bench, tmp_path: Path) -> None:
    picture = photo(tmp_path / "photo.png")
    sound = sorted(bench.footage.glob("*.mp4"))[1]
    prompts = {
        "prompts__images": [{"image": str(picture), "prompt": "It moves.", "seed": 0}],
        "prompts__audio": [{"audio": str(sound), "prompt": "It sounds.", "start_seconds": 0.04}],
    }
    asked = bench.set(**prompts, render_validation__render_base=False)
    results = asked.run("render_validation")
    assert results["embed_text"].summary.computed == 2
    assert not results["train_lora"].built
    rows = {row.mode: row for row in rendered(results)}
    assert (rows["i2v"].given_file, rows["i2v"].seed) == (str(picture), 0)
    assert (rows["s2v"].given_file, rows["s2v"].seed, rows["s2v"].given_start_seconds) == (str(sound), 42, 0.04)
    heard, given = (
        decode_audio(path, start, rows["s2v"].num_frames / rows["s2v"].frame_rate, rate=48_000)
        for path, start in ((bench.workspace / rows["s2v"].file, 0.0), (sound, 0.04))
    )
    assert heard is not None
    assert given is not None
    noise = np.square(heard - given, dtype=np.float64).sum()
    assert 10 * np.log10(np.square(given, dtype=np.float64).sum() / noise) > 15, "up to AAC"
    moved = picture.rename(tmp_path / "elsewhere.png")
    prompts["prompts__images"][0]["image"] = str(moved)
    again = bench.set(**prompts, render_validation__render_base=False).run("render_validation")
    assert not again["embed_text"].built
    assert not again["render_validation"].built


def test_videos_are_kept_and_heard(bench: Bench, tmp_path: Path) -> None:
    """A held-out clip's and a file's own frames, with audio that follows them."""
    video = sorted(bench.footage.glob("*.mp4"))[1]
    prompts = [{"video": str(video), "prompt": "It sounds.", "seed": 3}]
    asked = bench.set(prompts__videos=prompts, render_validation__video_to_audio_clips=1)
    results = asked.run("render_validation")
    rows = [row for row in rendered(results) if row.mode == "v2a"]
    assert {(row.variant, row.given_file) for row in rows} == {
        (variant, file) for variant in ("base", "candidate") for file in (None, str(video))
    }
    clips = {clip.clip_id: clip for clip in results["split"].manifest}
    for row in rows:
        if row.clip_id is None:
            times = [number / row.frame_rate for number in range(row.num_frames)]
            given = read_reference(video, times, (row.width, row.height))
        else:
            given = clip_frames(clips[row.clip_id])
            assert torch.equal(latents_of(bench, row), encoded(asked, row.clip_id))
        assert np.abs(frames_of(bench, row).astype(float) - given).mean() < 4, "up to x264"
        assert row.difference_from_base < 0.01
    sounds = {row.variant: row.loudness_db for row in rows if row.clip_id}
    assert sounds["base"] != sounds["candidate"]
    with pytest.raises(DataError, match=r"needs more; give a longer file to prompts.videos"):
        asked.set(prompts__videos=[prompts[0] | {"start_seconds": 9}]).run("render_validation")


def test_files_that_cannot_be_given_are_told_before_anything_runs(own: Bench, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    Image.new("RGB", (64, 64)).save(tmp_path / "mute.png")
    for name, kind, message in (
        ("absent.png", "images", "there is no image"),
        ("notes.txt", "images", "is no image that can be opened"),
        ("absent.wav", "audio", "cannot be read"),
        ("notes.txt", "audio", "holds nothing that ffmpeg knows"),
    ):
        entry = {kind.removesuffix("s"): str(tmp_path / name), "prompt": "It moves."}
        with pytest.raises(DataError, match=message):
            own.set(**{f"prompts__{kind}": [entry]}).run("render_validation")
    assert not (own.workspace / "stages").exists()


def test_going_on_from_a_clip_and_making_a_region_anew(bench: Bench, tmp_path: Path) -> None:
    modes = {"render_validation__extend_clips": 1, "render_validation__inpaint_clips": 1}
    options = modes | {
        "render_validation__extend_latent_frames": 1,
        "render_validation__inpaint_region": [0, 0, 0.5, 1],
    }
    asked = bench.set(**options)
    rows = [row for row in rendered(asked.run("render_validation")) if row.variant == "candidate"]
    by_mode = {row.mode: row for row in rows}
    assert set(by_mode) == {"t2v", "extend", "inpaint"}
    known = encoded(asked, str(by_mode["extend"].clip_id))
    extended, inpainted = (latents_of(bench, by_mode[mode]) for mode in ("extend", "inpaint"))
    assert torch.equal(extended[:, :1], known[:, :1])
    assert not torch.allclose(extended[:, 1:], known[:, 1:], atol=1e-2)
    assert torch.equal(inpainted[..., 1:], known[..., 1:]), "the right half is kept"
    assert not torch.allclose(inpainted[..., :1], known[..., :1], atol=1e-2)
    Image.fromarray(np.repeat(np.uint8([[0, 255]]), 2, axis=0)).resize((64, 64), Image.Resampling.NEAREST).save(
        tmp_path / "mask.png"
    )
    masked = bench.set(**modes, render_validation__inpaint_mask=str(tmp_path / "mask.png"))
    row = next(r for r in rendered(masked.run("render_validation")) if (r.mode, r.variant) == ("inpaint", "candidate"))
    assert torch.equal(latents_of(bench, row), inpainted), "the mask means the same region"


def encoded(bench: Bench, clip_id: str) -> torch.Tensor:
    from ltx_core.training.samples import StoreSource

    results = bench.run("encode_latents")
    rows: Sequence[Any] = list(results["encode_latents"].manifest)
    return StoreSource(rows, [], bench.workspace).load(clip_id)["video"].float()


def picture_options(path: Path, **more: Any) -> dict[str, Any]:
    given = [{"image": str(path), "prompt": "It moves.", "seed": 0}]
    own = {f"render_validation__{name}": value for name, value in more.items()}
    return {"prompts__images": given, "prompts__validation": [], "render_validation__render_base": False, **own}


def first_frame(asked: Bench) -> torch.Tensor:
    """The first latent frame of the one render from a picture."""
    (row,) = (row for row in rendered(asked.run("render_validation")) if row.mode == "i2v")
    return latents_of(asked, row)[:, :1]


def test_given_pictures_are_compressed_as_the_release_wants(bench: Bench, tmp_path: Path) -> None:
    """The same as a picture that was compressed before and is given as it is."""
    picture, done = photo(tmp_path / "photo.png"), tmp_path / "compressed.png"
    crf = 18 if open_combined(bench.checkpoint, components=()).generation == "2.5" else 33
    Image.fromarray(recompressed(np.asarray(Image.open(picture)), crf)).save(done)
    usual = bench.set(**picture_options(picture))
    first = first_frame(usual)
    assert torch.equal(first, first_frame(bench.set(**picture_options(done, image_crf=0))))
    assert not torch.equal(first, first_frame(bench.set(**picture_options(picture, image_crf=0))))
    same = bench.set(**picture_options(picture, image_crf=crf)).run("render_validation")["render_validation"]
    assert same.summary.computed == 0, "an item is known by what is done to it"


def test_pictures_are_kept_in_part_where_that_is_asked(bench: Bench, tmp_path: Path) -> None:
    """Of held-out clips too; each strength is a render of its own."""
    picture = photo(tmp_path / "photo.png")
    options = picture_options(picture, image_to_video_clips=1)

    def latents(asked: Bench) -> dict[bool, torch.Tensor]:
        rows = [row for row in rendered(asked.run("render_validation")) if row.mode == "i2v"]
        return {row.clip_id is None: latents_of(asked, row)[:, :1] for row in rows}

    whole = latents(bench.set(**options))
    part = latents(bench.set(**options, render_validation__picture_strength=0.5))
    assert set(whole) == {False, True}
    for kind, kept in whole.items():
        assert not torch.allclose(part[kind], kept, atol=1e-2)
    again = bench.set(**options, render_validation__picture_strength=1.0).run("render_validation")["render_validation"]
    assert not again.built


@pytest.mark.extra
def test_official_guidance_is_that_of_the_checkpoints_release(bench: Bench) -> None:
    """The same render as by its numbers, and the gallery shows them."""
    bench = bench.set(render_validation__render_base=False)  # one of so many steps is enough
    results = bench.set(render_validation__guidance="official", render_validation__num_steps=30).run(
        "render_validation"
    )
    checkpoint = open_combined(bench.checkpoint, components=("transformer",))
    blocks = {name.split(".")[1] for name in checkpoint.shapes("transformer") if name.startswith("transformer_b")}
    (block,) = official(checkpoint.generation, "", len(blocks)).guidance.stg_blocks
    numbers = {
        "num_steps": 40 if checkpoint.generation == "2.0" else 30,
        "stg": 1,
        "stg_blocks": [block],
        "modality": 3,
    }
    page = (results["render_validation"].run.out / "gallery.html").read_text()
    assert f"{numbers['num_steps']} steps, guidance 3 video, 7 audio" in page
    own = {f"render_validation__{name}": value for name, value in numbers.items()}
    spelled = bench.set(prompts__negative=NEGATIVE_PROMPT, **own).run("render_validation")["render_validation"]
    assert spelled.built
    assert spelled.summary.computed == 0


def test_renders_in_two_stages(bench: Bench, tmp_path: Path) -> None:
    """At half the size, then upscaled and sampled on with an adapter of its own; of clips as of prompts. Renders of a
    given video's audio have one stage."""
    channels = open_combined(bench.checkpoint).arguments("video_vae")["latent_channels"]
    upsampler = write_upsampler(tmp_path / "upscaler.safetensors", channels)
    distilled = write_adapter(tmp_path / "distilled.safetensors", bench.checkpoint)
    size = {"width": 128, "height": 64, "num_steps": 2, "image_to_video_clips": 1, "video_to_audio_clips": 1}
    options = {f"render_validation__{name}": value for name, value in size.items()}
    asked = bench.set(**options, render_validation__upscaling={"upsampler": str(upsampler)})
    done = asked.run("render_validation")["render_validation"]
    assert {tuple(latents_of(asked, row).shape[2:]) for row in done.manifest} == {(2, 4), (2, 2)}
    tuned = {"upsampler": str(upsampler), "adapters": [{"path": str(distilled), "strength": 0.5}]}
    other = bench.set(**options, render_validation__upscaling=tuned)
    again = other.run("render_validation")["render_validation"]
    in_two = [row for row in again.manifest if row.mode != "v2a"]
    assert again.summary.computed == len(in_two) == again.summary.num_in - 2
    assert again.summary.figures["sampled"] == len(in_two)
    before, after = ({(row.mode, row.variant): row for row in one.manifest} for one in (done, again))
    for what in before:
        alike = torch.equal(latents_of(asked, before[what]), latents_of(other, after[what]))
        assert alike == (what[0] == "v2a")
    other_channels = {"upsampler": str(write_upsampler(tmp_path / "other.safetensors", channels + 1))}
    unused = bench.set(**options, render_validation__upscaling=other_channels).but(workspace=tmp_path / "new")
    with pytest.raises(CheckpointError, match="upscaler that was published for this model"):
        unused.run("render_validation")
    assert not (tmp_path / "new" / "stages").exists(), "it is told before anything runs"
    upsampler.rename(tmp_path / "moved.safetensors")
    with pytest.raises(CheckpointError, match=r"upscaler\.safetensors does not exist"):
        bench.set(**options, render_validation__upscaling=tuned).run("render_validation")
