"""What of a run is shown on the hub, and what a repository's page says of its file."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from safetensors.torch import save_file

from datasets_spec import Render
from tasks.runtime.shared import ModelConfig
from tasks.stages.publish import DIFFUSERS_NAME, LYCORIS_NAME, hub_card, lora_name, shown_renders

Mode = Literal["t2v", "i2v", "s2v", "extend", "inpaint"]
MODES: tuple[Mode, ...] = ("i2v", "s2v", "t2v", "extend", "inpaint")
MODEL = ModelConfig(checkpoint="Lightricks/LTX-2")


def render(mode: Mode, **changes: Any) -> Render:
    """A row of the gallery."""
    said: dict[str, Any] = {"prompt": "a fox", "seed": 1, "adapters": "", "variant": "candidate", **changes}
    name = "-".join(str(value) for value in (mode, *said.values()))
    return Render(
        render_key=name,
        mode=mode,
        clip_id=None if mode == "t2v" else "clips/a.mp4#0",
        num_frames=9,
        width=64,
        height=64,
        frame_rate=24.0,
        audio_rate=0,
        sharpness=0.0,
        motion=0.0,
        loudness_db=0.0,
        difference_from_base=0.0,
        sha256="0" * 64,
        file=f"{name}.mp4",
        **said,
    )


def test_what_begins_with_frames_or_audio_of_the_footage_stays_here() -> None:
    rows = [render(mode) for mode in MODES]
    assert [row.mode for row in shown_renders(rows, 10)] == ["t2v"]
    assert shown_renders([row for row in rows if row.mode != "t2v"], 10) == []


def test_only_the_loras_own_are_shown() -> None:
    rows = [render("t2v", variant=variant) for variant in ("base", "candidate")]
    assert [row.variant for row in shown_renders(rows, 10)] == ["candidate"]


def test_those_without_other_adapters_come_first_then_by_prompt_and_seed() -> None:
    ordered = [
        render("t2v", adapters=adapters, prompt=prompt, seed=seed)
        for adapters in ("", "half")
        for prompt in ("a fox", "an owl")
        for seed in (1, 2)
    ]
    assert shown_renders(reversed(ordered), 8) == ordered
    assert shown_renders(reversed(ordered), 3) == ordered[:3]
    assert shown_renders(ordered, 0) == []


@pytest.mark.parametrize(
    ("tensors", "name", "library"),
    [
        (("lora_A.weight", "lora_B.weight"), DIFFUSERS_NAME, "diffusers"),
        (("lokr_w1", "lokr_w2", "alpha"), LYCORIS_NAME, None),
        (("lora_down.weight", "lora_up.weight", "dora_scale"), LYCORIS_NAME, None),
        (("lora_down.weight", "lora_up.weight", "alpha"), LYCORIS_NAME, None),  # by its header alone
    ],
)
def test_diffusers_is_named_only_for_what_it_loads(
    tensors: tuple[str, ...], name: str, library: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "lora.safetensors"
    header = {"ltx2.lycoris": "{}"} if "alpha" in tensors else {}
    save_file({f"diffusion_model.patchify_proj.{part}": torch.ones(2, 2) for part in tensors}, file, header)
    assert lora_name(file) == name
    _, said, card = hub_card("# The card", MODEL, [], lora=name).split("---\n", 2)
    facts = yaml.safe_load(said)
    assert facts.get("library_name") == library
    assert facts["base_model"] == "Lightricks/LTX-2"
    assert card.endswith("# The card")
    assert (f"`{LYCORIS_NAME}` is a LyCORIS adapter" in card) is (library is None)
    assert ("ComfyUI" in card) is (library is None)


def test_the_names_differ() -> None:
    assert DIFFUSERS_NAME == "pytorch_lora_weights.safetensors", "what diffusers looks for in a repository"
    assert LYCORIS_NAME != DIFFUSERS_NAME
