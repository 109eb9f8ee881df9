"""The card of a LoRA on the hub: the registered card below the facts that the hub's pages read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from datasets_spec import Render
from ltx_core.checkpoint.location import is_repository
from ltx_core.files.safetensors import read_header
from ltx_core.lycoris.fit import is_lycoris_file
from tasks.shared import ModelConfig

DIFFUSERS_NAME = "pytorch_lora_weights.safetensors"
"""The name that diffusers looks for in a repository."""
LYCORIS_NAME = "lycoris.safetensors"
READ_BY = f"""`{LYCORIS_NAME}` is a LyCORIS adapter. ComfyUI reads it as it is, and ltx2-lora among the adapters of
its renders; diffusers does not load it.

"""
TAGS = ("lora", "ltx-2", "ltx-video", "text-to-video")


def shown_renders(rows: Iterable[Render], most: int) -> list[Render]:
    """The LoRA's renders that were made from text alone, those without other adapters first.

    Others begin with pictures or sounds of the footage, which are not ours to show.
    """
    own = [row for row in rows if row.variant == "candidate" and row.mode == "t2v"]
    return sorted(own, key=lambda row: (row.adapters, row.prompt, row.seed))[:most]


def base_model(model: ModelConfig) -> str | None:
    """The repository that the base model is of; None of local files, whose paths concern no one else."""
    return model.checkpoint if is_repository(model.checkpoint) else None


def lora_name(lora: Path) -> str:
    """What the file is called in a repository: diffusers' name only for what diffusers loads.

    A LoCon without DoRA has the names of a LoRA's factors, so that only the header tells it.

    Raises:
        CheckpointError: the file is missing or torn.
    """
    is_lycoris = is_lycoris_file(lora) or "ltx2.lycoris" in read_header(lora).metadata
    return LYCORIS_NAME if is_lycoris else DIFFUSERS_NAME


def hub_card(card: str, model: ModelConfig, renders: Sequence[tuple[str, str]], *, lora: str) -> str:
    """Markdown with the hub's YAML header.

    Args:
        card: the registered one.
        model: what the LoRA is of.
        renders: name in the repository and prompt of each.
        lora: `lora_name` of the file.
    """
    for_diffusers = lora == DIFFUSERS_NAME
    facts: dict[str, Any] = {"pipeline_tag": "text-to-video", "tags": list(TAGS)}
    if for_diffusers:
        facts["library_name"] = "diffusers"
    if base := base_model(model):
        facts["base_model"] = base
    if renders:
        facts["widget"] = [{"text": prompt, "output": {"url": name}} for name, prompt in renders]
    header = yaml.safe_dump(facts, sort_keys=True, allow_unicode=True)
    return f"---\n{header}---\n\n{'' if for_diffusers else READ_BY}{card}"
