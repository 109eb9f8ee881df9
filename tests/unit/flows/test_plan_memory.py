"""What a plan says of memory: the released model's header, cards of several sizes, no GPU and no weights."""

import re
from pathlib import Path
from typing import Any

import pytest

from flows.config import load_config
from flows.configure import annotated
from flows.plan import PlannedStage, plan, select
from ltx_core.errors import OutOfMemory
from ltx_core.memory.plan import GIB
from ltx_core.shapes import PixelShape
from ltx_core.tiny.gemma import write_gemma
from tasks.stages.parts.memory import decoding_line
from tests.released_header import write_released_header
from tests.unit.flows.conftest import Write

pytestmark = pytest.mark.whole

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

    def planned(gpu_gib: float, stage: str = "train_lora", **section: Any) -> PlannedStage:
        sections = {"datasets": [dataset], "model": weights, "memory": {"gpu_gib": gpu_gib}, stage: section}
        sections["prompts"] = {"validation": ["A dog runs."]}
        stages = plan(load_config(write(**sections), {}), select(stage, None, force=False))
        return next(found for found in stages if found.stage.name == stage)

    return planned


def test_weights_in_8_bits_are_planned_by_headers_alone(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their digest, of 38 GB, is wanted where a comparison of them is known, and nowhere else."""
    monkeypatch.setattr(
        "tasks.stages.parts.low_precision.component_identities", lambda *_: pytest.fail("weights are read")
    )
    assert "is compared with full precision when training starts" in "".join(planned(80, base_precision="int8").memory)


def test_the_guides_smallest_configuration_fits_a_card_of_16_gib(planned: Any) -> None:
    why, bucket, *rest = planned(16, **SMALLEST_OF_THE_GUIDE).memory
    assert re.match(
        r"16 GiB card: 48 of 48 blocks with checkpointing \(activation_checkpointing 1\.00\) and [1-9]\d? offloaded",
        why,
    )
    taken = re.search(r"takes (\d+\.\d) GiB, with the allocator's reserve 1[45]\.\d, of 15\.2 that can be had", why)
    assert taken
    assert 10 < float(taken[1]) < 15.2
    assert bucket == f"864x480@17: {taken[1]} GiB"
    assert any("not cut yet" in line for line in rest)
    host = r"offloaded weights and a checkpoint's copy take \d+\.\d of \d+\.\d GiB host memory"
    assert any(re.match(host, line) for line in rest)


def test_the_text_encoders_room_is_told(write: Write, weights: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "footage").mkdir()
    (tmp_path / "footage" / "a.mp4").write_bytes(b"not looked into")

    def told(**memory: Any) -> tuple[str, ...]:
        stages = plan(load_config(write(model=weights, memory=memory), {}), select("embed_text", None, force=False))
        return next(stage.memory for stage in stages if stage.stage.name == "embed_text")

    assert re.fullmatch(r"24 GiB card: the text encoder takes \d\.\d GiB; it stays on the card", told(gpu_gib=24)[0])
    assert told(gpu_gib=24, offload_text_encoder=True)[0].endswith("its layers are copied from host memory one by one")
    assert told(gpu_gib=0.75)[0].endswith("its layers are copied from host memory one by one")
    assert told(gpu_gib=24, device="cpu") == ()


def test_a_card_that_holds_everything_streams_nothing(planned: Any) -> None:
    memory = planned(80, **SMALLEST_OF_THE_GUIDE).memory
    assert "0 of 48 blocks with checkpointing (activation_checkpointing 0.00) and 0 offloaded" in memory[0]
    (host,) = (line for line in memory if "host memory" in line)
    assert host.startswith("a checkpoint's copy take")


def test_what_cannot_fit_is_refused_before_anything_is_computed(planned: Any) -> None:
    with pytest.raises(OutOfMemory, match=r"needs \d+\.\d GiB .*3\.2 GiB can be had"):
        planned(4)
    with pytest.raises(OutOfMemory, match=r"needs \d\d\.\d GiB .*offloaded_blocks 0 -> all saves 1\d\.\d GiB"):
        planned(16, **SMALLEST_OF_THE_GUIDE, activation_checkpointing=1.0, offloaded_blocks=0)


def test_what_was_asked_for_and_hardly_fits_is_told(planned: Any) -> None:
    asked = {**SMALLEST_OF_THE_GUIDE, "activation_checkpointing": 1.0, "offloaded_blocks": 0}
    needed = re.search(r"takes (\d+\.\d) GiB", planned(80, **asked).memory[0])
    assert needed
    tight = planned(float(needed[1]) + 0.75, **asked).memory
    assert any(line.startswith("this may not fit. One by one: offloaded_blocks 0 -> all saves") for line in tight)


def test_weights_on_disk_take_no_host_memory(planned: Any) -> None:
    memory = planned(16, **SMALLEST_OF_THE_GUIDE, offload_to="disk").memory
    assert any(re.match(r"\d+\.\d GiB of offloaded weights are in files", line) for line in memory)


def test_too_little_host_memory_is_refused(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.stages.parts.memory.available_bytes", lambda: 2**30)
    with pytest.raises(OutOfMemory, match=r"of page-locked host memory and 1\.0 GiB are available; .*offload_to: disk"):
        planned(16, **SMALLEST_OF_THE_GUIDE)


def test_renders_that_do_not_fit_are_streamed_and_what_cannot_fit_is_refused(planned: Any) -> None:
    def streamed(gpu_gib: float, **section: Any) -> int:
        section |= {"offload_to": "disk", "width": 864, "height": 480, "num_frames": 121}
        found = re.match(
            r"[\d.]+ GiB card: (\d+) of 48 blocks offloaded", planned(gpu_gib, "render_validation", **section).memory[0]
        )
        assert found
        return int(found[1])

    assert streamed(80) == 0
    assert 0 < streamed(24) < streamed(16) < 48
    assert streamed(24, base_precision="int8") == 0
    with pytest.raises(OutOfMemory, match=r"with all blocks offloaded, and 2\.2 GiB can be had.*int8"):
        planned(3, "render_validation")


def test_encoding_and_decoding_are_told(planned: Any) -> None:
    (encoding,) = planned(16, "encode_latents").memory
    assert re.match(r"16 GiB card: video VAE, 17x480x864: whole; takes \d\.\d\d GiB, 1\d\.\d GiB are free", encoding)
    decoding = planned(80, "render_validation", width=1280, height=704, num_frames=121).memory[1]
    assert re.match(r"video VAE, 121x704x1280: whole; takes \d\.\d\d GiB", decoding)


def test_decoding_is_cut_as_fits(write: Write, weights: dict[str, str]) -> None:
    shared, shape = load_config(write(model=weights), {}).shared(), PixelShape(121, 704, 1280)
    whole, cut = (decoding_line(shared, shape, "bf16", round(gib * GIB)) for gib in (4, 2))
    assert "whole" in whole
    assert "latent frames at once" in cut
    with pytest.raises(OutOfMemory, match=r"needs .* GiB in the video VAE at the least"):
        decoding_line(shared, shape, "bf16", GIB // 2)


def test_what_the_host_cannot_hold_is_streamed_from_disk(planned: Any) -> None:
    told = planned(12, "render_validation", offload_to="disk").memory[2]
    assert "in files in the stage's folder" in told
    assert "int8 halves them" in told


FIRST_LORA = Path(__file__).parents[3] / "docs" / "first-lora.md"
CARDS = {"H200 (141 GiB)": 141, "48 GB": 48, "24 GB": 24}


@pytest.mark.parametrize("card", CARDS)
def test_the_page_of_the_first_lora_says_what_the_plan_says(
    weights: dict[str, str], card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Precision, size and memory of the configuration that `configure` writes for the goal `subject`."""
    monkeypatch.setattr("tasks.stages.parts.memory.available_bytes", lambda: 64 * GIB)
    (tmp_path / "footage").mkdir()
    (tmp_path / "footage" / "a.mp4").write_bytes(b"not looked into")
    (tmp_path / "a.yaml").write_text(annotated(tmp_path / "footage", CARDS[card], "subject", **weights))
    config = load_config(tmp_path / "a.yaml", {"train_lora.samples.every_steps": 0})  # as the page says
    stages = plan(config, select("train_lora", None, force=False))
    why, bucket, *_ = next(found for found in stages if found.stage.name == "train_lora").memory
    (row,) = re.findall(rf"^\| {re.escape(card)} \| (.*)$", FIRST_LORA.read_text(), re.M)
    taken = re.search(r"takes ([\d.]+) GiB, with the allocator's reserve ([\d.]+), of ([\d.]+) ", why)
    size = re.match(r"(\d+x\d+)@(\d+): ", bucket)
    assert taken
    assert size
    assert "{} GiB, with reserve {} of {}".format(*taken.groups()) in row
    assert "{}, {} frames".format(*size.groups()) in row
    assert {"native": "bf16", "int8": "`int8`"}[config.train_lora.base_precision] in row
    if offloaded := re.search(r"([1-9]\d*) offloaded", why):
        assert f"{offloaded[1]} of 48 blocks offloaded" in row
    else:
        assert "blocks offloaded" not in row
