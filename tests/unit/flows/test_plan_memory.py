"""What a plan says of memory: the released model's header, cards of several sizes, no GPU and no weights."""

import re
from pathlib import Path
from typing import Any

import pytest

from flows.config import load_config
from flows.plan import PlannedStage, plan
from flows.selection import select
from ltx_core.errors import OutOfMemory
from ltx_core.miniature.gemma import write_gemma
from tests.released_header import write_released_header
from tests.unit.flows.conftest import Write

SMALLEST_OF_THE_GUIDE = {
    "batch_size": 2,
    "base_precision": "int8",
    "optimizer": "adamw_bf16",
    "learning_rate": 6e-5,
    "max_grad_norm": 0.1,
    "steps": 200,
}
"""The guide's configuration of least memory: 480 pixels, 17 frames, two clips, 8 bits, bfloat16 states."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The header of the 19 billion weights, and a toy text encoder."""
    folder = tmp_path_factory.mktemp("released")
    checkpoint, gemma = write_released_header(folder / "ltx.safetensors"), write_gemma(folder / "gemma", 0)
    return {"checkpoint": str(checkpoint), "text_encoder": str(gemma)}


@pytest.fixture
def planned(write: Write, weights: dict[str, str], tmp_path: Path) -> Any:
    """Plan training of 480 pixels and 17 frames on a card of that size."""
    (tmp_path / "footage").mkdir()
    (tmp_path / "footage" / "a.mp4").write_bytes(b"not looked into")
    dataset = {"id": "clips", "instance_data_dir": str(tmp_path / "footage"), "resolution": 480}
    dataset |= {"resolution_type": "pixel", "video": {"num_frames": 17}}

    def planned(gpu_gib: float, **section: Any) -> PlannedStage:
        sections = {"datasets": [dataset], "model": weights, "memory": {"gpu_gib": gpu_gib}, "train_lora": section}
        stages = plan(load_config(write(**sections), {}), select(None, None, force=False))
        return next(stage for stage in stages if stage.stage.name == "train_lora")

    return planned


def test_the_guides_smallest_configuration_fits_a_card_of_16_gib(planned: Any) -> None:
    why, bucket, *rest = planned(16, **SMALLEST_OF_THE_GUIDE).memory
    assert re.match(r"16 GiB card: 48 of 48 blocks computed again \(recompute 1\.00\) and [1-9]\d? streamed", why)
    taken = re.search(r"takes (\d+\.\d) GiB, with the allocator's reserve 1[45]\.\d, of 15\.2 that can be had", why)
    assert taken
    assert 10 < float(taken[1]) < 15.2
    assert bucket == f"864x480@17: {taken[1]} GiB"
    assert any("not cut yet" in line for line in rest)
    assert any(re.match(r"streamed weights take \d+\.\d of \d+\.\d GiB host memory", line) for line in rest)


def test_the_text_encoders_room_is_told(write: Write, weights: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "footage").mkdir()
    (tmp_path / "footage" / "a.mp4").write_bytes(b"not looked into")

    def told(**memory: Any) -> tuple[str, ...]:
        stages = plan(load_config(write(model=weights, memory=memory), {}), select("embed_text", None, force=False))
        return next(stage.memory for stage in stages if stage.stage.name == "embed_text")

    assert re.fullmatch(r"24 GiB card: the text encoder takes \d\.\d GiB; it stays on the card", told(gpu_gib=24)[0])
    assert told(gpu_gib=24, stream_text_encoder=True)[0].endswith("its layers are streamed from host memory")
    assert told(gpu_gib=0.75)[0].endswith("its layers are streamed from host memory")
    assert told(gpu_gib=24, device="cpu") == ()


def test_renders_that_do_not_fit_are_streamed_and_what_cannot_fit_is_refused(
    write: Write, weights: dict[str, str], tmp_path: Path
) -> None:
    """The released transformer takes 35 GiB by itself."""
    (tmp_path / "footage").mkdir()
    (tmp_path / "footage" / "a.mp4").write_bytes(b"not looked into")

    def told(gpu_gib: float, prompts: tuple[str, ...] = ("A dog runs.",), **render: Any) -> tuple[str, ...]:
        sections = {"model": weights, "memory": {"gpu_gib": gpu_gib}, "prompts": {"validation": list(prompts)}}
        config = load_config(write(**sections, render_validation=render), {})
        stages = plan(config, select("render_validation", None, force=False))
        return next(stage.memory for stage in stages)

    assert re.fullmatch(r"80 GiB card: at most 3[78]\.\d GiB", told(80)[0])
    assert re.search(
        r"24 GiB card: .* blocks are streamed from host memory, which takes at most [3-6]\.\d", told(24)[0]
    )
    assert told(24, prompts=()) == ()
    with pytest.raises(OutOfMemory, match="lower render_validation's width, height or num_frames"):
        told(8, width=4096, height=4096, num_frames=1025)


def test_a_card_that_holds_everything_streams_nothing(planned: Any) -> None:
    memory = planned(80, **SMALLEST_OF_THE_GUIDE).memory
    assert "0 of 48 blocks computed again (recompute 0.00) and 0 streamed" in memory[0]
    assert not any("host memory" in line for line in memory)


def test_what_cannot_fit_is_refused_before_anything_is_computed(planned: Any) -> None:
    with pytest.raises(OutOfMemory, match=r"needs \d+\.\d GiB .*3\.2 GiB can be had"):
        planned(4)
    with pytest.raises(OutOfMemory, match=r"needs \d\d\.\d GiB .*streamed_blocks 0 -> all saves 1\d\.\d GiB"):
        planned(16, **SMALLEST_OF_THE_GUIDE, recompute=1.0, streamed_blocks=0)


def test_what_was_asked_for_and_hardly_fits_is_told(planned: Any) -> None:
    asked = {**SMALLEST_OF_THE_GUIDE, "recompute": 1.0, "streamed_blocks": 0}
    needed = re.search(r"takes (\d+\.\d) GiB", planned(80, **asked).memory[0])
    assert needed
    tight = planned(float(needed[1]) + 0.75, **asked).memory
    assert any(line.startswith("this may not fit. One by one: streamed_blocks 0 -> all saves") for line in tight)


def test_weights_on_disk_take_no_host_memory(planned: Any) -> None:
    memory = planned(16, **SMALLEST_OF_THE_GUIDE, stream_from="disk").memory
    assert any(re.match(r"\d+\.\d GiB of streamed weights lie in files", line) for line in memory)


def test_too_little_host_memory_is_refused(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.train_memory.available_bytes", lambda: 2**30)
    with pytest.raises(
        OutOfMemory, match=r"of page-locked host memory and 1\.0 GiB are available; .*stream_from: disk"
    ):
        planned(16, **SMALLEST_OF_THE_GUIDE)
